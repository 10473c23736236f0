"""Is an image file a mask or label map? By its content: names deceive."""

import struct
from pathlib import Path

import numpy as np

from images.errors import ImageReadError
from images.opening import ImageFile, open_image

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by the colour type of the file
COMPRESSED = 0.95  # of the size of its pixels; of a larger file they were hardly compressed
LARGEST = 25_000_000  # pixels that are looked at one by one; of larger images some blocks are
BLOCKS, BLOCK = 12, 64  # blocks along each side, and pixels of each
FEW_COLOURS = 8  # colours that a mask of classes has at most
NEARLY = 24  # grey levels around black and white; JPEG smears a mask by so much, and glass is
# less even
ALMOST_ALL = 0.97  # of the pixels
CONSTANT = 0.6  # share of an area's pixels that equal their two neighbours; in pictures below 0.3


def without_masks(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Part a list of files into (images, masks and label maps)."""
    masks = [path for path in paths if is_mask(path)]
    return [path for path in paths if path not in masks], masks


def is_mask(path: Path) -> bool:
    """Whether a file holds a binary mask, classes or labels instead of a picture.

    It has but a few colours, is nearly only black and white, or consists of areas of one grey
    value each, or of one colour each on black. A file that cannot be read, or that shows one colour
    or bare glass only, counts as a picture.
    """
    if _is_rich(path):
        return False
    try:
        with open_image(path) as image:
            pixels = _looked_at(image).astype(np.uint32)
    except ImageReadError:
        return False
    colours = (pixels[..., 0] << 16) + (pixels[..., 1] << 8) + pixels[..., 2]
    found, counts = np.unique(colours.ravel()[:: max(1, colours.size // 10**5)], return_counts=True)
    is_grey = not np.any(pixels != pixels[..., :1])
    if len(found) <= FEW_COLOURS:
        return len(found) > 1 and int(pixels.min()) < 256 - NEARLY
    if is_grey and _is_nearly_black_and_white(pixels[..., 0]):
        return True
    background = found[np.argmax(counts)]
    # Colours on another ground than black may be a drawing or a picture of flat colours.
    return bool(is_grey or background == 0) and _has_even_areas(colours, background)


def _looked_at(image: ImageFile) -> np.ndarray:
    """Return the pixels of an image, of a large one those of evenly spread blocks in a column."""
    if image.width * image.height <= LARGEST:
        return image.read(0, 0, image.width, image.height)
    sides = min(BLOCK, image.width), min(BLOCK, image.height)
    lefts, tops = (
        np.linspace(0, whole - side, BLOCKS).astype(int).tolist()
        for whole, side in zip((image.width, image.height), sides, strict=True)
    )
    return np.concatenate([image.read(x, y, *sides) for y in tops for x in lefts])


def _is_rich(path: Path) -> bool:
    """Whether a PNG is larger than a mask's ever is: saves decoding most of the pictures.

    The size of a file that was saved without compression says nothing.
    """
    try:
        with path.open("rb") as file:
            head = file.read(26)
        width, height, depth, kind = struct.unpack(">IIBB", head[16:26])
        raw = width * height * PNG_SAMPLES[kind] * depth / 8
        return (
            head.startswith(PNG_MAGIC) and width * height < path.stat().st_size < COMPRESSED * raw
        )
    except (OSError, struct.error, KeyError):  # gone or damaged: opening it will say so
        return False


def _is_nearly_black_and_white(grey: np.ndarray) -> bool:
    black, white = np.count_nonzero(grey < NEARLY), np.count_nonzero(grey >= 256 - NEARLY)
    return min(black, white) > 0 and black + white > ALMOST_ALL * grey.size


def _has_even_areas(colours: np.ndarray, background: int) -> bool:
    """Whether all but the background consists of areas of one colour each."""
    middle = colours[:, 1:-1]
    objects = middle != background
    alike = (middle == colours[:, :-2]) & (middle == colours[:, 2:]) & objects
    return bool(np.count_nonzero(alike) > CONSTANT * max(1, np.count_nonzero(objects)))
