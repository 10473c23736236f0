"""Pairs, target maps and batches of the U-net's training data."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from helpers.drawn_tissue import draw_discs, draw_tissue, write_picture
from unet.data import NucleiBatches, cut_at_necks, find_pairs, load_sample, read_labels, target_maps

# --- Pairs ---


@pytest.mark.parametrize("kind", ["masks", "instances"])
def test_pairs_of_the_folder_layout(tmp_path, kind):
    for name in ("b", "a", "c"):
        write_picture(tmp_path / "images" / f"{name}.png", draw_tissue(8, 8)[0])
        write_picture(tmp_path / kind / f"{name}.tif", np.zeros((8, 8), np.uint16))
    assert find_pairs(tmp_path) == [
        (tmp_path / "images" / f"{name}.png", tmp_path / kind / f"{name}.tif") for name in "abc"
    ]


def test_instances_are_preferred_to_masks(tmp_path):
    for kind in ("images", "masks", "instances"):
        write_picture(tmp_path / kind / "a.png", np.zeros((8, 8), np.uint8))
    assert find_pairs(tmp_path)[0][1].parent.name == "instances"


def test_pairs_of_the_tcia_layout(tmp_path):
    for number in (2, 10):
        write_picture(tmp_path / f"{number}_crop.png", draw_tissue(8, 8)[0])
        write_picture(tmp_path / f"{number}_labeled_mask_corrected.png", np.zeros((8, 8), np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    pairs = {(image.name, mask.name) for image, mask in find_pairs(tmp_path)}
    assert pairs == {(f"{n}_crop.png", f"{n}_labeled_mask_corrected.png") for n in (2, 10)}


def test_orphans_of_both_kinds_are_named(tmp_path):
    for name in ("images/a.png", "images/lonely.png", "masks/a.png", "masks/alone.png"):
        write_picture(tmp_path / name, np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match="image without mask") as error:
        find_pairs(tmp_path)
    assert "lonely.png" in str(error.value) and "alone.png" in str(error.value)
    assert "a.png," not in str(error.value).replace("alone.png,", "")


def test_tcia_orphan_is_named(tmp_path):
    write_picture(tmp_path / "7_crop.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"7_crop\.png"):
        find_pairs(tmp_path)


def test_folders_without_pairs_say_what_is_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_pairs(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"expected images/ with masks/ .*_crop\.png"):
        find_pairs(tmp_path)
    write_picture(tmp_path / "images" / "a.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(FileNotFoundError, match="masks"):
        find_pairs(tmp_path)


# --- Samples ---


def test_sample_holds_image_targets_and_white_point(tmp_path):
    image, labels = draw_tissue(30, 40)
    image[:6] = 251  # brighter than all tissue
    write_picture(tmp_path / "i.png", image)
    write_picture(tmp_path / "m.png", labels.astype(np.uint16))
    sample = load_sample(tmp_path / "i.png", tmp_path / "m.png")
    assert sample.name == str(tmp_path / "i.png")
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.targets, target_maps(labels))
    assert sample.white == 251


def test_size_mismatch_names_both_files_and_sizes(tmp_path):
    write_picture(tmp_path / "i.png", draw_tissue(30, 40)[0])
    write_picture(tmp_path / "m.png", np.zeros((30, 41), np.uint8))
    with pytest.raises(ValueError, match=r"m\.png is 41x30 pixels, its image .*i\.png 40x30"):
        load_sample(tmp_path / "i.png", tmp_path / "m.png")


@pytest.mark.parametrize(
    ("broken", "found"), [("i.png", "not an image or slide"), ("m.png", "not a readable image")]
)
def test_unreadable_file_is_named(tmp_path, broken, found):
    write_picture(tmp_path / "i.png", draw_tissue(8, 8)[0])
    write_picture(tmp_path / "m.png", np.zeros((8, 8), np.uint8))
    (tmp_path / broken).write_bytes(b"no picture")
    with pytest.raises(ValueError, match=rf"{tmp_path}/{broken}: {found}"):
        load_sample(tmp_path / "i.png", tmp_path / "m.png")


@pytest.mark.parametrize("white", [1, 255, 65535])
@pytest.mark.parametrize("colour", [False, True])
def test_binary_mask_is_split_into_components(tmp_path, white, colour):
    truth = draw_discs((20, 20, 8), (60, 40, 12), (90, 70, 5))
    mask = ((truth > 0) * white).astype(np.uint16 if white > 255 else np.uint8)
    write_picture(tmp_path / "m.png", np.repeat(mask[..., None], 3, axis=-1) if colour else mask)
    labels = read_labels(tmp_path / "m.png")
    assert labels.dtype == np.int32
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(labels > 0, truth > 0)


def test_instance_mask_keeps_touching_nuclei_apart(tmp_path):
    truth = draw_discs((20, 20, 8), (37, 20, 8)) * 300
    write_picture(tmp_path / "m.png", truth.astype(np.uint16))
    np.testing.assert_array_equal(read_labels(tmp_path / "m.png"), truth)


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


def test_mask_without_nuclei_has_empty_targets(tmp_path):
    write_picture(tmp_path / "m.png", np.zeros((9, 7), np.uint8))
    targets = target_maps(read_labels(tmp_path / "m.png"))
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
        image, labels = draw_tissue(40 + 8 * index, 52, index)
        write_picture(tmp_path / "images" / f"{index}.png", image)
        write_picture(tmp_path / "instances" / f"{index}.png", labels.astype(np.uint16))
    samples = [load_sample(*pair) for pair in find_pairs(tmp_path)]
    return NucleiBatches(samples, [1.0, 2.0], 32, 3, 4, seed)


def test_batch_is_grey_levels_and_targets_of_one(tmp_path):
    data = batches(tmp_path)
    assert len(data) == 4
    for index in range(4):
        images, targets = data[index]
        assert images.shape == (3, 32, 32, 3) and images.dtype == np.float32
        assert images.min() >= 0 and 1 < images.max() <= 255
        assert targets.shape == (3, 32, 32, 2) and targets.dtype == np.float32
        assert targets.min() == 0 and 0.9 < targets.max() <= 1


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
