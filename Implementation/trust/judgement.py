"""What super-resolution did to an image, assessed window by window and put together.

The colour difference is that of consistency.py, the expected error that of confidence.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiles.geometry import Window
from trust.confidence import confidence, expected_error, restored, stored
from trust.consistency import Tally, colour_difference


@dataclass(frozen=True)
class JudgedWindow:
    """What super-resolution did to a window of an image.

    Attributes:
        window: the window, in input pixels.
        error: expected error per input pixel, see `confidence.stored`; 0 where not assessed.
        colour: CIEDE2000 between input and downscaled output, float16; nan where not assessed.
    """

    window: Window
    error: np.ndarray
    colour: np.ndarray

    def save(self, path: Path):
        """Write to a file, compressed."""
        with path.open("wb") as file:  # NumPy would add a suffix to a path
            place = list(vars(self.window).values())
            np.savez_compressed(file, window=place, error=self.error, colour=self.colour)

    @classmethod
    def load(cls, path: Path) -> "JudgedWindow":
        """Read what `save` wrote."""
        with np.load(path) as file:
            return cls(Window(*file["window"].tolist()), file["error"], file["colour"])


@dataclass
class Judgement:
    """What super-resolution did to one image.

    Attributes:
        colour: CIEDE2000 between input and downscaled output, per input pixel.
        confidence: confidence per input pixel, 0..1.
        error_sum, pixels: sum of the expected errors in grey levels, and their number.
    """

    colour: Tally
    confidence: Tally
    error_sum: float = 0.0
    pixels: int = 0

    def add(self, judged: JudgedWindow):
        """Add a window."""
        known, error = ~np.isnan(judged.colour), restored(judged.error)
        x, y = judged.window.x, judged.window.y
        self.colour.add(x, y, judged.colour)
        self.confidence.add(x, y, np.where(known, confidence(error), np.nan))
        self.error_sum += float(error[known].sum(dtype=np.float64))
        self.pixels += int(np.count_nonzero(known))

    def columns(self) -> dict:
        """Return the columns of the summary; None if nothing was super-resolved."""
        return {
            "colour_difference": self.colour.mean,
            "colour_difference_p99": self.colour.percentile(99),
            "sr_expected_error": self.error_sum / self.pixels if self.pixels else None,
            "sr_confidence": self.confidence.mean,
        }


def judge_window(
    low: np.ndarray, output: np.ndarray, around: Window, window: Window, parts: Iterable[Window]
) -> tuple[JudgedWindow, np.ndarray]:
    """Compare a window of an image with its super-resolved version.

    Args:
        low: uint8 RGB (height, width, 3) of `around`: the input.
        output: uint8 RGB, a whole number of times larger: the output.
        around: the window with `confidence.MARGIN` pixels around it, as far as the image reaches.
        window: what is assessed.
        parts: rectangles of it that were super-resolved; the rest is not assessed.
        All rectangles are in input pixels.

    Returns:
        The assessment of the window, and the expected error of every output pixel of `around`,
        uint8 as `confidence.stored` gives it: that of the input pixel from which it was made.
    """
    error = stored(expected_error(low, output))
    scale = len(output) // len(low)
    colour = np.full((window.height, window.width), np.nan, np.float16)
    judged = np.zeros((window.height, window.width), np.uint8)
    for part in parts:
        y, x = part.y - around.y, part.x - around.x
        inside = np.s_[y : y + part.height, x : x + part.width]
        outer = np.s_[scale * y : scale * (y + part.height), scale * x : scale * (x + part.width)]
        y, x = part.y - window.y, part.x - window.x
        target = np.s_[y : y + part.height, x : x + part.width]
        colour[target] = colour_difference(low[inside], output[outer])
        judged[target] = error[inside]
    fine = error.repeat(scale, axis=0).repeat(scale, axis=1)
    return JudgedWindow(window, judged, colour), fine
