"""Images and whole slides without labels, as trainings read them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from images.errors import named_with_folder
from images.finding import find_images
from images.masks import without_masks
from images.opening import ImageFile, open_image

SLIDE_MICRONS = 0.25  # um per pixel at which slides are read
LARGEST_WHOLE = 25_000_000  # pixels; of larger slides a number of regions is taken
REGION = 1024  # pixels; side of such a region
REGIONS = 16
CANDIDATES = 200  # places of a slide that are looked at for tissue
LOOK = 128  # pixels; side of the middle of a place, by which it is chosen
LEAST_COLOUR = 20  # grey levels between the channels of stained tissue


class StatedBy(NamedTuple):
    """The um per pixel that a file states, None where it does not, and whether it is a slide."""

    microns: float | None
    is_slide: bool


def save_picture(path: Path, pixels: np.ndarray, microns: float | None):
    """Save uint8 RGB as PNG, with its um per pixel as resolution where that is known."""
    Image.fromarray(pixels).save(path, **({"dpi": (25400 / microns,) * 2} if microns else {}))


def find_pictures(folder: Path) -> list[Path]:
    """List the images below `folder`, recursively; say which masks beside them are left out.

    Raises:
        OSError, ValueError: there is no folder, or no image in it.
    """
    pictures, masks = without_masks(find_images(folder, recursive=True))
    if not pictures:
        raise ValueError(f"no images in {folder}, only {len(masks)} masks or label maps")
    if masks:
        print(f"{folder}: {len(masks)} masks beside images are left out, such as {masks[0].name}")
    return pictures


def read_pictures(path: Path, regions: int = REGIONS, side: int = REGION) -> list[np.ndarray]:
    """Read an image as `read_with_size` does, without its pixel size."""
    return read_with_size(path, regions, side)[0]


def read_with_size(
    path: Path, regions: int = REGIONS, side: int = REGION
) -> tuple[list[np.ndarray], StatedBy]:
    """Read an image whole, and of a slide that is too large for that some regions of tissue.

    Slides are read at SLIDE_MICRONS if they are finer. The regions are the same at every call.

    Args:
        path: an image or slide.
        regions: their number at most.
        side: of a region, in pixels.

    Returns:
        (uint8 RGB images, their um per pixel as the file states it).

    Raises:
        ValueError: the file cannot be read.
    """
    with named_with_folder(path), open_image(path, SLIDE_MICRONS) as image:
        fits = image.width * image.height <= LARGEST_WHOLE or min(image.width, image.height) < side
        stated = StatedBy(image.microns_per_pixel, image.is_slide)
        if fits or not image.is_slide:
            return [image.read(0, 0, image.width, image.height)], stated
        places = _tissue_places(image, regions, side)
        return [image.read(*place, side, side) for place in places], stated


def _tissue_places(image: ImageFile, count: int, side: int) -> list[tuple[int, int]]:
    """Choose the corners (x, y) of regions, none over another, whose middles show most tissue."""
    across, down = image.width // side, image.height // side
    drawn = np.random.default_rng(0).permutation(across * down)[:CANDIDATES]
    places = [(int(n % across) * side, int(n // across) * side) for n in drawn]
    look = min(LOOK, side)
    middle = (side - look) // 2

    def stained_share(place):
        pixels = image.read(place[0] + middle, place[1] + middle, look, look).astype(int)
        return np.mean(pixels.max(axis=-1) - pixels.min(axis=-1) >= LEAST_COLOUR)

    return sorted(places, key=stained_share, reverse=True)[:count]
