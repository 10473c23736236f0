"""The nuclei of each region, and of each class of regions, in numbers."""

from collections.abc import Iterable, Iterator

import numpy as np
import shapely

from nuclei.population import area_statistics, area_unit, whole
from regions.areas import shares_within, within
from regions.reading import Annotations, Region

NO_REGION = -1


def region_columns(microns: float | None) -> list[str]:
    """Return the columns of regions.csv."""
    unit, length = ("px2", "px") if microns is None else ("um2", "um")
    return [
        *("image", "level", "region", "region_class", "tissue_mm2", "tissue_px2", "nuclei"),
        "density_per_mm2",
        *area_statistics(np.zeros(0), unit),
        *("mean_circularity", "mean_eccentricity", "mean_hematoxylin_od"),
        f"median_nearest_neighbour_{length}",
    ]


def regions_of(annotations: Annotations, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns `region` and `region_class` of the nuclei table.

    A nucleus belongs to the region that holds its centroid; of several, to the smallest.

    Args:
        annotations: of the image.
        x, y: (N,), centroids in pixels of the result.

    Returns:
        str (N,) each, "" outside all regions.
    """
    number = np.full(len(x), NO_REGION)
    regions = annotations.regions
    for index in sorted(range(len(regions)), key=lambda i: -regions[i].area.area):
        number[within(regions[index].area, x, y)] = index
    # The last one is that of NO_REGION.
    names = np.array([*(region.name for region in regions), ""], object)
    classes = np.array([*(region.of_class for region in regions), ""], object)
    return {"region": names[number], "region_class": classes[number]}


def region_rows(
    annotations: Annotations,
    population: dict[str, np.ndarray],
    tissue: np.ndarray,
    field: float,
    microns: float | None,
) -> Iterator[dict]:
    """Yield a row for each region, then one for each class.

    All nuclei count whose centroids lie in the region, also those that lie in a smaller one inside
    it. Size and shape are those of whole nuclei, as in summary.csv.

    Args:
        annotations: of the image.
        population: see `nuclei.population.gather`, with `nearest_neighbour`.
        tissue: bool (rows, columns), the tissue mask.
        field: side of a field in pixels of the result.
        microns: um per pixel of the result, None where unknown.
    """
    for level, region in _regions_and_classes(annotations.regions):
        counting = annotations.not_ignored(region.area)
        pixels = float(shares_within(counting, tissue.shape, field)[tissue].sum()) * field**2
        inside = within(region.area, population["centroid_x_px"], population["centroid_y_px"])
        mm2 = microns and pixels * microns**2 / 1e6
        yield {
            "level": level,
            "region": region.name,
            "region_class": region.of_class,
            "tissue_mm2": mm2,
            "tissue_px2": round(pixels),
            "nuclei": int(inside.sum()),
            "density_per_mm2": inside.sum() / mm2 if mm2 else None,
            **_measures(population, inside),
        }


def _regions_and_classes(regions: Iterable[Region]) -> Iterator[tuple[str, Region]]:
    """Yield (level, region); those of a class as one, without a name."""
    for region in regions:
        yield "region", region
    for of_class in sorted({region.of_class for region in regions} - {""}):
        areas = [region.area for region in regions if region.of_class == of_class]
        yield "class", Region("", of_class, shapely.union_all(areas))


def _measures(population: dict[str, np.ndarray], inside: np.ndarray) -> dict[str, float | None]:
    """Return the statistics of the nuclei that are inside; None where there are none."""
    unit = area_unit(population)
    shaped = inside & whole(population)
    distance = f"nearest_neighbour_{unit.removesuffix('2')}"
    distances = population[distance][inside]
    distances = distances[np.isfinite(distances)]
    return {
        **area_statistics(population[f"area_{unit}"][shaped], unit),
        "mean_circularity": _mean(population["circularity"][shaped]),
        "mean_eccentricity": _mean(population["eccentricity"][shaped]),
        "mean_hematoxylin_od": _mean(population["mean_hematoxylin_od"][inside]),
        f"median_{distance}": float(np.median(distances)) if len(distances) else None,
    }


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
