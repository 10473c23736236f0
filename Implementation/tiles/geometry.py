"""Tile geometry: rectangles, and how an image is cut into tiles."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Reader = Callable[[int, int, int, int], np.ndarray]  # x, y, width, height -> (height, width, ...)


@dataclass(frozen=True)
class Window:
    """A rectangle in pixels: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


def resized(extent: Window, ratio: float) -> Window:
    """Return the extent of an image at `ratio` times its size, at least one pixel."""
    return Window(0, 0, max(1, round(extent.width * ratio)), max(1, round(extent.height * ratio)))


def expanded(window: Window, by: int, extent: Window) -> Window:
    """Return the window with a border of `by` pixels, cut at the image's own."""
    left, top = max(0, window.x - by), max(0, window.y - by)
    right = min(extent.width, window.x + window.width + by)
    bottom = min(extent.height, window.y + window.height + by)
    return Window(left, top, right - left, bottom - top)


def shrunk(window: Window, by: int) -> Window:
    """Return a window in pixels `by` times larger; its sides must be multiples of `by`."""
    return Window(*(side // by for side in vars(window).values()))


def intersection(one: Window, other: Window) -> Window | None:
    """Return what two windows have in common, None where that is nothing."""
    left, top = max(one.x, other.x), max(one.y, other.y)
    right = min(one.x + one.width, other.x + other.width)
    bottom = min(one.y + one.height, other.y + other.height)
    return Window(left, top, right - left, bottom - top) if left < right and top < bottom else None


def grid(width: int, height: int, tile: int, tile_height: int | None = None) -> list[Window]:
    """Cut an image row by row into tiles of at most `tile` pixels per side.

    With `tile_height`, `tile` is the width of a tile alone.
    """
    image = Window(0, 0, width, height)
    return tiles_meeting(image, image, tile, tile_height or tile)


def tiles_meeting(window: Window, image: Window, tile: int, tile_height: int) -> list[Window]:
    """Return the tiles of an image's `grid` that share pixels with a window inside it."""
    left, top = window.x // tile * tile, window.y // tile_height * tile_height
    return [
        Window(x, y, min(tile, image.width - x), min(tile_height, image.height - y))
        for y in range(top, window.y + window.height, tile_height)
        for x in range(left, window.x + window.width, tile)
    ]


def tile_sides(image: Window, tile: int, multiple: int) -> tuple[int, int]:
    """Return width and height of an image's tiles: as few as `tile` allows, and of equal size.

    Args:
        image: extent of the image.
        tile: side of a tile in pixels at most, rounded up to `multiple`.
        multiple: of which the sides are.
    """
    tile = round_up(tile, multiple)
    width, height = (
        round_up(-(-side // -(-side // tile)), multiple) for side in (image.width, image.height)
    )
    return width, height


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
