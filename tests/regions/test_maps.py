"""maps and hotspots: known patterns of nuclei give what arithmetic gives."""

import numpy as np
import pytest

from regions.maps import Nuclei, draw_maps, find_hotspots

MICRONS, FIELD = 0.25, 8.0  # um per pixel of the result; um per field of the tissue mask
SIDE = 1200  # um
SPACING, RADIUS, MM2 = 50.0, 100.0, 0.2


def tissue_of(places, tissue=None, width=SIDE, height=SIDE, **columns):
    """Nuclei at places (N, 2) in um, in an image of tissue."""
    count = len(places)
    population = {
        "centroid_x_px": places[:, 0] / MICRONS,
        "centroid_y_px": places[:, 1] / MICRONS,
        "area_um2": np.full(count, 40.0),
        "mean_hematoxylin_od": np.full(count, 0.5),
        "touches_border": np.zeros(count),
    } | columns
    if tissue is None:
        tissue = np.ones((round(height / FIELD), round(width / FIELD)), np.float32)
    return Nuclei(population, tissue, FIELD, MICRONS, width, height)


def grid(spacing, width=SIDE, height=SIDE):
    x, y = (np.arange(side / spacing) * spacing + spacing / 2 for side in (width, height))
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def maps_of(nuclei):
    return draw_maps(nuclei, SPACING, RADIUS)


def test_a_grid_of_nuclei_is_equally_dense_everywhere():
    maps = maps_of(tissue_of(grid(8)))
    assert maps.density.shape == (24, 24) and maps.spacing == (50, 50)
    assert maps.density.mean() == pytest.approx(1e6 / 8**2, rel=0.01)
    assert maps.density == pytest.approx(1e6 / 8**2, rel=0.03)  # at the border of the image, too
    assert (maps.area == 40).all() and maps.hematoxylin == pytest.approx(0.5)


def test_a_poisson_field_has_its_density():
    random = np.random.default_rng(4)
    places = random.uniform(0, SIDE, (random.poisson(5000 * SIDE**2 / 1e6), 2))
    assert maps_of(tissue_of(places)).density.mean() == pytest.approx(5000, rel=0.03)


def test_a_gradient_of_density_is_seen_as_it_was_drawn():
    # x so that density rises evenly from 2000 to 10000 per mm2, y spread evenly
    count = round(6000 * SIDE**2 / 1e6)
    share = (np.arange(count) + 0.5) / count
    x = SIDE * (np.sqrt(2000**2 + share * (10000**2 - 2000**2)) - 2000) / 8000
    places = np.column_stack([x, np.arange(count) * (5**0.5 - 1) / 2 % 1 * SIDE])
    density = maps_of(tissue_of(places)).density
    middle = (np.arange(24) + 0.5) * 50
    expected = 2000 + 8000 * middle / SIDE
    assert density[:, 2:-2].mean(axis=0) == pytest.approx(expected[2:-2], rel=0.03)


def test_size_and_stain_are_those_of_the_nuclei_there():
    places = grid(10)
    left, rim = places[:, 0] < 600, np.arange(len(places)) % 7 == 0
    areas = np.where(left, 30.0, 60.0) + np.where(rim, 500, 0)  # those cut by the border
    stain = np.where(left, 0.2, 0.8)
    maps = maps_of(
        tissue_of(places, area_um2=areas, mean_hematoxylin_od=stain, touches_border=rim * 1.0)
    )
    assert (maps.area[:, :10] == 30).all() and (maps.area[:, 14:] == 60).all()
    assert maps.hematoxylin[:, :10] == pytest.approx(0.2)
    assert maps.hematoxylin[:, 14:] == pytest.approx(0.8)


def test_glass_is_left_out_and_does_not_thin_the_tissue_beside_it():
    tissue = np.ones((150, 150), np.float32)
    tissue[:, 75:] = 0
    places = grid(8)
    maps = maps_of(tissue_of(places[places[:, 0] < 600], tissue))
    assert np.isnan(maps.density[:, 12:]).all()
    assert maps.density[:, :12] == pytest.approx(1e6 / 8**2, rel=0.04)


