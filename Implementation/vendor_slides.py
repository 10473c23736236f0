"""Slides in the scanner makers' own formats (SVS, NDPI, MRXS, ...), through OpenSlide."""

import contextlib
from pathlib import Path

import numpy as np
import openslide
from image_levels import BLOCK, Level, Source, cached_blocks
from PIL import Image
from pixel_sizes import plausible_microns


def open_openslide(path: Path, vendor: str) -> Source:
    """Open a slide of the format that OpenSlide calls `vendor`."""
    with contextlib.ExitStack() as stack:
        slide = stack.enter_context(openslide.OpenSlide(path))
        microns = plausible_microns(
            *(slide.properties.get(f"openslide.mpp-{axis}") for axis in "xy")
        )
        levels = [_openslide_level(slide, number) for number in range(slide.level_count)]
        kind = f"{vendor} slide, {len(levels)} levels"
        return Source(kind, levels, microns, True, stack.pop_all().close)


def _openslide_level(slide: openslide.OpenSlide, number: int) -> Level:
    """Blocks on a fixed grid.

    OpenSlide takes the place of a region in full-resolution pixels, so that windows of a coarse
    level that began anywhere could disagree by a fraction of a pixel.
    """
    side, scale = BLOCK, slide.level_downsamples[number]
    glass = "#" + slide.properties.get("openslide.background-color", "ffffff")
    width, height = slide.level_dimensions[number]

    def block(column, row):
        size = min(side, width - column * side), min(side, height - row * side)
        place = round(column * side * scale), round(row * side * scale)
        region = slide.read_region(place, number, size)
        canvas = Image.new("RGB", size, glass)
        canvas.paste(region, mask=region.getchannel("A"))
        return np.asarray(canvas)

    return Level(width, height, side, side, cached_blocks(block, side * side * 3))
