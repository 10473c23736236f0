"""Pixels of any number type, channels and orientation to upright 8-bit RGB."""

import numpy as np
from image_errors import ImageReadError

BAND_PIXELS = 2**22  # converted in one go: floats of a whole image would take five times its memory


def white_level(pixels: np.ndarray) -> float:
    """White by number type and largest value: 12-bit cameras write 16-bit files."""
    if pixels.dtype == np.uint8:
        return 255.0
    largest = float(pixels[np.isfinite(pixels)].max(initial=0))
    ladder = (1, 255, 4095, 65535) if pixels.dtype.kind in "fb" else (255, 4095, 65535)
    return float(next((white for white in ladder if largest <= white), largest))


def to_rgb(pixels: np.ndarray, white: float | None = None) -> np.ndarray:
    """Grey, grey + alpha, RGB or RGBA of any number type -> uint8 RGB over white, like glass.

    `pixels` is (height, width) or (height, width, samples); `white` is the value that becomes 255.
    """
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    samples = pixels.shape[-1]
    if samples > 4:
        raise ImageReadError(f"the image has {samples} channels, not RGB; export it as RGB")
    colour = pixels[..., : 3 if samples > 2 else 1]
    if colour.dtype == np.uint8 and samples in (1, 3):
        return np.repeat(colour, 3, -1) if samples == 1 else np.ascontiguousarray(colour)
    white = white or white_level(colour)
    rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
    rows = max(1, BAND_PIXELS // max(1, pixels.shape[1]))
    for top in range(0, len(pixels), rows):
        rgb[top : top + rows] = _band_to_rgb(pixels[top : top + rows], white)
    return rgb


def _band_to_rgb(pixels: np.ndarray, white: float) -> np.ndarray:
    samples = pixels.shape[-1]
    colour = pixels[..., : 3 if samples > 2 else 1]
    colour = np.nan_to_num(colour.astype(np.float32), posinf=0) * (255 / white)
    if samples in (2, 4):
        opaque = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
        alpha = pixels[..., -1:].astype(np.float32) / opaque
        colour = colour * alpha + 255 * (1 - alpha)
    return np.rint(np.clip(colour, 0, 255)).astype(np.uint8)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the EXIF or TIFF orientation 1..8."""
    pixels = pixels.swapaxes(0, 1) if orientation >= 5 else pixels
    pixels = pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels
