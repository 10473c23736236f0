"""Confidence, colour difference, warnings and hashes in the results of a run."""

import json

import numpy as np
import pytest
from skimage.data import immunohistochemistry

from helpers.whole_runs import nuclei, put, summary


def test_the_summary_says_how_far_super_resolution_keeps_to_its_input(finished):
    for row in summary(finished[0]).values():
        assert 0 < float(row["colour_difference"]) < float(row["colour_difference_p99"]) < 30
        assert 0 < float(row["sr_expected_error"]) < 30 and 0 < float(row["sr_confidence"]) < 1
        assert row["warning"] == ""


def test_each_nucleus_has_a_confidence_in_the_table_and_in_geojson(finished):
    _, rows, features = nuclei(finished[0] / "first")
    for row, feature in zip(rows, features, strict=True):
        measured = feature["properties"]["measurements"]["Nucleus confidence"]
        assert 0.5 < float(row["nucleus_confidence"]) < 1  # the drawn nuclei are dark
        assert measured == pytest.approx(float(row["nucleus_confidence"]))


def test_every_file_of_an_image_carries_the_hashes_of_the_models(finished):
    models = json.loads((finished[0] / "run.json").read_text("utf-8"))["models"]
    hashes = [models[name]["sha256"] for name in ("generator", "unet")]
    folder = finished[0] / "first"
    for name in {path.name for path in folder.iterdir() if path.suffix != ".csv"}:
        content = (folder / name).read_bytes()
        assert all(value.encode() in content for value in hashes), name
    collection = json.loads((folder / "nuclei.geojson").read_text("utf-8"))
    assert collection["type"] == "FeatureCollection"
    assert [collection[f"{name}_sha256"] for name in ("generator", "unet")] == hashes
    row = summary(finished[0])["first.png"]
    assert [row["generator_sha256"], row["unet_sha256"]] == hashes


def test_an_image_unlike_the_training_data_is_done_and_flagged(run, tmp_path, capsys):
    put(tmp_path / "input", "ihc.png", immunohistochemistry()[::4, ::4])
    put(tmp_path / "input", "glass.png", np.full((60, 60, 3), 245, np.uint8))
    assert run() == 0
    rows = summary(tmp_path / "output")
    assert rows["ihc.png"]["warning"].startswith("not H&E")
    assert rows["glass.png"]["warning"] == "blank: no tissue"
    shown = capsys.readouterr().out
    assert "warning: not H&E" in shown and "warning: blank" in shown
    report = (tmp_path / "output" / "report.html").read_text("utf-8")
    assert "not H&amp;E" in report
