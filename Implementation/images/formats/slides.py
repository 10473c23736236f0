"""Slides: grids of blocks at several resolutions, read by region at any coarser scale.

The scanner makers' own formats (SVS, NDPI, MRXS, ...) come through OpenSlide; tiff.py and
plain.py make levels of the same kind.
"""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import openslide
from PIL import Image

from images.sizes import plausible_microns

CACHE_BYTES = 256 * 2**20  # decoded tiles kept per open slide
BLOCK = 512  # side in pixels of the pieces in which files without tiles of their own are read


@dataclass(frozen=True)
class Level:
    """One resolution of an image as a grid of blocks.

    `block(column, row)` is uint8 RGB; at the right and lower rim it may be cut or padded.
    """

    width: int
    height: int
    block_width: int
    block_height: int
    block: Callable[[int, int], np.ndarray]

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        region = np.empty((height, width, 3), np.uint8)
        for row in range(y // self.block_height, (y + height - 1) // self.block_height + 1):
            for column in range(x // self.block_width, (x + width - 1) // self.block_width + 1):
                left, top = column * self.block_width, row * self.block_height
                x0, x1 = max(x, left), min(x + width, left + self.block_width)
                y0, y1 = max(y, top), min(y + height, top + self.block_height)
                part = self.block(column, row)[y0 - top : y1 - top, x0 - left : x1 - left]
                region[y0 - y : y1 - y, x0 - x : x1 - x] = part
        return region

    def read_shrunk(
        self, x: int, y: int, width: int, height: int, step_x: float, step_y: float
    ) -> np.ndarray:
        """Read a region in pixels of `step_x` x `step_y` pixels each, the mean over their box."""
        left, columns = _boxes(x, width, step_x, self.width)
        top, rows = _boxes(y, height, step_y, self.height)
        source = self.read(left, top, math.ceil(columns[1][-1]), math.ceil(rows[1][-1]))
        means = _box_means(_box_means(source, *rows, axis=0), *columns, axis=1)
        return np.rint(means).astype(np.uint8)


@dataclass(frozen=True)
class Source:
    """What a file holds: its levels, the finest first, and its full-resolution pixel size in um.

    `kind` is a few words for logs; `close` lets go of the open file; `notes` are lines that say
    what was assumed or left out; `origin` is where in OpenSlide's own frame the levels begin.
    """

    kind: str
    levels: list[Level]
    microns: float | None
    is_slide: bool = False
    close: Callable[[], None] = lambda: None
    notes: tuple[str, ...] = ()
    origin: tuple[int, int] = (0, 0)


def open_openslide(path: Path, vendor: str) -> Source:
    """Open a slide of the format that OpenSlide calls `vendor`.

    Where it states the bounds of what was scanned (MRXS, SCN), it is that part: QuPath and
    Bio-Formats count from there, too, and the rest is empty.
    """
    with contextlib.ExitStack() as stack:
        slide = stack.enter_context(openslide.OpenSlide(path))
        microns = plausible_microns(
            *(slide.properties.get(f"openslide.mpp-{axis}") for axis in "xy")
        )
        bounds = _bounds(slide)
        levels = [_openslide_level(slide, number, bounds) for number in range(slide.level_count)]
        kind, close = f"{vendor} slide, {len(levels)} levels", stack.pop_all().close
        return Source(kind, levels, microns, True, close, origin=bounds[:2])


def whole_level(pixels: np.ndarray) -> Level:
    height, width = pixels.shape[:2]
    return Level(width, height, max(width, 1), max(height, 1), lambda column, row: pixels)


def cached_blocks(block: Callable, block_bytes: int) -> Callable:
    return lru_cache(maxsize=max(2, CACHE_BYTES // block_bytes))(block)


def shrinkage(full: int, size: int) -> float:
    """Full-resolution pixels per level pixel; a whole number where rounding explains the rest."""
    whole = round(full / size)
    return float(whole) if abs(size * whole - full) < whole else full / size


def _bounds(slide: openslide.OpenSlide) -> tuple[int, int, int, int]:
    """Return the scanned part (left, top, width, height) at full resolution, else all of it."""
    names = (f"openslide.bounds-{side}" for side in ("x", "y", "width", "height"))
    width, height = slide.dimensions
    try:
        x, y, across, down = (int(slide.properties[name]) for name in names)
    except (KeyError, ValueError):
        return 0, 0, width, height
    left, top = max(0, x), max(0, y)
    right, bottom = min(width, x + across), min(height, y + down)
    whole = left >= right or top >= bottom  # damaged
    return (0, 0, width, height) if whole else (left, top, right - left, bottom - top)


def _openslide_level(slide: openslide.OpenSlide, number: int, bounds) -> Level:
    """Blocks on a fixed grid of the part `bounds` (left, top, width, height).

    OpenSlide takes the place of a region in full-resolution pixels, so that windows of a coarse
    level that began anywhere could disagree by a fraction of a pixel.
    """
    side, scale = BLOCK, slide.level_downsamples[number]
    glass = "#" + slide.properties.get("openslide.background-color", "ffffff")
    sizes = zip(bounds[2:], slide.dimensions, slide.level_dimensions[number], strict=True)
    # The whole keeps the size that the file gives its level.
    width, height = (
        level if part == full else max(1, min(level, round(part / scale)))
        for part, full, level in sizes
    )

    def block(column, row):
        size = min(side, width - column * side), min(side, height - row * side)
        left, top = round(column * side * scale), round(row * side * scale)
        region = slide.read_region((bounds[0] + left, bounds[1] + top), number, size)
        canvas = Image.new("RGB", size, glass)
        canvas.paste(region, mask=region.getchannel("A"))
        return np.asarray(canvas)

    return Level(width, height, side, side, cached_blocks(block, side * side * 3))


def _boxes(
    first: int, count: int, step: float, size: int
) -> tuple[int, tuple[np.ndarray, np.ndarray]]:
    """Source boxes of `count` output pixels: offset of the source window, (starts, ends) in it."""
    edges = np.arange(first, first + count + 1) * step
    starts, ends = np.minimum(edges[:-1], size - 1), np.minimum(edges[1:], size)
    offset = math.floor(starts[0])
    return offset, (starts - offset, ends - offset)


def _box_means(image: np.ndarray, starts: np.ndarray, ends: np.ndarray, axis: int) -> np.ndarray:
    """Area averaging along `axis`: means over the intervals [start, end) in pixels, as float32."""
    first = np.floor(starts).astype(int)
    shape = [1] * image.ndim
    shape[axis] = len(starts)
    total = np.float32(0)
    for tap in range(int(np.max(np.ceil(ends) - first))):
        pixel = first + tap
        overlap = np.minimum(ends, pixel + 1) - np.maximum(starts, pixel)
        weight = np.maximum(overlap, 0) / (ends - starts)
        values = np.take(image, np.minimum(pixel, image.shape[axis] - 1), axis)
        total = total + weight.astype(np.float32).reshape(shape) * values
    return total
