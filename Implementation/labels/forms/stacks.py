"""PanNuke's layout: `images.npy` and `masks.npy`, which hold all images and all masks of a fold."""

from pathlib import Path

import numpy as np

from images.errors import ImageReadError
from labels.label_map import Labels, check_size
from labels.masks import labels_of

IMAGES, MASKS = "images.npy", "masks.npy"


def stack_length(images: Path, masks: Path) -> int:
    """Return how many images a stack holds.

    Raises:
        ValueError: images that are not RGB, or as many masks.
    """
    pixels, labels = _opened(images), _opened(masks)
    if pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise ValueError(f"{images}: expected (n, height, width, 3), found {pixels.shape}")
    if labels.ndim not in (3, 4) or labels.shape[:3] != pixels.shape[:3]:
        raise ValueError(f"{masks}: found {labels.shape}, which does not fit {pixels.shape} images")
    return len(pixels)


def image_of_stack(path: Path, index: int) -> np.ndarray:
    """Return one image, uint8 RGB (height, width, 3); PanNuke stores 0..255 as floats.

    Raises:
        ImageReadError: fractions of at most 1, which would be black.
    """
    pixels = _opened(path)[index]
    if pixels.max() <= 1 and (pixels % 1).any():
        raise ImageReadError(
            f"{path}: expected values of 0 to 255, found fractions up to {pixels.max():.3g}; "
            "multiply the stack by 255"
        )
    return pixels if pixels.dtype == np.uint8 else np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def labels_of_stack(path: Path, index: int, shape: tuple[int, int], masks: str) -> Labels:
    """Read one mask: a plane, or a plane of numbered nuclei per class with the background last.

    Args:
        path: the stack.
        index: which image.
        shape: its (height, width).
        masks: of planes, see `labels_of`.
    """
    planes = np.asarray(_opened(path)[index])
    check_size(planes.shape, shape)
    if planes.ndim == 2 or planes.shape[-1] == 1:
        return labels_of(planes.reshape(shape), masks)
    labels, count = np.zeros(shape, np.int32), 0
    for plane in np.moveaxis(planes[..., :-1], -1, 0):
        found, numbers = np.unique(plane, return_inverse=True)
        numbers = numbers.reshape(shape) + (0 if found[0] == 0 else 1)
        labels = np.where((numbers > 0) & (labels == 0), numbers + count, labels)
        count += int(numbers.max())
    return Labels(labels.astype(np.int32), True, "label maps of several classes (PanNuke)")


def _opened(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: truncated or not an array of numbers ({error})") from None
