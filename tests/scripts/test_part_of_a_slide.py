"""A part of a slide, and outlines in the frames of the result and of the original slide."""

import gzip
import json

import cv2
import numpy as np
import pytest
import tifffile
from shapely import affinity
from shapely.geometry import shape
from skimage.draw import polygon

from helpers.drawn_tissue import draw_tissue
from images.opening import ImageReadError, open_image

HEIGHT, WIDTH = 90, 120  # of the drawn slide at 1 um per pixel
FULL = 2  # pixels of its full resolution per pixel that is read, on each side
REGION = (61, 30, 120, 100)  # at full resolution; not multiples of anything


@pytest.fixture
def slide(tmp_path):
    """A tiled TIFF of 0.5 um per pixel in tmp_path/input; its pixels as they are read."""
    image, _ = draw_tissue(HEIGHT, WIDTH, nuclei=25)
    full = cv2.resize(image, None, fx=FULL, fy=FULL, interpolation=cv2.INTER_NEAREST)
    (tmp_path / "input").mkdir()
    size = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    path = tmp_path / "input" / "slide.tif"
    tifffile.imwrite(path, full, tile=(64, 64), photometric="rgb", **size)
    return path, image


@pytest.fixture
def analysed(run, slide, tmp_path):
    """Function that analyses the slide with some flags; returns the folder of its results."""

    def analyse(name, **flags):
        scale = {"microns_per_pixel": None, "read_at_microns_per_pixel": 1.0}
        assert run(name, **scale, jpeg_quality=0, tile_size=32, **flags) == 0
        return tmp_path / name / "slide"

    return analyse


def outlines(folder, name="nuclei.geojson"):
    """Valid polygons of a GeoJSON file by label."""
    content = (folder / name).read_bytes()
    collection = json.loads(gzip.decompress(content) if name.endswith("gz") else content)
    assert collection["type"] == "FeatureCollection"
    found = {}
    for feature in collection["features"]:
        assert feature["type"] == "Feature" and feature["geometry"]["type"] == "Polygon"
        found[int(feature["properties"]["name"])] = shape(feature["geometry"])
    assert all(each.is_valid and each.exterior.is_ring for each in found.values())
    return found


def rebuilt(polygons, size):
    """Label map from polygons in its own pixels."""
    labels = np.zeros(size, np.uint32)
    for label, each in polygons.items():
        x, y = np.array(each.exterior.coords).T - 0.5  # from a pixel's corner to its centre
        labels[polygon(y, x, size)] = label
    return labels


def intersection_over_union(labels, others):
    return np.mean(
        [
            ((labels == n) & (others == n)).sum() / ((labels == n) | (others == n)).sum()
            for n in np.unique(labels[labels > 0])
        ]
    )


@pytest.mark.parametrize("region", [None, REGION])
def test_outlines_fit_result_and_slide(analysed, slide, region):
    result = analysed("result", region=region)
    labels = tifffile.imread(result / "nuclei_labels.tif")
    in_result = outlines(result)
    assert len(in_result) == labels.max() > 5
    assert intersection_over_union(labels, rebuilt(in_result, labels.shape)) > 0.95

    in_slide = outlines(analysed("slide", region=region, geojson_frame="slide"))
    x, y = (side // FULL * FULL for side in region[:2]) if region else (0, 0)
    returned = {
        label: affinity.affine_transform(each, (4 / FULL, 0, 0, 4 / FULL, -x * 2, -y * 2))
        for label, each in in_slide.items()
    }
    assert intersection_over_union(labels, rebuilt(returned, labels.shape)) > 0.95
    # On the slide itself: nuclei are dark, whatever is written about them.
    grey = tifffile.imread(slide[0]).mean(axis=-1)
    inside = [grey[int(each.centroid.y), int(each.centroid.x)] for each in in_slide.values()]
    assert np.mean(np.array(inside) < 150) > 0.95
    if region:
        left, top, width, height = region
        for each in in_slide.values():
            centre = each.centroid
            assert left - FULL <= centre.x <= left + width + FULL
            assert top - FULL <= centre.y <= top + height + FULL


def test_compressed_outlines_are_the_same_every_time(analysed):
    plain, first, second = (
        analysed("plain"),
        *(analysed(n, geojson_gzip=True) for n in ("one", "two")),
    )
    assert (first / "nuclei.geojson.gz").read_bytes() == (second / "nuclei.geojson.gz").read_bytes()
    content = gzip.decompress((first / "nuclei.geojson.gz").read_bytes())
    assert content == (plain / "nuclei.geojson").read_bytes()
    assert not (first / "nuclei.geojson").exists()


def test_a_region_is_that_part_of_the_whole(slide, analysed):
    path, image = slide
    with open_image(path, 1.0, REGION) as part, open_image(path, 1.0) as whole:
        assert part.place == (30, 15, 61, 50) == (*part.place[:2], part.width, part.height)
        pixels = part.read(0, 0, part.width, part.height)
        np.testing.assert_array_equal(pixels, whole.read(*part.place))
        np.testing.assert_array_equal(pixels, image[15:65, 30:91])
        with pytest.raises(ValueError, match="not inside"):
            part.read(0, 0, part.width + 1, 1)
    folder = analysed("part", region=REGION)
    assert tifffile.imread(folder / "nuclei_labels.tif").shape == (4 * 50, 4 * 61)
    found = tifffile.imread(folder / "super_resolved.ome.tif").astype(int)
    expected = tifffile.imread(analysed("whole") / "super_resolved.ome.tif").astype(int)
    difference = found - expected[4 * 15 : 4 * 65, 4 * 30 : 4 * 91]
    assert np.abs(difference[20:-20, 20:-20]).max() <= 1


def test_a_region_is_cut_at_the_border_of_the_image(slide):
    with open_image(slide[0], 1.0, (-50, 170, 90, 1000)) as part:
        assert part.place == (0, 85, 20, HEIGHT - 85)


@pytest.mark.parametrize("region", [(240, 0, 5, 5), (0, -9, 5, 9), (0, 181, 5, 5)])
def test_a_region_outside_the_image_is_named(slide, region):
    with pytest.raises(ImageReadError, match=r"slide.tif: REGION [xy] = .*240 x 180"):
        open_image(slide[0], 1.0, region)


def test_another_region_or_frame_is_done_again(analysed, capsys):
    for flags in ({}, {"region": REGION}, {"region": REGION, "geojson_frame": "slide"}):
        analysed("output", **flags)
        assert "finished before" not in capsys.readouterr().out
        analysed("output", **flags)
        assert "finished before" in capsys.readouterr().out
