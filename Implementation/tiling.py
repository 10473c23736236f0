"""Tile geometry and seamless prediction; knows no particular network.

A tile is read with a margin, predicted, and the margin's part of the prediction cropped. A margin
that covers the network's receptive radius, and origins at multiples of its pooling factor, make
the stitched result equal to the prediction of the whole image, so no seam can exist.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    tile = _round_up(tile, multiple)
    width, height = (
        _round_up(-(-side // -(-side // tile)), multiple) for side in (image.width, image.height)
    )
    return width, height


def read_padded(read: Reader, image: Window, window: Window) -> np.ndarray:
    """Read `window`, which may leave the image; what lies outside is mirrored, without end.

    The mirror stands on the outer edge of the border pixels, so that they come twice: a camera
    pixel is the mean of an area, and only such a mirror leaves no shift of half a pixel.

    Args:
        read: returns a rectangle that lies inside the image.
        image: extent of the image, at (0, 0).
        window: what to read.

    Returns:
        Array (window.height, window.width, ...).
    """
    columns = _reflected(np.arange(window.x, window.x + window.width), image.width)
    rows = _reflected(np.arange(window.y, window.y + window.height), image.height)
    left, top = columns.min(), rows.min()
    pixels = read(int(left), int(top), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
    return pixels[np.ix_(rows - top, columns - left)]


def predict_tiles(
    predict: Callable[[np.ndarray], np.ndarray],
    read: Reader,
    image: Window,
    tile: int,
    margin: int,
    multiple: int,
    scale: int,
    batch_size: int,
    wanted: Callable[[Window], bool] = lambda window: True,
) -> Iterator[tuple[Window, np.ndarray]]:
    """Predict an image tile by tile.

    All tiles of an image have one shape (the network is traced once), no larger than the image
    needs: as few as `tile` allows, of equal size but for the last ones.

    Args:
        predict: network: (batch, height, width, 3) -> (batch, scale*height, scale*width, channels),
            or less by a part of the margin, on all sides alike.
        read: returns a rectangle of the input image.
        image: extent of the input image, at (0, 0).
        tile: side of a tile in input pixels, without its margin.
        margin: input pixels around a tile; the network's receptive radius.
        multiple: the network's pooling factor; tiles and margins are rounded up to it.
        scale: output pixels per input pixel.
        batch_size: tiles per call of the network.
        wanted: says of a tile (in input pixels) whether it is predicted at all.

    Yields:
        (window in output pixels, prediction of that window), row by row.
    """
    margin = _round_up(margin, multiple)
    sides = tile_sides(image, tile, multiple)
    shape = [side + 2 * margin for side in sides]
    windows = [window for window in grid(image.width, image.height, *sides) if wanted(window)]
    batches = [windows[i : i + batch_size] for i in range(0, len(windows), batch_size)]

    def with_margins(batch):
        around = [Window(w.x - margin, w.y - margin, *shape) for w in batch]
        return batch, np.stack([read_padded(read, image, window) for window in around])

    for batch, tiles in prefetched(map(with_margins, batches)):
        for window, prediction in zip(batch, predict(tiles), strict=True):
            output = Window(*(scale * side for side in vars(window).values()))
            start = (prediction.shape[0] - sides[1] * scale) // 2  # what is left of the margin
            rows = slice(start, start + output.height)
            yield output, prediction[rows, start : start + output.width]


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


def prefetched(items: Iterator, ahead: int = 2) -> Iterator:
    """Pass on `items` while a thread already makes the next ones; errors pass on, too."""
    with ThreadPoolExecutor(1) as thread:
        pending = deque()
        source = iter(items)
        end = object()
        while True:
            while len(pending) < ahead:
                pending.append(thread.submit(next, source, end))
            item = pending.popleft().result()
            if item is end:
                return
            yield item


def _interpolation(start: int, count: int, step: float) -> tuple[int, np.ndarray]:
    """Weights of source pixels for `count` new pixels from `start`: (first source, matrix)."""
    centres = (np.arange(start, start + count) + 0.5) * step - 0.5
    reach = max(step, 1.0)
    first, last = int(np.floor(centres[0] - reach)), int(np.ceil(centres[-1] + reach))
    distance = np.abs(np.arange(first, last + 1)[None] - centres[:, None])
    weights = np.clip(1 - distance / reach, 0, None)
    return first, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _reflected(index: np.ndarray, size: int) -> np.ndarray:
    """Map any index into 0..size-1 by mirroring at the edges of the image, as often as needed."""
    index = np.mod(index, 2 * size)
    return np.minimum(index, 2 * size - 1 - index)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
