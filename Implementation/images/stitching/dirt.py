"""Dirt on the camera: what lies at the same place in every field is taken out before matching."""

import cv2
import numpy as np

LEAST_FIELDS = 5  # fewer may all show tissue at one place, which a median would take for dirt
LOCAL_SIGMA = 16  # pixels; light that changes more slowly is left to the band-pass


def without_dirt(fields: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Subtract from shrunken fields the pattern that all of one size share.

    The pattern is the median, pixel by pixel, of what each field deviates from its own local mean;
    tissue, which differs from field to field, hardly touches it.

    Args:
        fields: uint8 (height, width) by number, grey.

    Returns:
        The same, cleaned; as they are where fewer than LEAST_FIELDS have one size.
    """
    cleaned = dict(fields)
    for shape in {field.shape for field in fields.values()}:
        alike = [number for number, field in fields.items() if field.shape == shape]
        if len(alike) >= LEAST_FIELDS:
            pattern = np.median([_deviation(fields[number]) for number in alike], axis=0)
            for number in alike:
                clean = np.rint(fields[number] - pattern)
                cleaned[number] = np.clip(clean, 0, 255).astype(np.uint8)
    return cleaned


def _deviation(field: np.ndarray) -> np.ndarray:
    field = field.astype(np.float32)
    return field - cv2.GaussianBlur(field, (0, 0), LOCAL_SIGMA)
