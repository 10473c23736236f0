"""separation: what is drawn is separated as it was drawn."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from helpers.drawn_nuclei import disc, ellipse
from nuclei.separation import Separation, separate, summits

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


def test_a_nucleus_without_a_seed_is_kept():
    nucleus = disc((60, 60), (30, 30), 20)  # its relief rises to less than .5
    separation = Separation(middle=0, rise=0.6)
    labels = separate(nucleus.astype(np.float32), np.zeros((60, 60)), MICRONS, separation)
    np.testing.assert_array_equal(labels, nucleus)


def test_what_has_no_middle_is_no_nucleus():
    nucleus, patch = disc((80, 160), (40, 40), 30), disc((80, 160), (40, 120), 30)
    probability, distance = maps(nucleus, patch)
    distance[patch] = np.minimum(distance[patch], 0.4)
    np.testing.assert_array_equal(separate(probability, distance, MICRONS), nucleus)
    assert separate(probability, distance, MICRONS, Separation(middle=0.3)).max() == 2


def test_small_holes_are_filled_and_large_ones_are_not():
    shape = (120, 240)
    whole = disc(shape, (60, 60), 90) | disc(shape, (60, 180), 90)
    small, large = disc(shape, (60, 60), 12), disc(shape, (60, 180), 20)  # 7 and 20 um2
    nuclei = whole & ~small & ~large
    labels = separate(*maps(nuclei), MICRONS, Separation(largest_hole=10, middle=0))
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
    assert len(numbers) > 20
    np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
    assert all(ndimage.label(labels == number)[1] == 1 for number in numbers[1:])


# --- summits ---


def ramps(*heights, length=40):
    """A relief that runs straight from height to height along x, float32 (9, width)."""
    points = np.arange(len(heights)) * length
    line = np.interp(np.arange(points[-1] + 1), points, heights)
    return np.tile(line.astype(np.float32), (9, 1))


@pytest.mark.parametrize("rise", [0.05, 0.1, 0.2])
@pytest.mark.parametrize(
    ("depth", "count"), [(0.95, 1), (1.05, 2)], ids=["just below", "just above"]
)
def test_a_summit_stands_alone_if_it_rises_by_more_than_the_stated_value(rise, depth, count):
    higher, lower = 0.9, 0.9 - 1.5 * rise
    relief = ramps(0, higher, lower - depth * rise, lower, 0)
    assert ndimage.label(summits(relief, rise))[1] == count


@pytest.mark.parametrize("rise", [0.05, 0.1, 0.2])
@pytest.mark.parametrize(("depth", "count"), [(0.95, 1), (1.05, 2)])
def test_summits_that_differ_by_less_than_the_rise_stand_if_the_higher_rises_by_it(
    rise, depth, count
):
    higher, lower = 0.9, 0.9 - 0.5 * rise
    relief = ramps(0, higher, higher - depth * rise, lower, 0)
    assert ndimage.label(summits(relief, rise))[1] == count


@pytest.mark.parametrize(("height", "there"), [(0.95, False), (1.05, True)])
def test_a_summit_is_higher_than_the_rise(height, there):
    assert summits(ramps(0, height * 0.1, 0), 0.1).any() == there


def test_summits_are_what_their_definition_says():
    rise = 3
    relief = np.random.default_rng(1).integers(0, 12, (14, 17)).astype(np.float32)
    expected = np.zeros(relief.shape, bool)
    for place in np.ndindex(relief.shape):
        # Joined over edges and corners, as the reconstruction spreads.
        land, _ = ndimage.label(relief >= relief[place] - rise, np.ones((3, 3)))
        reached = relief[land == land[place]]
        expected[place] = relief[place] > rise and reached.max() < relief[place] + rise
    np.testing.assert_array_equal(summits(relief, rise), expected)
