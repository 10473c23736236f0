"""Sharp images of known pixel size -> random patches of random pixel size."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from labels.scale import pixel_size
from shared.appearance import flip, vary_optics, vary_stain_and_light, white_point
from shared.pictures import read_with_size

SIDE = 224  # pixels of a patch
SMALLEST = 32  # pixels of a patch of an image that is too small for more
FINEST, COARSEST = 0.05, 4.0  # um per pixel
AS_IT_IS = 0.3  # share of patches whose stain, light and optics are not varied


@dataclass(frozen=True)
class Picture:
    """An image to draw patches from.

    Attributes:
        pixels: uint8 RGB (height, width, 3).
        microns: um per pixel.
        white: grey level of its brightest pixels.
    """

    pixels: np.ndarray
    microns: float
    white: float


def read_sized_pictures(path: Path, given: float | None) -> tuple[list[Picture], str]:
    """Read an image, or some regions of a slide; with a remark where the sizes differ, or "".

    Args:
        path: an image or slide.
        given: um per pixel; None = what the file states. Slides keep what they state.

    Raises:
        ValueError: the file cannot be read, or no pixel size is known.
    """
    pictures, stated = read_with_size(path)
    given = None if stated.is_slide and stated.microns else given
    microns, remark = pixel_size(given, stated.microns)
    if not microns:
        raise ValueError(f"{path} states no pixel size: give it with MICRONS_PER_PIXEL")
    return [Picture(pixels, microns, white_point(pixels)) for pixels in pictures], remark


def draw_patch(picture: Picture, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Draw a patch as an objective between 2.5x and 200x might show it.

    Returns:
        uint8 RGB square of SMALLEST to SIDE pixels, and log2 of its um per pixel.
    """
    shorter = min(picture.pixels.shape[:2])
    coarsest = min(COARSEST, picture.microns * shorter / SMALLEST)
    octave = rng.uniform(np.log2(FINEST), np.log2(coarsest))
    ratio = picture.microns / 2**octave  # pixels of the patch per pixel of the picture
    side = min(int(np.ceil(SIDE / ratio)), shorter)
    y, x = (int(rng.integers(0, length - side + 1)) for length in picture.pixels.shape[:2])
    patch = flip(picture.pixels[y : y + side, x : x + side], rng)
    size = min(SIDE, max(SMALLEST, round(side * ratio)))
    how = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
    patch = cv2.resize(patch, (size, size), interpolation=how)
    octave = np.log2(picture.microns * side / size)
    if rng.random() < AS_IT_IS:
        return patch, float(octave)
    return vary_optics(vary_stain_and_light(patch, picture.white, rng), rng), float(octave)
