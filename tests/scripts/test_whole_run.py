"""A whole run of two images: files, sizes, nuclei, tables and records say the same."""

import json

import cv2
import keras
import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.whole_runs import (
    HEIGHT,
    RESULTS,
    WIDTH,
    check_agreement,
    crowded,
    drawn,
    nuclei,
    put,
    rows_of,
    summary,
)
from labels.pairing import Pair
from labels.reading import read_labels
from metrics.segmentation import best_ious


def test_a_run_writes_all_results_and_leaves_nothing_else(finished):
    output, status, _ = finished
    assert status == 0
    assert {"summary.csv", "run.json"} <= {path.name for path in output.iterdir()}
    for name in ("first", "zweites Präparat"):
        found = {path.name for path in (output / name).iterdir()}
        assert found >= RESULTS
        assert not [name for name in found if name.startswith(".") or name.endswith(".raw")]


def test_maps_and_hotspots_are_those_of_the_nuclei(finished):
    output, _, centres = finished
    folder = output / "first"
    for name in ("density", "nuclear_area", "hematoxylin"):
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    (spot,) = rows_of(folder / "hotspots.csv")  # the image is smaller than a field
    assert int(spot["nuclei"]) == len(centres)
    assert float(spot["tissue_mm2"]) == pytest.approx(WIDTH * HEIGHT / 1e6, rel=0.02)


def test_pictures_have_their_sizes(finished):
    folder = finished[0] / "first"
    for name in ("super_resolved.png", "nuclei_labels.tif", "overlay.png"):
        with Image.open(folder / name) as image:
            assert image.size == (4 * WIDTH, 4 * HEIGHT), name
            if name == "super_resolved.png":  # QuPath and another run take the size from it
                assert image.info["dpi"] == pytest.approx((101600, 101600))
    with Image.open(folder / "figure.png") as figure:
        assert figure.width > figure.height > 500


def test_all_results_tell_of_the_nuclei_that_were_drawn(finished):
    output, _, centres = finished
    for name in ("first", "zweites Präparat"):
        assert check_agreement(output / name) == len(centres)
        labels, rows, _ = nuclei(output / name)
        assert len(set(labels[centres[:, 1], centres[:, 0]]) - {0}) == len(centres)
        for row in rows:
            place = float(row["centroid_x_px"]), float(row["centroid_y_px"])
            assert np.hypot(*(centres + 0.5 - place).T).min() < 2
            assert float(row["centroid_x_um"]) == pytest.approx(place[0] / 4, rel=1e-3)
            assert float(row["area_um2"]) == pytest.approx(
                (labels == int(row["label"])).sum() / 16, rel=1e-4
            )
            assert 100 * np.pi * 1.3 / 16 < float(row["area_um2"]) < 100 * np.pi * 3.4 / 16
            assert float(row["probability"]) > 0.8
            assert float(row["mean_hematoxylin_od"]) > 0.1


@pytest.mark.parametrize("kind", ["detection", "annotation"])
def test_outlines_are_read_back_as_the_same_nuclei(run, tmp_path, kind):
    put(tmp_path / "input", "a.png", crowded(HEIGHT, WIDTH, nuclei=40))
    assert run(geojson_objects=kind) == 0
    folder = tmp_path / "output" / "a"
    labels, _, features = nuclei(folder)
    assert {feature["properties"]["objectType"] for feature in features} == {kind}
    pair = Pair(folder / "super_resolved.png", (folder / "nuclei.geojson",))
    read = read_labels(pair, labels.shape)
    assert read.instances and read.known is None
    assert len(np.unique(read.map)) == len(np.unique(labels)) > 10
    assert best_ious(labels.astype(np.int32), read.map).min() > 0.95


def test_the_super_resolved_image_is_the_enlarged_input(finished):
    with Image.open(finished[0] / "first" / "super_resolved.png") as image:
        found = np.asarray(image).astype(float)
    size = 4 * WIDTH, 4 * HEIGHT
    expected = cv2.resize(drawn()[0], size, interpolation=cv2.INTER_CUBIC)
    inside = slice(16, -16), slice(16, -16)
    assert np.abs(found[inside] - expected[inside]).max() <= 2


def test_the_label_map_states_its_pixel_size(finished):
    with tifffile.TiffFile(finished[0] / "first" / "nuclei_labels.tif") as tiff:
        tags = tiff.pages[0].tags
        pixels, per = tags["XResolution"].value
        assert tags["ResolutionUnit"].value == 3  # centimetre
    assert 1e4 * per / pixels == pytest.approx(0.25, rel=1e-3)


def test_the_summary_has_a_row_for_each_image(finished):
    output, _, centres = finished
    rows = summary(output)
    assert list(rows) == ["first.png", "zweites Präparat.png"]
    for row in rows.values():
        assert row["status"] == "done" and row["error"] == ""
        assert [int(row[name]) for name in ("width_in", "height_in")] == [WIDTH, HEIGHT]
        assert [int(row[name]) for name in ("width_out", "height_out")] == [4 * WIDTH, 4 * HEIGHT]
        assert int(row["nuclei"]) == len(centres)
        areas = [float(nucleus["area_um2"]) for nucleus in nuclei(output / "first")[1]]
        assert float(row["mean_area_um2"]) == pytest.approx(np.mean(areas), rel=1e-3)
        assert float(row["sd_area_um2"]) == pytest.approx(np.std(areas, ddof=1), rel=1e-3)
        assert float(row["median_area_um2"]) == pytest.approx(np.median(areas), rel=1e-3)
        assert float(row["iqr_area_um2"]) == pytest.approx(
            np.subtract(*np.percentile(areas, (75, 25))), rel=1e-3
        )
        assert float(row["cv_area"]) == pytest.approx(
            np.std(areas, ddof=1) / np.mean(areas), rel=1e-3
        )
        mm2 = WIDTH * HEIGHT / 1e6
        assert float(row["tissue_mm2"]) == pytest.approx(mm2, rel=1e-3)
        assert float(row["density_per_mm2"]) == pytest.approx(len(centres) / mm2, rel=1e-3)
        assert float(row["microns_per_pixel_out"]) == 0.25
        assert float(row["seconds"]) > 0


def test_the_run_record_tells_how_to_repeat_the_run(finished, models):
    record = json.loads((finished[0] / "run.json").read_text("utf-8"))
    assert record["constants"]["microns_per_pixel"] == 1.0
    assert record["constants"]["generator"] == str(models / "generator.h5")
    assert set(record["constants"]) >= {"tile_size", "probability_threshold", "input_folder"}
    assert record["models"]["unet"]["record"] == {"microns_per_pixel": 0.25}
    used = {name: model for name, model in record["models"].items() if model}
    assert used.keys() == {
        "generator",
        "unet",
        "nucleus_score",
    }  # no image asked for the x2 generator
    assert all(len(model["sha256"]) == 64 for model in used.values())
    assert record["versions"]["keras"] == keras.__version__


def test_the_terminal_shows_a_line_for_each_image(run, tmp_path, capsys):
    put(tmp_path / "input", "a.png", drawn()[0])
    (tmp_path / "input" / "b.png").write_bytes(b"no image")
    assert run() == 1
    lines = capsys.readouterr().out.strip().splitlines()
    (good,) = [line for line in lines if line.startswith("a.png")]
    (bad,) = [line for line in lines if line.startswith("b.png")]
    assert f"{WIDTH}x{HEIGHT}" in good and f"{4 * WIDTH}x{4 * HEIGHT}" in good and "um2" in good
    assert "failed" in bad and "not an image" in bad
