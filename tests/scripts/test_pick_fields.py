"""Fields of a run, cut for QuPath: pictures, outlines that fit them, and what to do next."""

import json

import numpy as np
import Pick_fields
import pytest
import shapely

from evaluation.correction_folder import counting_part
from evaluation.picking import fields_of_run
from helpers.whole_runs import crowded, nuclei, put
from images.opening import open_image
from labels.label_map import LabelReadError
from labels.pairing import find_pairs
from labels.reading import read_image, read_labels
from metrics.segmentation import best_ious
from tiles.geometry import Window


def exported(path):
    """Do to a file what exporting from QuPath does: nothing but features is left."""
    content = json.loads(path.read_text("utf-8"))
    kept = {name: content[name] for name in ("type", "features")}
    path.write_text(json.dumps(kept), encoding="utf-8")


def cut_from(whole, name, size):
    """Return the part of an image or label map that a field's name and (height, width) tell."""
    x, y = (int(part[1:]) for part in name.split(".")[0].split("_")[-2:])
    return whole[y : y + size[0], x : x + size[1]]


@pytest.mark.parametrize("suffix", ["png", "ome.tif"])
def test_fields_are_parts_of_the_result_with_their_nuclei(finished, tmp_path, suffix):
    results, folder = finished[0], tmp_path / "corrected"
    assert Pick_fields.main(results, folder, 4, 80, suffix) == 0
    outlines = sorted(folder.glob("*.geojson"))
    assert len(outlines) == 4
    for path in outlines:
        exported(path)
    pairs = find_pairs(folder)
    assert len(pairs) == 4 and {pair.image.name.split("_x")[0] for pair in pairs} == {
        "first",
        "zweites Präparat",
    }
    for pair in pairs:
        image, microns = read_image(pair)
        size = image.shape[:2]
        assert all(70 <= side <= 80 for side in size)  # an eighth less where one more fits so
        assert image.shape[2] == 3 and microns == pytest.approx(0.25, rel=1e-3)
        source = results / pair.image.name.split("_x")[0]
        with open_image(source / "super_resolved.png") as whole:
            expected = whole.read(0, 0, whole.width, whole.height)
        np.testing.assert_array_equal(image, cut_from(expected, pair.image.name, size))
        truth = cut_from(nuclei(source)[0], pair.image.name, size).astype(np.int32)
        found = read_labels(pair, truth.shape)
        kept = [n for n, size in enumerate(np.bincount(truth.ravel())) if n and size >= 10]
        assert len(np.unique(found.map)) - 1 == len(kept) > 0
        ious = dict(zip(np.unique(truth[truth > 0]), best_ious(truth, found.map), strict=True))
        assert min(ious[label] for label in kept) > 0.95
    for feature in json.loads(outlines[0].read_text("utf-8"))["features"]:
        assert feature["properties"]["objectType"] == "annotation"


def test_the_confidence_of_a_field_is_that_of_its_nuclei(finished):
    for field in fields_of_run(finished[0], 10_000):
        rows = nuclei(field.folder)[1]
        sure = [float(r["probability"]) * float(r["nucleus_confidence"]) for r in rows]
        assert 0 < field.confidence == pytest.approx(np.mean(sure))


def test_outlines_that_nobody_corrected_are_no_labels(finished, tmp_path):
    folder = tmp_path / "corrected"
    assert Pick_fields.main(finished[0], folder, 1, 80) == 0
    (pair,) = find_pairs(folder)
    with pytest.raises(LabelReadError, match="still as predicted; correct them"):
        read_labels(pair, (80, 80))


def test_the_page_names_fields_and_scripts(finished, tmp_path, capsys):
    folder = tmp_path / "corrected"
    Pick_fields.main(finished[0], folder, 3, 80)
    page = (folder / "README.html").read_text("utf-8")
    for path in (*folder.glob("*.png"), *folder.glob("*.groovy")):
        assert path.name in page
    assert str(folder) in page and "README.html" in capsys.readouterr().out
    for name, call in (("import", "importObjectsFromFile"), ("export", "exportAllObjects")):
        assert call in (folder / f"qupath_{name}.groovy").read_text("utf-8")


def test_fields_that_may_be_corrected_are_not_overwritten(finished, tmp_path, capsys):
    folder = tmp_path / "corrected"
    assert Pick_fields.main(finished[0], folder, 1, 80) == 0
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert Pick_fields.main(finished[0], folder, 2, 80) == 2
    assert "OUTPUT_FOLDER" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_without_super_resolution_fields_are_cut_from_the_input(run, tmp_path, capsys):
    put(tmp_path / "input", "a.png", crowded(60, 60, 30), dpi=(25400, 25400))
    assert run(super_resolve=False, microns_per_pixel=None, region=(10, 0, 50, 60)) == 0
    assert Pick_fields.main(tmp_path / "output", tmp_path / "fields", 1, 64) == 0
    (pair,) = find_pairs(tmp_path / "fields")
    with open_image(tmp_path / "input" / "a.png") as image:
        np.testing.assert_array_equal(read_image(pair)[0], image.read(10, 0, 50, 60))
    put(tmp_path / "input", "a.png", crowded(60, 60, 31), dpi=(25400, 25400))  # of the same size
    assert Pick_fields.main(tmp_path / "output", tmp_path / "others", 1, 64) == 2
    assert "has changed since" in capsys.readouterr().err


def test_what_a_run_did_not_measure_is_not_labelled(run, tmp_path):
    put(tmp_path / "input", "a.png", crowded(60, 60, 30), dpi=(25400, 25400))
    boxes = {"Tumor": (0, 0, 30, 60), "Ignore*": (10, 10, 20, 20)}
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(shapely.box(*box)),
            "properties": {"objectType": "annotation", "classification": {"name": name}},
        }
        for name, box in boxes.items()
    ]
    (tmp_path / "input" / "a.geojson").write_text(json.dumps(features), encoding="utf-8")
    assert run(super_resolve=False, microns_per_pixel=None, regions_only=True) == 0
    assert Pick_fields.main(tmp_path / "output", tmp_path / "fields", 1, 64) == 0
    exported(next((tmp_path / "fields").glob("*.geojson")))
    (pair,) = find_pairs(tmp_path / "fields")
    labels = read_labels(pair, (60, 60))
    measured = np.zeros((60, 60), bool)
    measured[:, :30], measured[10:20, 10:20] = True, False
    np.testing.assert_array_equal(labels.known, measured)
    assert "in its regions only" in labels.note and labels.map.any()
    assert counting_part(None, Window(0, 0, 9, 9)) is None
    assert counting_part(shapely.box(0, 0, 50, 50).wkt, Window(8, 8, 9, 9)) is None


def test_what_cannot_work_is_named(tmp_path, capsys):
    for words, arguments in {
        "RESULTS_FOLDER": (tmp_path, tmp_path / "out"),
        "FIELD_SIDE": (tmp_path, tmp_path / "out", 1, 8),
    }.items():
        assert Pick_fields.main(*arguments) == 2
        message = capsys.readouterr().err
        assert words in message and message.count("\n") == 1
    assert not (tmp_path / "out").exists()
