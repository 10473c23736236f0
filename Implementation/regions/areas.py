"""What lies in a polygon: shares of the fields of a grid, and nuclei."""

import numpy as np
import shapely
from shapely.geometry.polygon import orient

LINES = 8  # along which a field is measured; along each of them its share is exact
# Pixels by which a centroid is moved: one that lies on the border of two regions is in one of them.
OFF_THE_BORDER = np.array([1.0e-5, 1.3e-5])


def shares_within(area, shape: tuple[int, int], field: float) -> np.ndarray:
    """Return the share of each field of a grid that polygons cover.

    The shares of polygons that tile an area add up to its own.

    Args:
        area: shapely polygon or multipolygon in pixels.
        shape: rows and columns of the grid, which begins at (0, 0).
        field: side of a field in pixels.

    Returns:
        float64 (rows, columns), 0..1.
    """
    rows, columns = shape
    start, end = _edges(area)
    start, end = start / field * (1, LINES), end / field * (1, LINES)
    # Lines run through the middles of their rows; an edge holds its upper end alone.
    first, last = (
        np.clip(np.ceil(side[:, 1] - 0.5), 0, rows * LINES).astype(int) for side in (start, end)
    )
    crossed = np.abs(last - first)
    edge = np.repeat(np.arange(len(crossed)), crossed)
    line = np.minimum(first, last)[edge] + np.arange(len(edge))
    line -= (np.cumsum(crossed) - crossed)[edge]
    run, rise = (end - start)[edge].T
    x = start[edge, 0] + (line + 0.5 - start[edge, 1]) * run / rise
    x = np.clip(x, 0, columns)
    enters = np.sign(first - last)[edge]  # outer rings run counter-clockwise, holes clockwise
    column = x.astype(int)
    place = line // LINES * (columns + 2) + column
    size = rows * (columns + 2)
    within = np.bincount(place, enters * (1 - x + column), size)
    within += np.bincount(place + 1, enters * (x - column), size)
    shares = within.reshape(rows, columns + 2).cumsum(axis=1)[:, :columns] / LINES
    return np.clip(shares, 0, 1)


def within(area, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Tell which points (N,) lie in a polygon: bool (N,)."""
    x, y = x + OFF_THE_BORDER[0], y + OFF_THE_BORDER[1]
    inside = np.zeros(len(x), bool)
    if area.is_empty:
        return inside
    left, top, right, bottom = area.bounds
    near = np.flatnonzero((x >= left) & (x <= right) & (y >= top) & (y <= bottom))
    shapely.prepare(area)
    inside[near] = shapely.contains_xy(area, x[near], y[near])
    return inside


def _edges(area) -> tuple[np.ndarray, np.ndarray]:
    """Return begin and end of all edges of polygons, (E, 2) each."""
    parts = [orient(part) for part in shapely.get_parts(area) if not part.is_empty]
    rings = [shapely.get_coordinates(r) for part in parts for r in (part.exterior, *part.interiors)]
    nothing = np.zeros((0, 2))
    return (
        np.concatenate([nothing, *(ring[:-1] for ring in rings)]),
        np.concatenate([nothing, *(ring[1:] for ring in rings)]),
    )
