"""Maps as figures and TIFF, hotspots as table and GeoJSON."""

import csv
import json

import numpy as np
import pytest
import tifffile
from PIL import Image
from shapely.geometry import shape

from outputs.maps import write_density_tiff, write_hotspots, write_maps
from outputs.png import written_beside
from regions.maps import Hotspot, Maps


def maps():
    values = np.linspace(1000, 9000, 24).reshape(4, 6)
    values[0, 0] = np.nan
    return Maps(values, values / 100, values / 1e4, (50.0, 49.5))


def test_figures_have_300_dpi_and_show_the_map(tmp_path):
    tissue = np.full((80, 120, 3), 200, np.uint8)
    with written_beside("made here") as write:
        write_maps(tmp_path, maps(), tissue, 2.5, 100.0, write)
    for name in ("density", "nuclear_area", "hematoxylin"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
            assert picture.info["Software"] == "made here"
            pixels = np.asarray(picture).astype(int)
        assert max(pixels.shape) > 1200
        assert (np.ptp(pixels, axis=-1) > 60).mean() > 0.3  # coloured


def test_a_map_without_a_value_is_written(tmp_path):
    nothing = np.full((1, 1), np.nan)
    write_maps(
        tmp_path,
        Maps(nothing * 0 + 0, nothing, nothing, (50, 50)),
        np.full((9, 9, 3), 200, np.uint8),
        5.0,
        100.0,
    )
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_the_density_is_there_as_numbers_with_its_pixel_size(tmp_path):
    write_density_tiff(tmp_path / "density.ome.tif", maps(), "made here")
    with tifffile.TiffFile(tmp_path / "density.ome.tif") as tiff:
        found, description = tiff.asarray(), tiff.ome_metadata
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, maps().density)
    assert 'PhysicalSizeX="50.0"' in description and 'PhysicalSizeY="49.5"' in description


def test_hotspots_are_circles_where_qupath_shows_them(tmp_path):
    radius = (0.2e6 / np.pi) ** 0.5
    spots = [Hotspot(500.0, 400.0, radius, 300, 0.15), Hotspot(1500.0, 400.0, radius, 100, 0.2)]
    write_hotspots(tmp_path, spots, 0.25, scale=0.5, shift=(10, 20))
    with (tmp_path / "hotspots.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["density_per_mm2"]) for row in rows] == [2000, 500]
    assert [float(row["centre_x_px"]) for row in rows] == [2000, 6000]
    features = json.loads((tmp_path / "hotspots.geojson").read_text())["features"]
    assert [each["properties"]["name"] for each in features] == ["Hotspot 1", "Hotspot 2"]
    assert features[0]["properties"]["objectType"] == "annotation"
    circle = shape(features[0]["geometry"])
    assert circle.is_valid and circle.area == pytest.approx(0.2e6 * 2**2, rel=0.01)
    assert (circle.centroid.x, circle.centroid.y) == pytest.approx((1010, 820), abs=0.1)


def test_no_hotspots_give_empty_files(tmp_path):
    write_hotspots(tmp_path, [], 0.25)
    assert json.loads((tmp_path / "hotspots.geojson").read_text())["features"] == []
