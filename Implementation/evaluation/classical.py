"""Nuclei found without any network: what does super-resolution bring to a method it never saw?"""

import numpy as np
from scipy import ndimage
from skimage.color import rgb2hed
from skimage.filters import gaussian, threshold_otsu
from skimage.morphology import disk

from evaluation.scores import separate_by_distance_transform
from nuclei.separation import Separation

SMOOTHING = 0.25  # um; sigma of the blur of the hematoxylin
THINNEST = 0.75  # um; radius of the opening
SMALLEST = 5.0  # um2


def classical_nuclei(image: np.ndarray, microns: float) -> np.ndarray:
    """Label nuclei: hematoxylin (Ruifrok & Johnston 2001), Otsu's threshold, a watershed.

    Args:
        image: uint8 RGB.
        microns: um per pixel.

    Returns:
        int32 label map; empty if all pixels are alike.
    """
    hematoxylin = gaussian(rgb2hed(image)[..., 0], SMOOTHING / microns)
    if np.ptp(hematoxylin) == 0:
        return np.zeros(image.shape[:2], np.int32)
    mask = hematoxylin > threshold_otsu(hematoxylin)
    mask = ndimage.binary_opening(mask, disk(round(THINNEST / microns)))
    parts, _ = ndimage.label(ndimage.binary_fill_holes(mask))
    large = np.bincount(parts.ravel()) * microns**2 >= SMALLEST
    large[0] = False  # the background
    mask = large[parts]
    return separate_by_distance_transform(mask.astype(float), None, microns, Separation())
