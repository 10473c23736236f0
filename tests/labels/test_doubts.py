"""Labels that can hardly be right are refused until MASKS says that they are."""

import json

import cv2
import numpy as np
import pytest
import roifile
import scipy.io
import tifffile
from PIL import Image
from skimage.segmentation import find_boundaries

from helpers.drawn_tissue import draw_discs
from labels.label_map import LabelReadError
from labels.pairing import Pair
from labels.reading import read_labels

SHAPE = (120, 160)
GRID = [(14 + 26 * (n % 6), 12 + 24 * (n // 6), 8) for n in range(30)]  # all over the image
NUCLEI = draw_discs(*GRID, shape=SHAPE)


def read(path, masks="auto", more=()):
    return read_labels(Pair(path.with_name("image.png"), (path, *more)), SHAPE, masks)


def refused(path, more=()):
    with pytest.raises(LabelReadError) as error:
        read(path, more=more)
    assert "\n" not in str(error.value) and "MASKS" in error.value.reason
    return error.value.reason


# --- Background taken for a nucleus ---


def on_white():
    colours = np.random.default_rng(0).integers(30, 220, (31, 3)).astype(np.uint8)
    colours[0] = 255
    return colours


def black_outlines():
    pixels = on_white()[NUCLEI]
    pixels[find_boundaries(NUCLEI, mode="inner")] = 0
    return pixels


def one_black_nucleus():
    colours = on_white()
    colours[7] = 0
    return colours[NUCLEI]


def watershed():
    """0 on the lines, 1 in the background."""
    return np.where(find_boundaries(NUCLEI, mode="outer"), 0, NUCLEI + 1).astype(np.uint16)


BACKGROUND = {
    "inverted.png": lambda: np.where(NUCLEI > 0, 0, 255).astype(np.uint8),
    "inverted.jpg": lambda: np.where(NUCLEI > 0, 0, 255).astype(np.uint8),
    "outlines.png": black_outlines,
    "one_black.png": one_black_nucleus,
    "watershed.tif": watershed,
    "watershed.mat": watershed,
}


def write(path, pixels):
    if path.suffix == ".mat":
        scipy.io.savemat(path, {"inst_map": pixels})
    elif path.suffix == ".tif":
        tifffile.imwrite(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("name", BACKGROUND)
def test_background_is_no_nucleus(tmp_path, name):
    path = write(tmp_path / name, BACKGROUND[name]())
    assert "as background does: make the background 0" in refused(path)
    if not name.startswith("outlines"):
        assert np.mean(read(path, "instances").map > 0) > 0.5


def test_background_in_masks_of_one_nucleus_each_is_refused(tmp_path):
    masks = [np.where(number == NUCLEI, 0, 255).astype(np.uint8) for number in (1, 2)]
    paths = [write(tmp_path / f"{n}.png", mask) for n, mask in enumerate(masks)]
    assert "as background does" in refused(paths[0], paths[1:])


@pytest.mark.parametrize("kind", ["two sides", "small"])
def test_large_nuclei_and_long_clumps_are_not_background(tmp_path, kind):
    mask = np.zeros(SHAPE, np.uint8)
    if kind == "two sides":  # a third of the image
        cv2.circle(mask, (0, 0), 95, 255, -1)
    else:
        mask[50:70] = 255
        mask[:60, 40:52] = 255
    assert read(write(tmp_path / "m.png", mask)).map.max() == 1


# --- Outlines of a smaller copy ---


def rings(scale, count=30):
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    around = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return [(np.array([x, y]) + r * around) * scale for x, y, r in GRID[:count]]


def feature(ring, of_class=None):
    geometry = {"type": "Polygon", "coordinates": [np.asarray(ring).tolist()]}
    return {"geometry": geometry, "properties": {"classification": {"name": of_class}}}


def write_outlines(path, drawn, *more):
    if path.suffix == ".geojson":
        path.write_text(json.dumps([*map(feature, drawn), *more]))
    elif path.suffix == ".json":
        objects = [{"image_id": 1, "segmentation": [ring.ravel().tolist()]} for ring in drawn]
        images = [{"id": 1, "file_name": "image.png"}]
        path.write_text(json.dumps({"images": images, "annotations": objects}))
    elif path.suffix == ".xml":
        vertices = ["".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in ring) for ring in drawn]
        regions = "".join(f"<Region>{each}</Region>" for each in vertices)
        path.write_text(f"<Annotations>{regions}</Annotations>")
    elif path.suffix == ".zip":
        regions = [roifile.ImagejRoi.frompoints(ring) for ring in drawn]
        for region in regions:
            region.roitype = roifile.ROI_TYPE.POLYGON
        path.unlink(missing_ok=True)
        roifile.roiwrite(path, regions)
    else:
        masks = [cv2.fillPoly(np.zeros(SHAPE, np.int32), [r.astype(int)], 1) for r in drawn]
        write(path, np.max([n * mask for n, mask in enumerate(masks, 1)], axis=0).astype(np.uint16))
    return path


@pytest.mark.parametrize("name", ["m.geojson", "m.json", "m.xml", "m.zip", "m.tif"])
def test_outlines_of_a_smaller_copy_are_refused(tmp_path, name):
    for scale in (0.5, 0.25):
        path = write_outlines(tmp_path / name, rings(scale))
        assert "another magnification" in refused(path)
    assert len(np.unique(read(path, "instances").map)) == 31
    assert len(np.unique(read(write_outlines(path, rings(1))).map)) == 31
    few = write_outlines(path, rings(0.5, count=10))
    assert len(np.unique(read(few).map)) == 11


@pytest.mark.parametrize("side", [0.5, 1])
def test_a_region_says_that_only_a_corner_holds_nuclei(tmp_path, side):
    width, height = side * SHAPE[1], side * SHAPE[0]
    region = feature([(0, 0), (width, 0), (width, height), (0, height)], "Region*")
    path = write_outlines(tmp_path / "m.geojson", rings(0.5), region)
    assert len(np.unique(read(path).map)) == 31


def test_what_is_ignored_is_of_the_smaller_copy_too(tmp_path):
    ignored = feature([(70, 50), (80, 50), (80, 60)], "Ignore*")
    path = write_outlines(tmp_path / "m.geojson", rings(0.5), ignored)
    assert "another magnification" in refused(path)
