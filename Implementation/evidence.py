"""The evidence of one image: does it fit the training data, and can its super-resolution be
trusted? Measures it in a stream of windows, draws the maps, and words it for summary.csv."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from confidence import confidence, expected_error, restored, stored
from consistency import COLOUR_LIMIT, Tally, colour_difference, write_map
from domain import NOMINAL_MICRONS, measure_signs, warnings_of
from outputs import write_grey_tiff
from raster import Raster
from tiling import Window

EVIDENCE_COLUMNS = (
    "colour_difference",
    "colour_difference_p99",
    "sr_expected_error",
    "sr_confidence",
    "warning",
)
EVIDENCE_FILES = ("consistency.png", "confidence.png", "sr_confidence.tif")


@dataclass(frozen=True)
class JudgedWindow:
    """What super-resolution did to a window of an image.

    Attributes:
        window: the window, in input pixels.
        error: expected error per input pixel, see `confidence.stored`; 0 where not judged.
        colour: CIEDE2000 between input and output brought back down, float16; nan where not judged.
    """

    window: Window
    error: np.ndarray
    colour: np.ndarray

    def save(self, path: Path):
        """Write to a file, compressed."""
        with path.open("wb") as file:  # NumPy would add a suffix to the name of a path
            place = list(vars(self.window).values())
            np.savez_compressed(file, window=place, error=self.error, colour=self.colour)

    @classmethod
    def load(cls, path: Path) -> "JudgedWindow":
        """Read what `save` has written."""
        with np.load(path) as file:
            return cls(Window(*file["window"].tolist()), file["error"], file["colour"])


@dataclass
class Judgement:
    """What super-resolution did to one image.

    Attributes:
        colour: CIEDE2000 between input and output brought back down, per input pixel.
        confidence: confidence per input pixel, 0..1.
        error_sum, pixels: sum of the expected errors in grey levels, and of how many pixels.
    """

    colour: Tally
    confidence: Tally
    error_sum: float = 0.0
    pixels: int = 0

    def add(self, judged: JudgedWindow):
        """Count a window in."""
        known, error = ~np.isnan(judged.colour), restored(judged.error)
        x, y = judged.window.x, judged.window.y
        self.colour.add(x, y, judged.colour)
        self.confidence.add(x, y, np.where(known, confidence(error), np.nan))
        self.error_sum += float(error[known].sum(dtype=np.float64))
        self.pixels += int(np.count_nonzero(known))

    def columns(self) -> dict:
        """Return the columns of the summary; None where nothing was super-resolved."""
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
        around: the window with `confidence.MARGIN` pixels around it, where the image has them.
        window: what is judged.
        parts: rectangles of it that were super-resolved; the rest is not judged.
        All rectangles are in input pixels.

    Returns:
        The judgement of the window, and the expected error of every output pixel of `around`,
        uint8 as `confidence.stored` gives it: each input pixel stands for those that it became.
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


class ConfidenceView:
    """Reads a raster of stored expected errors as confidence in per cent, 1 to 100; 0 = not judged.

    What was not judged (glass) is 0 in the raster as well, so no error is ever stored as such.
    """

    def __init__(self, errors: Raster):
        self.errors, self.width, self.height = errors, errors.width, errors.height
        per_cent = np.rint(100 * confidence(restored(np.arange(256, dtype=np.uint8))))
        self._table = np.maximum(1, per_cent).astype(np.uint8)
        self._table[0] = 0

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Return a rectangle, uint8 (height, width)."""
        return self._table[self.errors.read(x, y, width, height)]


def write_evidence(
    folder: Path,
    judgement: Judgement,
    errors: Raster,
    microns: float | None,
    software: str | None = None,
):
    """Write consistency.png, confidence.png and sr_confidence.tif.

    Args:
        folder: where they go.
        judgement: of all windows.
        errors: raster of the input's size: the windows' expected errors.
        microns: um per input pixel, None where unknown.
        software: text for the files' Software field.
    """
    columns = judgement.columns()
    if columns["colour_difference"] is None:  # all glass
        text = found = "nothing was super-resolved"
    else:
        text = (
            "Output brought back down against input: mean "
            f"{columns['colour_difference']:.2f}, 99th percentile "
            f"{columns['colour_difference_p99']:.2f}"
        )
        found = (
            f"Super-resolution: mean confidence {columns['sr_confidence']:.2f}, expected error "
            f"{columns['sr_expected_error']:.1f} grey levels"
        )
    write_map(
        folder / "consistency.png",
        judgement.colour.map(),
        (0, COLOUR_LIMIT),
        text,
        "colour difference, CIEDE2000",
        software,
    )
    write_map(
        folder / "confidence.png",
        judgement.confidence.map(),
        (0, 1),
        found,
        "confidence, 1 = no error expected",
        software,
    )
    write_grey_tiff(folder / "sr_confidence.tif", ConfidenceView(errors), microns, software)


def domain_warning(image, tissue, microns: float | None, scale: int) -> str:
    """Say in one line what makes an image unlike the training data; "" where nothing does.

    Args:
        image: the input: `width`, `height` and `read(x, y, width, height)`.
        tissue: bool (rows, columns), its tissue mask.
        microns: um per pixel of the input, None where unknown.
        scale: 4 where the image is super-resolved, 1 where the nucleus network takes it as it is.
    """
    nominal = NOMINAL_MICRONS if scale > 1 else NOMINAL_MICRONS / 4
    # Judged at the size of a low-resolution image, at which the limits were found.
    shrink = 1 if scale > 1 else max(1, round(NOMINAL_MICRONS / (microns or nominal)))
    shrink = min(shrink, image.width, image.height)
    width, height = image.width // shrink, image.height // shrink

    def read(x, y, columns, rows):
        pixels = image.read(*(shrink * side for side in (x, y, columns, rows)))
        return cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA)

    signs = measure_signs(read, width, height, tissue)
    return "; ".join(warnings_of(signs, microns and microns / nominal, min(width, height)))
