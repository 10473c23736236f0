"""The evidence for one image: does it resemble the training data, and can its super-resolution be
trusted? In words for summary.csv, and as maps."""

from pathlib import Path

import cv2
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from outputs.canvas import colour_bar, fit, map_figure, place, save_figure, scaled, title_above
from outputs.png import write_image
from outputs.tiff import write_grey_tiff
from program.settings import RESULT_MICRONS
from tiles.raster import Raster
from trust.confidence import confidence, restored
from trust.domain import SIGNS_MICRONS, measure_signs, warnings_of
from trust.judgement import Judgement

COLOUR_LIMIT = 10.0  # CIEDE2000 at the end of the scale of consistency.png, in every run
COLOURS = "inferno"
NOT_ASSESSED = 217  # grey level
LARGEST_SIDE = 5.4  # inches of the map
DOTS_PER_INCH = 150
EVIDENCE_FILES = ("consistency.png", "confidence.png", "sr_confidence.tif")


class ConfidenceView:
    """Reads stored expected errors as confidence in per cent, 1 to 100; 0 = not assessed.

    Glass, which was not assessed, is 0 in the raster; no expected error is as small as that.
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
    write=write_image,
):
    """Write consistency.png, confidence.png and sr_confidence.tif.

    Args:
        folder: folder to write to.
        judgement: of all windows.
        errors: raster of the input's size with the stored expected errors.
        microns: um per input pixel, None if unknown.
        software: text for the Software field of the TIFF.
        write: writes a picture, as `write_image` does.
    """
    columns = judgement.columns()
    if columns["colour_difference"] is None:  # all glass
        text = found = "nothing was super-resolved"
    else:
        text = (
            "Output, downscaled again, against input: mean "
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
        write,
    )
    write_map(
        folder / "confidence.png",
        judgement.confidence.map(),
        (0, 1),
        found,
        "confidence, 1 = no error expected",
        write,
    )
    write_grey_tiff(folder / "sr_confidence.tif", ConfidenceView(errors), microns, software)


def write_map(
    path: Path,
    values: np.ndarray,
    limits: tuple[float, float],
    title: str,
    label: str,
    write=write_image,
):
    """Draw a map with its colour bar as PNG; the limits are given, so that runs can be compared.

    Args:
        path: the file.
        values: float (rows, columns); nan (not assessed) is drawn in light grey.
        limits: value at the dark and at the bright end of the scale.
        title: one line above the map.
        label: what the scale measures.
        write: writes a picture, as `write_image` does.
    """
    rows, columns = values.shape
    figure, axis, bar_axis = map_figure(rows / columns, LARGEST_SIDE, DOTS_PER_INCH)
    colours = ScalarMappable(Normalize(*limits), COLOURS)
    painted = colours.cmap(colours.norm(values), bytes=True)[..., :3]
    painted[~np.isfinite(values)] = NOT_ASSESSED
    size = fit(axis, columns, rows)
    place(axis, scaled(painted, size, cv2.INTER_NEAREST))
    title_above(axis, title)
    extend = "max" if (values > limits[1]).any() else "neither"
    colour_bar(bar_axis, colours, label, extend=extend)
    save_figure(figure, path, write)


def domain_warning(image, tissue, counting: float, microns: float | None, scale: int) -> str:
    """State in one line what makes an image unlike the training data; "" if nothing does.

    Args:
        image: the input: `width`, `height` and `read(x, y, width, height)`.
        tissue: bool (rows, columns), its tissue mask where nuclei count.
        counting: share of the image where they do.
        microns: um per pixel of the input, None if unknown.
        scale: how far the image is enlarged, 1 if the nucleus network takes it as it is.
    """
    nominal = scale * RESULT_MICRONS
    # What a generator takes is measured as it is: the limits hold at 1 and at 0.5 um per pixel.
    shrink = 1 if scale > 1 else max(1, round(SIGNS_MICRONS / (microns or nominal)))
    shrink = min(shrink, image.width, image.height)
    width, height = image.width // shrink, image.height // shrink

    def read(x, y, columns, rows):
        pixels = image.read(*(shrink * side for side in (x, y, columns, rows)))
        return cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA)

    signs = measure_signs(read, width, height, tissue, counting)
    return "; ".join(warnings_of(signs, microns and microns / nominal, min(width, height)))
