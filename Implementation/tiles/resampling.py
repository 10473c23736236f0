"""An image read by rectangle at another size; pieces agree with the whole."""

import numpy as np

from tiles.geometry import Reader, Window
from tiles.seamless import read_padded


def resampled(read: Reader, image: Window, new: Window) -> Reader:
    """Return a reader of the image resampled to the size of `new`.

    Linear interpolation, widened to a triangle over the pixels that are merged when shrinking.
    Weights depend on global coordinates only, so pieces agree with the whole.

    Args:
        read: returns a rectangle of the image, (height, width) or (height, width, channels).
        image: its extent, at (0, 0).
        new: its extent after resampling, at (0, 0).

    Returns:
        Reader of float32 arrays.
    """

    def read_resampled(x, y, width, height):
        left, columns = _interpolation(x, width, image.width / new.width)
        top, rows = _interpolation(y, height, image.height / new.height)
        source = Window(left, top, columns.shape[1], rows.shape[1])
        pixels = read_padded(read, image, source).astype(np.float32)
        pixels = np.tensordot(rows, pixels, axes=(1, 0))
        return np.moveaxis(np.tensordot(columns, pixels, axes=(1, 1)), 0, 1)

    return read_resampled


def _interpolation(start: int, count: int, step: float) -> tuple[int, np.ndarray]:
    """Weights of source pixels for `count` new pixels from `start`: (first source, matrix)."""
    centres = (np.arange(start, start + count) + 0.5) * step - 0.5
    reach = max(step, 1.0)
    first, last = int(np.floor(centres[0] - reach)), int(np.ceil(centres[-1] + reach))
    distance = np.abs(np.arange(first, last + 1)[None] - centres[:, None])
    weights = np.clip(1 - distance / reach, 0, None)
    return first, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
