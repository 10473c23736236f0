"""Measure all regions of a label map at once, as scikit-image's regionprops_table does one by one.

Every number is that function's (a test compares them) at a small part of its time: a region is
taken as the runs of its label in the rows, and all regions' runs are summed together.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

# Part of the perimeter that a block of 2 x 2 pixels holds (Crofton's formula in four directions),
# by the sum over the region's pixels in it of the numbers in BLOCK: (row, column, number).
BLOCK = ((1, 1, 1), (0, 1, 2), (1, 0, 4), (0, 0, 8))
D = np.sqrt(0.5)
CROFTON = np.pi / 4 * np.array([0, 1 + D, D, 2 * D, 0, 1 + D, 0, D, 1, 2, D, D, 1, 2, 0, 0])


def region_table(labels: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
    """Measure every region of a label map.

    Args:
        labels: int (height, width), 0 = background.
        values: float (pixels, channels) of the pixels that are not background, in reading order.

    Returns:
        One array per property under regionprops_table's name, one element per label that occurs, in
        the order of labels; what it splits into columns ("bbox-0", ...) is the last axis of one
        array here. Lengths in pixels.
    """
    present = np.flatnonzero(np.bincount(labels.ravel())[1:]) + 1
    found = ndimage.find_objects(labels)
    corners = [[side.start for side in found[label - 1]] for label in present]
    ends = [[side.stop for side in found[label - 1]] for label in present]
    boxes = np.array([corners, ends], np.int64).reshape(2, len(present), 2)
    index = np.zeros(labels.max() + 1, np.int64)
    index[present] = np.arange(len(present))
    runs = _runs(labels, index, boxes[0])
    area = runs.total(runs.length)
    centroid, (largest, smallest) = _ellipses(runs, area)
    means = [
        runs.total(np.add.reduceat(channel, runs.first, dtype=np.float64)) / area
        if len(present)
        else area
        for channel in values.T
    ]
    return {
        "label": present,
        "area": area,
        "centroid": boxes[0] + centroid,
        "bbox": np.concatenate(boxes, axis=-1),
        "perimeter_crofton": _perimeters(labels, index, len(present)),
        "axis_major_length": 4 * np.sqrt(largest),
        "axis_minor_length": 4 * np.sqrt(smallest),
        "eccentricity": np.sqrt(1 - smallest / np.where(largest > 0, largest, 1)) * (largest > 0),
        "solidity": area / _convex_areas(runs),
        "intensity_mean": np.stack(means, axis=-1),
    }


@dataclass
class Runs:
    """Pixels of one label that lie side by side in a row; arrays with an element per run.

    Attributes:
        region: number of the region, from 0.
        y, x: first pixel, from the region's top and left.
        length: pixels.
        first: number of the first pixel among all that are not background.
        count: regions there are.
    """

    region: np.ndarray
    y: np.ndarray
    x: np.ndarray
    length: np.ndarray
    first: np.ndarray
    count: int

    def total(self, amounts: np.ndarray) -> np.ndarray:
        """Sum an amount per run over each region."""
        return np.bincount(self.region, amounts, minlength=self.count)


def _runs(labels, index, corners) -> Runs:
    changes = np.ones(labels.shape, bool)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=changes[:, 1:])
    starts = np.flatnonzero(changes)
    length = np.diff(np.append(starts, labels.size))
    label = labels.ravel()[starts]
    starts, length, label = starts[label > 0], length[label > 0], label[label > 0]
    y, x = np.divmod(starts, labels.shape[1])
    region = index[label]
    first = np.cumsum(length) - length
    top, left = corners[region].T
    return Runs(region, y - top, x - left, length, first, len(corners))


def _ellipses(runs: Runs, area):
    """Centroid (regions, 2) from the boxes' corners, and eigenvalues of the second moments.

    Sums are of whole numbers, so they are exact: sum of x and x^2 over a run in closed form.
    """
    n, x, y = runs.length, runs.x, runs.y
    sum_x = n * x + n * (n - 1) // 2
    sum_xx = n * x**2 + x * n * (n - 1) + (n - 1) * n * (2 * n - 1) // 6
    mean_y, mean_x = runs.total(n * y) / area, runs.total(sum_x) / area
    yy = runs.total(n * y**2) / area - mean_y**2
    xx = runs.total(sum_xx) / area - mean_x**2
    xy = runs.total(y * sum_x) / area - mean_x * mean_y
    tensors = np.array([[yy, xy], [xy, xx]]).T
    smallest, largest = np.clip(np.linalg.eigvalsh(tensors), 0, None).T
    return np.stack([mean_y, mean_x], axis=-1), (largest, smallest)


def _perimeters(labels, index, count):
    """Crofton perimeters: each 2 x 2 block adds its part to each region that it touches."""
    padded = np.pad(labels, 1)
    across = padded[:, 1:] != padded[:, :-1]
    down = padded[1:] != padded[:-1]
    # Only where labels meet: a block inside a region holds no perimeter.
    mixed = np.flatnonzero(across[1:] | across[:-1] | down[:, 1:])
    y, x = np.divmod(mixed, across.shape[1])
    corners = np.stack([padded[y + row, x + column] for row, column, _ in BLOCK])
    numbers = np.array([number for _, _, number in BLOCK])
    perimeters = np.zeros(count)
    for place, label in enumerate(corners):
        same = corners == label
        counted = (label > 0) & ~same[:place].any(axis=0)  # each region once per block
        parts = CROFTON[numbers @ same]
        perimeters += np.bincount(index[label[counted]], parts[counted], minlength=count)
    return perimeters


def _convex_areas(runs: Runs):
    """Count the pixels whose centre lies in or on the hull of the middles of the pixels' edges.

    Coordinates are doubled, so that all are whole numbers and the counts exact. A hull has its
    highest and lowest point between two rows, never on one: each row in it is crossed by one edge
    on its way down and by one on its way up.
    """
    order = np.argsort(runs.region, kind="stable")
    y, left = 2 * runs.y[order], 2 * runs.x[order]
    right = left + 2 * (runs.length[order] - 1)
    points = np.stack(
        [left - 1, y, left, y - 1, left, y + 1, right + 1, y, right, y - 1, right, y + 1], axis=-1
    )
    of_region = np.split(points.astype(np.int32), np.flatnonzero(np.diff(runs.region[order])) + 1)
    hulls = [cv2.convexHull(part.reshape(-1, 1, 2))[:, 0] for part in of_region if len(part)]
    if not hulls:
        return np.zeros(0)
    region = np.repeat(np.arange(len(hulls)), [len(hull) for hull in hulls])
    start = np.concatenate(hulls).astype(np.int64)
    end = np.concatenate([np.roll(hull, -1, axis=0) for hull in hulls]).astype(np.int64)
    x, y = start.T
    width, height = (end - start).T
    # Rows that an edge crosses: those of even y from its upper end to its lower one.
    first, last = (np.minimum(y, y + height) + 1) // 2, (np.maximum(y, y + height) + 1) // 2
    edge = np.repeat(np.arange(len(x)), last - first)
    row = np.arange(len(edge)) + np.repeat(last - np.cumsum(last - first), last - first)
    across = x[edge] * height[edge] + (2 * row - y[edge]) * width[edge]  # 2 height times the place
    rightmost = across // (2 * height[edge])
    leftmost = -(-across // (2 * height[edge]))
    # cv2.convexHull goes round so that the edges of the right side go down.
    pixels = np.where(height[edge] > 0, rightmost + 1, -leftmost)
    return np.bincount(region[edge], pixels, minlength=len(hulls))
