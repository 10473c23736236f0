"""Regions and the borders between them, measured from the U-net's maps; and their features."""

from dataclasses import dataclass

import numpy as np

FEATURES = (  # of a region, in this order; lengths and areas that are not relative in um
    "logarithm of the area",
    "area relative to the ellipse of the same moments",
    "minor axis relative to the major one",
    "perimeter relative to that of a square of the same area",
    "mean probability",
    "mean relative distance",
    "greatest relative distance",
    "summit of the relief",
    "length of the borders inside relative to the root of the area",
    "mean relative distance on the borders inside",
    "fall from the greatest relative distance to that mean inside",
    "rise above the saddle of the border that was merged last",
    "share of the perimeter that touches other regions",
    "mean relative distance where it touches them",
    "fall from the greatest relative distance to that mean where it touches them",
    "share of the outline that lies on the border of what is seen",
)


@dataclass(frozen=True)
class Regions:
    """Measurements of N regions.

    Attributes:
        sums: (N, 10) over the pixels of each: 1, x, y, x^2, y^2, xy, probability, relative
            distance; then edges of pixels towards background and along the border of the maps.
        summit: (N,), highest value of the relief.
        middle: (N,), greatest relative distance.
        contact: (N, 2) over the edges towards other regions: 1, relative distance.
        inner: (N, 2), the same over the borders between the fragments that a region is made of.
        step: (N,), rise above the saddle of the border that was merged last; 0 for a fragment.
    """

    sums: np.ndarray
    summit: np.ndarray
    middle: np.ndarray
    contact: np.ndarray
    inner: np.ndarray
    step: np.ndarray

    def features(self, microns_per_pixel: float) -> np.ndarray:
        """Return the FEATURES of each region, float32 (N, 16)."""
        area, x, y, xx, yy, xy, probability, distance, free, image_border = self.sums.T
        x, y = x / area, y / area
        xx, yy, xy = xx / area - x * x + 1 / 12, yy / area - y * y + 1 / 12, xy / area - x * y
        mean, product = (xx + yy) / 2, np.maximum(xx * yy - xy**2, 1e-3)
        spread = np.sqrt(np.maximum(mean**2 - product, 0))
        contact = self.contact[:, 0]
        perimeter = np.maximum(free + contact, 1)
        inside = _mean_on(self.inner)
        outside = _mean_on(self.contact)
        columns = [
            np.log(area * microns_per_pixel**2),
            area / (4 * np.pi * np.sqrt(product)),
            np.sqrt(np.maximum(mean - spread, 0.01) / (mean + spread)),
            (free + contact) / np.sqrt(area) / 4,
            probability / area,
            distance / area,
            self.middle,
            self.summit,
            self.inner[:, 0] / np.sqrt(area),
            inside,
            (self.middle - inside) * (self.inner[:, 0] > 0),
            self.step,
            contact / perimeter,
            outside,
            (self.middle - outside) * (contact > 0),
            image_border / (perimeter + image_border),
        ]
        return np.stack(columns, axis=1).astype(np.float32)


@dataclass(frozen=True)
class Borders:
    """The borders between regions that touch, M of them.

    Attributes:
        first, second: int (M,), places of the two regions.
        length: (M,), edges of pixels.
        distance: (M,), sum of the relative distance over them, the smaller one of the two pixels.
        saddle: (M,), highest value of the relief on it.
    """

    first: np.ndarray
    second: np.ndarray
    length: np.ndarray
    distance: np.ndarray
    saddle: np.ndarray


def measure_fragments(
    labels: np.ndarray, probability: np.ndarray, distance: np.ndarray, relief: np.ndarray
) -> tuple[Regions, Borders]:
    """Measure fragments and the borders between them.

    Args:
        labels: int32 (height, width), 0 = background, fragments 1..N, of which 1 is at place 0.
        probability, distance, relief: float (height, width).
    """
    count = labels.max()
    free, contact = np.zeros(count + 1), np.zeros((count, 2))
    found = []
    for axis in (1, 0):
        here, there = _edges(labels, axis)
        first, second = labels.ravel()[here], labels.ravel()[there]
        free += np.bincount(first[second == 0], minlength=count + 1)
        free += np.bincount(second[first == 0], minlength=count + 1)
        both = (first > 0) & (second > 0)
        found.append((first[both], second[both], here[both], there[both]))
    borders = _between(*map(np.concatenate, zip(*found, strict=True)), distance, relief)
    sides = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    along = np.stack([free, np.bincount(sides, minlength=count + 1)], axis=1)[1:]
    for place in (borders.first, borders.second):
        for column, values in enumerate((borders.length, borders.distance)):
            contact[:, column] += np.bincount(place, values, count)
    sums, summit, middle = _over_pixels(labels, probability, distance, relief)
    sums = np.concatenate([sums, along], axis=1)
    return Regions(sums, summit, middle, contact, np.zeros((count, 2)), np.zeros(count)), borders


def _over_pixels(labels, probability, distance, relief):
    """Return the sums over the pixels of each fragment and the greatest values in it."""
    places = np.flatnonzero(labels)
    numbers = labels.ravel()[places]
    if numbers.max() < 2**16:
        numbers = numbers.astype(np.uint16)  # which NumPy sorts many times faster
    order = np.argsort(numbers, kind="stable")
    begins = np.flatnonzero(np.diff(numbers[order], prepend=0))
    places = places[order]
    y, x = np.divmod(places, labels.shape[1])
    x, y = x.astype(float), y.astype(float)
    seen, far, height = (values.ravel()[places] for values in (probability, distance, relief))
    columns = np.ones(len(x)), x, y, x * x, y * y, x * y, seen, far
    sums = [np.add.reduceat(values, begins, dtype=float) for values in columns]
    return np.stack(sums, axis=1), *(np.maximum.reduceat(v, begins) for v in (height, far))


def _edges(labels: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels whose label is not that of the next one along an axis, and these.

    Both as places in the flattened map.
    """
    flat, width = labels.ravel(), labels.shape[1]
    step = 1 if axis else width
    unlike = flat[:-step] != flat[step:]
    if axis:
        unlike[width - 1 :: width] = False  # the next row is no neighbour
    here = np.flatnonzero(unlike)
    return here, here + step


def _between(first, second, here, there, distance, relief) -> Borders:
    """Put the edges between two fragments together.

    Args:
        first, second: label on both sides of each edge.
        here, there: the pixels on both sides.
        distance, relief: (height, width).
    """
    distance, relief = (
        np.minimum(values.ravel()[here], values.ravel()[there]) for values in (distance, relief)
    )
    low, high = np.minimum(first, second).astype(np.int64), np.maximum(first, second)
    numbers = high.max(initial=0) + 1
    pairs, which = np.unique(low * numbers + high, return_inverse=True)
    saddle = np.full(len(pairs), -np.inf)
    np.maximum.at(saddle, which, relief)
    length = np.bincount(which, minlength=len(pairs))
    distances = np.bincount(which, distance, len(pairs))
    return Borders(pairs // numbers - 1, pairs % numbers - 1, length, distances, saddle)


def _mean_on(border: np.ndarray) -> np.ndarray:
    """Return the mean relative distance on borders, 0 where there is none."""
    length, distance = border.T
    return distance / np.maximum(length, 1)
