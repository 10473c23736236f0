"""What is written reads back the same, in bounded memory."""

import csv
import json

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage
from shapely.geometry import shape
from skimage.draw import ellipse, polygon2mask

from nuclei.geojson import geojson_writer, nucleus_feature
from nuclei.outlines import outline
from outputs.png import write_image
from outputs.tables import table_writer
from outputs.tiff import write_label_tiff, write_pyramid

EIGHT_CONNECTED = np.ones((3, 3))


class ArrayRaster:
    """An array as raster; keeps the sizes that were asked for."""

    def __init__(self, array):
        self.array, self.dtype = array, array.dtype
        self.height, self.width = array.shape[:2]
        self.channels = 1 if array.ndim == 2 else array.shape[2]
        self.requests = []

    def read(self, x, y, width, height):
        assert x >= 0 and y >= 0 and x + width <= self.width and y + height <= self.height
        self.requests.append((width, height))
        return self.array[y : y + height, x : x + width]


def tissue(height, width):
    """Smooth coloured texture: something that JPEG is meant for."""
    noise = np.random.default_rng(0).normal(size=(height, width, 3))
    smooth = ndimage.gaussian_filter(noise, (6, 6, 0))
    return np.clip(180 + 400 * smooth, 0, 255).astype(np.uint8)


def levels_of(path):
    with tifffile.TiffFile(path) as tiff:
        return [level.asarray() for level in tiff.series[0].levels]


# ---------------------------------------------------------------------------------- pyramid


def block_means(image, factor):
    height, width = (size // factor * factor for size in image.shape[:2])
    blocks = image[:height, :width].reshape(
        height // factor, factor, width // factor, factor, image.shape[2]
    )
    return blocks.mean(axis=(1, 3))


@pytest.mark.parametrize("jpeg_quality", [None, 90])
def test_pyramid_levels_are_block_means(tmp_path, jpeg_quality):
    image = tissue(1101, 1795)
    write_pyramid(tmp_path / "a.ome.tif", ArrayRaster(image), 0.25, jpeg_quality)
    levels = levels_of(tmp_path / "a.ome.tif")
    assert [level.shape for level in levels] == [(1101, 1795, 3), (551, 898, 3), (276, 449, 3)]
    for number, level in enumerate(levels):
        expected = block_means(image, 2**number)
        difference = level[: expected.shape[0], : expected.shape[1]] - expected
        assert abs(difference.mean()) < 0.1  # no level grows brighter
        if jpeg_quality is None:
            assert np.abs(difference).max() <= 0.5 * number  # rounded once at each level
        else:
            assert np.abs(difference).mean() < 3


def test_odd_edges_are_averaged_by_themselves(tmp_path):
    image = tissue(515, 3)
    write_pyramid(tmp_path / "a.ome.tif", ArrayRaster(image), None, None)
    level = levels_of(tmp_path / "a.ome.tif")[1]
    assert level.shape == (258, 2, 3)
    expected = np.rint(image[[512, 513], 2].astype(float).mean(axis=0))
    np.testing.assert_array_equal(level[256, 1], expected)
    np.testing.assert_array_equal(level[257, 1], image[514, 2])


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (512, 512)])
def test_any_size_makes_a_pyramid(tmp_path, size):
    image = tissue(*size)
    write_pyramid(tmp_path / "a.ome.tif", ArrayRaster(image), 0.25, None)
    np.testing.assert_array_equal(levels_of(tmp_path / "a.ome.tif")[0], image)


def test_pyramid_states_its_pixel_size_and_layout(tmp_path):
    path = tmp_path / "Gewebe-Präparat µ.ome.tif"
    write_pyramid(path, ArrayRaster(tissue(600, 600)), 0.2525, software_note="Überlösung 1")
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff and tiff.is_ome
        page = tiff.pages[0]
        assert page.tile == (512, 512) and page.compression == tifffile.COMPRESSION.JPEG
        assert page.software == "?berl?sung 1"
        assert len(page.subifds) == 1 and len(tiff.pages) == 1
        assert 'PhysicalSizeX="0.2525" PhysicalSizeXUnit="µm"' in tiff.ome_metadata
        assert 'PhysicalSizeY="0.2525" PhysicalSizeYUnit="µm"' in tiff.ome_metadata
        assert page.get_resolution("MICROMETER")[0] == pytest.approx(1 / 0.2525)
        reduced = tiff.series[0].levels[1].pages[0]
        assert reduced.get_resolution("MICROMETER")[0] == pytest.approx(1 / 0.505)
    assert list(tmp_path.iterdir()) == [path]  # the temporary levels are gone


