"""neighbourhood: distances and densities of known patterns are those of arithmetic."""

import numpy as np
import pytest

from nuclei.neighbourhood import RADIUS, neighbourhood, neighbourhood_columns

MICRONS, STEP = 0.25, 32  # um per pixel of the result; its pixels per side of a field of 8 um
SIDE = 1000  # um


def of(places, mask=None, side=SIDE):
    """Neighbourhood of places (N, 2) in um in an image that is a square of tissue."""
    fields = side / (STEP * MICRONS)
    mask = np.ones((int(np.ceil(fields)),) * 2, bool) if mask is None else mask
    x, y = np.array(places, float).reshape(-1, 2).T / MICRONS
    return neighbourhood(x, y, MICRONS, mask.astype(np.float32), STEP)


def poisson(density, seed=0, side=SIDE):
    random = np.random.default_rng(seed)
    return random.uniform(0, side, (random.poisson(density * side**2 / 1e6), 2))


def test_nuclei_on_a_grid_have_its_spacing_as_distance_and_its_density():
    spacing = 10
    grid = (np.stack(np.meshgrid(*[np.arange(SIDE / spacing)] * 2), -1) + 0.5) * spacing
    found = of(grid.reshape(-1, 2))
    assert found["nearest_neighbour_um"] == pytest.approx(spacing)
    offsets = np.arange(-5, 6)
    within = (offsets[:, np.newaxis] ** 2 + offsets**2 <= 25).sum() - 1
    middle = (np.abs(grid.reshape(-1, 2) - SIDE / 2) < SIDE / 4).all(axis=1)
    assert (found["neighbours_50um"][middle] == within).all()
    density = found["local_density_per_mm2"]
    assert density[middle] == pytest.approx(within / (np.pi * RADIUS**2 / 1e6), rel=0.01)
    assert density.mean() == pytest.approx(1e6 / spacing**2, rel=0.03)


def test_random_nuclei_have_the_mean_distance_and_density_of_a_poisson_field():
    density = 3000
    found = of(poisson(density, side=2000), side=2000)
    # Clark and Evans 1954, in um
    assert found["nearest_neighbour_um"].mean() == pytest.approx(500 / density**0.5, rel=0.03)
    assert found["local_density_per_mm2"].mean() == pytest.approx(density, rel=0.03)


def test_neither_glass_nor_the_border_of_the_image_lowers_the_density():
    grid = (np.stack(np.meshgrid(*[np.arange(100)] * 2), -1).reshape(-1, 2) + 0.5) * 4
    mask = np.zeros((63, 63), bool)
    mask[:, :50] = True  # glass from x = 400 um on, below y = 400 um the image ends
    found = of(grid, mask[:50], side=500)
    x, y = grid.T
    density, neighbours = found["local_density_per_mm2"], found["neighbours_50um"]
    for rim in (x > 396, x < 4, (x < 8) & (y < 8), (x > 392) & (y < 8)):
        assert density[rim].mean() == pytest.approx(1e6 / 4**2, rel=0.04)
        assert neighbours[rim].mean() < 0.6 * neighbours.max()


def test_the_edge_of_the_tissue_is_near_glass_and_not_at_the_border_of_the_image():
    mask = np.ones((125, 125), bool)
    mask[:, 62:] = False
    found = of([(5, 500), (400, 500), (442, 500), (450, 500), (490, 500), (700, 500)], mask)
    assert found["in_tissue_edge"].tolist() == [0, 0, 0, 1, 1, 1]
    assert not of([(5, 500)])["in_tissue_edge"].any()


def test_no_nucleus_and_a_single_one():
    empty = of(np.zeros((0, 2)))
    assert list(empty) == neighbourhood_columns(MICRONS)
    assert all(len(values) == 0 for values in empty.values())
    single = of([(300, 300)])
    assert np.isnan(single["nearest_neighbour_um"][0]) and single["neighbours_50um"][0] == 0
    assert single["local_density_per_mm2"][0] == 0
    assert np.isnan(of([(300, 300)], np.zeros((125, 125), bool))["local_density_per_mm2"][0])


def test_without_a_pixel_size_there_are_distances_in_pixels_alone():
    found = neighbourhood(np.array([3.0, 6]), np.array([5.0, 9]), None, np.ones((9, 9)), 1)
    assert list(found) == neighbourhood_columns(None)
    assert found["nearest_neighbour_px"].tolist() == [5, 5]


def test_a_turned_or_mirrored_image_measures_the_same():
    places, mask = poisson(2000, seed=5), np.ones((125, 125), bool)
    mask[30:60, 70:90] = False
    whole = of(places, mask)
    for turned, its_mask in (
        (places * (-1, 1) + (SIDE, 0), mask[:, ::-1]),
        (places[:, ::-1], mask.T),
        ((SIDE, SIDE) - places, mask[::-1, ::-1]),
    ):
        again = of(turned, its_mask)
        for name, values in whole.items():
            np.testing.assert_allclose(again[name], values, rtol=1e-3, err_msg=name)
