"""Augmentation of the U-net's training crops."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from helpers.drawn_tissue import draw_discs, draw_tissue
from shared.appearance import vary_optics, vary_stain_and_light
from unet.augmentation import random_view, vary_chromatin
from unet.data import target_maps

seeds = st.integers(0, 2**32 - 1)
patches = hnp.arrays(
    np.uint8, st.tuples(st.integers(8, 24), st.integers(8, 24), st.just(3)), fill=st.nothing()
)


def rng(seed=0):
    return np.random.default_rng(seed)


@settings(max_examples=60, deadline=None)
@given(height=st.integers(20, 120), width=st.integers(20, 120), seed=seeds)
def test_view_has_its_size_whatever_the_size_of_the_image(height, width, seed):
    image, labels = draw_tissue(height, width, seed)
    targets = target_maps(labels)
    view, view_targets = random_view(image, targets, 48, rng(seed))
    assert view.shape == (48, 48, 3) and view.dtype == np.uint8
    assert view_targets.shape == (48, 48, 2) and view_targets.dtype == np.uint8
    repeated = random_view(image, targets, 48, rng(seed))
    np.testing.assert_array_equal(view, repeated[0])
    np.testing.assert_array_equal(view_targets, repeated[1])


def test_image_and_mask_stay_aligned():
    labels = draw_discs((20, 30, 12), (60, 40, 14), (90, 70, 9), (85, 15, 8))
    targets = target_maps(labels)
    image = np.repeat(targets[..., :1], 3, axis=-1)  # an image that shows its own mask
    shown = set()
    for seed in range(60):
        view, view_targets = random_view(image, targets, 48, rng(seed))
        wrong = (view[..., 0] > 127) != (view_targets[..., 0] > 127)
        assert wrong.mean() < 0.01
        shown.add(view_targets.tobytes())
    assert len(shown) == 60


def test_views_turn_mirror_and_magnify():
    # Brightness grows with x, green with y: the mean slopes tell how a view was turned.
    x, y = np.meshgrid(np.arange(200), np.arange(200))
    image = np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)
    targets = np.zeros((200, 200, 2), np.uint8)
    turns, scales, handedness = [], [], []
    for seed in range(200):
        view = random_view(image, targets, 32, rng(seed))[0].astype(float)
        slopes = [[np.diff(view[6:-6, 6:-6, c], axis=a).mean() for a in (1, 0)] for c in (0, 1)]
        determinant = np.linalg.det(slopes)
        handedness.append(determinant > 0)
        scales.append(abs(determinant) ** -0.5)
        turns.append(round(np.degrees(np.arctan2(slopes[1][0], slopes[0][0]))) % 90)
    assert 0.35 < np.mean(handedness) < 0.65
    assert 0.55 < min(scales) < 0.7 and 1.4 < max(scales) < 1.7
    assert 0.3 < np.mean(np.array(turns) % 90 == 0) < 0.75


@settings(max_examples=60, deadline=None)
@given(image=patches, white=st.floats(1, 255), seed=seeds)
def test_augmentation_keeps_shape_and_type(image, white, seed):
    untouched = image.copy()
    targets = target_maps(draw_discs((8, 8, 5), shape=image.shape[:2]))
    for augment in (
        lambda i, r: vary_chromatin(i, targets, white, r),
        lambda i, r: vary_stain_and_light(i, white, r),
        vary_optics,
    ):
        varied = augment(image, rng(seed))
        assert varied.shape == image.shape and varied.dtype == np.uint8
        np.testing.assert_array_equal(varied, augment(image, rng(seed)))
        np.testing.assert_array_equal(image, untouched)


def test_chromatin_varies_within_nuclei_and_from_crop_to_crop():
    labels = draw_discs((30, 40, 20), (70, 40, 20))
    image = np.where(labels[..., None] > 0, (110, 60, 140), (230, 170, 205)).astype(np.uint8)
    targets = target_maps(labels)
    views = [vary_chromatin(image, targets, 240.0, rng(seed)) for seed in range(30)]
    unchanged = sum(np.array_equal(view, image) for view in views)
    assert 3 <= unchanged <= 17  # one in three
    middle, rim = targets[..., 1] > 200, (targets[..., 1] > 0) & (targets[..., 1] < 60)
    contrast = [float(view[middle].mean()) - float(view[rim].mean()) for view in views]
    assert max(contrast) > 10  # vesicular: a pale middle
    assert min(contrast) < -3  # and dense ones


def test_augmentation_leaves_nuclei_darker_than_their_surroundings():
    image, labels = draw_tissue(64, 64)
    targets = target_maps(labels)
    contrasts = []
    for seed in range(100):
        varied = vary_chromatin(image, targets, 240.0, rng(seed))
        varied = vary_optics(vary_stain_and_light(varied, 240, rng(seed)), rng(seed)).astype(float)
        contrasts.append(varied[labels == 0].mean() - varied[labels > 0].mean())
    assert np.mean(np.array(contrasts) > 5) > 0.9
    assert np.std(contrasts) > 5