def test_pyramid_of_unknown_pixel_size_states_none(tmp_path):
    write_pyramid(tmp_path / "a.ome.tif", ArrayRaster(tissue(600, 600)), None)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert "PhysicalSize" not in tiff.ome_metadata
        assert tiff.pages[0].resolutionunit == tifffile.RESUNIT.NONE


def test_pyramid_refuses_what_is_not_rgb(tmp_path):
    with pytest.raises(ValueError, match=r"1 channel\(s\) of uint16"):
        write_pyramid(tmp_path / "a.ome.tif", ArrayRaster(np.zeros((4, 4), np.uint16)), None)


@pytest.mark.parametrize("write", [write_pyramid, write_label_tiff])
def test_writers_read_each_pixel_once_and_a_tile_row_at_most(tmp_path, write):
    image = tissue(1300, 1700)
    raster = ArrayRaster(image if write is write_pyramid else image[..., 0])
    write(tmp_path / "a.ome.tif", raster, None)
    assert max(height for _, height in raster.requests) <= 512
    assert sum(width * height for width, height in raster.requests) == 1300 * 1700


# ------------------------------------------------------------------------- label map and PNG


@pytest.mark.parametrize("trailing_axis", [False, True])
def test_labels_read_back(tmp_path, trailing_axis):
    labels = np.random.default_rng(0).integers(0, 2**32, (700, 530), dtype=np.uint32)
    raster = ArrayRaster(labels[..., np.newaxis] if trailing_axis else labels)
    write_label_tiff(tmp_path / "nuclei.tif", raster, 0.25)
    with tifffile.TiffFile(tmp_path / "nuclei.tif") as tiff:
        page = tiff.pages[0]
        np.testing.assert_array_equal(page.asarray(), labels)
        assert page.dtype == np.uint32 and page.tile == (512, 512) and not tiff.is_bigtiff
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert page.get_resolution("MICROMETER") == pytest.approx((4, 4))
        assert not (tiff.is_ome or tiff.is_imagej or page.description)


def test_image_reads_back_from_a_non_ascii_path(tmp_path):
    image = tissue(20, 30)
    write_image(tmp_path / "größe_肝.png", image)
    written = np.fromfile(tmp_path / "größe_肝.png", np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(written, cv2.IMREAD_UNCHANGED)[..., ::-1], image)


@pytest.mark.parametrize(
    "shape", [(1, 1), (7, 5), (1, 1, 3), (7, 5, 3), (7, 5, 4)], ids=lambda shape: str(len(shape))
)
def test_a_png_with_a_note_and_a_size_holds_the_same_pixels(tmp_path, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    image = image[..., :3] if len(shape) == 3 else image  # of four channels: not in one piece
    write_image(tmp_path / "a.png", image, 300, "made by a test")
    with Image.open(tmp_path / "a.png") as file:
        np.testing.assert_array_equal(np.asarray(file), image)
        assert file.info["Software"] == "made by a test"
        assert file.info["dpi"] == pytest.approx((300, 300), rel=1e-3)


# ------------------------------------------------------------------------------------- table


def write_rows(path, rows, columns=None):
    with table_writer(path, columns) as add:
        for row in rows:
            add(row)


def read_table(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_table_of_an_iterator(tmp_path):
    rows = ({"label": n, "area_um2": n / 3, "name": "µ, ü"} for n in (1, 2))
    write_rows(tmp_path / "n.csv", rows)
    assert read_table(tmp_path / "n.csv") == [
        ["label", "area_um2", "name"],
        ["1", "0.333333", "µ, ü"],
        ["2", "0.666667", "µ, ü"],
    ]


def test_table_without_rows(tmp_path):
    write_rows(tmp_path / "n.csv", [], columns=["label", "area"])
    assert read_table(tmp_path / "n.csv") == [["label", "area"]]
    write_rows(tmp_path / "n.csv", [])
    assert read_table(tmp_path / "n.csv") == []


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_formulas_become_text(tmp_path, text):
    write_rows(tmp_path / "n.csv", [{"image": text}])
    assert read_table(tmp_path / "n.csv")[1] == ["'" + text]


@pytest.mark.parametrize(
    ("number", "cell"),
    [(-5, "-5"), (-0.5, "-0.5"), (np.float32(-2.5), "-2.5"), (np.int64(12345678), "12345678")],
)
def test_numbers_are_never_touched(tmp_path, number, cell):
    write_rows(tmp_path / "n.csv", [{"x": number, "y": None}])
    assert read_table(tmp_path / "n.csv")[1] == [cell, ""]


def test_a_row_with_another_column_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="area"):
        write_rows(tmp_path / "n.csv", [{"label": 1}, {"label": 2, "area": 3}])


# ----------------------------------------------------------------------------------- GeoJSON


def rasterised(feature, size):
    """Mask of the pixels whose centre lies inside the feature's outline."""
    ring = np.array(feature["geometry"]["coordinates"][0])
    return polygon2mask(size, ring[:, ::-1] - 0.5)


def drawn_nuclei():
    """Label map with nuclei from 1 to about 2000 px, two of them touching."""
    labels = np.zeros((120, 140), np.int32)
    nuclei = [
        (20, 20, 3.1, 3.1),
        (20, 60, 8, 15),
        (20, 80, 8, 7),
        (80, 50, 30, 22),
        (80, 110, 2, 9),
    ]
    for label, (row, column, row_radius, column_radius) in enumerate(nuclei, start=1):
        labels[ellipse(row, column, row_radius, column_radius, labels.shape)] = label
    labels[119, 139] = len(nuclei) + 1
    return labels


def test_outlines_rebuild_the_label_map():
    labels = drawn_nuclei()
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        mask = labels[rows, columns] == label
        feature = nucleus_feature(outline(mask, columns.start, rows.start), {"label": label})
        np.testing.assert_array_equal(rasterised(feature, labels.shape), labels == label)
        polygon = shape(feature["geometry"])
        assert polygon.is_valid
        if mask.sum() >= 25:
            assert polygon.area == pytest.approx(mask.sum(), rel=0.05)


@settings(deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any))
def test_any_outline_rebuilds_its_mask(mask):
    parts, count = ndimage.label(mask, EIGHT_CONNECTED)
    masks = [parts == part for part in range(1, count + 1)]
    most = max(part.sum() for part in masks)
    largest = [ndimage.binary_fill_holes(part) for part in masks if part.sum() == most]
    feature = nucleus_feature(outline(mask, 0, 0), {"label": 1})
    rebuilt = rasterised(feature, mask.shape)
    assert any(np.array_equal(rebuilt, part) for part in largest)
    assert shape(feature["geometry"]).is_valid


