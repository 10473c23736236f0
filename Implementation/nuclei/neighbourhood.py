"""How the nuclei of an image lie to each other and to the edge of the tissue.

This needs the centroids of all nuclei of the image, and so is found when the windows are put
together: which window a nucleus was found in makes no difference.
"""

import cv2
import numpy as np
from scipy.spatial import cKDTree

RADIUS = 50.0  # um around a nucleus in which its neighbours count and its local density is taken
TISSUE_EDGE = 50.0  # um from glass that count as the edge of the tissue
CENTROID_STEP = 1e-4  # pixels; finer differences between centroids are those of rounding
SMALLEST_SHARE = 0.01  # of a circle; with less tissue in it there is no density
FINER = 8  # samples per side of a pixel of the tissue mask, for the circle's own border


def neighbourhood_columns(microns: float | None) -> list[str]:
    """Return the columns that `neighbourhood` gives."""
    if microns is None:
        return ["nearest_neighbour_px"]
    return [
        "nearest_neighbour_um",
        "neighbours_50um",
        "local_density_per_mm2",
        "in_tissue_edge",
    ]


def neighbourhood(
    x: np.ndarray,
    y: np.ndarray,
    microns: float | None,
    tissue: np.ndarray,
    step: float,
) -> dict[str, np.ndarray]:
    """Measure the neighbourhood of each nucleus.

    Args:
        x, y: (N,), centroids in pixels of the result.
        microns: um per pixel of the result, None where unknown.
        tissue: float32 (rows, columns), the share of tissue in each field of the mask, 0..1; what
            such a field has outside the image is not tissue.
        step: pixels of the result per side of a field.

    Returns:
        One array (N,) per column of `neighbourhood_columns`. `nearest_neighbour`: distance of the
        nearest other centroid, nan for a single nucleus. `neighbours_50um`: other centroids within
        50 um. `local_density_per_mm2`: these per mm2 of tissue within 50 um, so that neither glass
        nor the border of the image thins it out; nan where there is almost no tissue. As the
        nucleus itself is not counted, it is the density of the tissue where nuclei lie at random
        (Ripley 1977). `in_tissue_edge`: 1 within 50 um of glass. The border of the image is no edge
        of the tissue.
    """
    places = np.round(np.column_stack([x, y]) / CENTROID_STEP) * CENTROID_STEP
    if microns is None:
        return {"nearest_neighbour_px": _nearest(cKDTree(places))}
    places, field = places * microns, step * microns
    tree = cKDTree(places)
    neighbours = _neighbours(tree)
    around = tissue_around(tissue, RADIUS / field, places / field) * field**2
    enough = around > SMALLEST_SHARE * np.pi * RADIUS**2
    density = np.full(len(places), np.nan)
    density[enough] = neighbours[enough] / (around[enough] / 1e6)
    return {
        "nearest_neighbour_um": _nearest(tree),
        "neighbours_50um": neighbours,
        "local_density_per_mm2": density,
        "in_tissue_edge": (_to_glass(tissue, places / field) * field < TISSUE_EDGE).astype(int),
    }


def tissue_within(tissue: np.ndarray, radius: float) -> np.ndarray:
    """Return the area of tissue in a circle around the middle of each field, in fields.

    Args:
        tissue: see `neighbourhood`; there is none outside.
        radius: of the circle, in fields.
    """
    return cv2.filter2D(tissue, -1, disc(radius), borderType=cv2.BORDER_CONSTANT)


def tissue_around(tissue: np.ndarray, radius: float, places: np.ndarray) -> np.ndarray:
    """Return the area of tissue in circles around places, all lengths in fields of the mask.

    Args:
        tissue: see `shares_of_tissue`.
        radius: of the circles.
        places: (N, 2), x and y in the image.
    """
    values = tissue_within(np.pad(tissue, 1), radius)  # the circle is also around border places
    at = places + 0.5  # from the corner of the image to the middles of fields, one more outside
    left, top = at.astype(int).T
    right, down = (at % 1).T
    above = values[top, left] * (1 - right) + values[top, left + 1] * right
    below = values[top + 1, left] * (1 - right) + values[top + 1, left + 1] * right
    return above * (1 - down) + below * down


def disc(radius: float) -> np.ndarray:
    """Return a circle's share of each field around its own, float32, with its true area as sum."""
    reach = int(np.ceil(radius + 0.5))
    side = 2 * reach + 1
    place = (np.arange(side * FINER) + 0.5) / FINER - side / 2
    inside = (place[:, np.newaxis] ** 2 + place**2 <= radius**2).astype(float)
    shares = inside.reshape(side, FINER, side, FINER).mean(axis=(1, 3))
    return (shares * np.pi * radius**2 / max(shares.sum(), 1e-9)).astype(np.float32)


def _nearest(tree: cKDTree) -> np.ndarray:
    """Return the distance of each place to the nearest other, nan where there is none."""
    if tree.n < 2:
        return np.full(tree.n, np.nan)
    return tree.query(tree.data, k=2)[0][:, 1]


def _neighbours(tree: cKDTree) -> np.ndarray:
    """Count the other places within the radius of each."""
    if not tree.n:
        return np.zeros(0, int)
    return tree.query_ball_point(tree.data, RADIUS, return_length=True) - 1


def _to_glass(tissue: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the distance of each place (N, 2) to the border of the nearest glass, in fields."""
    is_tissue = (tissue > 0).astype(np.uint8)
    if is_tissue.all():
        return np.full(len(places), np.inf)
    distance = cv2.distanceTransform(is_tissue, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    x, y = np.minimum(places.astype(int), np.array(tissue.shape[::-1]) - 1).T
    return np.maximum(distance[y, x] - 0.5, 0)
