"""The pixel size is told by drawn nuclei of known diameter, with networks in numpy."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage

from evaluation.pixel_sizes import resized
from evaluation.speed.networks import operations, operations_per_pixel
from networks.loading import load_network, load_pixel_size_network
from networks.network import Network
from nuclei.pixel_size import (
    AGREEING,
    COST,
    MOST_PATCHES,
    OFF,
    SIDE,
    bluest_spots,
    estimate,
    is_doubted,
    patches_for,
)
from tiles.raster import InMemory

MODELS = Path(__file__).resolve().parents[2] / "models"
BACKGROUND, NUCLEUS = (230, 170, 205), (90, 60, 140)
DIAMETER = 6.8  # um


class Sure(Network):
    """A U-net in numpy that is as sure of every dark blob, whatever its size."""

    def __init__(self):
        super().__init__(None, 1, radius=4, pooling=1, record={"microns_per_pixel": 0.25})

    def predict(self, tiles):
        dark = (tiles.mean(axis=-1) < 150).astype(np.float32)
        inside = ndimage.uniform_filter(dark, (0, 5, 5), mode="constant")
        return np.stack([0.92 * dark, inside], axis=-1)


class ByDiameter:
    """Tells the pixel size by the median diameter of dark discs, which have DIAMETER."""

    side = 224

    def octaves(self, patches):
        return np.array([self.octave(patch) for patch in patches])

    def octave(self, patch):
        parts, _ = ndimage.label(patch.mean(axis=-1) < 150)
        areas = np.bincount(parts.ravel())[1:]
        if not len(areas):
            return -2.0
        return math.log2(DIAMETER / (2 * math.sqrt(np.median(areas) / math.pi)))


class Told:
    """Tells these octaves, whatever it sees."""

    side = 224

    def __init__(self, *octaves):
        self.told = octaves

    def octaves(self, patches):
        return np.array(self.told[: len(patches)])


def draw(microns, diameter=DIAMETER, side=600, count=400, seed=0):
    """Draw discs of a diameter in um into a square of `side` quarter um; pixels of `microns`."""
    random = np.random.default_rng(seed)
    image = np.full((side, side, 3), BACKGROUND, np.uint8)
    taken = np.zeros((side, side), bool)
    for x, y in random.integers(20, side - 20, (count, 2)):
        disc = cv2.circle(np.zeros((side, side), np.uint8), (int(x), int(y)), 20, 1, -1) > 0
        if not (disc & taken).any():
            cv2.circle(image, (int(x), int(y)), round(diameter / 0.25 / 2), NUCLEUS, -1)
            taken |= disc
    return InMemory(resized(image, 0.25 / microns))


@pytest.mark.parametrize("microns", [0.125, 0.25, 0.5, 1.0])
def test_tissue_tells_the_pixel_size(microns):
    found = estimate(draw(microns), ByDiameter(), Sure(), MOST_PATCHES)
    assert found.microns == pytest.approx(microns, rel=0.25) and found.agreed


def test_the_middle_one_of_three_patches_counts():
    image = draw(0.25, side=1200, count=1600)
    found = estimate(image, Told(-2.0, 5.0, -1.9), Sure(), 3)
    assert found.microns == pytest.approx(2**-1.9) and not found.agreed
    apart = AGREEING / 2
    assert estimate(image, Told(-2.0, -2.0 - apart, -2.0 + apart), Sure(), 3).agreed
    assert estimate(image, Told(-2.0), Sure(), 1).agreed


def test_patches_that_lie_over_each_other_are_one_opinion():
    seen = []

    class Counting(Told):
        def octaves(self, patches):
            seen.append(len(patches))
            return super().octaves(patches)

    for side in (240, 1200):
        image = draw(0.25, side=side, count=side)
        estimate(image, Counting(-2.0, -2.0, -2.0), Sure(), 3)
    assert seen == [1, 3]


def noise(random):
    return random.integers(160, 256, (300, 300, 3), np.uint8)


def few(random):
    return draw(0.25, count=2).pixels


def glass(random):
    return np.full((300, 400, 3), 244, np.uint8)


@pytest.mark.parametrize("content", [noise, few, glass])
def test_without_nuclei_nothing_is_told(content):
    image = InMemory(content(np.random.default_rng(0)))
    for octave in (-3.0, -2.0, 0.0):
        found = estimate(image, Told(*[octave] * MOST_PATCHES), Sure(), MOST_PATCHES)
        assert found.microns is None and not found.agreed


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (40, 17), (31, 600)])
def test_images_smaller_than_any_known_patch_are_not_asked(shape):
    image = InMemory(draw(0.25).pixels[: shape[0], : shape[1]])
    assert estimate(image, None, None, MOST_PATCHES).microns is None


@pytest.mark.parametrize("octave", [-5.0, 3.0, np.nan, np.inf])
def test_a_size_that_the_network_cannot_know_is_not_told(octave):
    assert estimate(draw(0.25), Told(*[octave] * 3), Sure(), 3).microns is None


def test_a_narrow_image_is_seen_as_far_as_it_reaches():
    image = InMemory(draw(0.25, side=1200, count=1600).pixels[:120])
    assert estimate(image, ByDiameter(), Sure(), 3).microns == pytest.approx(0.25, rel=0.25)


def test_patches_lie_where_hematoxylin_is():
    image = np.full((600, 800, 3), BACKGROUND, np.uint8)
    image[:100, :100] = (20, 120, 40)  # a little ink
    image[380:480, 600:700] = NUCLEUS
    ((x, y),) = bluest_spots(InMemory(image), 1)
    assert 580 <= x <= 720 and 360 <= y <= 500
    spots = bluest_spots(InMemory(image), 3)
    apart = [math.dist(a, b) for a in spots for b in spots if a != b]
    assert len(spots) == 3 and min(apart) >= 150


def test_the_patches_of_an_image_grow_with_its_area():
    assert patches_for(COST - 1) == 0
    assert [patches_for(count * COST) for count in (1, 2, 3, 9)] == [1, 2, 3, MOST_PATCHES]


@pytest.mark.parametrize("factor", [1.1 * OFF, 1 / OFF / 1.1])
def test_a_size_is_doubted_where_it_is_far_off_and_all_patches_agree(factor):
    assert is_doubted(factor, agreed=True)
    assert not is_doubted(factor, agreed=False)
    assert not is_doubted(factor**0.5, agreed=True)


def test_a_look_costs_a_quarter_of_what_it_is_said_to():
    unet = load_network(MODELS / "Unet.h5", "U-net", 1, 2)
    sizes = load_pixel_size_network(MODELS / "pixel_size.h5")
    views = 2  # the patch and its enlarged middle
    look = views * operations(sizes.model, sizes.side) + operations(unet.folded, SIDE)
    assert look == pytest.approx(COST / 4 * operations_per_pixel(unet), rel=0.05)