def test_outline_is_placed_scaled_and_shifted():
    mask = np.ones((10, 20), bool)
    feature = nucleus_feature(outline(mask, 100, 50), {"label": 1}, scale=4, shift=(7, -3))
    assert shape(feature["geometry"]).bounds == (407, 197, 487, 237)


def test_feature_has_the_structure_qupath_reads():
    row = {
        "label": 3,
        "area_um2": 1 / 3,
        "eccentricity": np.float32(0.5),
        "solidity": float("nan"),
        "centroid_x_um": 4,
    }
    feature = nucleus_feature(outline(np.ones((5, 5)), 0, 0), row)
    ring = feature["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1] and len(ring) >= 4
    properties = feature["properties"]
    assert properties["objectType"] == "detection" and properties["name"] == "3"
    assert properties["classification"]["name"] == "Nucleus"
    assert properties["measurements"] == {"Area µm^2": 0.333333, "Eccentricity": 0.5}
    pixels = nucleus_feature(outline(np.ones((5, 5)), 0, 0), {"label": 3, "area_px2": 25})
    assert pixels["properties"]["measurements"] == {"Area px^2": 25}


def test_identity_follows_label_and_place():
    mask = np.ones((5, 5))
    identities = [
        nucleus_feature(outline(mask, x, 0), {"label": label})["id"]
        for label, x in [(1, 0), (2, 0), (1, 9)]
    ]
    assert len(set(identities)) == 3
    assert nucleus_feature(outline(mask, 0, 0), {"label": 1})["id"] == identities[0]


def test_an_empty_mask_is_an_error():
    with pytest.raises(ValueError, match="empty mask"):
        outline(np.zeros((5, 5)), 0, 0)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_geojson_is_valid_for_any_number_of_features(tmp_path, count):
    features = [
        nucleus_feature(outline(np.ones((5, 5)), 9 * n, 0), {"label": n, "area_um2": 25})
        for n in range(count)
    ]
    path = tmp_path / "zellkerne_肝.geojson"
    with geojson_writer(path) as add:
        for feature in features:
            add(feature)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == {"type": "FeatureCollection", "features": features}
    assert ("µm" in text) == (count > 0)


def test_a_table_with_umlauts_opens_in_excel(tmp_path):
    with table_writer(tmp_path / "table.csv", ["image"]) as add:
        add({"image": "Präparat"})
    assert (tmp_path / "table.csv").read_bytes() == "\ufeffimage\r\nPräparat\r\n".encode()
