"""nuclei: what is drawn is separated and measured as it was drawn."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage
from skimage.color import rgb2hed

from nuclei.measurement import measure
from nuclei.separation import Separation, separate
from nuclei.tissue import tissue_mask

MICRONS = 0.25
# Rows: optical density of hematoxylin, eosin in R, G, B (Ruifrok & Johnston 2001).
HEMATOXYLIN, EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])


def ellipse(shape, centre, axes, angle=0.0):
    """Mask of an ellipse: centre (y, x) from the image's corner, full axes, angle, in pixels."""
    y, x = np.indices(shape) + 0.5
    y, x = y - centre[0], x - centre[1]
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    return (2 * along / axes[0]) ** 2 + (2 * across / axes[1]) ** 2 <= 1


def disc(shape, centre, diameter):
    return ellipse(shape, centre, (diameter, diameter))


def relative_distance(masks):
    """Distance to the nucleus' own border relative to its largest, as the U-net learns it."""
    distances = [ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] for mask in masks]
    return np.max([distance / distance.max() for distance in distances], axis=0)


def maps(*masks):
    """Probability and relative distance of some nuclei."""
    return np.any(masks, axis=0).astype(np.float32), relative_distance(masks)


def stained(shape, masks_and_densities, stain=HEMATOXYLIN):
    """A white image with optical densities of one stain where the masks are."""
    density = np.zeros(shape)
    for mask, value in masks_and_densities:
        density[mask] = value
    return np.rint(255 * 10 ** (-density[..., None] * stain)).astype(np.uint8)


def measured(labels, microns=MICRONS, image=None, probability=None):
    image = np.full((*labels.shape, 3), 200, np.uint8) if image is None else image
    probability = (labels > 0).astype(float) if probability is None else probability
    return measure(labels, image, probability, microns)


# --- separate ---


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
    columns = measured(labels, microns)
    assert columns["area_um2"] == pytest.approx([np.pi * 25] * 2, rel=0.05)


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
    separation = Separation(middle=0, rise=1.2)
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


# --- measure ---


