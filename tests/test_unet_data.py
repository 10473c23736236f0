"""Pairs, target maps and augmentation of the U-net's training data."""

import cv2
import numpy as np
import pytest
from drawn_tissue import draw_tissue, write_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from unet_data import (
    NucleiBatches,
    cut_at_necks,
    find_pairs,
    load_sample,
    random_view,
    read_labels,
    target_maps,
    vary_chromatin,
    vary_optics,
    vary_stain_and_light,
)

seeds = st.integers(0, 2**32 - 1)
patches = hnp.arrays(
    np.uint8, st.tuples(st.integers(8, 24), st.integers(8, 24), st.just(3)), fill=st.nothing()
)


def rng(seed=0):
    return np.random.default_rng(seed)


def discs(*circles, shape=(80, 100)):
    """Label map of (x, y, radius) discs."""
    labels = np.zeros(shape, np.int32)
    for label, (x, y, radius) in enumerate(circles, start=1):
        cv2.circle(labels, (x, y), radius, label, -1)
    return labels


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


@pytest.mark.parametrize("broken", ["i.png", "m.png"])
def test_unreadable_file_is_named(tmp_path, broken):
    write_picture(tmp_path / "i.png", draw_tissue(8, 8)[0])
    write_picture(tmp_path / "m.png", np.zeros((8, 8), np.uint8))
    (tmp_path / broken).write_bytes(b"no picture")
    with pytest.raises(ValueError, match=rf"{broken}: not a readable image"):
        load_sample(tmp_path / "i.png", tmp_path / "m.png")


@pytest.mark.parametrize("white", [1, 255, 65535])
@pytest.mark.parametrize("colour", [False, True])
def test_binary_mask_is_split_into_components(tmp_path, white, colour):
    truth = discs((20, 20, 8), (60, 40, 12), (90, 70, 5))
    mask = ((truth > 0) * white).astype(np.uint16 if white > 255 else np.uint8)
    write_picture(tmp_path / "m.png", np.repeat(mask[..., None], 3, axis=-1) if colour else mask)
    labels = read_labels(tmp_path / "m.png")
    assert labels.dtype == np.int32
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(labels > 0, truth > 0)


def test_instance_mask_keeps_touching_nuclei_apart(tmp_path):
    truth = discs((20, 20, 8), (37, 20, 8)) * 300
    write_picture(tmp_path / "m.png", truth.astype(np.uint16))
    np.testing.assert_array_equal(read_labels(tmp_path / "m.png"), truth)


def test_touching_nuclei_of_a_binary_mask_are_parted_at_their_neck():
    for gap in (14, 15):  # two discs of radius 8, overlapping
        mask = discs((20, 20, 8), (20 + gap, 20, 8)) > 0
        labels = cut_at_necks(mask)
        np.testing.assert_array_equal(labels > 0, mask)
        assert labels.max() == 2
        assert labels[20, 14] != labels[20, 26 + gap]
        areas = np.bincount(labels.ravel())[1:]
        assert areas.min() > 0.85 * areas.max()


def test_one_nucleus_of_a_binary_mask_stays_whole():
    ellipse = np.zeros((80, 100), np.uint8)
    cv2.ellipse(ellipse, (50, 40), (30, 9), 25, 0, 360, 1, -1)
    bean = discs((50, 40, 20)) - discs((50, 15, 14)).clip(0, 1)
    for mask in (ellipse > 0, bean > 0):
        np.testing.assert_array_equal(cut_at_necks(mask), mask.astype(np.int32))


def test_mask_without_nuclei_has_empty_targets(tmp_path):
    write_picture(tmp_path / "m.png", np.zeros((9, 7), np.uint8))
    targets = target_maps(read_labels(tmp_path / "m.png"))
    assert targets.shape == (9, 7, 2) and not targets.any()


# --- Target maps ---


@pytest.mark.parametrize("radius", [2, 5, 8, 20])
def test_disc_has_distance_one_in_its_middle_falling_to_its_border(radius):
    labels = discs((40, 40, radius))
    mask, distance = np.moveaxis(target_maps(labels), -1, 0)
    np.testing.assert_array_equal(mask, (labels > 0) * 255)
    assert distance[40, 40] == distance.max() == 255
    assert not distance[labels == 0].any() and distance[labels > 0].all()
    along = distance[40, 40 : 40 + radius + 1].astype(int)
    assert (np.diff(along) < 0).all()
    assert along[-1] < 1.4 * 255 / (radius + 1)


def test_a_nucleus_cut_by_the_image_border_is_shallow_there():
    distance = target_maps(discs((0, 40, 10)))[..., 1]
    assert distance[40].argmax() > 0 and distance[40, 0] < 255


def test_touching_nuclei_separate_above_one_half():
    labels = discs((30, 40, 14), (54, 40, 9), (30, 60, 5))
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


# --- Augmentation ---


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
    labels = discs((20, 30, 12), (60, 40, 14), (90, 70, 9), (85, 15, 8))
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
    targets = target_maps(discs((8, 8, 5), shape=image.shape[:2]))
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
    labels = discs((30, 40, 20), (70, 40, 20))
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
    contrasts = []
    for seed in range(100):
        varied = vary_optics(vary_stain_and_light(image, 240, rng(seed)), rng(seed)).astype(float)
        contrasts.append(varied[labels == 0].mean() - varied[labels > 0].mean())
    assert np.mean(np.array(contrasts) > 5) > 0.9
    assert np.std(contrasts) > 5


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
