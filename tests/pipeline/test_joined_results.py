"""Report and joined tables are of the images of the run, whatever came between."""

import json
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from helpers.whole_runs import put_images, summary
from pipeline import joining
from program.startup import print_any_name

NAMES = ("one", "two", "three", "four")


def images_in(output):
    """Names of the images in the report and in the table of all nuclei."""
    table = pyarrow.parquet.read_table(output / "nuclei.parquet")
    page = (output / "report.html").read_text("utf-8")
    return {n for n in NAMES if f"{n}.png" in page}, set(table["image"].to_pylist())


def both(*names):
    return set(names), {f"{name}.png" for name in names}


@pytest.fixture
def output(run, tmp_path):
    put_images(tmp_path, "one.png", "two.png", "three.png")
    assert run()[0] == 0
    return tmp_path / "output"


def test_an_image_that_was_taken_away_is_in_no_table(run, tmp_path, output):
    (tmp_path / "input" / "three.png").unlink()
    assert run()[0] == 0
    assert images_in(output) == both("one", "two")


def test_a_run_interrupted_before_its_report_makes_it_up(run, tmp_path, output, monkeypatch):
    put_images(tmp_path, "four.png")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(joining, "join_results", interrupted)
        assert run()[0] == 130
    assert not (output / "report.html").exists()  # rather none than an old one
    status, printed = run()
    assert status == 0 and "Loading" not in printed
    assert images_in(output) == both("one", "two", "three", "four")


def test_an_interrupted_run_leaves_no_table_of_earlier_choices(run, tmp_path, output, monkeypatch):
    (tmp_path / "table.csv").write_text("image,group\none,x\ntwo,y\n")
    groups = str(tmp_path / "table.csv")
    assert run(groups=groups)[0] == 0 and (output / "groups.csv").is_file()

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(joining, "join_results", interrupted)
        assert run(groups=groups, probability_threshold=0.7)[0] == 130
    left = {path.name for path in output.iterdir() if path.is_file()}
    assert left - {".lock"} == {"summary.csv", "run.json"}


def test_a_comparison_by_an_earlier_version_is_no_table_of_the_user(run, output):
    table = output / "groups.csv"
    table.write_text(
        "measure,unit,level,group,image,images,nuclei,value,sd_between_images,p_value\n"
    )
    assert run(probability_threshold=0.7)[0] == 0
    assert not table.exists()
    table.write_text("image,group\none,x\ntwo,y\n")
    assert run(probability_threshold=0.6)[0] == 0
    assert table.exists()


def test_a_damaged_record_of_a_finished_run_is_written_anew(run, output):
    record = output / "run.json"
    whole = record.read_text()
    record.write_text(whole[:40])
    assert run()[0] == 0
    assert json.loads(record.read_text()) == json.loads(whole)


def test_groups_that_are_named_later_are_in_the_record(run, tmp_path, output):
    (tmp_path / "table.csv").write_text("image,group\none,x\ntwo,y\n")
    before = json.loads((output / "run.json").read_text())
    status, printed = run(groups=str(tmp_path / "table.csv"))
    assert status == 0 and "Loading" not in printed
    after = json.loads((output / "run.json").read_text())
    assert after["constants"].pop("groups") == str(tmp_path / "table.csv")
    assert before["constants"].pop("groups") is None and after == before
    assert str(tmp_path / "table.csv") in (output / "report.html").read_text("utf-8")


def test_images_of_the_same_names_from_another_folder_are_refused(run, tmp_path, output):
    put_images(tmp_path / "other", "one.png")
    other = tmp_path / "other" / "input"
    status, printed = run(input_folder=other)
    assert status == 2 and "same names from" in printed and "(one.png)" in printed
    assert images_in(output) == both("one", "two", "three")
    assert run(input_folder=other, overwrite=True)[0] == 0
    assert set(summary(output)) == {"one.png"}
    other.rename(tmp_path / "moved")  # the same project at another place
    status, printed = run(input_folder=tmp_path / "moved")
    assert status == 0 and "finished before" in printed


def test_a_deleted_table_of_all_nuclei_is_written_again(run, output):
    (output / "nuclei.parquet").unlink()
    assert run()[0] == 0
    assert images_in(output) == both("one", "two", "three")


