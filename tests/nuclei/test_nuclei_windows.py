"""nuclei_windows: a nucleus on the border of two windows belongs to one of them."""

import numpy as np
import pytest

from nuclei.separation import Separation
from nuclei.windows import find_nuclei
from tiles.geometry import Window, expanded

IMAGE = Window(0, 0, 200, 80)
SQUARE = np.s_[30:50, 90:110]  # its centroid lies at x = 100 exactly


def nuclei_of(window):
    """Find the nuclei of a window, with 40 pixels around it, of an image with a dark square."""
    place = expanded(window, 40, IMAGE)
    maps, pixels = np.zeros((80, 200, 2), np.uint8), np.full((80, 200, 3), 220, np.uint8)
    maps[SQUARE], pixels[SQUARE] = 255, 80
    columns = np.s_[:, place.x : place.x + place.width]
    errors = np.full((80, place.width), 40, np.uint8)
    separation = Separation()
    content = pixels[columns], maps[columns], errors
    return find_nuclei(window, place, IMAGE, *content, 0.25, 0.25, separation)


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
