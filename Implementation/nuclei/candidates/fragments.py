"""The mask of nuclei cut into fragments, of which each holds a nucleus at the most.

A nucleus may well be in several fragments; `nuclei.separation` puts them together.
"""

import cv2
import numpy as np
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import watershed

SLOPE = 0.02  # by which ground counts as lower per um from the nearest seed
SMOOTHING = 0.3  # um; sigma of the Gaussian on the relief
DEPTH_SCALE = 5.0  # um to the outline that add as much to the relief as a relative distance of 1


def find_fragments(
    mask: np.ndarray, distance: np.ndarray, microns_per_pixel: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a mask of nuclei into fragments by marker-controlled watershed.

    The relief is the predicted relative distance to the border, which is high in the middle of
    each nucleus whatever its size, plus the distance transform of the mask, which knows necks in
    the outline. Each of its summits makes a fragment: nuclei are rather cut than left together.

    Args:
        mask: bool (height, width).
        distance: (height, width) in 0..1, relative distance to the nucleus' border.
        microns_per_pixel: size of a pixel.

    Returns:
        int32 (height, width), 0 = background, each fragment connected over edges; and the relief,
        float32 (height, width).
    """
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    depth = np.minimum(depth, max(mask.shape))  # without any outline OpenCV's is infinite
    relief = distance + depth * (microns_per_pixel / DEPTH_SCALE)
    relief = cv2.GaussianBlur(relief.astype(np.float32), (0, 0), SMOOTHING / microns_per_pixel)
    summits = (relief >= cv2.dilate(relief, np.ones((3, 3), np.uint8))) & mask
    components, count = ndimage.label(mask)
    seeded = np.zeros(count + 1, bool)
    seeded[components[summits]] = True
    seeded[0] = True  # background needs no seed
    markers, _ = ndimage.label(summits | ~seeded[components])
    return _watershed(relief, markers, components, SLOPE * microns_per_pixel), relief


def _watershed(
    relief: np.ndarray, markers: np.ndarray, components: np.ndarray, slope: float
) -> np.ndarray:
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
        labels[box][mask] = _flooded(relief[box], markers[box] * mask, mask, slope)[mask]
    return labels


def _flooded(relief: np.ndarray, markers: np.ndarray, mask: np.ndarray, slope: float) -> np.ndarray:
    """Flood one component, so that each label is connected over edges.

    The flood spreads over edges and corners. Over edges alone it follows rows and columns, and one
    border in four between touching nuclei was a straight line along an axis.
    """
    distance = cv2.distanceTransform((markers == 0).astype(np.uint8), cv2.DIST_L2, 5)
    ground = slope * distance - relief
    labels = watershed(ground, markers, mask=mask, connectivity=2)
    parts = label(labels, connectivity=1)
    seeded = np.zeros(parts.max() + 1, bool)
    seeded[parts[markers > 0]] = True
    cut_off = mask & ~seeded[parts]
    if cut_off.any():
        labels = watershed(ground, np.where(cut_off, 0, labels), mask=mask)
    return labels
