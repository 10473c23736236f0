"""The pixel size that a user states, beside the one that a file states."""

import numpy as np
import pytest
import tifffile

from images.opening import open_image
from images.stated_size import StatedSize


@pytest.fixture
def slide(tmp_path):
    """A tiled TIFF of 0.25 um per pixel."""
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    per_cm = (40_000, 40_000)
    tifffile.imwrite(
        tmp_path / "slide.tif",
        pixels,
        tile=(64, 64),
        photometric="rgb",
        resolution=per_cm,
        resolutionunit="CENTIMETER",
    )
    return tmp_path / "slide.tif"


def opened(path, stated=None):
    with open_image(path, 1.0, stated=stated) as image:
        return image.width, image.microns_per_pixel, image.notes


def test_the_size_that_the_file_states_changes_nothing(slide):
    assert opened(slide, StatedSize(0.25)) == opened(slide) == (32, pytest.approx(1.0), ())
    assert opened(slide, StatedSize(0.259))[:2] == opened(slide)[:2]


def test_another_size_is_named_and_the_file_is_believed(slide):
    width, microns, (note,) = opened(slide, StatedSize(0.5))
    assert (width, microns) == (32, pytest.approx(1.0))
    assert "0.25" in note and "0.5" in note and "--microns-per-pixel-for-all" in note


def test_another_size_for_all_counts_at_full_resolution(slide):
    width, microns, (note,) = opened(slide, StatedSize(0.5, for_all=True))
    assert (width, microns) == (64, pytest.approx(1.0))  # read at 1 um: every second pixel
    assert "which is used" in note


def test_a_file_without_a_size_takes_the_stated_one(tmp_path):
    pixels = np.zeros((96, 128, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(64, 64), photometric="rgb")
    assert opened(tmp_path / "a.tif", StatedSize(0.5)) == (64, pytest.approx(1.0), ())
    assert opened(tmp_path / "a.tif") == (128, None, ())
