"""Labels of published sets and of programs of the field, which are not part of the repository."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from labels.pairing import Pair, find_pairs
from labels.reading import read_image, read_labels
from metrics.segmentation import best_ious
from nuclei.geojson import geojson_writer, nucleus_feature
from nuclei.outlines import outline

SHARED = Path(__file__).resolve().parents[3] / "shared"
MASKS, NUCLEI = SHARED / "cases" / "masks", SHARED / "data" / "nuclei"
needs_masks = pytest.mark.skipif(not MASKS.is_dir(), reason=f"needs {MASKS}")


def read(name, masks="auto"):
    path = MASKS / name
    return read_labels(Pair(path, (path,)), (512, 640), masks)


@pytest.fixture(scope="module")
def truth():
    return read("product_labels.tif").map


@needs_masks
@pytest.mark.parametrize("name", ["product_labels.tif", "voc_palette.png"])
def test_label_maps_of_programs(name, truth):
    labels = read(name)
    assert labels.instances and len(np.unique(labels.map)) == 206
    np.testing.assert_array_equal(labels.map, truth)


@needs_masks
@pytest.mark.parametrize("name", ["bin255.png", "binjpg75.jpg", "qupath_class.png"])
def test_binary_masks_of_programs(name, truth):
    labels = read(name)
    assert not labels.instances and "binary mask" in labels.note
    assert labels.map.max() == ndimage.label(truth > 0)[1]
    assert np.mean((labels.map > 0) == (truth > 0)) > 0.999
    assert ("soft edges" in labels.note) == name.endswith("jpg")


@needs_masks
def test_nuclei_of_a_run_come_back_from_geojson(tmp_path, truth):
    path = tmp_path / "nuclei.geojson.gz"
    with geojson_writer(path) as add:
        for number, box in enumerate(ndimage.find_objects(truth), start=1):
            ring = outline(truth[box] == number, box[1].start, box[0].start)
            add(nucleus_feature(ring, {"label": number}))
    labels = read_labels(Pair(tmp_path / "image.png", (path,)), truth.shape)
    assert len(np.unique(labels.map)) == 206
    assert best_ious(truth, labels.map).min() > 0.95


@pytest.mark.parametrize(
    ("folder", "images", "nuclei"),
    [
        ("nuinsseg/validation", 98, 4909),
        ("consep", 27, 15590),
        ("tnbc", 50, 4028),
        ("dsb2018", 107, None),
    ],
)
def test_published_sets_are_read_as_label_maps(folder, images, nuclei):
    folder = NUCLEI / folder
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    pairs = find_pairs(folder)
    assert len(pairs) == images
    count = 0
    for pair in pairs:
        with Image.open(pair.image) as image:
            labels = read_labels(pair, image.size[::-1])
        assert labels.instances and labels.known is None
        count += len(np.unique(labels.map)) - 1
    assert nuclei in (None, count)


def test_the_tcia_layout_holds_binary_masks():
    folder = NUCLEI / "tcia"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    pairs = find_pairs(folder)
    assert [pair.image.name for pair in pairs] == [f"{number}_crop.png" for number in range(1, 11)]
    for pair in pairs:
        image, _ = read_image(pair)
        assert not read_labels(pair, image.shape[:2]).instances
