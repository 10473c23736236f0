"""Samples, target maps and batches of the U-net's training data."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage

from helpers.drawn_tissue import draw_discs, draw_tissue, write_pair, write_picture
from labels.pairing import Pair, find_pairs
from unet.data import SURROUNDINGS, NucleiBatches, cut_at_necks, load_sample, target_maps


def pair(folder, mask="m.png", **more):
    return Pair(folder / "i.png", (folder / mask,), **more)


# --- Samples ---


def test_sample_holds_image_targets_and_white_point(tmp_path):
    image, labels = draw_tissue(30, 40)
    image[:6] = 251  # brighter than all tissue
    write_picture(tmp_path / "i.png", image)
    write_picture(tmp_path / "m.png", labels.astype(np.uint16))
    sample = load_sample(pair(tmp_path))
    assert sample.name == str(tmp_path / "i.png")
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.targets[..., :2], target_maps(labels))
    assert (sample.targets[..., 2] == 255).all()
    assert sample.white == 251 and sample.note == "label map"


def test_size_mismatch_names_both_files_and_sizes(tmp_path):
    write_picture(tmp_path / "i.png", draw_tissue(30, 40)[0])
    write_picture(tmp_path / "m.png", np.zeros((30, 41), np.uint8))
    with pytest.raises(ValueError, match=r"m\.png: 41x30 pixels, its image 40x30"):
        load_sample(pair(tmp_path))


@pytest.mark.parametrize("broken", ["i.png", "m.png"])
def test_unreadable_file_is_named(tmp_path, broken):
    write_picture(tmp_path / "i.png", draw_tissue(8, 8)[0])
    write_picture(tmp_path / "m.png", np.zeros((8, 8), np.uint8))
    (tmp_path / broken).write_bytes(b"no picture")
    with pytest.raises(ValueError, match=rf"{broken}: not "):
        load_sample(pair(tmp_path))


def clump(folder):
    """Write an image and a binary mask of two nuclei that touch and one that stands alone."""
    truth = draw_discs((20, 20, 8), (34, 20, 8), (70, 50, 9))
    write_picture(folder / "i.png", draw_tissue(80, 100)[0])
    write_picture(folder / "m.png", ((truth > 0) * 255).astype(np.uint8))
    return truth


def test_the_nuclei_of_a_binary_mask_are_cut_at_their_necks(tmp_path):
    truth = clump(tmp_path)
    sample = load_sample(pair(tmp_path))
    np.testing.assert_array_equal(sample.targets[..., 0] > 0, truth > 0)
    assert ndimage.label(sample.targets[..., 1] > 127)[1] == 3
    assert sample.note == "binary mask"


def test_masks_says_that_connected_parts_are_nuclei(tmp_path):
    truth = clump(tmp_path)
    sample = load_sample(pair(tmp_path), masks="instances")
    np.testing.assert_array_equal(sample.targets[..., :2], target_maps(ndimage.label(truth)[0]))


def test_touching_nuclei_of_a_label_map_stay_apart(tmp_path):
    truth = draw_discs((20, 20, 8), (37, 20, 8)) * 300
    write_picture(tmp_path / "i.png", draw_tissue(80, 100)[0])
    write_picture(tmp_path / "m.png", truth.astype(np.uint16))
    np.testing.assert_array_equal(load_sample(pair(tmp_path)).targets[..., :2], target_maps(truth))


def test_of_a_partly_labelled_image_the_labelled_part_counts(tmp_path):
    image, _ = draw_tissue(200, 300, nuclei=60)
    write_picture(tmp_path / "i.png", image)
    ring = [[100, 50], [160, 50], [160, 90], [100, 90]]
    region = {
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": "Region*"}},
    }
    (tmp_path / "m.geojson").write_text(json.dumps([region]))
    sample = load_sample(pair(tmp_path, "m.geojson"))
    part = np.s_[50 - SURROUNDINGS : 90 + SURROUNDINGS, 100 - SURROUNDINGS : 160 + SURROUNDINGS]
    np.testing.assert_array_equal(sample.image, image[part])
    assert not sample.targets[..., :2].any()
    inside = np.s_[SURROUNDINGS:-SURROUNDINGS, SURROUNDINGS:-SURROUNDINGS]
    assert (sample.targets[inside][..., 2] == 255).all()
    assert np.count_nonzero(sample.targets[..., 2]) == 40 * 60


def test_another_pixel_size_is_resampled_and_stated(tmp_path):
    image, labels = draw_tissue(60, 80)
    write_picture(tmp_path / "i.png", image)
    write_picture(tmp_path / "m.png", labels.astype(np.uint16))
    sample = load_sample(pair(tmp_path, microns=0.5))
    assert sample.image.shape == (120, 160, 3) and sample.targets.shape == (120, 160, 3)
    np.testing.assert_array_equal(sample.targets[::2, ::2, 0] > 0, labels > 0)
    assert "from 0.5 to 0.25 um" in sample.note
    stated = Image.fromarray(image)
    stated.save(tmp_path / "i.png", dpi=(25400 / 0.5,) * 2)
    assert load_sample(pair(tmp_path)).image.shape == (120, 160, 3)
    given = load_sample(pair(tmp_path, microns=0.25))
    assert given.image.shape == (60, 80, 3) and "the file says 0.5" in given.note
    stated.save(tmp_path / "i.png", dpi=(2400, 2400))
    with pytest.raises(ValueError, match=r"i\.png: 10\.58 um per pixel"):
        load_sample(pair(tmp_path))


def test_touching_nuclei_of_a_binary_mask_are_parted_at_their_neck():
    for gap in (14, 15):  # two discs of radius 8, overlapping
        mask = draw_discs((20, 20, 8), (20 + gap, 20, 8)) > 0
        labels = cut_at_necks(mask)
        np.testing.assert_array_equal(labels > 0, mask)
        assert labels.max() == 2
        assert labels[20, 14] != labels[20, 26 + gap]
        areas = np.bincount(labels.ravel())[1:]
        assert areas.min() > 0.85 * areas.max()


def test_one_nucleus_of_a_binary_mask_stays_whole():
    ellipse = np.zeros((80, 100), np.uint8)
    cv2.ellipse(ellipse, (50, 40), (30, 9), 25, 0, 360, 1, -1)
    bean = draw_discs((50, 40, 20)) - draw_discs((50, 15, 14)).clip(0, 1)
    for mask in (ellipse > 0, bean > 0):
        np.testing.assert_array_equal(cut_at_necks(mask), mask.astype(np.int32))


def test_mask_without_nuclei_has_empty_targets():
    targets = target_maps(np.zeros((9, 7), np.int32))
    assert targets.shape == (9, 7, 2) and not targets.any()


# --- Target maps ---


@pytest.mark.parametrize("radius", [2, 5, 8, 20])
def test_disc_has_distance_one_in_its_middle_falling_to_its_border(radius):
    labels = draw_discs((40, 40, radius))
    mask, distance = np.moveaxis(target_maps(labels), -1, 0)
    np.testing.assert_array_equal(mask, (labels > 0) * 255)
    assert distance[40, 40] == distance.max() == 255
    assert not distance[labels == 0].any() and distance[labels > 0].all()
    along = distance[40, 40 : 40 + radius + 1].astype(int)
    assert (np.diff(along) < 0).all()
    assert along[-1] < 1.4 * 255 / (radius + 1)


def test_a_nucleus_cut_by_the_image_border_is_shallow_there():
    distance = target_maps(draw_discs((0, 40, 10)))[..., 1]
    assert distance[40].argmax() > 0 and distance[40, 0] < 255


def test_touching_nuclei_separate_above_one_half():
    labels = draw_discs((30, 40, 14), (54, 40, 9), (30, 60, 5))
    mask, distance = np.moveaxis(target_maps(labels), -1, 0)
    assert ndimage.label(mask)[1] == 1
    separated, count = ndimage.label(distance > 127)
    assert count == 3
    for label in (1, 2, 3):
        assert len(np.unique(separated[(labels == label) & (separated > 0)])) == 1


@settings(max_examples=40, deadline=None)
@given(labels=hnp.arrays(np.int32, (9, 11), elements=st.integers(0, 5)))
def test_every_label_reaches_distance_one(labels):
    targets = target_maps(labels)
    assert targets.dtype == np.uint8 and targets.shape == (9, 11, 2)
    np.testing.assert_array_equal(targets[..., 0], (labels > 0) * 255)
    np.testing.assert_array_equal(targets[..., 1] > 0, labels > 0)
    for label in set(np.unique(labels)) - {0}:
        assert targets[..., 1][labels == label].max() == 255


# --- Batches ---


def batches(tmp_path, seed=1):
    for index in range(2):
        write_pair(tmp_path, str(index), index, (40 + 8 * index, 52))
    samples = [load_sample(each) for each in find_pairs(tmp_path)]
    return NucleiBatches(samples, [1.0, 2.0], 32, 3, 4, seed)


def test_batch_is_grey_levels_and_targets_of_one(tmp_path):
    data = batches(tmp_path)
    assert len(data) == 4
    for index in range(4):
        images, targets = data[index]
        assert images.shape == (3, 32, 32, 3) and images.dtype == np.float32
        assert images.min() >= 0 and 1 < images.max() <= 255
        assert targets.shape == (3, 32, 32, 3) and targets.dtype == np.float32
        assert targets[..., :2].min() == 0 and 0.9 < targets[..., :2].max() <= 1
        assert (targets[..., 2] == 1).all()


def test_batch_depends_on_seed_epoch_and_index_only(tmp_path):
    first, second, other_seed = batches(tmp_path), batches(tmp_path), batches(tmp_path, seed=2)
    first.epoch = second.epoch = other_seed.epoch = 2
    in_order = [first[index] for index in range(4)]
    for index in (3, 0, 2, 1, 0):
        for a, b in zip(second[index], in_order[index], strict=True):
            np.testing.assert_array_equal(a, b)
    second.epoch = 3
    for other in (second[0], other_seed[0], in_order[1]):
        assert not np.array_equal(other[0], in_order[0][0])
        assert not np.array_equal(other[1], in_order[0][1])
