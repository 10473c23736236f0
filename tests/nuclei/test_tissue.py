"""tissue: glass of any brightness and tint is told from tissue."""

import numpy as np
import pytest

from nuclei.tissue import tissue_mask


def glass(height=40, width=60, level=240):
    noise = np.random.default_rng(0).normal(0, 2, (height, width, 3))
    return np.clip(level + noise, 0, 255).astype(np.uint8)


def pink(height=40, width=60):
    noise = np.random.default_rng(1).normal(0, 12, (height, width, 3))
    return np.clip(np.array([225, 170, 200]) + noise, 0, 255).astype(np.uint8)


THRESHOLD = 0.08


@pytest.mark.parametrize("level", [255, 240, 225, 200])
def test_bare_glass_holds_no_tissue(level):
    assert not tissue_mask(glass(level=level), THRESHOLD).any()


def test_an_image_without_glass_is_all_tissue():
    assert tissue_mask(pink(), THRESHOLD).all()
    assert tissue_mask(pink() // 2, THRESHOLD).all()
    assert tissue_mask(glass(level=100), THRESHOLD).all()  # as grey, but too dark for glass
    assert tissue_mask(np.zeros((40, 60, 3), np.uint8), THRESHOLD).all()


def test_half_glass_half_tissue_is_told_apart():
    image = np.hstack([glass(), pink()])
    tissue = tissue_mask(image, THRESHOLD)
    assert tissue.shape == (40, 120)
    assert not tissue[:, :57].any()
    assert tissue[:, 63:].all()


def test_grey_dark_tissue_is_seen_by_its_density():
    image = np.hstack([glass(), glass(level=150)])
    tissue = tissue_mask(image, THRESHOLD)
    assert tissue[:, 63:].all() and not tissue[:, :57].any()


def test_small_gaps_in_tissue_count_as_tissue():
    image = pink()
    image[10:15, 10:15] = 245
    assert tissue_mask(image, THRESHOLD).all()
    image[5:35, 20:50] = 245
    assert not tissue_mask(image, THRESHOLD)[10:30, 25:45].any()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 3)])
def test_tiny_thumbnails_give_a_mask_of_their_size(size):
    assert tissue_mask(np.full((*size, 3), 250, np.uint8), THRESHOLD).shape == size
    assert tissue_mask(np.full((*size, 3), 90, np.uint8), THRESHOLD).all()