@pytest.mark.parametrize("microns", [0.2, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("angle", [0, 0.3, np.pi / 4, np.pi / 2, 2.5])
@pytest.mark.parametrize("axes", [(12.0, 12.0), (16.0, 10.0), (30.0, 12.0)])
def test_a_drawn_ellipse_has_the_area_and_axes_it_was_drawn_with(microns, angle, axes):
    side = round(44 / microns)
    centre = side * 0.47, side * 0.52
    labels = ellipse((side, side), centre, np.array(axes) / microns, angle).astype(np.int32)
    columns = measured(labels, microns)
    assert columns["area_um2"] == pytest.approx(np.pi / 4 * axes[0] * axes[1], rel=0.03)
    assert columns["major_axis_um"] == pytest.approx(axes[0], rel=0.05)
    assert columns["minor_axis_um"] == pytest.approx(axes[1], rel=0.05)
    assert columns["centroid_x_px"] == pytest.approx(centre[1], abs=0.5)
    assert columns["centroid_y_px"] == pytest.approx(centre[0], abs=0.5)
    assert columns["centroid_x_um"] == pytest.approx(centre[1] * microns, abs=0.5 * microns)
    assert columns["centroid_y_um"] == pytest.approx(centre[0] * microns, abs=0.5 * microns)
    expected = np.sqrt(1 - (axes[1] / axes[0]) ** 2)
    assert columns["eccentricity"] == pytest.approx(expected, abs=0.03 if expected else 0.3)
    assert columns["solidity"] > 0.9


def test_a_disc_is_circular_and_a_ribbon_is_not():
    columns = measured(disc((100, 100), (50, 50), 60).astype(np.int32))
    assert columns["circularity"] == pytest.approx(1, abs=0.03)
    assert columns["perimeter_um"] == pytest.approx(np.pi * 15, rel=0.03)
    ribbon = np.zeros((100, 100), np.int32)
    ribbon[48:54, 10:90] = 1
    assert measured(ribbon)["circularity"] < 0.4


def test_measurements_keep_the_order_of_labels():
    labels = np.zeros((40, 60), np.int32)
    labels[2:6, 30:40], labels[10:20, 5:10], labels[30:31, 50:51] = 1, 2, 3
    columns = measured(labels, 1.0)
    assert columns["label"].tolist() == [1, 2, 3]
    assert columns["area_um2"].tolist() == [40, 50, 1]
    assert columns["bbox"].tolist() == [[2, 30, 6, 40], [10, 5, 20, 10], [30, 50, 31, 51]]
    assert columns["centroid_x_px"].tolist() == [35, 7.5, 50.5]
    assert columns["centroid_y_px"].tolist() == [4, 15, 30.5]


def test_every_measurement_of_a_single_pixel_is_a_number():
    labels = np.zeros((9, 9), np.int32)
    labels[4, 4] = 1
    columns = measured(labels)
    assert all(np.isfinite(values).all() for values in columns.values())


def test_without_nuclei_all_columns_are_there_and_empty():
    empty = measured(np.zeros((20, 20), np.int32))
    full = measured(disc((20, 20), (10, 10), 12).astype(np.int32))
    assert list(empty) == list(full)
    assert all(len(values) == 0 for values in empty.values())


def test_an_unknown_pixel_size_gives_pixel_units_under_pixel_names():
    labels = ellipse((100, 100), (50, 50), (60, 40)).astype(np.int32)
    pixels, microns = measured(labels, None), measured(labels, 0.5)
    assert not [name for name in pixels if name.endswith(("_um", "_um2"))]
    assert pixels["area_px2"] == labels.sum()
    assert microns["area_um2"] == pytest.approx(pixels["area_px2"] * 0.25)
    for length in ("perimeter", "major_axis", "minor_axis"):
        assert microns[f"{length}_um"] == pytest.approx(pixels[f"{length}_px"] * 0.5)
    for name in ("eccentricity", "solidity", "circularity", "mean_hematoxylin_od"):
        assert microns[name] == pytest.approx(pixels[name])


def test_probability_is_the_mean_over_the_nucleus():
    labels = np.zeros((30, 30), np.int32)
    labels[5:15, 5:15] = 1
    probability = np.full((30, 30), 0.1)
    probability[5:15, 5:10], probability[5:15, 10:15] = 0.6, 0.8
    assert measured(labels, probability=probability)["probability"] == pytest.approx(0.7)


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
def test_hematoxylin_is_given_as_decadic_optical_density(density):
    mask = disc((60, 60), (30, 30), 40)
    image = stained((60, 60), [(mask, density)])
    found = measured(mask.astype(np.int32), image=image)["mean_hematoxylin_od"]
    assert found == pytest.approx(density, rel=0.05)


def test_hematoxylin_tells_stains_apart():
    shape = (60, 180)
    discs = [disc(shape, (30, x), 40) for x in (30, 90, 150)]
    labels = sum(number * mask for number, mask in enumerate(discs, start=1)).astype(np.int32)
    image = stained(shape, [(discs[0], 0.8), (discs[1], 0.3)])
    pink = stained(shape, [(discs[2], 0.8)], EOSIN)
    image = np.where(discs[2][..., None], pink, image)
    dark, pale, eosin = measured(labels, image=image)["mean_hematoxylin_od"]
    assert dark > 2 * pale > 4 * abs(eosin)


def test_the_stains_used_here_are_those_of_the_deconvolution():
    image = stained((4, 4), [(np.ones((4, 4), bool), 0.5)])
    hematoxylin, eosin, residual = rgb2hed(image)[0, 0]
    assert hematoxylin > 20 * max(abs(eosin), abs(residual))


# --- tissue_mask ---


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


def test_hematoxylin_is_that_of_rgb2hed():
    random = np.random.default_rng(2)
    labels = np.repeat(np.arange(40, dtype=np.int32), 10).reshape(20, 20)
    image = random.integers(0, 256, (*labels.shape, 3)).astype(np.uint8)
    image[:5] = 0
    found = measure(labels, image, np.zeros(labels.shape), None)["mean_hematoxylin_od"]
    hematoxylin = rgb2hed(image / 255)[..., 0] * 6  # its unit is six decades of density
    expected = ndimage.mean(hematoxylin, labels, np.arange(1, labels.max() + 1))
    np.testing.assert_allclose(found, expected, atol=1e-5)
