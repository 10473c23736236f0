"""separation: what is drawn is separated as it was drawn."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from helpers.drawn_nuclei import disc, ellipse
from nuclei.separation import Separation, separate

MICRONS = 0.25


def relative_distance(masks):
    """Distance to the nucleus' own border relative to its largest, as the U-net learns it."""
    distances = [ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] for mask in masks]
    return np.max([distance / distance.max() for distance in distances], axis=0)


def maps(*masks):
    """Probability and relative distance of some nuclei."""
    return np.any(masks, axis=0).astype(np.float32), relative_distance(masks)


def test_no_nuclei_give_an_empty_label_map():
    labels = separate(np.zeros((60, 80)), np.zeros((60, 80)), MICRONS)
    assert labels.shape == (60, 80) and labels.dtype == np.int32
    assert not labels.any()


@pytest.mark.parametrize("side", [1, 2, 4, 8, 12, 16])
def test_an_image_smaller_than_a_hole_is_no_nucleus(side):
    assert not separate(np.zeros((side, side)), np.zeros((side, side)), MICRONS).any()


def test_background_that_the_border_cuts_off_is_no_hole():
    nucleus = disc((60, 60), (30, 30), 50)
    nucleus[:7] = False
    nucleus[12:18, 0:25] = True  # encloses a patch of background against the left border
    nucleus[30:36, 0:25] = True
    labels = separate(*maps(nucleus), MICRONS)
    np.testing.assert_array_equal(labels > 0, nucleus)


@pytest.mark.parametrize("microns", [0.2, 0.25, 0.5])
def test_touching_discs_with_a_distance_map_are_two(microns):
    diameter = round(10 / microns)
    shape = (2 * diameter, 3 * diameter)
    left = disc(shape, (diameter, diameter), diameter)
    right = disc(shape, (diameter, 1.9 * diameter), diameter)  # overlaps a tenth
    labels = separate(*maps(left, right), microns)
    assert labels.max() == 2
    np.testing.assert_array_equal(labels > 0, left | right)
    y, x = diameter, np.array([diameter, round(1.9 * diameter)])
    assert len(set(labels[y, x])) == 2  # a label at each centre
    areas = np.bincount(labels.ravel())[1:] * microns**2
    assert areas == pytest.approx([np.pi * 25] * 2, rel=0.05)


def test_touching_discs_of_unlike_size_are_two():
    large, small = disc((120, 160), (60, 60), 80), disc((120, 160), (60, 112), 28)
    labels = separate(*maps(large, small), MICRONS)
    assert labels.max() == 2
    overlap = (labels == labels[60, 112]) & small
    assert overlap.sum() > 0.9 * small.sum()


@pytest.mark.parametrize("angle", [0, 0.4, np.pi / 4, np.pi / 2])
def test_one_elongated_nucleus_stays_one(angle):
    nucleus = ellipse((160, 160), (80, 80), (100, 24), angle)
    labels = separate(*maps(nucleus), MICRONS)
    np.testing.assert_array_equal(labels, nucleus)


def test_one_nucleus_with_a_noisy_distance_map_stays_one():
    nucleus = disc((100, 100), (50, 50), 60)
    probability, distance = maps(nucleus)
    noise = np.random.default_rng(0).normal(0, 0.15, distance.shape)
    labels = separate(probability, np.clip(distance + noise, 0, 1), MICRONS)
    assert labels.max() == 1


def test_a_faint_patch_without_a_middle_is_no_nucleus():
    nucleus, patch = disc((80, 160), (40, 40), 30), disc((80, 160), (40, 120), 30)
    probability, distance = maps(nucleus, patch)
    probability[patch] *= 0.52
    distance[patch] = np.minimum(distance[patch], 0.02)
    np.testing.assert_array_equal(separate(probability, distance, MICRONS), nucleus)
    everything = separate(probability, distance, MICRONS, Separation(least_overlap=0))
    np.testing.assert_array_equal(everything > 0, nucleus | patch)


def test_more_is_dropped_the_more_overlap_is_asked_for():
    counts = [
        separate(*crowd(), MICRONS, Separation(least_overlap=least)).max()
        for least in (0, 0.3, 0.5, 1)
    ]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[2] > counts[3] == 0


