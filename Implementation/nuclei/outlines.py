"""The outlines of all nuclei of a label map: their rings, perimeters and convex hulls."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

STRAIGHT = 4  # pixel edges over which an outline may pass for straight
THINNING = 0.2  # pixels; see `thinned`

# The eight neighbours (x, y) of a pixel, counter-clockwise from the right one.
NEIGHBOURS = np.array([(1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1)])
DIRECTION = np.zeros(9, int)  # number of a neighbour by 3 x + y + 4
DIRECTION[NEIGHBOURS @ (3, 1) + 4] = np.arange(8)


@dataclass(frozen=True)
class Rings:
    """Closed lines, one after the other.

    Attributes:
        points: (P, 2), (x, y) in the order of a walk along each ring.
        lengths: int (N,), how many points each ring has; at least one.
    """

    points: np.ndarray
    lengths: np.ndarray

    def __iter__(self):
        """Go through the rings: (n, 2) each."""
        return iter(
            np.split(self.points, np.cumsum(self.lengths)[:-1]) if len(self.lengths) else []
        )

    def each(self, values: np.ndarray) -> np.ndarray:
        """Repeat one value per ring for each of its points."""
        return np.repeat(values, self.lengths)

    def ahead(self, by) -> np.ndarray:
        """Return the index of the point `by` points further along the ring, for each point."""
        first = self.each(np.cumsum(self.lengths) - self.lengths)
        place = np.arange(len(self.points)) - first
        return first + (place + by) % self.each(self.lengths)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Add up one value per point over each ring: float64 (N,)."""
        ring = self.each(np.arange(len(self.lengths)))
        return np.bincount(ring, values, len(self.lengths))


@dataclass(frozen=True)
class Outlines:
    """The outlines of the nuclei of a label map.

    Attributes:
        labels: int (N,), the labels that the map holds, ascending.
        boxes: int (N, 4), first row and column, row and column after the last, of each nucleus.
        rings: around the largest connected part of each nucleus, holes ignored, in pixels from the
            centre of the first pixel of its box; points lie midway between a pixel of the nucleus
            and its neighbour outside.
        convex_area: (N,), pixels whose centres lie in the convex hull of the nucleus with all its
            parts, as regionprops counts them.
        feret: (2, N), largest and smallest distance of two parallel lines that hold this hull
            between them, in pixels.
    """

    labels: np.ndarray
    boxes: np.ndarray
    rings: Rings
    convex_area: np.ndarray
    feret: np.ndarray


