"""Images and labels of another pixel size than the U-net's, brought to it."""

import cv2
import numpy as np

from labels.label_map import Labels

TOLERANCE = 0.1  # sizes that differ by less are taken as equal
LARGEST_RATIO = 4.0  # a size further off is a printer's resolution or a mistake


def pixel_size(given: float | None, stated: float | None) -> tuple[float | None, str]:
    """Choose between what the user gives, which counts, and what the file states.

    Returns:
        (um per pixel or None, a remark where they differ by more than 5 % or "").
    """
    if given and stated and abs(given / stated - 1) > 0.05:
        return (
            given,
            f"read at {given:.4g} um per pixel as given, though the file says {stated:.4g}",
        )
    return given or stated, ""


def ratio_of(microns: float | None, target: float) -> float:
    """Return how many pixels of the target size fit along one of the image; 1 if it is unknown.

    Raises:
        ValueError: the sizes differ by more than a factor of 4.
    """
    ratio = (microns or target) / target
    if not 1 / LARGEST_RATIO <= ratio <= LARGEST_RATIO:
        raise ValueError(
            f"{microns:.4g} um per pixel, more than {LARGEST_RATIO:g} times off the U-net's "
            f"{target:g}; if that is not its size, give it with MICRONS_PER_PIXEL"
        )
    return ratio


def at_pixel_size(image: np.ndarray, labels: Labels, microns: float | None, target: float):
    """Resample an image and its labels to another pixel size if that differs by more than 10 %.

    Args:
        image: uint8 RGB (height, width, 3).
        labels: of the image.
        microns: um per pixel of the image; None = as the target.
        target: um per pixel that is wanted.

    Returns:
        (image, labels): the image by area means or cubic interpolation, labels by the nearest.

    Raises:
        ValueError: the sizes differ by more than a factor of 4.
    """
    ratio = ratio_of(microns, target)
    if abs(ratio - 1) <= TOLERANCE:
        return image, labels
    height, width = (max(1, round(side * ratio)) for side in image.shape[:2])
    how = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
    known = labels.known
    return cv2.resize(image, (width, height), interpolation=how), Labels(
        nearest(labels.map, (height, width)),
        labels.instances,
        f"{labels.note}, resampled from {microns:.4g} to {target:g} um per pixel",
        None if known is None else nearest(known, (height, width)),
    )


def nearest(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resample a label map or mask: each new pixel takes the old one at its centre."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(shape, values.shape, strict=True)
    )
    return values[rows[:, None], columns]
