"""The stage that examines an image window by window, once the networks are done with it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuclei.candidates.scoring import NucleusScore
from nuclei.separation import Separation
from nuclei.tissue import Tissue
from nuclei.windows import PixelSize, WindowGeometry
from program.settings import NucleiSettings
from stages.pieces import Pieces, Stage
from stages.window_task import WindowTask, examine_window
from tiles.geometry import (
    Reader,
    Window,
    expanded,
    grid,
    intersection,
    shrunk,
    tile_sides,
    tiles_meeting,
)
from trust.confidence import MARGIN

WINDOW = 1536  # side of a window in pixels of the result at most
NUCLEI_CONTEXT = 24.0  # um around a window in which nuclei are found; more than their radius


@dataclass(frozen=True)
class WindowSource:
    """What the windows of an image are cut from.

    Attributes:
        low: the input; None without super-resolution.
        pixels: the result in RGB; like the input it has `width`, `height` and `read`.
        read_maps: returns a rectangle of the U-net's maps at the size of the result, in 1/255;
            None without a U-net.
        tissue: where the tissue is.
        tile_sides: width and height of the tiles that were super-resolved where they hold tissue,
            in pixels of the input; None without super-resolution.
        scale: pixels of the result per pixel of the input.
        microns: um per pixel of the result, None where unknown.
        unet_microns: stands in for it in the separation.
        separation: thresholds.
    """

    low: Any
    pixels: Any
    read_maps: Reader | None
    tissue: Tissue
    tile_sides: tuple[int, int] | None
    scale: int
    microns: float | None
    unet_microns: float
    separation: Separation

    def task(self, window: Window, nuclei_file: Path, judged_file: Path) -> WindowTask | None:
        """Gather what a window needs; None where there is nothing to do."""
        judged = self._super_resolved(shrunk(window, self.scale)) if self.low else ()
        with_nuclei = self.read_maps is not None and self.tissue.is_in(window, self.scale)
        if not judged and not with_nuclei:
            return None
        extent = Window(0, 0, self.pixels.width, self.pixels.height)
        place, around = (expanded(window, by, extent) for by in self._borders())
        return WindowTask(
            nuclei_file,
            judged_file,
            WindowGeometry(window, place, extent),
            around,
            self.pixels.read(*vars(around).values()),
            self.read_maps(*vars(place).values()) if with_nuclei else None,
            self.low and self.low.read(*vars(shrunk(around, self.scale)).values()),
            judged,
            self.tissue.white.rgb,
            PixelSize(self.microns, self.unet_microns),
            self.separation,
        )

    def _super_resolved(self, window: Window) -> tuple[Window, ...]:
        """Return the parts of a window that were super-resolved, all in pixels of the input."""
        image = Window(0, 0, self.low.width, self.low.height)
        tiles = tiles_meeting(window, image, *self.tile_sides)
        return tuple(intersection(t, window) for t in tiles if self.tissue.is_in(t, 1))

    def _borders(self) -> tuple[int, int]:
        """Return what is needed around a window, for nuclei and for the judgement, too."""
        context = 0
        if self.read_maps:
            context = math.ceil(NUCLEI_CONTEXT / (self.microns or self.unet_microns))
        if self.low is None:
            return context, context
        return context, self.scale * (MARGIN + -(-context // self.scale))


def window_sides(image: Window, scale: int) -> tuple[int, int]:
    """Return width and height of an image's windows, in pixels of the result.

    They are of equal size, so that no helper waits for another that has a larger one.
    """
    return tile_sides(image, WINDOW, scale)


def window_stage(
    title: str, folder: Path, source: WindowSource, advance: Callable[[float], None]
) -> Stage:
    """Return the stage.

    Args:
        title: of the stage.
        folder: of its pieces.
        source: what the windows are cut from.
        advance: is told of pixels of the result that are done.
    """
    image = Window(0, 0, source.pixels.width, source.pixels.height)
    windows = grid(image.width, image.height, *window_sides(image, source.scale))
    pieces = Pieces(folder, ".npz")

    def task(number):
        return source.task(windows[number], pieces.path(number), judged_file(pieces, number))

    sizes = [window.width * window.height for window in windows]
    return Stage(title, pieces, sizes, task, examine_window, True, advance)


def judged_file(pieces: Pieces, number: int) -> Path:
    """Return where the judgement of a window is, beside its nuclei."""
    return pieces.path(number).with_suffix(".judged.npz")


def separation_of(nuclei: NucleiSettings, score: NucleusScore | None) -> Separation:
    """Return how a user chose that nuclei are separated, by which network."""
    return Separation(
        probability=nuclei.probability_threshold,
        least_overlap=nuclei.least_overlap,
        smallest_nucleus=nuclei.smallest_nucleus,
        score=score,
    )
