"""What lies in regions: shares of tissue are exact, and regions that tile an image add up."""

import numpy as np
import pytest
import shapely
from shapely import affinity

from regions.areas import shares_within, within
from regions.reading import Annotations, Region
from regions.table import region_columns, region_rows, regions_of

SHAPE, FIELD = (20, 30), 32.0  # rows and columns of the mask; pixels per field
WIDTH, HEIGHT = 30 * 32, 20 * 32
MICRONS = 0.25
IMAGE = shapely.box(0, 0, WIDTH, HEIGHT)
STAR = shapely.Polygon([(100, 100), (500, 180), (880, 60), (610, 400), (700, 600), (300, 330)])


def population(count=3000, seed=0):
    random = np.random.default_rng(seed)
    places = random.integers(0, (WIDTH * 2, HEIGHT * 2), (count, 2)) / 2  # many on borders
    return {
        "centroid_x_px": places[:, 0],
        "centroid_y_px": places[:, 1],
        "area_um2": random.uniform(20, 90, count),
        "eccentricity": random.uniform(0, 1, count),
        "circularity": random.uniform(0.5, 1, count),
        "mean_hematoxylin_od": random.uniform(0.1, 0.9, count),
        "touches_border": (random.uniform(0, 1, count) < 0.1).astype(float),
        "nearest_neighbour_um": random.uniform(4, 20, count),
    }


def tiles():
    """Four parts of the image, not along its pixels."""
    xs, ys = (0, 333.3, WIDTH), (0, 250, HEIGHT)
    boxes = [shapely.box(xs[i], ys[j], xs[i + 1], ys[j + 1]) for j in range(2) for i in range(2)]
    return tuple(Region(f"r{n}", "AB"[n % 2], box) for n, box in enumerate(boxes))


@pytest.mark.parametrize(
    "area",
    [
        STAR,
        STAR.difference(shapely.Point(520, 250).buffer(70)),
        shapely.union_all([shapely.box(3, 5, 20, 9), shapely.Point(800, 500).buffer(99)]),
        shapely.box(0, 0, WIDTH, HEIGHT),
    ],
)
def test_shares_add_up_to_the_area(area):
    shares = shares_within(area, SHAPE, FIELD)
    assert shares.min() >= 0 and shares.max() <= 1
    assert shares.sum() * FIELD**2 == pytest.approx(area.area, rel=0.005)
    for row, column in ((3, 5), (7, 16), (15, 24)):
        field = shapely.box(column, row, column + 1, row + 1)
        field = affinity.scale(field, FIELD, FIELD, origin=(0, 0))
        expected = area.intersection(field).area / FIELD**2
        assert shares[row, column] == pytest.approx(expected, abs=0.05)


def test_regions_that_tile_the_image_add_up_to_the_whole():
    tissue = np.random.default_rng(1).uniform(0, 1, SHAPE) < 0.7
    nuclei, annotations = population(), Annotations(IMAGE, tiles())
    rows = list(region_rows(annotations, nuclei, tissue, FIELD, MICRONS))
    assert [(row["level"], row["region"]) for row in rows] == [
        *(("region", f"r{n}") for n in range(4)),
        *(("class", ""), ("class", "")),
    ]
    whole = tissue.sum() * FIELD**2
    for part in (rows[:4], rows[4:]):
        assert sum(row["nuclei"] for row in part) == 3000
        assert sum(row["tissue_px2"] for row in part) == pytest.approx(whole, rel=1e-4)
        assert sum(row["tissue_mm2"] for row in part) == pytest.approx(whole * 0.0625 / 1e6)
    assert set(rows[0]) | {"image"} == set(region_columns(MICRONS))
    names = regions_of(annotations, nuclei["centroid_x_px"], nuclei["centroid_y_px"])["region"]
    assert [(names == f"r{n}").sum() for n in range(4)] == [row["nuclei"] for row in rows[:4]]


def test_a_region_measures_its_own_nuclei():
    nuclei, tissue = population(), np.ones(SHAPE, bool)
    inside = within(STAR, nuclei["centroid_x_px"], nuclei["centroid_y_px"])
    whole = inside & (nuclei["touches_border"] == 0)
    assert 0 < whole.sum() < inside.sum() < 3000
    (row,) = region_rows(
        Annotations(IMAGE, (Region("s", "", STAR),)), nuclei, tissue, FIELD, MICRONS
    )
    assert row["nuclei"] == inside.sum()
    assert row["density_per_mm2"] == pytest.approx(
        inside.sum() / (STAR.area * MICRONS**2 / 1e6), rel=0.005
    )
    assert row["median_area_um2"] == np.median(nuclei["area_um2"][whole])
    assert row["mean_circularity"] == pytest.approx(nuclei["circularity"][whole].mean())
    assert row["mean_hematoxylin_od"] == pytest.approx(nuclei["mean_hematoxylin_od"][inside].mean())
    assert row["median_nearest_neighbour_um"] == np.median(nuclei["nearest_neighbour_um"][inside])


def test_a_region_without_nuclei_or_tissue_has_none():
    nuclei = {name: values[:0] for name, values in population().items()}
    regions = Annotations(IMAGE, (Region("s", "", STAR),))
    (row,) = region_rows(regions, nuclei, np.zeros(SHAPE, bool), FIELD, MICRONS)
    assert (row["nuclei"], row["tissue_px2"], row["density_per_mm2"]) == (0, 0, None)
    assert row["mean_area_um2"] is None and row["mean_circularity"] is None


def test_a_nucleus_belongs_to_the_smallest_region_that_holds_it():
    outer, inner = shapely.box(0, 0, 100, 100), shapely.box(40, 40, 60, 60)
    x, y = np.array([50, 10, 500.0]), np.array([50, 10, 500.0])
    for regions in (
        (Region("in", "a", inner), Region("out", "b", outer)),
        (Region("out", "b", outer), Region("in", "a", inner)),
    ):
        found = regions_of(Annotations(IMAGE, regions), x, y)
        assert found["region"].tolist() == ["in", "out", ""]
        assert found["region_class"].tolist() == ["a", "b", ""]
    assert regions_of(Annotations(IMAGE), x, y)["region"].tolist() == ["", "", ""]


def test_what_is_ignored_or_outside_of_limiting_regions_does_not_count():
    regions = (Region("r", "", shapely.box(0, 0, 320, 320)),)
    ignored = shapely.box(160, 0, 640, 160)
    x, y = np.array([50, 200, 50, 500.0]), np.array([50, 50, 400, 100.0])
    for limit, counts, fields in (
        (False, [True, False, True, False], 600 - 15 * 5),
        (True, [True, False, False, False], 100 - 5 * 5),
    ):
        annotations = Annotations(IMAGE, regions, ignored, limit=limit)
        assert within(annotations.counting, x, y).tolist() == counts
        shares = shares_within(annotations.counting, SHAPE, FIELD)
        assert shares.sum() == pytest.approx(fields)
    assert Annotations(IMAGE).counting.equals(IMAGE)


def test_a_region_does_not_count_what_is_ignored_in_it():
    nuclei, ignored = population(), shapely.box(0, 0, 100, HEIGHT)
    kept = {name: values[nuclei["centroid_x_px"] >= 100] for name, values in nuclei.items()}
    annotations = Annotations(IMAGE, (Region("r", "", shapely.box(0, 0, 333, HEIGHT)),), ignored)
    (row,) = region_rows(annotations, kept, np.ones(SHAPE, bool), FIELD, MICRONS)
    assert row["tissue_px2"] == pytest.approx(233 * HEIGHT, abs=1)
