"""The pixel size is told by the nuclei: drawn ones of known diameter, a U-net in numpy."""

import math

import cv2
import numpy as np
import pytest
from scipy import ndimage

from evaluation.pixel_sizes import resized
from networks.network import Network
from nuclei.pixel_size import (
    DIAMETER,
    MOST_PATCHES,
    SIDE,
    Look,
    Looks,
    bluest_spots,
    is_doubted,
    patches_for,
)
from tiles.raster import InMemory

BACKGROUND, NUCLEUS = (230, 170, 205), (90, 60, 140)


class Sure(Network):
    """A U-net in numpy that is as sure of every dark blob, whatever its size."""

    def __init__(self):
        super().__init__(None, 1, radius=4, pooling=1, record={"microns_per_pixel": 0.25})
        self.calls = 0

    def predict(self, tiles):
        self.calls += 1
        dark = (tiles.mean(axis=-1) < 150).astype(np.float32)
        inside = ndimage.uniform_filter(dark, (0, 5, 5), mode="constant")
        return np.stack([0.92 * dark, inside], axis=-1)


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
@pytest.mark.parametrize("assumed", [0.25, 1.0])
def test_nuclei_tell_the_pixel_size_whatever_is_assumed(microns, assumed):
    found = Looks(draw(microns), Sure(), MOST_PATCHES).estimate(assumed)
    assert found.microns == pytest.approx(microns, rel=0.25)
    assert is_doubted(found.microns / assumed, found.ahead) == (not 0.3 < microns / assumed < 3)


def test_where_the_assumed_size_convinces_no_other_is_tried():
    unet = Sure()
    looks = Looks(draw(0.25), unet, MOST_PATCHES)
    first = looks.estimate(0.25)
    calls = unet.calls
    assert first.microns == pytest.approx(0.25, rel=0.25) and 3 <= calls <= 3 * MOST_PATCHES
    assert looks.estimate(0.25) == first and unet.calls == calls
    looks.estimate(1.0)
    assert unet.calls > calls


def noise(random):
    return random.integers(160, 256, (300, 300, 3), np.uint8)


def few(random):
    return draw(0.25, count=2).pixels


def glass(random):
    return np.full((300, 400, 3), 244, np.uint8)


@pytest.mark.parametrize("content", [noise, few, glass])
def test_without_nuclei_nothing_is_told(content):
    looks = Looks(InMemory(content(np.random.default_rng(0))), Sure(), MOST_PATCHES)
    for assumed in (0.25, 1.0):
        found = looks.estimate(assumed)
        assert found.microns is None and not found.ahead


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (40, 17)])
def test_tiny_images_tell_nothing(shape):
    image = InMemory(np.full((*shape, 3), NUCLEUS, np.uint8))
    assert Looks(image, Sure(), MOST_PATCHES).estimate(1.0).microns is None


def test_patches_lie_where_hematoxylin_is():
    image = np.full((600, 800, 3), BACKGROUND, np.uint8)
    image[:100, :100] = (20, 120, 40)  # a little ink
    image[380:480, 600:700] = NUCLEUS
    ((x, y),) = bluest_spots(InMemory(image), 1)
    assert 580 <= x <= 720 and 360 <= y <= 500
    spots = bluest_spots(InMemory(image), 3)
    apart = [math.dist(a, b) for a in spots for b in spots if a != b]
    assert len(spots) == 3 and min(apart) >= 150


def test_patches_cost_at_most_a_quarter_of_the_segmentation():
    assert patches_for(256**2) == 0
    assert patches_for(1024**2) == 1
    assert patches_for(10**9) == MOST_PATCHES
    for pixels in (10**5, 10**6, 2 * 10**6):
        assert 3 * patches_for(pixels) * SIDE**2 <= pixels / 4


def test_a_look_is_convincing_only_if_nuclei_are_sure_and_of_their_size():
    right = {"sure": 0.92, "middle": 0.7, "diameter": 6.0}
    assert Look(0.0, **right).convincing
    for other in ({"sure": 0.88}, {"diameter": 12.0}, {"diameter": 3.0}):
        assert not Look(0.0, **right | other).convincing


@pytest.mark.parametrize("factor", [4.0, 1 / 4])
def test_a_size_is_doubted_where_it_is_far_off_and_nuclei_speak_against_it(factor):
    assert is_doubted(factor, ahead=9.0)
    assert not is_doubted(factor, ahead=0.5)
    assert not is_doubted(factor**0.5, ahead=9.0)  # other tissue has nuclei of such a size
