"""Is an image file a mask or label map? By its content: names deceive."""

from pathlib import Path

import numpy as np

from images.errors import ImageReadError
from images.opening import open_image

LARGEST = 25_000_000  # pixels; no mask beside training images is larger
FEW_VALUES = 8  # colours that a mask of classes has at most
NEARLY = 24  # grey levels around black and white; JPEG smears a mask by so much
ALMOST_ALL = 0.97  # of the pixels
CONSTANT = 0.6  # share of an area's pixels that equal their two neighbours; in pictures below 0.3


def without_masks(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Part a list of files into (images, masks and label maps)."""
    masks = [path for path in paths if is_mask(path)]
    return [path for path in paths if path not in masks], masks


def is_mask(path: Path) -> bool:
    """Whether a file holds a binary mask, classes or labels instead of a picture.

    It has but a few colours, is nearly only black and white, or consists of areas of one colour
    each. A file that cannot be read, or that is of one colour only, counts as a picture.
    """
    try:
        with open_image(path) as image:
            if image.width * image.height > LARGEST:
                return False
            pixels = image.read(0, 0, image.width, image.height).astype(np.uint32)
    except ImageReadError:
        return False
    colours = (pixels[..., 0] << 16) + (pixels[..., 1] << 8) + pixels[..., 2]
    if not np.any(pixels != pixels[..., :1]):
        counts = np.bincount(pixels[..., 0].ravel(), minlength=256)
        if 1 < np.count_nonzero(counts) <= FEW_VALUES:
            return True
        extremes = counts[:NEARLY].sum(), counts[-NEARLY:].sum()
        if min(extremes) and sum(extremes) > ALMOST_ALL * colours.size:
            return True
    return _areas_of_one_colour(colours)


def _areas_of_one_colour(colours: np.ndarray) -> bool:
    """Whether all but the background, the most frequent colour, consists of even areas."""
    found, counts = np.unique(colours.ravel()[:: max(1, colours.size // 10**5)], return_counts=True)
    middle = colours[:, 1:-1]
    objects = middle != found[np.argmax(counts)]
    alike = (middle == colours[:, :-2]) & (middle == colours[:, 2:]) & objects
    return bool(np.count_nonzero(alike) > CONSTANT * max(1, np.count_nonzero(objects)))
