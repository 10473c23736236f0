"""unet_crowding.py pastes whole nuclei against others and labels them to the pixel."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from labels.pairing import Pair
from unet.crowding import COVERED, crowd
from unet.data import load_sample

PAPER, HOST = 230, 60  # grey levels


@pytest.fixture
def tissue():
    """Image and labels of sixteen ellipses, small and large, that lie apart; each its own grey."""
    image = np.full((320, 320, 3), PAPER, np.uint8)
    labels = np.zeros((320, 320), np.int32)
    for index in range(16):
        centre = (40 + 80 * (index % 4), 40 + 80 * (index // 4))
        size = (4, 6) if index % 3 == 0 else (8 + index % 5, 14)
        ellipse = centre, size, 20 * index, 0, 360
        cv2.ellipse(image, *ellipse, (HOST + index,) * 3, -1)
        cv2.ellipse(labels, *ellipse, index + 1, -1)
    return image, labels


def crowded(tissue, share=2.0, seed=3):
    return crowd(*tissue, share, np.random.default_rng(seed))


def test_copies_touch_another_nucleus_and_keep_their_size(tissue):
    _, labels = tissue
    _, result = crowded(tissue)
    copies = range(labels.max() + 1, result.max() + 1)
    assert len(copies) >= 5
    areas = set(np.bincount(labels.ravel())[1:])
    whole = 0
    for copy in copies:
        mask = result == copy
        around = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        assert np.any(result[around & ~mask])  # it touches
        whole += np.count_nonzero(mask) in areas  # unless a later copy covers a part
    assert whole >= len(copies) / 2


def test_nuclei_lose_little_and_stay_in_one_piece(tissue):
    _, labels = tissue
    _, result = crowded(tissue, share=6.0)
    before, after = (np.bincount(each.ravel(), minlength=17)[1:17] for each in (labels, result))
    assert np.all(after >= (1 - COVERED) * before) and np.any(after < before)
    for label in np.unique(result)[1:]:
        parts, _ = ndimage.label(result == label, np.ones((3, 3)))
        sizes = np.bincount(parts.ravel())[1:]
        assert sizes.max() > 0.8 * sizes.sum()


def test_the_image_shows_the_copies_and_nothing_else_changes(tissue):
    image, labels = tissue
    result_image, result = crowded(tissue)
    new = result > labels.max()
    inside = cv2.erode(new.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert result_image[inside].max() < HOST + 40  # as dark as nuclei
    far = cv2.dilate(new.astype(np.uint8), np.ones((13, 13), np.uint8)) == 0
    np.testing.assert_array_equal(result_image[far], image[far])
    np.testing.assert_array_equal(result[far], labels[far])


def test_the_same_seed_gives_the_same_and_the_input_stays(tissue):
    kept = [part.copy() for part in tissue]
    first, second = crowded(tissue), crowded(tissue)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(kept, tissue, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[1], crowded(tissue, seed=4)[1])


def test_a_copy_does_not_bring_its_neighbours_along(tissue):
    image, labels = tissue
    labels[:] = 0
    image[:] = PAPER
    for label, x in ((1, 90), (2, 112)):  # two discs that touch
        cv2.circle(image, (x, 100), 11, (HOST,) * 3, -1)
        cv2.circle(labels, (x, 100), 11, label, -1)
    for seed in range(5):
        result_image, result = crowd(image, labels, 4.0, np.random.default_rng(seed))
        if result.max() == 2:
            continue
        beyond = cv2.dilate((result > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
        assert result_image[beyond].min() == PAPER
        return
    pytest.fail("nothing was pasted")


@pytest.mark.parametrize("kind", ["none", "all at the border", "clump", "share 0"])
def test_nothing_is_pasted_where_there_is_nothing_to_copy(tissue, kind):
    image, labels = tissue
    share = 2.0
    if kind == "none":
        labels[:] = 0
    elif kind == "all at the border":
        labels[2:-2] = 0
        labels[:3, 100:120] = 1
    elif kind == "clump":  # an L fills less than its ellipse
        labels[:] = 0
        labels[50:150, 50:60] = labels[140:150, 50:150] = 1
    else:
        share = 0.0
    result_image, result = crowd(image, labels, share, np.random.default_rng(0))
    np.testing.assert_array_equal(result_image, image)
    np.testing.assert_array_equal(result, labels)


def test_a_training_sample_is_crowded_only_where_it_is_asked_for(tissue, tmp_path):
    image, labels = tissue
    cv2.imwrite(str(tmp_path / "image.png"), image)
    cv2.imwrite(str(tmp_path / "mask.png"), labels.astype(np.uint16))
    pair = Pair(tmp_path / "image.png", (tmp_path / "mask.png",))
    plain = load_sample(pair)
    np.testing.assert_array_equal(plain.image, image)
    more = load_sample(pair, crowding=3.0, seed=(1, 2))
    np.testing.assert_array_equal(more.image, load_sample(pair, crowding=3.0, seed=(1, 2)).image)
    assert np.count_nonzero(more.targets[..., 0]) > np.count_nonzero(plain.targets[..., 0])