def find_outlines(labels: np.ndarray) -> Outlines:
    """Walk around each nucleus of a label map, int (height, width), 0 = background."""
    numbers, boxes, walks, hulls = [], [], [], []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        mask = (labels[box] == number).view(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        numbers.append(number)
        boxes.append((box[0].start, box[1].start, box[0].stop, box[1].stop))
        hulls.append(_hull(np.concatenate(contours)))
        walks.append(contours[0][:, 0] if len(contours) == 1 else _walk(_largest_part(mask)))
    hulls = _rings(hulls)
    return Outlines(
        np.array(numbers, int),
        np.array(boxes, int).reshape(-1, 4),
        _border(_rings(walks)),
        _pixels_within(hulls),
        feret_diameters(hulls) / 2,  # hulls are in half pixels
    )


def outline(label_mask: np.ndarray, x_offset: float, y_offset: float) -> np.ndarray:
    """Outline of one nucleus as open ring of (x, y), float32 (n, 2), in pixels of the label map.

    Args:
        label_mask: (height, width), nonzero on the nucleus; only its largest connected part is
            used and holes are ignored.
        x_offset, y_offset: place of the mask's first pixel in the label map. Coordinates count
            from the outer corner of pixel (0, 0), as QuPath's do.

    Raises:
        ValueError: the mask is empty.
    """
    walk = _walk(_largest_part((np.asarray(label_mask) != 0).astype(np.uint8)))
    return thinned(_border(_rings([walk])).points, x_offset, y_offset)


def thinned(ring: np.ndarray, x_offset: float, y_offset: float) -> np.ndarray:
    """Return a ring of `Outlines` as `outline` gives it.

    It runs midway between the pixel centres inside and outside the nucleus and is thinned so
    little that rasterising it gives the mask back.
    """
    # Marching squares keeps 0.35 px from every pixel centre. approxPolyDP moves the outline by at
    # most 1.71 times its tolerance (its last pass adds the 0.71), which must stay below that.
    ring = cv2.approxPolyDP(ring.astype(np.float32)[:, np.newaxis], THINNING, True)[:, 0]
    # The other way round, as GeoJSON wants it, and counted from the corner of a pixel.
    return ring[::-1] + np.float32([x_offset, y_offset]) + np.float32(0.5)


def perimeters(rings: Rings) -> np.ndarray:
    """Estimate the perimeters of digitised shapes from the rings of `Outlines`: (N,) in pixels.

    A ring has one point per pixel edge, and joining them follows every stair. Each edge therefore
    gets its share of a chord. The chord over three edges rounds corners off. That over four edges
    which begin, end or are centred there, whichever run is straightest, keeps corners but follows
    some stairs (Kuwahara's filter chooses its neighbourhood likewise). The mean of both is taken.

    Mean errors of shapes drawn at random places: discs and ellipses (3:5) from 8 px on within
    1.5 %, whatever their angle; squares -4 % at 8 px, -2 % at 12, -1 % at 20 and 0 from 30 on over
    all angles, at the worst single angle -3 % at 20 and -2 % at 40. Below, corners are lost:
    discs are 4 % short at 4 px, squares 11 %. One disc differs from another of its size by 1.3 % at
    8 px and by .5 % from 16 px on.
    """
    points = rings.points
    edges = rings.each(np.clip(rings.lengths // 4, 1, STRAIGHT))  # fewer around a few pixels
    calm = (points[rings.ahead(-1)] + 2 * points + points[rings.ahead(1)]) / 4
    steps = _distances(calm, rings.ahead(1))
    walked = sum(steps[rings.ahead(i)] * (edges > i) for i in range(STRAIGHT))
    straightness = _distances(calm, rings.ahead(edges)) / walked
    chords = _distances(points, rings.ahead(edges)) / edges
    begins = np.stack([rings.ahead(-back) for back in (0 * edges, edges - 1, edges // 2)])
    straightest = straightness[begins].argmax(axis=0)
    long = chords[np.take_along_axis(begins, straightest[np.newaxis], axis=0)[0]]
    fewer = np.maximum(edges - 1, 1)
    short = _distances(points, rings.ahead(fewer)) / fewer
    return rings.sums(long + short) / 2


def feret_diameters(hulls: Rings) -> np.ndarray:
    """Return the largest and the smallest Feret diameter of convex rings: (2, N).

    The largest is the longest distance of two corners. The smallest is the least, over all sides,
    of the distance of the farthest corner from the line of the side (Houle and Toussaint 1988).
    """
    if not len(hulls.lengths):
        return np.zeros((2, 0))
    points, partners = hulls.points, hulls.each(hulls.lengths)
    here = np.repeat(np.arange(len(points)), partners)  # each corner with all of its ring
    group = np.cumsum(partners) - partners
    first = hulls.each(np.cumsum(hulls.lengths) - hulls.lengths)
    there = first[here] + np.arange(len(here)) - group[here]
    ring = np.cumsum(hulls.lengths) - hulls.lengths
    apart = points[there] - points[here]
    largest = np.maximum.reduceat(np.hypot(*apart.T), group[ring])
    side = points[hulls.ahead(1)] - points
    side = side / np.hypot(*side.T)[:, np.newaxis]
    from_line = np.abs(side[here, 0] * apart[:, 1] - side[here, 1] * apart[:, 0])
    return np.stack([largest, np.minimum.reduceat(np.maximum.reduceat(from_line, group), ring)])


def _distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the distance of each point to the one whose index is given."""
    return np.hypot(*(points[others] - points).T)


def _rings(parts: list[np.ndarray]) -> Rings:
    """Join rings of (n, 2) each."""
    points = np.concatenate([np.zeros((0, 2)), *parts])
    return Rings(points, np.array([len(part) for part in parts], int))


def _largest_part(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected part of a uint8 mask."""
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count == 1:
        raise ValueError("a nucleus needs at least one pixel, found an empty mask")
    return (parts == 1 + np.argmax(statistics[1:, cv2.CC_STAT_AREA])).astype(np.uint8)


def _walk(part: np.ndarray) -> np.ndarray:
    """Return the pixels (x, y) along the border of one connected part, in order."""
    contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return contours[0][:, 0]


def _border(walks: Rings) -> Rings:
    """Turn walks along border pixels into points midway between these and those outside.

    They are the points of marching squares, in the order in which the walk passes them;
    scikit-image's find_contours gives the same rings at several times the cost.
    """
    moves = (walks.points[walks.ahead(1)] - walks.points).astype(int)
    leaving = DIRECTION[moves @ (3, 1) + 4]
    # From the neighbour it came from the walk turns counter-clockwise, over those outside.
    begin = leaving[walks.ahead(-1)] + 5
    outside = np.where(walks.each(walks.lengths) > 1, (leaving - begin) % 8, 8)
    turns = begin[:, np.newaxis] + np.arange(8)
    at, turn = np.nonzero((np.arange(8) < outside[:, np.newaxis]) & (turns % 2 == 0))
    ring = walks.each(np.arange(len(walks.lengths)))[at]
    points = walks.points[at] + NEIGHBOURS[turns[at, turn] % 8] / 2
    return Rings(points, np.bincount(ring, minlength=len(walks.lengths)))


def _hull(pixels: np.ndarray) -> np.ndarray:
    """Return the convex hull of the edge midpoints of pixels (n, 1, 2), int (m, 2), in half pixels.

    Only pixels on the hull of the pixel centres have an edge on it.
    """
    corners = cv2.convexHull(pixels)
    return cv2.convexHull((2 * corners + NEIGHBOURS[::2]).reshape(-1, 1, 2))[:, 0]


def _pixels_within(hulls: Rings) -> np.ndarray:
    """Count the pixel centres inside or on hulls of edge midpoints, given in half pixels.

    Pick's theorem for this lattice: area + half the centres on the border + 1/2.
    """
    here, there = hulls.points.astype(int), hulls.points[hulls.ahead(1)].astype(int)
    area = np.abs(hulls.sums(here[:, 0] * there[:, 1] - here[:, 1] * there[:, 0])) / 8
    steps = np.gcd(*(there - here).T)  # between neighbouring half pixels on a side
    # One coordinate of a midpoint is odd; centres, where both are even, are every other step
    # from there if that changes this coordinate by an odd number and the other by an even one.
    meets = ((there - here) // steps[:, np.newaxis] % 2 == here % 2).all(axis=1) & (steps % 2 == 0)
    return area + hulls.sums(steps * meets) / 4 + 0.5
