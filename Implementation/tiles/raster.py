"""Images that are read by rectangle: large ones on disk, so that none is held in memory."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

STRIP_ROWS = 64  # that `preview` reads at a time


class Raster:
    """A raw file of (height, width, channels) samples, row by row.

    Plain reads and writes instead of a memory map: mapped pages count as the program's memory.

    Args:
        path: the file; created with zeros (sparse, so it takes no space yet) where it is missing.
        width, height: size in pixels.
        channels: samples per pixel.
        dtype: type of a sample.
    """

    def __init__(self, path: Path, width: int, height: int, channels: int, dtype):
        self.width, self.height, self.channels = width, height, channels
        self.dtype = np.dtype(dtype)
        self._pixel_bytes = channels * self.dtype.itemsize
        path = Path(path)
        self._file = path.open("r+b" if path.exists() else "w+b", buffering=0)
        self._file.truncate(width * height * self._pixel_bytes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Return a rectangle as (height, width, channels), or (height, width) for one channel."""
        self._check(x, y, width, height)
        pixels = np.empty((height, width, self.channels), self.dtype)
        # Whole rows lie behind each other and are one piece.
        for row, target in enumerate([pixels] if width == self.width else pixels):
            self._file.seek(((y + row) * self.width + x) * self._pixel_bytes)
            self._file.readinto(target)
        return pixels[..., 0] if self.channels == 1 else pixels

    def write(self, x: int, y: int, pixels: np.ndarray):
        """Write a rectangle of the raster's own type whose top left corner is (x, y)."""
        height, width = pixels.shape[:2]
        self._check(x, y, width, height)
        for row, source in enumerate(np.ascontiguousarray(pixels, self.dtype)):
            self._file.seek(((y + row) * self.width + x) * self._pixel_bytes)
            left = memoryview(source).cast("B")
            while left:  # a disk that gets full takes a part and fails at the next write only
                left = left[self._file.write(left) :]

    def _check(self, x, y, width, height):
        if not (0 <= x <= x + width <= self.width and 0 <= y <= y + height <= self.height):
            raise ValueError(
                f"rectangle {width}x{height} at ({x}, {y}) leaves the {self.width}x{self.height} "
                "raster"
            )


@dataclass(frozen=True)
class InMemory:
    """An RGB image (height, width, 3), uint8, read by rectangle like one on disk."""

    pixels: np.ndarray
    channels = 3
    dtype = np.uint8

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        return self.pixels[y : y + height, x : x + width]


def preview(source, factor: int, reduce: str = "mean") -> np.ndarray:
    """Shrink anything that is read by rectangle by a whole factor, one strip at a time.

    Args:
        source: has `width`, `height` and `read(x, y, width, height)`.
        factor: pixels per side that become one; the last ones may cover fewer.
        reduce: "mean" for pictures, "first" for label maps.

    Returns:
        Array (ceil(height/factor), ceil(width/factor), ...) of the source's type.
    """
    lines, rows = [], factor * max(1, STRIP_ROWS // factor)
    for y in range(0, source.height, rows):
        strip = source.read(0, y, source.width, min(rows, source.height - y))
        for top in range(0, len(strip), factor):
            if reduce == "first" or factor == 1:
                lines.append(strip[top, ::factor].copy())  # a view would keep the strip
            else:
                lines.append(_line_of_means(strip[top : top + factor], factor))
    return np.stack(lines)


def _line_of_means(rows: np.ndarray, factor: int) -> np.ndarray:
    """Return the means of blocks of all rows and `factor` columns; the last may be narrower."""
    edges = np.arange(0, rows.shape[1], factor)
    sums = np.add.reduceat(rows.sum(axis=0, dtype=np.float64), edges, axis=0)
    counts = np.diff(np.append(edges, rows.shape[1])) * len(rows)
    return np.rint(sums / counts[:, None]).astype(rows.dtype)
