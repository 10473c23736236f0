"""The evidence of one image: does it fit the training data, and can its super-resolution be
trusted? Measures it in a stream of windows, draws the maps, and words it for summary.csv."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from confidence import MARGIN, confidence, expected_error, restored, stored
from consistency import COLOUR_LIMIT, Tally, colour_difference, write_map
from domain import NOMINAL_MICRONS, measure_signs, warnings_of
from outputs import write_grey_tiff
from raster import Raster
from tiling import Window, expanded

EVIDENCE_COLUMNS = (
    "colour_difference",
    "colour_difference_p99",
    "sr_expected_error",
    "sr_confidence",
    "warning",
)
EVIDENCE_FILES = ("consistency.png", "confidence.png", "sr_confidence.tif")


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

    def columns(self) -> dict:
        """Return the columns of the summary; None where nothing was super-resolved."""
        return {
            "colour_difference": self.colour.mean,
            "colour_difference_p99": self.colour.percentile(99),
            "sr_expected_error": self.error_sum / self.pixels if self.pixels else None,
            "sr_confidence": self.confidence.mean,
        }


def judge_super_resolution(
    image, pixels, errors: Raster, scale: int, windows: Iterable[Window]
) -> Judgement:
    """Compare an image with its super-resolved version, window by window.

    Args:
        image: the input: `width`, `height` and `read(x, y, width, height)`.
        pixels: the output, `scale` times larger per side, read alike.
        errors: raster of the input's size, uint8; gets the expected error, see
            `confidence.stored`.
        scale: output pixels per input pixel.
        windows: what was super-resolved, in input pixels; what lies outside is not judged.
    """
    sizes = image.width, image.height
    judgement = Judgement(Tally(*sizes), Tally(*sizes))
    for window in windows:
        low, output, error = _judged(image, pixels, window, scale)
        judgement.colour.add(window.x, window.y, colour_difference(low, output))
        errors.write(window.x, window.y, stored(error)[..., None])
        judgement.confidence.add(window.x, window.y, confidence(error))
        judgement.error_sum += float(error.sum(dtype=np.float64))
        judgement.pixels += error.size
    return judgement


def errors_of(image, pixels, place: Window, scale: int) -> np.ndarray:
    """Return the expected error of a rectangle of the output, uint8 as `confidence.stored` gives.

    Each input pixel stands for the `scale` x `scale` output pixels that it became. Arguments as
    for `judge_super_resolution`; `place` is in output pixels.
    """
    left, top = place.x // scale, place.y // scale
    right, bottom = -(-(place.x + place.width) // scale), -(-(place.y + place.height) // scale)
    window = Window(left, top, right - left, bottom - top)
    error = stored(_judged(image, pixels, window, scale)[2])
    fine = error.repeat(scale, axis=0).repeat(scale, axis=1)
    return fine[place.y - scale * top :, place.x - scale * left :][: place.height, : place.width]


def _judged(image, pixels, window: Window, scale: int):
    """Return input, output and expected error of a window, which is in input pixels."""
    around = expanded(window, MARGIN, Window(0, 0, image.width, image.height))
    low = image.read(around.x, around.y, around.width, around.height)
    output = pixels.read(*(scale * side for side in vars(around).values()))
    y, x = window.y - around.y, window.x - around.x
    inner = slice(y, y + window.height), slice(x, x + window.width)
    outer = tuple(slice(scale * part.start, scale * part.stop) for part in inner)
    error = restored(stored(expected_error(low, output)[inner]))
    return low[inner], output[outer], error


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
        judgement, errors: from `judge_super_resolution`.
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
