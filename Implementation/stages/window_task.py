"""One window of an image after the networks: its super-resolution judged, its nuclei measured.

The windows are the same whatever the tile size, and any process may take any of them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuclei.separation import Separation
from nuclei.windows import PixelSize, WindowContent, WindowGeometry, find_nuclei
from program.disk import appearing
from tiles.geometry import Window, shrunk
from trust.judgement import judge_window


@dataclass(frozen=True)
class WindowTask:
    """All that is needed to judge and measure a window, in any process.

    Attributes:
        nuclei_file, judged_file: get the results, see `WindowNuclei` and `JudgedWindow`.
        geometry: where the window lies in the result.
        around: its place with a margin, on which its expected error depends.
        pixels: uint8 RGB of `around`.
        maps: (height, width, 2) of the place: probability and distance, in 1/255; None where no
            nuclei are looked for.
        low: uint8 RGB, the input of `around`; None without super-resolution.
        super_resolved: rectangles of the window that are, in pixels of the input.
        white: R, G, B of bare glass.
        size: of a pixel of the result.
        separation: thresholds.
    """

    nuclei_file: Path
    judged_file: Path
    geometry: WindowGeometry
    around: Window
    pixels: np.ndarray
    maps: np.ndarray | None
    low: np.ndarray | None
    super_resolved: tuple[Window, ...]
    white: tuple[float, float, float]
    size: PixelSize
    separation: Separation


def examine_window(task: WindowTask | None) -> dict:
    """Do a task, None = a window without tissue; write no file of what there is nothing of.

    Returns:
        {"nuclei": their number, "judged": whether there is a judgement}.
    """
    if task is None:
        return {"nuclei": 0, "judged": False}
    errors = None if task.low is None else _judge(task)
    found = None if task.maps is None else _measure(task, errors)
    if found:
        with appearing(task.nuclei_file) as path:
            found.save(path)
    return {"nuclei": len(found.outlines) if found else 0, "judged": errors is not None}


def _judge(task: WindowTask) -> np.ndarray:
    """Write the judgement of a window; return the expected errors around it."""
    scale = len(task.pixels) // len(task.low)
    around, window = shrunk(task.around, scale), shrunk(task.geometry.window, scale)
    judged, errors = judge_window(task.low, task.pixels, around, window, task.super_resolved)
    with appearing(task.judged_file) as path:
        judged.save(path)
    return errors


def _measure(task: WindowTask, errors: np.ndarray | None):
    """Return the nuclei of a window, see `find_nuclei`; `errors` are those around it."""
    place = task.geometry.place
    y, x = place.y - task.around.y, place.x - task.around.x
    inside = np.s_[y : y + place.height, x : x + place.width]
    errors = None if errors is None else errors[inside]
    content = WindowContent(task.pixels[inside], task.maps, errors, task.white)
    return find_nuclei(task.geometry, content, task.size, task.separation)
