"""A run gives the same bytes again, also from its record."""

import json
import shutil

import Final_implementation
import pytest

from helpers import tiny_models
from helpers.whole_runs import bytes_of, crowded, drawn, put, rows_of
from pipeline import repetition

SAME = ("nuclei_labels.tif", "nuclei.csv", "nuclei.geojson", "sr_confidence.tif")


def test_a_repeated_run_gives_the_same_bytes(run, tmp_path):
    put(tmp_path / "input", "a.png", crowded(75, 101, 60))
    assert run() == run("again") == 0
    folders = [tmp_path / name / "a" for name in ("output", "again")]
    assert bytes_of(folders[0], SAME) == bytes_of(folders[1], SAME)
    tables = [rows_of(folder.parent / "summary.csv") for folder in folders]
    for row in tables[0] + tables[1]:
        del row["seconds"]
    assert tables[0] == tables[1]


def test_a_run_is_repeated_from_its_record(run, tmp_path, capsys):
    put(tmp_path / "input", "a.png", crowded(75, 101, 30))
    assert run(tile_size=32, smallest_nucleus=9.0) == 0
    flags = ["--from-run", str(tmp_path / "output" / "run.json")]
    flags += ["--output-folder", str(tmp_path / "again")]
    assert Final_implementation.command_line(flags) == 0
    folders = [tmp_path / name / "a" for name in ("output", "again")]
    assert bytes_of(folders[0], SAME) == bytes_of(folders[1], SAME)
    records = [json.loads((f.parent / "run.json").read_text("utf-8")) for f in folders]
    different = {k for k, v in records[0]["constants"].items() if records[1]["constants"][k] != v}
    assert different == {"output_folder"}
    assert "Not the same" not in capsys.readouterr().err


def test_a_flag_beside_the_record_counts_more_and_another_model_is_named(run, tmp_path, capsys):
    put(tmp_path / "input", "a.png", drawn()[0])
    assert run(tile_size=32) == 0
    record = tmp_path / "output" / "run.json"
    other = tiny_models.save(tiny_models.random_generator(), tmp_path / "other.h5")
    flags = ["--tile-size", "48", "--generator", str(other), "--from-run", str(record)]
    flags += ["--output-folder", str(tmp_path / "again")]
    assert Final_implementation.command_line(flags) == 0
    repeated = json.loads((tmp_path / "again" / "run.json").read_text("utf-8"))["constants"]
    assert repeated["tile_size"] == 48 and repeated["generator"] == str(other)
    assert "generator: another model than in the earlier run" in capsys.readouterr().err


def test_a_record_of_an_earlier_version_can_be_repeated_and_the_difference_is_said(
    run, tmp_path, capsys
):
    put(tmp_path / "input", "a.png", crowded(75, 101, 30))
    assert run() == 0
    record = tmp_path / "output" / "run.json"
    content = json.loads(record.read_text("utf-8"))
    del content["results_version"]
    content["constants"]["seed_rise"] = 0.16  # of a separation that is no longer used
    del content["constants"]["nucleus_score"], content["constants"]["least_overlap"]
    record.write_text(json.dumps(content), encoding="utf-8")
    flags = ["--from-run", str(record), "--output-folder", str(tmp_path / "again")]
    assert Final_implementation.command_line(flags) == 0
    folders = [tmp_path / name / "a" for name in ("output", "again")]
    assert bytes_of(folders[0], SAME) == bytes_of(folders[1], SAME)
    said = capsys.readouterr().err
    assert "earlier version of the program" in said
    assert "seed_rise was 0.16, which is no longer used" in said


def test_models_that_have_moved_are_found_by_their_content(run, models, tmp_path, monkeypatch):
    put(tmp_path / "input", "a.png", drawn()[0])
    there, here = tmp_path / "there", tmp_path / "here"
    shutil.copytree(models, there)
    assert run(generator=there / "generator.h5", unet=there / "Unet.h5") == 0
    here.mkdir()
    for name in ("generator", "Unet"):  # under other names, on what might be another machine
        (there / f"{name}.h5").rename(here / f"my_{name}.h5")
        (there / f"{name}.json").rename(here / f"my_{name}.json") if name == "Unet" else None
    monkeypatch.setattr(repetition, "MODELS", here)
    flags = ["--from-run", str(tmp_path / "output" / "run.json")]
    assert Final_implementation.command_line([*flags, "--output-folder", str(tmp_path / "b")]) == 0
    repeated = json.loads((tmp_path / "b" / "run.json").read_text("utf-8"))["constants"]
    assert repeated["unet"] == str(here / "my_Unet.h5")
    assert bytes_of(tmp_path / "output" / "a", SAME) == bytes_of(tmp_path / "b" / "a", SAME)


@pytest.mark.parametrize("recorded", [True, False])  # records of older versions name none
def test_another_precision_than_in_the_earlier_run_is_named(run, tmp_path, capsys, recorded):
    put(tmp_path / "input", "a.png", drawn()[0])
    assert run(precision="float32") == 0
    record = tmp_path / "output" / "run.json"
    if not recorded:
        content = json.loads(record.read_text("utf-8"))
        del content["constants"]["precision"]
        record.write_text(json.dumps(content), encoding="utf-8")
    flags = ["--from-run", str(record), "--output-folder", str(tmp_path / "again")]
    assert Final_implementation.command_line([*flags, "--precision", "bfloat16"]) == 0
    message = "multiplied in bfloat16, in the earlier run in float32"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no file"),
        ("{", "is not the run.json"),
        ('{"constants": 1, "models": {}}', "is not the run.json"),
        ('{"constants": {"tile": 5}, "models": {}}', "another version of this script: tile"),
    ],
)
def test_a_record_that_cannot_be_repeated_is_named_in_one_line(tmp_path, capsys, content, message):
    record = tmp_path / "run.json"
    if content is not None:
        record.write_text(content, encoding="utf-8")
    assert Final_implementation.command_line(["--from-run", str(record)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
