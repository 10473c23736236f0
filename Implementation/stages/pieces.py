"""Stages of work in pieces, each complete on disk or not there at all.

A piece is a file of data and a small JSON record, which is written last: it says that the piece is
finished and holds what the stage wants to remember of it. Both appear under their names at once,
so that a process may be killed at any time, several may work side by side in one folder (also on
several machines), and a piece that is done twice does no harm.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from program.disk import appearing
from stages.helper_processes import ALONE, Helpers
from tiles.raster import Raster

FEWEST_SHARED = 4  # pieces for which helper processes, which start in a second, are worth it


class Pieces:
    """The numbered pieces of one stage.

    Args:
        folder: where they lie; made where it is missing.
        suffix: of their data files.
    """

    def __init__(self, folder: Path, suffix: str):
        self.folder, self.suffix = folder, suffix
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, number: int) -> Path:
        """Return the data file of a piece."""
        return self.folder / f"{number:06}{self.suffix}"

    def is_finished(self, number: int) -> bool:
        """Tell whether a piece is complete: its data are as long as they were.

        A loss of power may leave the record of a piece whose data never reached the disk.
        """
        try:
            record = self.record(number)
        except (FileNotFoundError, ValueError):
            return False
        return record.get("bytes") == self._data_bytes(number)

    def finish(self, number: int, record: dict):
        """Note that the data of a piece are complete, with what is to be remembered of it."""
        with appearing(self._record_path(number)) as path:
            record = record | {"bytes": self._data_bytes(number)}
            path.write_text(json.dumps(record), encoding="utf-8")

    def record(self, number: int) -> dict:
        """Return what was noted of a finished piece."""
        return json.loads(self._record_path(number).read_text("utf-8"))

    def _data_bytes(self, number: int) -> int | None:
        """Return the size of the data of a piece, None where it has none."""
        path = self.path(number)
        return path.stat().st_size if path.is_file() else None

    def _record_path(self, number: int) -> Path:
        return self.folder / f"{number:06}.json"


@dataclass(frozen=True)
class Stage:
    """Work on an image in pieces.

    Attributes:
        title: what it does, for the progress bar.
        pieces: its pieces on disk.
        sizes: output pixels of each piece.
        task: gathers what a piece needs, by its number; the tasks of a stage that helper processes
            may share can be sent to them.
        work: does a task; what it returns is kept beside the piece, as JSON.
        shared: whether helper processes may do it.
        advance: is told of the output pixels of a piece that is done.
    """

    title: str
    pieces: Pieces
    sizes: list[float]
    task: Callable[[int], Any]
    work: Callable[[Any], dict]
    shared: bool = False
    advance: Callable[[float], None] = lambda pixels: None

    def missing(self) -> list[int]:
        """Return the numbers of the pieces that are still to be done."""
        return [n for n in range(len(self.sizes)) if not self.pieces.is_finished(n)]

    def do(self, number: int):
        """Do a piece; nothing where it is finished."""
        if not self.pieces.is_finished(number):
            self._do_all([number], ALONE)

    def do_missing(self, missing: list[int], helpers: Helpers):
        """Do the pieces that are still to be done, if the stage is shared in helper processes."""
        worth_it = self.shared and len(missing) >= FEWEST_SHARED
        self._do_all(missing, helpers if worth_it else ALONE)

    def _do_all(self, numbers: list[int], helpers: Helpers):
        # The time of a piece is that since the last one, so that their sum is that of the run.
        started = time.monotonic()
        folder = self.pieces.folder
        for number, record in helpers.results_of(self.work, self.task, numbers, folder):
            seconds, started = time.monotonic() - started, time.monotonic()
            self.pieces.finish(number, record | {"seconds": seconds})
            self.advance(self.sizes[number])


class StripRaster:
    """A raster in strips of rows, each a piece: written strip by strip, read by rectangle.

    Args:
        pieces: where the strips lie.
        width, height: size in pixels.
        channels: samples per pixel.
        dtype: type of a sample.
        strip_height: rows of a strip; the last one may have fewer.
    """

    def __init__(self, pieces: Pieces, width, height, channels, dtype, strip_height: int):
        self.pieces, self.width, self.height = pieces, width, height
        self.channels, self.dtype = channels, np.dtype(dtype)
        self.strip_height = strip_height

    @contextmanager
    def new_strip(self, number: int) -> Iterator[Raster]:
        """Open a strip, filled with zeros, to be written; its rows count from its own top."""
        with (
            appearing(self.pieces.path(number)) as path,
            Raster(path, self.width, self._rows(number), self.channels, self.dtype) as strip,
        ):
            yield strip

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Return a rectangle as (height, width, channels), or (height, width) for one channel."""
        parts = []
        while height > 0:
            number, top = divmod(y, self.strip_height)
            rows = min(height, self.strip_height - top)
            path = self.pieces.path(number)
            with Raster(path, self.width, self._rows(number), self.channels, self.dtype) as strip:
                parts.append(strip.read(x, top, width, rows))
            y, height = y + rows, height - rows
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def strip_heights(self) -> list[int]:
        """Return the rows of each strip."""
        return [self._rows(number) for number in range(-(-self.height // self.strip_height))]

    def _rows(self, number: int) -> int:
        return min(self.strip_height, self.height - number * self.strip_height)
