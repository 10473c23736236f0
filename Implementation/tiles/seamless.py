"""Seamless prediction, tile by tile; knows no particular network.

A tile is read with a margin, predicted, and the margin's part of the prediction cropped. A margin
that covers the network's receptive radius, and origins at multiples of its pooling factor, make
the stitched result equal to the prediction of the whole image, so no seam can exist.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tiles.geometry import Reader, Window, grid, round_up, tile_sides


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


@dataclass(frozen=True)
class Tiling:
    """How an image is cut for a network.

    Attributes:
        tile: side of a tile in input pixels at most, without its margin.
        margin: input pixels around a tile; the network's receptive radius.
        multiple: the network's pooling factor; tiles and margins are rounded up to it.
        scale: output pixels per input pixel.
        batch_size: tiles per call of the network.
    """

    tile: int
    margin: int
    multiple: int
    scale: int
    batch_size: int = 1


def predict_tiles(
    predict: Callable[[np.ndarray], np.ndarray],
    read: Reader,
    image: Window,
    tiling: Tiling,
    wanted: Callable[[Window], bool] = lambda window: True,
) -> Iterator[tuple[Window, np.ndarray]]:
    """Predict an image tile by tile.

    All tiles of an image have one shape (the network is traced once), no larger than the image
    needs: as few as `tiling.tile` allows, of equal size but for the last ones.

    Args:
        predict: network: (batch, height, width, 3) -> (batch, scale*height, scale*width, channels),
            or less by a part of the margin, on all sides alike.
        read: returns a rectangle of the input image.
        image: extent of the input image, at (0, 0).
        tiling: how it is cut.
        wanted: says of a tile (in input pixels) whether it is predicted at all.

    Yields:
        (window in output pixels, prediction of that window), row by row.
    """
    scale, margin = tiling.scale, round_up(tiling.margin, tiling.multiple)
    sides = tile_sides(image, tiling.tile, tiling.multiple)
    shape = [side + 2 * margin for side in sides]
    windows = [window for window in grid(image.width, image.height, *sides) if wanted(window)]
    starts = range(0, len(windows), tiling.batch_size)
    batches = [windows[start : start + tiling.batch_size] for start in starts]

    def with_margins(batch):
        around = [Window(w.x - margin, w.y - margin, *shape) for w in batch]
        return batch, np.stack([read_padded(read, image, window) for window in around])

    for batch, tiles in prefetched(map(with_margins, batches)):
        for window, prediction in zip(batch, predict(tiles), strict=True):
            output = Window(*(scale * side for side in vars(window).values()))
            start = (prediction.shape[0] - sides[1] * scale) // 2  # what is left of the margin
            rows = slice(start, start + output.height)
            yield output, prediction[rows, start : start + output.width]


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


def _reflected(index: np.ndarray, size: int) -> np.ndarray:
    """Map any index into 0..size-1 by mirroring at the edges of the image, as often as needed."""
    index = np.mod(index, 2 * size)
    return np.minimum(index, 2 * size - 1 - index)
