"""Slides that state the bounds of what was scanned: everything counts from there, as in QuPath."""

import numpy as np
import openslide
import pytest

from helpers.cases import CASES, needs_cases
from images.formats import slides
from images.opening import ImageReadError, open_image

SLIDE = CASES / "images" / "leica.scn"  # bounds 400, 480, 640 x 512 in 1600 x 1600


@needs_cases
def test_a_slide_is_its_bounds():
    with open_image(SLIDE) as image, openslide.OpenSlide(SLIDE) as whole:
        assert (image.full_width, image.full_height) == (image.width, image.height) == (640, 512)
        assert image.origin == (400, 480) and image.place == (0, 0, 640, 512)
        expected = np.asarray(whole.read_region((400, 480), 0, (640, 512)))[..., :3]
        np.testing.assert_array_equal(image.read(0, 0, 640, 512), expected)
        np.testing.assert_array_equal(image.read(33, 57, 90, 80), expected[57:137, 33:123])


@needs_cases
def test_a_region_counts_from_the_bounds():
    region = (101, 50, 200, 120)
    with open_image(SLIDE, region=region) as part, open_image(SLIDE) as whole:
        assert part.place == region
        np.testing.assert_array_equal(part.read(0, 0, 200, 120), whole.read(*region))
    with pytest.raises(ImageReadError, match="640 x 512"):
        open_image(SLIDE, region=(640, 0, 10, 10))


@needs_cases
@pytest.mark.parametrize("scale", [0.5, 0.77, 1.0, 2.0])
def test_coarser_levels_have_the_same_bounds(scale):
    with open_image(SLIDE) as fine, open_image(SLIDE, scale) as coarse:
        full = fine.read(0, 0, 640, 512).astype(float)
        found = coarse.read(0, 0, coarse.width, coarse.height).astype(float)
        assert (coarse.width, coarse.height) == (int(640 * 0.25 / scale), int(512 * 0.25 / scale))
        x = (np.arange(coarse.width) + 0.5) * coarse.downsample
        y = (np.arange(coarse.height) + 0.5) * coarse.downsample
        tops, lefts = (np.floor(each - coarse.downsample / 2).astype(int) for each in (y, x))
        side = int(np.ceil(coarse.downsample))
        means = [
            [full[top : top + side, left : left + side].mean((0, 1)) for left in lefts]
            for top in tops
        ]
        assert np.abs(np.array(means) - found).mean() < 6


class Stated:
    """An open slide with some properties."""

    dimensions = (1000, 800)

    def __init__(self, *bounds):
        names = ("x", "y", "width", "height")[: len(bounds)]
        self.properties = {
            f"openslide.bounds-{name}": str(value)
            for name, value in zip(names, bounds, strict=True)
        }


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ((), (0, 0, 1000, 800)),
        ((10, 20, 300, 400), (10, 20, 300, 400)),
        ((10, 20, 3000, 400), (10, 20, 990, 400)),
        ((-10, -20, 300, 400), (0, 0, 290, 380)),
        ((2000, 20, 300, 400), (0, 0, 1000, 800)),
        ((10, 20, "wide", 400), (0, 0, 1000, 800)),
        ((10, 20), (0, 0, 1000, 800)),
    ],
)
def test_bounds_are_cut_at_the_slide_and_damaged_ones_passed_over(stated, expected):
    assert slides._bounds(Stated(*stated)) == expected
