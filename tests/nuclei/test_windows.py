"""windows: a nucleus on the border of two windows belongs to one of them."""

import numpy as np
import pytest

from nuclei.population import area_statistics, area_unit, gather, whole
from nuclei.separation import Separation
from nuclei.windows import PixelSize, WindowContent, WindowGeometry, find_nuclei, merge
from tiles.geometry import Window, expanded
from tiles.raster import Raster

IMAGE = Window(0, 0, 200, 80)
SQUARE = np.s_[30:50, 90:110]  # its centroid lies at x = 100 exactly


def nuclei_of(window):
    """Find the nuclei of a window, with 40 pixels around it, of an image with a dark square."""
    place = expanded(window, 40, IMAGE)
    maps, pixels = np.zeros((80, 200, 2), np.uint8), np.full((80, 200, 3), 220, np.uint8)
    maps[SQUARE], pixels[SQUARE] = 255, 80
    columns = np.s_[:, place.x : place.x + place.width]
    errors = np.full((80, place.width), 40, np.uint8)
    content = WindowContent(pixels[columns], maps[columns], errors)
    geometry = WindowGeometry(window, place, IMAGE)
    return find_nuclei(geometry, content, PixelSize(0.25, 0.25), Separation())


@pytest.mark.parametrize("border", [99, 100, 101])
def test_a_nucleus_at_the_border_of_two_windows_belongs_to_one(border):
    left = nuclei_of(Window(0, 0, border, 80))
    right = nuclei_of(Window(border, 0, 200 - border, 80))
    assert (left is None) == (border <= 100) and (right is None) == (border > 100)
    found = left or right
    assert found.columns["centroid_x_px"].tolist() == [100.0]
    assert found.columns["area_um2"].tolist() == [400 / 16]
    assert (found.labels > 0).sum() == 400


def test_a_window_without_nuclei_has_none():
    assert nuclei_of(Window(0, 0, 40, 80)) is None


def squares_of(sides, window):
    """Find the nuclei of a window of the image, squares of some sides."""
    maps = np.zeros((80, 200, 2), np.uint8)
    for number, side in enumerate(sides):
        maps[30 : 30 + side, 40 * number : 40 * number + side] = 255
    columns = np.s_[:, window.x : window.x + window.width]
    content = WindowContent(np.full((80, 200, 3), 90, np.uint8)[columns], maps[columns], None)
    return find_nuclei(
        WindowGeometry(window, window, IMAGE), content, PixelSize(None, 0.25), Separation()
    )


def test_nuclei_cut_by_the_border_count_but_have_no_part_in_the_statistics_of_areas(tmp_path):
    sides = [20, 14, 16, 21, 18]  # the first touches the border
    windows = [squares_of(sides, w) for w in (Window(0, 0, 110, 80), Window(110, 0, 90, 80))]
    rows, named, paths = [], [], [tmp_path / "0.npz", tmp_path / "1.npz"]
    for window, path in zip(windows, paths, strict=True):
        window.save(path)
    with Raster(tmp_path / "labels", 200, 80, 1, np.uint32) as raster:
        assert merge(windows, raster, rows.append, lambda _, row: named.append(row["label"])) == 5
    assert named == [row["label"] for row in rows] == [1, 2, 3, 4, 5]
    assert {row["centroid_x_px"]: row["touches_border"] for row in rows}[10.0] == 1
    assert sum(row["touches_border"] for row in rows) == 1
    population = gather(paths, rows[0])
    assert population["area_px2"].tolist() == [row["area_px2"] for row in rows]
    found = area_statistics(population["area_px2"][whole(population)], area_unit(population))
    areas = np.sort(sides[1:]) ** 2
    assert found["mean_area_px2"] == areas.mean()
    assert found["sd_area_px2"] == pytest.approx(np.std(areas, ddof=1))
    assert found["median_area_px2"] == (areas[1] + areas[2]) / 2
    quartiles = areas[0] + 0.75 * (areas[1] - areas[0]), areas[2] + 0.25 * (areas[3] - areas[2])
    assert found["iqr_area_px2"] == pytest.approx(quartiles[1] - quartiles[0])
    assert found["cv_area"] == pytest.approx(np.std(areas, ddof=1) / areas.mean())


def test_too_few_nuclei_have_no_spread():
    assert set(area_statistics(np.zeros(0), "um2").values()) == {None}
    one = area_statistics(np.array([30.0]), "um2")
    assert one["mean_area_um2"] == one["median_area_um2"] == 30 and one["iqr_area_um2"] == 0
    assert one["sd_area_um2"] is None and one["cv_area"] is None