def test_tissue_without_nuclei_has_density_none_and_no_size():
    nuclei = tissue_of(np.zeros((0, 2)))
    maps = maps_of(nuclei)
    assert (maps.density == 0).all() and np.isnan(maps.area).all()
    assert find_hotspots(nuclei, SPACING, 5, MM2) == []


def test_an_image_smaller_than_a_circle_has_a_value():
    maps = maps_of(tissue_of(grid(8, 64, 48), width=64, height=48))
    assert maps.density.shape == (1, 1)
    assert maps.density[0, 0] == pytest.approx(1e6 / 8**2, rel=0.03)


def two_clusters():
    """900 and 600 nuclei evenly in circles of 100 um at (350, 400) and (900, 800), few around."""
    turn = np.pi * (3 - 5**0.5)
    clusters = []
    for count, centre in ((900, (350, 400)), (600, (900, 800))):
        number = np.arange(count) + 0.5
        r, angle = 100 * np.sqrt(number / count), turn * number
        clusters.append(np.column_stack([r * np.cos(angle), r * np.sin(angle)]) + centre)
    return np.concatenate([*clusters, grid(50)])


def test_hotspots_are_the_clusters_and_hold_their_nuclei():
    nuclei = tissue_of(two_clusters())
    spots = find_hotspots(nuclei, SPACING, 5, MM2)
    radius = (MM2 * 1e6 / np.pi) ** 0.5
    for spot, centre, count in zip(spots, ((350, 400), (900, 800)), (900, 600), strict=False):
        assert spot.radius == pytest.approx(radius)
        assert np.hypot(spot.x - centre[0], spot.y - centre[1]) < radius - 100
        assert spot.nuclei == pytest.approx(count + MM2 * 400, rel=0.03)
        assert spot.tissue_mm2 == pytest.approx(MM2, rel=0.01)
    assert [spot.nuclei for spot in spots] == sorted((s.nuclei for s in spots), reverse=True)
    for index, spot in enumerate(spots):
        for other in spots[:index]:
            assert np.hypot(spot.x - other.x, spot.y - other.y) >= 2 * radius
    assert len(find_hotspots(nuclei, SPACING, 1, MM2)) == 1


def test_a_field_that_holds_all_of_a_small_image_lies_in_its_middle():
    small = tissue_of(grid(50)[:4] + 100, width=300, height=300)
    (spot,) = find_hotspots(small, SPACING, 5, MM2)
    assert spot.nuclei == 4
    assert np.hypot(spot.x - 150, spot.y - 150) <= SPACING


def test_the_map_of_a_cluster_holds_its_nuclei():
    density = maps_of(tissue_of(two_clusters() - (0, 25) + (25, 0))).density  # centre: (375, 375)
    assert np.unravel_index(density.argmax(), density.shape) == (7, 7)
    circle = np.pi * RADIUS**2 / 1e6
    assert density.max() == pytest.approx((900 + circle * 400) / circle, rel=0.03)


@pytest.mark.parametrize("turn", ["mirrored", "transposed", "rotated"])
def test_turned_and_mirrored_images_have_turned_and_mirrored_maps(turn):
    random = np.random.default_rng(2)
    width, height = 1200, 800
    places = random.uniform(0, (width, height), (3000, 2))
    tissue = (random.uniform(0, 1, (100, 150)) > 0.3).astype(np.float32)
    areas = random.uniform(20, 90, len(places))
    original = tissue_of(places, tissue, width, height, area_um2=areas)
    change, moved, size = {
        "mirrored": (lambda a: a[:, ::-1], places * (-1, 1) + (width, 0), (width, height)),
        "transposed": (np.transpose, places[:, ::-1], (height, width)),
        "rotated": (
            lambda a: np.rot90(a, -1),  # clockwise
            np.column_stack([height - places[:, 1], places[:, 0]]),
            (height, width),
        ),
    }[turn]
    turned = tissue_of(moved, np.ascontiguousarray(change(tissue)), *size, area_um2=areas)
    expected, found = maps_of(original), maps_of(turned)
    for name in ("density", "area", "hematoxylin"):
        np.testing.assert_allclose(
            getattr(found, name), change(getattr(expected, name)), rtol=1e-4, err_msg=name
        )
    counts = [[s.nuclei for s in find_hotspots(n, SPACING, 1, 0.1)] for n in (original, turned)]
    assert counts[0] == counts[1]
