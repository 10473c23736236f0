"""measurement: what is drawn measures as it was drawn, and as scikit-image measures it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage.color import rgb2hed
from skimage.measure import regionprops_table

from helpers.drawn_nuclei import EOSIN, disc, ellipse, stained
from nuclei.measurement import measure

MICRONS = 0.25
MONUSEG = Path(__file__).parents[2] / "../shared/data/nuclei/monuseg_train/instances"
# Column of the table in pixels -> property of regionprops, and how far the two may differ.
REFERENCE = {
    "label": ("label", 0),
    "area_px2": ("area", 0),
    "centroid_x_px": ("centroid-1", 1e-9),
    "centroid_y_px": ("centroid-0", 1e-9),
    "major_axis_px": ("axis_major_length", 1e-9),
    "minor_axis_px": ("axis_minor_length", 1e-6),
    "eccentricity": ("eccentricity", 1e-6),
    "solidity": ("solidity", 1e-9),
    "probability": ("intensity_mean", 1e-6),
}


def measured(labels, microns=MICRONS, image=None, probability=None):
    image = np.full((*labels.shape, 3), 200, np.uint8) if image is None else image
    probability = (labels > 0).astype(float) if probability is None else probability
    return measure(labels, image, probability, microns)


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


@pytest.mark.parametrize("white", [(245, 240, 225), (126, 126, 126)])
def test_hematoxylin_counts_from_the_white_of_the_glass(white):
    mask = disc((60, 60), (30, 30), 40)
    image = np.rint(stained((60, 60), [(mask, 0.5)]) / 255 * white).astype(np.uint8)
    labels, nothing = mask.astype(np.int32), np.zeros((60, 60))
    found = measure(labels, image, nothing, MICRONS, white)["mean_hematoxylin_od"]
    assert found == pytest.approx(0.5, rel=0.05)
    dark = measure(labels, np.full_like(image, 250), nothing, MICRONS, white)
    assert dark["mean_hematoxylin_od"] == 0  # brighter than white absorbs nothing


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


def test_hematoxylin_is_that_of_rgb2hed():
    random = np.random.default_rng(2)
    labels = np.repeat(np.arange(40, dtype=np.int32), 10).reshape(20, 20)
    image = random.integers(0, 256, (*labels.shape, 3)).astype(np.uint8)
    image[:5] = 0
    found = measure(labels, image, np.zeros(labels.shape), None)["mean_hematoxylin_od"]
    hematoxylin = rgb2hed(image / 255)[..., 0] * 6  # its unit is six decades of density
    expected = ndimage.mean(hematoxylin, labels, np.arange(1, labels.max() + 1))
    np.testing.assert_allclose(found, expected, atol=1e-5)


# --- against scikit-image ---


def assert_as_regionprops(labels):
    """Compare every column with its definition in scikit-image."""
    probability = np.random.default_rng(0).random(labels.shape)
    found = measured(labels, None, probability=probability)
    names = {name.partition("-")[0] for name, _ in REFERENCE.values()}
    reference = regionprops_table(labels, probability, sorted(names))
    for column, (name, tolerance) in REFERENCE.items():
        shift = 0.5 if "centroid" in column else 0
        np.testing.assert_allclose(
            found[column], reference[name] + shift, rtol=tolerance, atol=1e-6, err_msg=column
        )
    # By another definition: Crofton's of four directions depends on the angle of straight sides.
    crofton = regionprops_table(labels, properties=["perimeter_crofton"])["perimeter_crofton"]
    ratio = (found["perimeter_px"] / crofton)[found["area_px2"] >= 100]
    assert len(ratio) > 50
    assert 0.98 < np.median(ratio) < 1.02 and ratio.min() > 0.9 and ratio.max() < 1.1


def drawn_label_map(side=700, spacing=70):
    """Ellipses of 2 to 60 px, some cut by their neighbours and by the border; a gap in numbers."""
    random = np.random.default_rng(4)
    labels = np.zeros((side, side), np.int32)
    for number, place in enumerate(np.ndindex((side // spacing,) * 2), start=1):
        centre = (np.array(place) + random.uniform(0, 1, 2)) * spacing
        mask = ellipse(labels.shape, centre, random.uniform(4, 60, 2), random.uniform(0, np.pi))
        labels[mask] = number + (number > 9)
    return largest_parts(labels)


def largest_parts(labels):
    """Leave of each nucleus its largest part."""
    kept = np.zeros_like(labels)
    for number in np.unique(labels)[1:]:
        parts, _ = ndimage.label(labels == number, np.ones((3, 3)))
        kept[parts == np.bincount(parts[parts > 0]).argmax()] = number
    return kept


def test_drawn_nuclei_measure_as_by_regionprops():
    assert_as_regionprops(drawn_label_map())


def test_real_nuclei_measure_as_by_regionprops():
    if not MONUSEG.is_dir():
        pytest.skip("needs ../shared/data/nuclei/monuseg_train")
    for path in sorted(MONUSEG.glob("*.png"))[:2]:
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.int32)
        assert_as_regionprops(largest_parts(labels[:600, :600]))


def test_holes_and_parts_count_in_area_axes_and_hull_as_in_regionprops():
    labels = np.zeros((60, 80), np.int32)
    labels[disc((60, 80), (30, 30), 40) & ~disc((60, 80), (30, 30), 16)] = 1
    labels[10:14, 60:70] = 1
    labels[40:43, 70:72] = 2
    reference = regionprops_table(labels, properties=["area", "axis_major_length", "solidity"])
    found = measured(labels, None)
    assert found["area_px2"] == pytest.approx(reference["area"])
    assert found["major_axis_px"] == pytest.approx(reference["axis_major_length"])
    assert found["solidity"] == pytest.approx(reference["solidity"])
    assert found["perimeter_px"][0] == pytest.approx(np.pi * 40, rel=0.02)  # the outer one


# --- perimeter ---


def perimeters_of(axes, shape, angle=None, count=40, seed=0):
    """Perimeters and circularities of shapes of equal size, at random places and angles."""
    random = np.random.default_rng(seed)
    side = round(max(axes) * 1.5) + 8
    found = []
    for _ in range(count):
        centre = side / 2 + random.uniform(-0.5, 0.5, 2)
        turned = random.uniform(0, np.pi) if angle is None else angle
        mask = shape((side, side), centre, axes, turned).astype(np.int32)
        columns = measured(mask, None)
        found.append((columns["perimeter_px"][0], columns["circularity"][0]))
    return np.mean(found, axis=0)


def rectangle(shape, centre, sides, angle):
    y, x = np.indices(shape) + 0.5
    y, x = y - centre[0], x - centre[1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (np.abs(along) < sides[0] / 2) & (np.abs(across) < sides[1] / 2)


def ellipse_perimeter(axes):
    turn = np.linspace(0, 2 * np.pi, 10001)
    corners = np.stack([axes[0] * np.cos(turn), axes[1] * np.sin(turn)]) / 2
    return np.hypot(*np.diff(corners)).sum()


@pytest.mark.parametrize("diameter", [8, 10, 12, 16, 20, 30, 40])
def test_the_perimeter_of_discs_and_ellipses_has_no_bias(diameter):
    perimeter, circularity = perimeters_of((diameter, diameter), ellipse)
    assert perimeter == pytest.approx(np.pi * diameter, rel=0.02)
    assert circularity == pytest.approx(1, abs=0.03)
    axes = (diameter * 1.25, diameter * 0.75)
    perimeter, circularity = perimeters_of(axes, ellipse)
    assert perimeter == pytest.approx(ellipse_perimeter(axes), rel=0.02)


@pytest.mark.parametrize("diameter", [4, 5, 6])
def test_the_perimeter_of_tiny_discs_is_a_little_short(diameter):
    perimeter, _ = perimeters_of((diameter, diameter), ellipse)
    assert perimeter == pytest.approx(np.pi * diameter, rel=0.06)


@pytest.mark.parametrize("side", [12, 16, 20, 30, 40])
def test_a_square_at_any_angle_is_as_circular_as_a_square(side):
    perimeter, circularity = perimeters_of((side, side), rectangle)
    assert perimeter == pytest.approx(4 * side, rel=0.03)
    assert circularity == pytest.approx(np.pi / 4, abs=0.04)


@pytest.mark.parametrize("angle", [0, np.pi / 8, np.pi / 4])
@pytest.mark.parametrize("side", [16, 20, 30])
def test_the_worst_angle_of_a_square_is_not_far_off(side, angle):
    perimeter, circularity = perimeters_of((side, side), rectangle, angle)
    assert perimeter == pytest.approx(4 * side, rel=0.035)
    assert circularity == pytest.approx(np.pi / 4, abs=0.06 if side < 20 else 0.05)
    if angle == 0:
        assert circularity == pytest.approx(np.pi / 4, abs=0.04)


@pytest.mark.parametrize("axes", [(12, 6), (20, 10), (30, 10)])
def test_the_perimeter_of_rectangles(axes):
    perimeter, _ = perimeters_of(axes, rectangle)
    assert perimeter == pytest.approx(2 * sum(axes), rel=0.04)


# --- Feret diameters, orientation, texture ---


@pytest.mark.parametrize("angle", [0, 20, 45, 90, 110, 160])
def test_an_ellipse_has_the_feret_diameters_and_the_orientation_it_was_drawn_with(angle):
    # y points down: an angle that runs counter-clockwise is negative for `ellipse`
    labels = ellipse((100, 100), (50.3, 49.6), (70, 36), -np.radians(angle)).astype(np.int32)
    columns = measured(labels)
    assert columns["max_feret_um"] == pytest.approx(70 * MICRONS, rel=0.03)
    assert columns["min_feret_um"] == pytest.approx(36 * MICRONS, rel=0.03)
    assert (columns["orientation"][0] - angle + 90) % 180 == pytest.approx(90, abs=1)


def test_feret_diameters_are_those_of_regionprops_to_a_pixel():
    labels = drawn_label_map()
    found = measured(labels, None)
    reference = regionprops_table(labels, properties=["feret_diameter_max"])["feret_diameter_max"]
    # Its hull is made of whole pixels, whose corners reach further.
    assert (found["max_feret_px"] <= reference + 1e-6).all()
    np.testing.assert_allclose(found["max_feret_px"], reference, atol=1)
    assert (found["min_feret_px"] <= found["max_feret_px"]).all()
    columns = np.array([np.ptp(np.nonzero(labels == n)[1]) + 1 for n in found["label"]])
    rows = np.array([np.ptp(np.nonzero(labels == n)[0]) + 1 for n in found["label"]])
    assert (found["min_feret_px"] <= np.minimum(columns, rows) + 1e-9).all()
    bar = np.zeros((40, 80), np.int32)
    bar[10:22, 5:65] = 1
    assert measured(bar, None)["min_feret_px"] == pytest.approx(12)


def test_the_texture_of_chromatin_is_the_spread_of_its_density():
    shape = (60, 60)
    mask = disc(shape, (30, 30), 40)
    halves = [(mask, 0.3), (mask & (np.indices(shape)[1] >= 30), 0.7)]
    labels = mask.astype(np.int32)
    assert measured(labels, image=stained(shape, halves))["sd_hematoxylin_od"] == pytest.approx(
        0.2, rel=0.05
    )
    assert measured(labels, image=stained(shape, halves[:1]))["sd_hematoxylin_od"] < 1e-3