def test_the_report_has_the_images_of_a_table_that_is_held_open(run, tmp_path, output, monkeypatch):
    put_images(tmp_path, "four.png")
    replace = type(output).replace

    def refusing(path, target):
        if Path(target).name == "summary.csv":
            raise PermissionError(13, "in use", str(target))
        return replace(path, target)

    monkeypatch.setattr("program.disk.PAUSE", 0)
    monkeypatch.setattr(type(output), "replace", refusing)
    assert run()[0] == 0
    assert images_in(output) == both("one", "two", "three", "four")


@pytest.mark.parametrize("output", ["input", "."])
def test_images_may_lie_in_or_below_the_output_folder(run, tmp_path, output):
    put_images(tmp_path, "one.png", "two.png")
    for _ in range(2):  # the second run must not take the results of the first for images
        status, printed = run((tmp_path / output).resolve())
        assert status == 0, printed
        assert set(summary((tmp_path / output).resolve())) == {"one.png", "two.png"}


def test_results_of_other_runs_are_no_images_of_groups(run, tmp_path):
    put_images(tmp_path, "x/one.png", "x/two.png", "y/three.png", "y/four.png")
    assert run(tmp_path / "input" / "earlier", groups="folders")[0] == 0
    status, printed = run(groups="folders")
    assert status == 0, printed
    assert list(summary(tmp_path / "output")) == [
        "x/one.png",
        "x/two.png",
        "y/four.png",
        "y/three.png",
    ]


def test_what_was_written_when_a_run_was_killed_is_removed(run, tmp_path, output):
    left, own = output / f"summary.csv.{'0a' * 16}.new", output / "notes.new"
    for path in (left, own):
        path.write_text("half")
    assert run()[0] == 0
    assert own.is_file() and not left.exists()
    put_images(tmp_path, "four.png")
    (tmp_path / "input" / left.name).write_text("half")  # of a run into the folder of the images
    assert run()[0] == 0 and len(summary(output)) == 4


def test_a_folder_of_regions_must_be_there(run, tmp_path):
    put_images(tmp_path, "one.png")
    for path in (tmp_path / "none", tmp_path / "input" / "one.png"):
        status, printed = run(regions_folder=path)
        assert (
            status == 2
            and f"REGIONS_FOLDER: expected a folder of GeoJSON files, found no {path}" in printed
        )


def test_results_alone_are_no_images(run, tmp_path):
    put_images(tmp_path, "one.png")
    assert run(tmp_path / "input")[0] == 0
    (tmp_path / "input" / "one.png").unlink()
    status, printed = run(tmp_path / "input", groups="folders")
    assert status == 2 and "only the results of earlier runs" in printed


def test_a_users_own_table_of_groups_is_kept(run, tmp_path):
    put_images(tmp_path, "one.png", "two.png")
    own = tmp_path / "output" / "groups.csv"
    own.parent.mkdir()
    own.write_text("image,group\none,x\ntwo,y\n")
    status, printed = run(groups=str(own))
    assert status == 2 and "rename your table" in printed
    assert run()[0] == 0 and own.read_text().startswith("image,group")
    own.rename(tmp_path / "table.csv")
    assert run(groups=str(tmp_path / "table.csv"))[0] == 0
    assert own.read_text("utf-8-sig").startswith("measure,")
    assert run()[0] == 0 and not own.exists()  # nothing is compared any more


def test_ctrl_c_before_the_first_image_is_one_line(run, tmp_path, monkeypatch):
    put_images(tmp_path, "one.png")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.run.images_of", interrupted)
    status, printed = run()
    assert status == 130 and printed.strip().startswith("Interrupted.")


def test_names_print_whatever_the_output_can_show(capsys, monkeypatch, tmp_path):
    with (tmp_path / "log.txt").open("w", encoding="cp1252") as file:
        monkeypatch.setattr(sys, "stdout", file)
        print_any_name()
        print("\u0141\u00f3d\u017a.svs")
    assert (tmp_path / "log.txt").read_text("cp1252") == "?\u00f3d?.svs\n"


def test_unused_annotations_are_named(run, tmp_path):
    put_images(tmp_path, "one.png")
    (tmp_path / "input" / "B.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    status, printed = run()
    assert status == 0 and "none of the images: B.geojson" in printed
