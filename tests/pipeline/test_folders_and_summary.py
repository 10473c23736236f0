"""Names of result folders, a summary that another program holds, results of an older version."""

import csv
import json
import os
from pathlib import Path

import pytest

from pipeline import job, summary
from pipeline.inputs import result_names
from pipeline.job import Job, begin, end, finished_row, reason_to_repeat, signature
from pipeline.summary import SUMMARY_COLUMNS, Summary
from program import disk
from program.settings import ModelSettings, NucleiSettings, Settings

MODELS = {"generator": "1", "generator_x2": "2", "unet": "3"}  # hashes of their files


def later(done, settings=None, models=MODELS):
    """The same image in a later run."""
    settings = settings or Settings()
    made_from = signature(done.path, settings, models)
    return Job(done.path, done.folder, "a", settings, made_from)


def finished(output, names, name):
    """Leave the manifest of a finished image."""
    settings = Settings()
    path = output.parent / name
    path.write_bytes(b"pixels")
    made_from = signature(path, settings, MODELS)
    end_job = Job(path, output / names[path], name, settings, made_from)
    begin(end_job)
    end(end_job, {"width_in": 20, "width_out": 40, "nuclei": 3})
    return end_job


# --- names ---


def test_a_folder_keeps_its_image_whatever_is_added_later(tmp_path):
    output, first, second = tmp_path / "out", tmp_path / "a.png", tmp_path / "a.jpg"
    names = result_names([first], output, tmp_path)
    assert names == {first: "a"}
    finished(output, names, "a.png")
    assert result_names([second, first], output, tmp_path) == {first: "a", second: "a_jpg"}


def test_an_unfinished_image_keeps_its_folder_too(tmp_path):
    output, path = tmp_path / "out", tmp_path / "a.png"
    path.write_bytes(b"pixels")
    begin(Job(path, output / "a", "a", Settings(), {}))
    assert result_names([tmp_path / "a.jpg", path], output, tmp_path)[path] == "a"


def test_new_images_of_one_stem_have_folders_of_their_own(tmp_path):
    paths = [tmp_path / name for name in ("a.jpg", "a.png", "a_png.tif", "A.bmp")]
    names = result_names(paths, tmp_path / "out", tmp_path)
    assert list(names.values()) == ["a", "a_png", "a_png_tif", "A_bmp"]


def test_the_data_folder_of_a_slide_is_left_alone_where_results_lie_beside_it(tmp_path):
    slide = tmp_path / "s.mrxs"
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "Slidedat.ini").write_text("[GENERAL]")
    (tmp_path / "empty").mkdir()
    names = result_names([slide, tmp_path / "empty.png"], tmp_path, tmp_path)
    assert list(names.values()) == ["s_mrxs", "empty"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read all")
def test_a_folder_that_cannot_be_read_stops_no_run(tmp_path):
    (tmp_path / "lost+found").mkdir(mode=0)
    path = tmp_path / "lost+found.png"
    assert result_names([path], tmp_path, tmp_path)[path] == "lost+found_png"


def test_no_image_takes_the_name_of_a_file_of_the_run(tmp_path):
    path = tmp_path / "summary.csv.png"
    assert result_names([path], tmp_path / "out", tmp_path)[path] != "summary.csv"


# --- what is done again, and why ---


@pytest.fixture
def done(tmp_path):
    return finished(tmp_path / "out", {tmp_path / "a.png": "a"}, "a.png")


def test_a_finished_image_of_the_same_version_is_finished(done):
    assert finished_row(done)["nuclei"] == 3


def test_results_of_another_version_are_done_again(done, monkeypatch):
    monkeypatch.setattr(job, "RESULTS_VERSION", job.RESULTS_VERSION + 1)
    assert finished_row(later(done)) is None
    assert "earlier version" in reason_to_repeat(later(done))


def test_what_has_changed_is_named(done):
    settings = Settings(nuclei=NucleiSettings(probability_threshold=0.4))
    changed = later(done, settings)
    assert finished_row(changed) is None
    assert reason_to_repeat(changed) == "changed: PROBABILITY_THRESHOLD"
    done.path.write_bytes(b"other pixels")
    assert "file has changed" in reason_to_repeat(later(done))


@pytest.mark.parametrize("name", ["generator_x2", "unet"])
def test_another_model_of_the_image_is_a_reason_to_repeat_it(done, name):
    other = later(done, models=MODELS | {name: "other"})
    assert finished_row(other) is None
    assert "model" in reason_to_repeat(other)


def test_another_model_of_other_scales_is_none(done):
    assert finished_row(later(done, models=MODELS | {"generator": "other"}))["nuclei"] == 3


def test_other_stages_are_a_reason_though_no_model_has_changed(done):
    without = Settings(models=ModelSettings(segment=False))
    assert reason_to_repeat(later(done, without)) == "changed: SEGMENT"


def test_a_check_of_the_pixel_size_is_done_though_the_rest_is_finished(done, tmp_path):
    checked = Settings(models=ModelSettings(pixel_size_model=tmp_path / "pixel_size.h5"))
    assert reason_to_repeat(later(done, checked)) == "changed: PIXEL_SIZE_MODEL"


# --- the summary ---


def rows_of(path: Path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def held(tmp_path, monkeypatch):
    """A summary.csv that a spreadsheet holds open, as on Windows, until the set is emptied."""
    monkeypatch.setattr(disk, "PAUSE", 0)
    names, replace = {"summary.csv"}, Path.replace

    def refusing(path, target):
        if Path(target).name in names:
            raise PermissionError(13, "in use", str(target))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refusing)
    return names


def row(name):
    return {"image": name, "status": "done"}


def test_a_summary_that_is_held_open_costs_nothing(tmp_path, held, capsys):
    table = Summary(tmp_path / "summary.csv")
    table.add(1, row("b.png"))
    table.add(0, row("a.png"))
    assert [r["image"] for r in rows_of(tmp_path / "summary_new.csv")] == ["a.png", "b.png"]
    assert capsys.readouterr().err.count("open in another program") == 1
    held.clear()
    table.add(2, row("c.png"))
    assert [r["image"] for r in rows_of(tmp_path / "summary.csv")] == ["a.png", "b.png", "c.png"]
    assert not (tmp_path / "summary_new.csv").exists()


def test_the_summary_has_its_columns(tmp_path):
    summary.Summary(tmp_path / "summary.csv").add(0, row("a.png"))
    assert list(rows_of(tmp_path / "summary.csv")[0]) == list(SUMMARY_COLUMNS)


def test_the_manifest_names_its_image(done):
    assert json.loads(done.manifest.read_text("utf-8"))["image"] == "a.png"