def test_small_holes_are_filled_and_large_ones_are_not():
    shape = (120, 240)
    whole = disc(shape, (60, 60), 90) | disc(shape, (60, 180), 90)
    small, large = disc(shape, (60, 60), 12), disc(shape, (60, 180), 20)  # 7 and 20 um2
    nuclei = whole & ~small & ~large
    labels = separate(*maps(nuclei), MICRONS, Separation(largest_hole=10))
    np.testing.assert_array_equal(labels > 0, whole & ~large)


@pytest.mark.parametrize("microns", [0.25, 0.5])
def test_specks_below_the_smallest_area_are_dropped(microns):
    shape = (80, 160)
    kept = disc(shape, (40, 40), np.sqrt(4 * 7 / np.pi) / microns)  # 7 um2
    dropped = disc(shape, (40, 120), np.sqrt(4 * 5 / np.pi) / microns)  # 5 um2
    separation = Separation(smallest_nucleus=6)
    labels = separate(*maps(kept, dropped), microns, separation)
    np.testing.assert_array_equal(labels, kept)


def test_a_higher_probability_threshold_finds_less():
    probability = ndimage.gaussian_filter(disc((80, 80), (40, 40), 50).astype(np.float32), 4)
    found = [
        (separate(probability, probability, MICRONS, Separation(threshold)) > 0)
        for threshold in (0.3, 0.5, 0.7)
    ]
    for lower, higher in pairwise(found):
        assert (lower >= higher).all() and lower.sum() > higher.sum()


def test_labels_are_numbered_without_gaps_and_each_is_connected():
    random = np.random.default_rng(3)
    smooth = ndimage.gaussian_filter(random.normal(size=(300, 300)), 6)
    smooth = np.clip(0.5 + smooth / smooth.std() / 4, 0, 1)
    labels = separate(smooth, np.clip(2 * smooth - 1, 0, 1), MICRONS)
    numbers = np.unique(labels)
    assert len(numbers) > 10
    np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
    assert all(ndimage.label(labels == number)[1] == 1 for number in numbers[1:])


# --- borders between touching nuclei ---


def crowd(side=300, spacing=20, reach=12):
    """Maps of discs that touch their neighbours in all directions."""
    random = np.random.default_rng(0)
    lattice = np.stack(np.meshgrid(*[np.arange(spacing / 2, side, spacing)] * 2), -1).reshape(-1, 2)
    centres = lattice + random.uniform(-5, 5, lattice.shape)
    from_centres = np.stack([np.indices((side, side))[axis] for axis in (0, 1)], -1)[:, :, None]
    nearest = np.linalg.norm(from_centres - centres, axis=-1).min(axis=-1)
    distance = np.clip(1 - nearest / reach, 0, 1) + random.normal(0, 0.05, nearest.shape)
    distance = np.clip(ndimage.gaussian_filter(distance, 1.5), 0, 1)
    return (nearest < reach).astype(np.float32), np.rint(distance * 255) / 255


def straightest_runs(labels, shortest=12):
    """Of each border between two nuclei the share that is one run along an axis, at the most."""
    borders = {}
    for axis, turned in enumerate((labels, labels.T)):
        upper, lower = turned[:-1], turned[1:]
        for row, column in np.argwhere((upper != lower) & (upper > 0) & (lower > 0)):
            pair = frozenset((upper[row, column], lower[row, column]))
            borders.setdefault(pair, []).append((axis, row, column))
    shares = []
    for edges in borders.values():
        run = longest = 1
        for before, edge in pairwise(sorted(edges)):
            run = run + 1 if edge == (*before[:2], before[2] + 1) else 1
            longest = max(longest, run)
        if len(edges) >= shortest:
            shares.append(longest / len(edges))
    return np.array(shares)


def test_borders_between_touching_nuclei_are_no_straight_lines_along_the_axes():
    labels = separate(*crowd(), MICRONS)
    runs = straightest_runs(labels)
    assert len(runs) > 150
    assert (runs > 0.6).mean() < 0.15  # 7 %; of a flood over edges alone 43 %
    assert all(
        ndimage.label(labels[box] == number)[1] == 1
        for number, box in enumerate(ndimage.find_objects(labels), start=1)
    )
