"""Pixels of any number type to upright 8-bit RGB."""

import numpy as np

from images.errors import ImageReadError
from images.white import ValueRange, value_range

BAND_PIXELS = 2**22  # converted in one go: floats of a whole image would take five times its memory


def to_rgb(
    pixels: np.ndarray, values: ValueRange | None = None, premultiplied: bool = False
) -> np.ndarray:
    """Grey, grey + alpha, RGB or RGBA of any number type -> uint8 RGB over white, like glass.

    `pixels` is (height, width) or (height, width, samples); `values` says what is black and white,
    by default the pixels themselves; `premultiplied`: the colours are already times alpha.
    """
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    samples = pixels.shape[-1]
    if samples > 4:
        raise ImageReadError(f"the image has {samples} channels, not RGB; export it as RGB")
    colour = pixels[..., : 3 if samples > 2 else 1]
    values = values or range_of(pixels)
    shows_all = samples in (1, 3) or values.opaque is None
    if colour.dtype == np.uint8 and shows_all and (values.black, values.white) == (0, 255):
        return np.repeat(colour, 3, -1) if samples < 3 else np.ascontiguousarray(colour)
    rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
    rows = max(1, BAND_PIXELS // max(1, pixels.shape[1]))
    for top in range(0, len(pixels), rows):
        rgb[top : top + rows] = _band_to_rgb(pixels[top : top + rows], values, premultiplied)
    return rgb


def range_of(pixels: np.ndarray, stated: tuple[float, float] | None = None) -> ValueRange:
    """Find black and white of (..., samples), the second or fourth of which is alpha."""
    colours = 3 if pixels.shape[-1] > 2 else 1
    return value_range(pixels[..., :colours], pixels[..., colours:], stated)


def _band_to_rgb(pixels: np.ndarray, values: ValueRange, premultiplied: bool) -> np.ndarray:
    samples = pixels.shape[-1]
    colour = np.nan_to_num(pixels[..., : 3 if samples > 2 else 1].astype(np.float32), posinf=0)
    colour = (colour - values.black) * (255 / (values.white - values.black))
    if samples in (2, 4) and values.opaque is not None:
        alpha = np.clip(pixels[..., -1:].astype(np.float32) / values.opaque, 0, 1)
        colour = (colour if premultiplied else colour * alpha) + 255 * (1 - alpha)
    return np.rint(np.clip(colour, 0, 255)).astype(np.uint8)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the EXIF or TIFF orientation 1..8."""
    pixels = pixels.swapaxes(0, 1) if orientation >= 5 else pixels
    pixels = pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels
