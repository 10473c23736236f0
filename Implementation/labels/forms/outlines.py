"""Polygons to label maps, in the coordinates of QuPath, ImageScope, ImageJ and COCO.

All of them count from the outer corner of the first pixel: its centre lies at (0.5, 0.5).
"""

import numpy as np
from skimage.draw import polygon

ENCLOSED = 3  # a nucleus does not hold the middle of so many others
# Rings of (x, y), float (n, 2): a pixel is inside where it is inside an odd number of them, so
# that rings in a ring are holes.
Polygon = list[np.ndarray]
Piece = tuple[tuple[slice, slice], np.ndarray]  # a window of the image and its pixels, a bool mask


def label_map(outlines: list[list[Polygon]], shape: tuple[int, int]) -> tuple[np.ndarray, str]:
    """Draw outlines into a label map, numbered 1, 2, ... in their order.

    A pixel belongs to an outline if its centre does. Where outlines overlap the smaller is seen.

    Args:
        outlines: for each nucleus its polygons.
        shape: (height, width) of the image.

    Returns:
        (int32 label map, what has to be said about it or "").

    Raises:
        ValueError: most outlines lie outside the image, or one encloses others.
    """
    return stacked([covered(outline, shape) for outline in outlines], shape)


def stacked(drawn: list[Piece | None], shape: tuple[int, int]) -> tuple[np.ndarray, str]:
    """Lay the pixels of outlines over each other, as `label_map` does; see there."""
    outside = sum(piece is None for piece in drawn)
    if outside > len(drawn) / 2:
        raise ValueError(
            f"{outside} of {len(drawn)} outlines lie outside the image of {shape[1]}x{shape[0]} "
            "pixels: they belong to another image or another magnification of it"
        )
    _refuse_enclosing(drawn)
    labels = np.zeros(shape, np.int32)
    sizes = [0 if piece is None else np.count_nonzero(piece[1]) for piece in drawn]
    for index in np.argsort(sizes, kind="stable")[::-1]:
        if sizes[index]:
            window, mask = drawn[index]
            labels[window][mask] = index + 1
    unseen = len(drawn) - outside - np.count_nonzero(np.bincount(labels.ravel())[1:])
    notes = [f"{outside} outside the image" if outside else ""]
    notes.append(f"{unseen} without a pixel of their own" if unseen else "")
    return labels, ", ".join(filter(None, notes))


def covered(outline: list[Polygon], shape: tuple[int, int]) -> Piece | None:
    """Return the pixels inside an outline, None where it is off the image."""
    rings = [np.asarray(ring, float) for polygons in outline for ring in polygons]
    if not rings or any(ring.ndim != 2 or ring.shape[1:] != (2,) for ring in rings):
        raise ValueError("expected outlines of x and y, found other numbers")
    points = np.concatenate(rings)
    if not np.isfinite(points).all():
        raise ValueError("an outline has a coordinate that is no number")
    height, width = shape
    left, top = np.clip(np.floor(points.min(axis=0)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(points.max(axis=0)), 0, (width, height)).astype(int)
    if left >= right or top >= bottom:
        return None
    size = bottom - top, right - left
    mask = np.zeros(size, bool)
    for polygons in outline:
        inside = np.zeros(size, bool)
        for ring in polygons:
            x, y = np.asarray(ring, float).T - 0.5
            inside[polygon(y - top, x - left, size)] ^= True
        mask |= inside
    return np.s_[top:bottom, left:right], mask


def united(outlines: list[list[Polygon]], shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels inside any of the outlines, bool (height, width)."""
    inside = np.zeros(shape, bool)
    for outline in outlines:
        piece = covered(outline, shape)
        if piece is not None:
            window, mask = piece
            inside[window] |= mask
    return inside


def _refuse_enclosing(drawn: list[Piece | None]):
    """Raise ValueError for an outline around other nuclei: an area, not a nucleus."""
    pieces = [piece for piece in drawn if piece is not None and piece[1].any()]
    if len(pieces) <= ENCLOSED:
        return
    middles = np.array(
        [
            [
                side.start + (part.argmax() + len(part) - part[::-1].argmax() - 1) // 2
                for side, part in zip(window, (mask.any(axis=1), mask.any(axis=0)), strict=True)
            ]
            for window, mask in pieces
        ]
    )
    areas = np.array([mask.sum() for _, mask in pieces])
    for index in np.flatnonzero(areas > 2 * np.median(areas)):
        window, mask = pieces[index]
        place = middles - [side.start for side in window]
        place = place[((place >= 0) & (place < mask.shape)).all(axis=1)]
        if np.count_nonzero(mask[tuple(place.T)]) > ENCLOSED:
            x, y = window[1].start, window[0].start
            raise ValueError(
                f"the outline that begins at x={x}, y={y} encloses other nuclei; delete it or, if "
                "it marks the labelled area in QuPath, give it the class Region"
            )
