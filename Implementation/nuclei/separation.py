"""Network maps -> separated nuclei: the marker-controlled watershed."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from tiles.geometry import Window, expanded, grid

BLOCK = 256  # side of the blocks in which a reconstruction is iterated
DILATIONS = 4  # between two looks at whether it is finished


@dataclass(frozen=True)
class Separation:
    """How maps become nuclei; lengths and areas in micrometres.

    Where the pixel size is unknown, the U-net's own training pixel size stands in: it is the size
    at which nuclei look right to it.

    Attributes:
        probability: a pixel is nucleus above this probability.
        rise: a summit of the relief that rises by more than this above its saddles is a nucleus
            of its own; less separates more, see `summits`.
        smoothing: sigma of the Gaussian on the relief.
        depth_scale: distance to the outline that adds as much to the relief as a predicted
            relative distance of 1.
        middle: predicted relative distance that a nucleus reaches somewhere; a dark patch of
            cytoplasm or stroma has no middle and is dropped.
        smallest_nucleus: smaller objects are dropped.
        largest_hole: smaller holes are filled.
    """

    probability: float = 0.55
    rise: float = 0.1
    smoothing: float = 0.625
    depth_scale: float = 5.0
    middle: float = 0.45
    smallest_nucleus: float = 4.0
    largest_hole: float = 10.0


def separate(
    probability: np.ndarray,
    distance: np.ndarray,
    microns_per_pixel: float,
    separation: Separation = Separation(),
) -> np.ndarray:
    """Turn the U-net's maps into a label map by marker-controlled watershed.

    The relief is the predicted relative distance to the border, which is high in the middle of
    each nucleus whatever its size, plus the distance transform of the mask, which knows necks in
    the outline. Seeds are its `summits`; without a minimal rise every bump of an outline would make
    one. Objects that are too small, or whose predicted distance has no middle, are dropped.

    Args:
        probability: (height, width) in 0..1.
        distance: (height, width) in 0..1, relative distance to the nucleus' border.
        microns_per_pixel: size of a pixel.
        separation: thresholds.

    Returns:
        int32 (height, width), 0 = background, labels 1..N in reading order of their seeds.
    """
    pixel_area = microns_per_pixel**2
    nuclei = probability > separation.probability
    nuclei = without_holes(nuclei, separation.largest_hole / pixel_area)
    depth = cv2.distanceTransform(nuclei.astype(np.uint8), cv2.DIST_L2, 5)
    relief = distance + depth * (microns_per_pixel / separation.depth_scale)
    relief = cv2.GaussianBlur(
        relief.astype(np.float32), (0, 0), separation.smoothing / microns_per_pixel
    )
    seeds = summits(relief, separation.rise) & nuclei
    components, count = ndimage.label(nuclei)
    seeded = np.zeros(count + 1, bool)
    seeded[components[seeds]] = True
    seeded[0] = True  # background needs no seed
    markers, _ = ndimage.label(seeds | ~seeded[components])
    labels = _watershed(relief, markers, components)
    kept = np.bincount(labels.ravel()) >= separation.smallest_nucleus / pixel_area
    middles = labels[distance >= separation.middle]
    kept &= np.bincount(middles, minlength=len(kept)) > 0
    return renumbered(labels, kept)


def summits(relief: np.ndarray, rise: float) -> np.ndarray:
    """Find the summits of a relief, with the ground around them.

    A pixel belongs to a summit unless ground that is higher by `rise` or more can be reached from
    it without going down by more than `rise`, or it is itself no higher than `rise`. So a summit
    that rises by more than `rise` above the saddles towards higher ground stands alone. One that
    rises by less is joined to the higher one or lost beside it, unless the two differ by less than
    `rise` and the higher one rises by as much above the saddle: then both stand.

    These are the domes of the h-maxima transform (Soille 2003, section 6.3.3) of height 2 `rise`,
    above half their height: whole domes of height `rise` would reach down to the saddles.

    Args:
        relief: float32 (height, width), nowhere below 0.
        rise: in the relief's unit.

    Returns:
        bool (height, width).
    """
    # Never below 0: the relief is not, and so a faint nucleus does not depend on what is far off.
    lower = np.maximum(relief - np.float32(2 * rise), 0)
    return relief - _reconstructed(lower, relief) > rise


def _reconstructed(marker: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Morphological reconstruction of float32 `marker` by dilation under `mask`.

    As skimage.morphology.reconstruction, which sorts all pixels by value; here the marker is
    dilated under the mask until nothing changes any more, block by block, because a block stays in
    the processor's cache.
    """
    marker, extent = marker.copy(), Window(0, 0, *marker.shape[::-1])
    blocks = [expanded(block, 1, extent) for block in grid(extent.width, extent.height, BLOCK)]
    blocks = [np.s_[b.y : b.y + b.height, b.x : b.x + b.width] for b in blocks]
    changed = True
    while changed:
        changed = sum(_spread(marker[block], mask[block]) for block in blocks)
        blocks.reverse()
    return marker


def _spread(marker: np.ndarray, mask: np.ndarray) -> bool:
    """Dilate a marker in place until it fills what it reaches; tell whether it changed."""
    current, before, kernel = marker, None, np.ones((3, 3), np.uint8)
    while before is None or cv2.norm(current, before, cv2.NORM_INF) > 0:
        before = current
        for _ in range(DILATIONS):
            current = cv2.min(cv2.dilate(current, kernel), mask)
    changed = cv2.norm(current, marker, cv2.NORM_INF) > 0
    marker[:] = current
    return changed


def _watershed(relief: np.ndarray, markers: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Flood the relief from its markers, component by component; one with one marker is all its."""
    marked = markers > 0
    component_of = np.zeros(markers.max() + 1, np.int64)
    component_of[markers[marked]] = components[marked]
    marker_of = np.zeros(components.max() + 1, np.int32)
    marker_of[component_of] = np.arange(len(component_of))
    labels = marker_of[components]
    boxes = ndimage.find_objects(components)
    for component in np.flatnonzero(np.bincount(component_of[1:]) > 1):
        box = boxes[component - 1]
        mask = components[box] == component
        labels[box][mask] = watershed(-relief[box], markers[box] * mask, mask=mask)[mask]
    return labels


def without_holes(mask: np.ndarray, largest: float) -> np.ndarray:
    """Fill the holes of a boolean mask that have fewer pixels than `largest`.

    Background that the border cuts off is no hole, however small the part that is seen.
    """
    _, parts, boxes, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    left, top, width, height, area = boxes.T
    inside = (
        (left > 0) & (top > 0) & (left + width < mask.shape[1]) & (top + height < mask.shape[0])
    )
    holes = inside & (area < largest)
    holes[0] = False  # the mask itself
    return mask | holes[parts]


def renumbered(labels: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Drop labels that are not kept and number the others anew, in their order.

    Args:
        labels: int (height, width), 0 = background, labels 1..N.
        kept: bool (N + 1,), by label; that of the background does not count.

    Returns:
        int32 (height, width).
    """
    kept = np.append(False, kept[1:])
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[labels]
