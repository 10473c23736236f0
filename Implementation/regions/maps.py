"""Maps of an image: how dense its nuclei are, how large, how dark; and its densest fields."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from nuclei.neighbourhood import tissue_around
from nuclei.population import area_unit, whole

CHUNK = 2000  # circles whose nuclei are listed at a time
LEAST_TISSUE = 0.25  # share of a field; the map is empty where there is less tissue


@dataclass(frozen=True)
class Nuclei:
    """The nuclei of an image and its tissue, all lengths in um.

    Attributes:
        population: see `nuclei.population.gather`.
        tissue: (rows, columns), share of tissue in each field of the mask.
        field: side of a field.
        microns: um per pixel of the result.
        width, height: of the image.
    """

    population: dict[str, np.ndarray]
    tissue: np.ndarray
    field: float
    microns: float
    width: float
    height: float

    @property
    def tree(self) -> cKDTree:
        """The centroids."""
        places = self.population["centroid_x_px"], self.population["centroid_y_px"]
        return cKDTree(np.column_stack(places) * self.microns)

    def tissue_in(self, centres: np.ndarray, radius: float) -> np.ndarray:
        """Return the tissue in circles around places (N, 2) in mm2."""
        fields = tissue_around(self.tissue, radius / self.field, centres / self.field)
        return np.maximum(fields, 0) * self.field**2 / 1e6


@dataclass(frozen=True)
class Maps:
    """Maps of an image, float (rows, columns) each, nan where there is too little tissue.

    Attributes:
        density: nuclei per mm2 of tissue.
        area: median area of whole nuclei, um2; nan where there is none, too.
        hematoxylin: mean optical density of the nuclei; nan likewise.
        spacing: um between neighbouring values, along x and y.
    """

    density: np.ndarray
    area: np.ndarray
    hematoxylin: np.ndarray
    spacing: tuple[float, float]


@dataclass(frozen=True)
class Hotspot:
    """A circle with many nuclei: centre and radius in um, tissue in mm2."""

    x: float
    y: float
    radius: float
    nuclei: int
    tissue_mm2: float


def draw_maps(nuclei: Nuclei, spacing: float, radius: float) -> Maps:
    """Take all maps in one pass over the nuclei.

    Each value is that of the nuclei whose centroids lie in a circle around the middle of a field;
    memory does not grow with the nuclei but for their centroids.

    Args:
        nuclei: of the image.
        spacing: um from one circle to the next; changed a little so that they fill the image.
        radius: of the circles in um.
    """
    shape, centres, steps = _circles(nuclei, spacing)
    tissue = nuclei.tissue_in(centres, radius)
    own = min(steps) / 2  # the circle inside a field, to tell whether it is tissue itself
    enough = np.flatnonzero(nuclei.tissue_in(centres, own) > LEAST_TISSUE * np.pi * own**2 / 1e6)
    maps = np.full((3, len(centres)), np.nan)
    areas = nuclei.population[f"area_{area_unit(nuclei.population)}"]
    shaped, stain = whole(nuclei.population), nuclei.population["mean_hematoxylin_od"]
    tree = nuclei.tree
    for begin in range(0, len(enough), CHUNK):
        chunk = enough[begin : begin + CHUNK]
        found = tree.query_ball_point(centres[chunk], radius, return_sorted=True)
        maps[0, chunk] = [len(inside) for inside in found] / tissue[chunk]
        for place, inside in zip(chunk, found, strict=True):
            measured = areas[inside][shaped[inside]]
            maps[1, place] = np.median(measured) if len(measured) else np.nan
            maps[2, place] = stain[inside].mean() if inside else np.nan
    return Maps(*maps.reshape(3, *shape), steps)


def find_hotspots(nuclei: Nuclei, spacing: float, count: int, mm2: float) -> list[Hotspot]:
    """Find the fields with the most nuclei; they do not overlap.

    Of fields with equally many the one with the most tissue is taken, then the one nearest to the
    middle of the image: in a small image many fields hold all of it.

    Args:
        nuclei: of the image.
        spacing: um between the centres that are tried.
        count: of fields at most; fewer where no more holds a nucleus.
        mm2: area of a field, a circle.
    """
    _, centres, _ = _circles(nuclei, spacing)
    radius = (mm2 * 1e6 / np.pi) ** 0.5
    tissue = nuclei.tissue_in(centres, radius)
    centres, tissue = centres[tissue > 0], tissue[tissue > 0]
    if not len(centres):
        return []
    inside = nuclei.tree.query_ball_point(centres, radius, return_length=True)
    off_middle = np.hypot(*(centres - (nuclei.width / 2, nuclei.height / 2)).T)
    spots = []
    while len(spots) < count and inside.max() > 0:
        best = np.lexsort((-off_middle, tissue, inside))[-1]
        (x, y), number = centres[best].tolist(), int(inside[best])
        spots.append(Hotspot(x, y, radius, number, float(tissue[best])))
        inside = np.where(np.hypot(*(centres - centres[best]).T) < 2 * radius, 0, inside)
    return spots


def _circles(nuclei: Nuclei, spacing: float):
    """Return rows and columns, centres (N, 2) in um, and the true spacing along x and y."""
    columns, rows = (max(1, round(side / spacing)) for side in (nuclei.width, nuclei.height))
    steps = nuclei.width / columns, nuclei.height / rows
    x, y = (np.arange(columns) + 0.5) * steps[0], (np.arange(rows) + 0.5) * steps[1]
    return (rows, columns), np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2), steps
