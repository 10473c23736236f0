"""Degradation, augmentation and batches of the SRGAN's training data."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from helpers.drawn_tissue import draw_tissue
from images.degradation import SCALES, Degradation, degrade, degrade_area, degrade_scanner
from shared.appearance import flip
from srgan.data import (
    LowResolution,
    Picture,
    SuperResolutionBatches,
    random_crop,
    recolour,
    soft_violet,
)

seeds = st.integers(0, 2**32 - 1)
multiples_of_4 = st.integers(1, 12).map(lambda n: 4 * n)
# Shares of 1 choose one of the fixed degradations, shares of 0 the random one.
ALWAYS_AREA = Degradation(area_share=1.0, scanner_share=0.0)
ALWAYS_SCANNER = Degradation(area_share=0.0, scanner_share=1.0)
ALWAYS_RANDOM = Degradation(area_share=0.0, scanner_share=0.0)


def rgb(sides):
    """Images whose height and width are drawn from `sides`."""
    return hnp.arrays(np.uint8, st.tuples(sides, sides, st.just(3)))


def rng(seed=0):
    return np.random.default_rng(seed)


# --- Degradation ---


@settings(max_examples=60, deadline=None)
@given(height=multiples_of_4, width=multiples_of_4, scale=st.sampled_from(SCALES), seed=seeds)
def test_degrade_divides_any_size_and_repeats_with_its_generator(height, width, scale, seed):
    image = rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    untouched = image.copy()
    low = degrade(image, rng(seed), scale=scale)
    assert low.shape == (height // scale, width // scale, 3) and low.dtype == np.uint8
    np.testing.assert_array_equal(low, degrade(image, rng(seed), scale=scale))
    np.testing.assert_array_equal(image, untouched)


def test_degrade_draws_anew_each_time():
    image, generator = draw_tissue(64, 64)[0], rng()
    lows = {degrade(image, generator, ALWAYS_RANDOM).tobytes() for _ in range(20)}
    assert len(lows) == 20


def test_degrade_keeps_what_is_depicted():
    image = draw_tissue(64, 64)[0]
    clean = degrade_area(image).astype(float)
    errors = [np.abs(degrade(image, rng(seed)) - clean).mean() for seed in range(40)]
    assert max(errors) < 25 and np.mean(errors) > 1


@pytest.mark.parametrize("shares", [ALWAYS_AREA, ALWAYS_SCANNER])
def test_shares_choose_the_fixed_degradations(shares):
    image = draw_tissue(64, 48)[0]
    generator = rng(5)
    generator.random()  # the draw that chooses
    fixed = degrade_area(image) if shares == ALWAYS_AREA else degrade_scanner(image, generator)
    np.testing.assert_array_equal(degrade(image, rng(5), shares), fixed)


@settings(max_examples=50, deadline=None)
@given(image=rgb(multiples_of_4), scale=st.sampled_from(SCALES))
def test_area_is_the_rounded_mean_of_blocks(image, scale):
    height, width = image.shape[0] // scale, image.shape[1] // scale
    means = image.reshape(height, scale, width, scale, 3).astype(float).mean(axis=(1, 3))
    # Halves may go either way.
    assert np.abs(degrade_area(image, scale) - means).max() <= 0.5


@pytest.mark.parametrize(("scale", "sigma"), [(4, 1.5), (2, 0.75)])
def test_scanner_is_blur_block_means_noise_and_jpeg(scale, sigma):
    image = draw_tissue(64, 80)[0]
    blurred = cv2.GaussianBlur(image, (0, 0), sigma)
    noise = 4 * rng(3).standard_normal((64 // scale, 80 // scale, 3), np.float32)
    noisy = np.clip(np.rint(degrade_area(blurred, scale) + noise), 0, 255).astype(np.uint8)
    bgr = np.ascontiguousarray(noisy[..., ::-1])
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    expected = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(degrade_scanner(image, rng(3), scale), expected)


def test_scanner_noise_has_no_bias():
    grey = degrade_scanner(np.full((512, 512, 3), 128, np.uint8), rng()).astype(float)
    assert grey.mean() == pytest.approx(128, abs=0.3)
    # The brightness of the noise has sigma 4 * sqrt(0.299**2 + 0.587**2 + 0.114**2) = 2.67 before
    # JPEG, which rounds some of it away.
    assert 1.2 < (grey @ (0.299, 0.587, 0.114)).std() < 2.67


@pytest.mark.parametrize("size", [(10, 8), (8, 10), (3, 3)])
@pytest.mark.parametrize("shares", [ALWAYS_AREA, ALWAYS_SCANNER, ALWAYS_RANDOM])
def test_sizes_that_are_no_multiples_of_4_are_named(size, shares):
    with pytest.raises(ValueError, match=f"multiples of 4, found {size[1]}x{size[0]}"):
        degrade(np.zeros((*size, 3), np.uint8), rng(), shares)


# --- Augmentation ---


@settings(max_examples=50, deadline=None)
@given(image=rgb(st.integers(1, 24)), seed=seeds)
def test_recolour_keeps_shape_and_type(image, seed):
    coloured = recolour(image, rng(seed))
    assert coloured.shape == image.shape and coloured.dtype == np.uint8
    np.testing.assert_array_equal(coloured, recolour(image, rng(seed)))


def test_recolour_changes_two_crops_in_five():
    image = draw_tissue(8, 8)[0]
    changed = [not np.array_equal(recolour(image, rng(seed)), image) for seed in range(500)]
    assert 0.33 < np.mean(changed) < 0.47


def test_soft_violet_has_the_colours_of_an_old_camera():
    tissue = [draw_tissue(64, 64, seed)[0] for seed in range(20)]
    violet = [soft_violet(image, rng(seed)) for seed, image in enumerate(tissue)]
    assert 190 < np.mean([image[..., 2].mean() for image in violet]) < 230
    darkest = np.array([image.reshape(-1, 3).min(axis=0) for image in violet]).mean(axis=0)
    assert darkest[1] < darkest[0] < 110 and 120 < darkest[2] < 200
    grey = [image.mean(axis=-1).std() for image in violet]
    assert min(grey) > 3  # the tissue is still there


@settings(max_examples=50, deadline=None)
@given(side=st.integers(1, 16), seed=seeds)
def test_flip_only_moves_pixels(side, seed):
    image = rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    flipped = flip(image, rng(seed))
    assert flipped.shape == image.shape and flipped.dtype == np.uint8
    assert flipped.flags.c_contiguous
    assert sorted(map(tuple, flipped.reshape(-1, 3))) == sorted(map(tuple, image.reshape(-1, 3)))


def test_flip_reaches_all_eight_orientations():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert len({flip(image, rng(seed)).tobytes() for seed in range(200)}) == 8


@settings(max_examples=60, deadline=None)
@given(height=st.integers(32, 70), width=st.integers(32, 70), seed=seeds)
def test_crop_fits_images_smaller_than_its_zoomed_side(height, width, seed):
    image = rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    patch = random_crop(image, 32, rng(seed))
    assert patch.shape == (32, 32, 3) and patch.dtype == np.uint8


def test_crops_reach_every_corner_at_several_magnifications():
    # The grey level is the row, so a crop's rows tell where it lies and how it was zoomed.
    image = np.repeat(
        np.broadcast_to(np.arange(100, dtype=np.uint8), (100, 100)).T[..., None], 3, 2
    )
    patches = [random_crop(image, 32, rng(seed))[:, 0, 0].astype(int) for seed in range(400)]
    assert min(p[0] for p in patches) == 0 and max(p[-1] for p in patches) == 99
    spans = np.array([p[-1] - p[0] for p in patches])
    assert 0.55 < np.mean(spans == 31) < 0.78  # two thirds keep their magnification
    assert spans.min() < 14 and spans.max() > 55


# --- Batches ---


def batches(seed=1, sizes=((40, 36), (64, 48)), scale=4):
    images = [draw_tissue(*size, seed=index)[0] for index, size in enumerate(sizes)]
    pictures = [Picture(image, weight) for image, weight in zip(images, (1.0, 3.0), strict=True)]
    return SuperResolutionBatches(pictures, 32, 3, 4, LowResolution(scale), seed)


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("scale", SCALES)
def test_batch_is_low_and_high_resolution_in_grey_levels(scale):
    data = batches(scale=scale)
    side = 32 // scale
    assert len(data) == 4
    for index in range(4):
        low, high = data[index]
        assert low.shape == (3, side, side, 3) and high.shape == (3, 32, 32, 3)
        for images in (low, high):
            assert images.dtype == np.float32
            assert images.min() >= 0 and 1 < images.max() <= 255
        # They show the same place.
        block_means = high.reshape(3, side, scale, side, scale, 3).mean(axis=(2, 4))
        assert np.abs(block_means - low).mean() < 30


def test_batch_depends_on_seed_epoch_and_index_only():
    first, second = batches(), batches()
    first.epoch = second.epoch = 2
    in_order = [first[index] for index in range(4)]
    for index in (3, 0, 2, 1, 0):
        assert_same(second[index], in_order[index])
    second.epoch = 3
    assert not np.array_equal(second[0][1], in_order[0][1])
    second.epoch = 2
    assert_same(second[0], in_order[0])
    other_seed = batches(seed=2)
    other_seed.epoch = 2
    assert not np.array_equal(other_seed[0][1], in_order[0][1])
    assert not np.array_equal(in_order[0][1], in_order[1][1])


def test_images_are_drawn_by_their_weights():
    black, white = (np.full((32, 32, 3), level, np.uint8) for level in (0, 255))
    how = LowResolution(degradation=ALWAYS_AREA)
    data = SuperResolutionBatches([Picture(black), Picture(white, 0)], 32, 8, 4, how, 1)
    # The green of recoloured black stays below 60 and that of recoloured white above 120.
    assert max(data[index][1][..., 1].max() for index in range(4)) < 60
    data = SuperResolutionBatches([Picture(black), Picture(white, 3)], 32, 50, 4, how, 1)
    bright = np.concatenate([data[index][1][..., 1].max(axis=(1, 2)) > 60 for index in range(4)])
    assert 0.65 < bright.mean() < 0.85


@pytest.mark.parametrize("scale", SCALES)
def test_recorded_partners_are_cut_turned_and_recoloured_with_their_images(scale):
    # A picture of its own coordinates, so that each pixel tells where it comes from.
    y, x = np.mgrid[:48, :64].astype(np.uint8)
    recorded = np.stack([4 * y, 3 * x, np.full_like(x, 90)], axis=-1)
    picture = Picture(recorded.repeat(scale, axis=0).repeat(scale, axis=1), 1, recorded)
    data = SuperResolutionBatches([picture], 32, 20, 1, LowResolution(scale), 1)
    low, high = data[0]
    assert low.shape == (20, 32 // scale, 32 // scale, 3)
    np.testing.assert_array_equal(low.repeat(scale, axis=1).repeat(scale, axis=2), high)
    assert len({patch.tobytes() for patch in low}) == 20


def test_a_share_of_the_crops_of_a_pair_is_simulated():
    grey = np.full((64, 64, 3), 200, np.uint8)
    pair = Picture(grey, 1, np.full((16, 16, 3), 200, np.uint8))
    how = LowResolution(degradation=ALWAYS_SCANNER, recorded_share=0.5)
    low, _ = SuperResolutionBatches([pair], 32, 60, 1, how, 1)[0]
    recorded = np.mean(low.std(axis=(1, 2)).max(axis=-1) == 0)  # a scanner's image is noisy
    assert 0.3 < recorded < 0.7
