"""Annotations of Aperio ImageScope (.xml), the form of MoNuSeg."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from labels.forms.outlines import label_map, united
from labels.label_map import Labels

FREEHAND, RECTANGLE, ELLIPSE = "0", "1", "2"  # Type of a region; others are arrows and rulers


def labels_of_imagescope(path: Path, shape: tuple[int, int]) -> Labels:
    """Read every region of every layer as a nucleus; negative regions are cut out.

    Args:
        path: the file.
        shape: (height, width) of the image, to whose full resolution the coordinates belong.

    Raises:
        ValueError: it is not XML of ImageScope, or holds no region.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"truncated or not XML ({error}); export it again") from None
    if root.tag != "Annotations":
        raise ValueError(f"expected ImageScope's Annotations, found XML of {root.tag}")
    outlines, negative = [], []
    for region in root.iter("Region"):
        ring = _ring(region)
        if ring is not None:
            (negative if region.get("NegativeROA") == "1" else outlines).append(ring)
    if not outlines:
        raise ValueError("no regions; draw the nuclei in ImageScope, or remove the file")
    # A negative region is a hole of whatever it lies in; elsewhere it would be an island.
    drawn, remark = label_map([[[ring]] for ring in outlines], shape)
    drawn[united([[[ring]] for ring in negative], shape)] = 0
    return Labels(drawn, True, ", ".join(filter(None, ["outlines (ImageScope)", remark])))


def _ring(region: ElementTree.Element) -> np.ndarray | None:
    """Return the (x, y) of a region; None for arrows, rulers and what has no area."""
    kind = region.get("Type", FREEHAND)
    points = [(vertex.get("X"), vertex.get("Y")) for vertex in region.iter("Vertex")]
    try:
        ring = np.array([(float(x), float(y)) for x, y in points]).reshape(-1, 2)
    except (TypeError, ValueError):
        raise ValueError(f"region {region.get('Id', '?')}: a vertex without X and Y") from None
    if kind == ELLIPSE and len(ring) >= 2:  # stored as the corners of its box
        low, high = ring.min(axis=0), ring.max(axis=0)
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        around = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return (low + high) / 2 + around * (high - low) / 2
    if kind == RECTANGLE and len(ring) == 2:
        (x0, y0), (x1, y1) = ring
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    return ring if kind in (FREEHAND, RECTANGLE) and len(ring) >= 3 else None
