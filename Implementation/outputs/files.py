"""The files of one image: which there are, how large the pictures are, and their final names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outputs.evidence import EVIDENCE_FILES
from outputs.figures import Views, draw_outlines, write_figure
from outputs.maps import MAP_FILES
from outputs.png import dots_per_inch, write_image
from outputs.tiff import write_label_tiff, write_pyramid
from tiles.raster import preview

RESULTS = (
    "low_resolution.png",
    "super_resolved.png",
    "super_resolved.ome.tif",
    "nuclei_labels.tif",
    "nuclei.csv",
    "nuclei.geojson",
    "nuclei.geojson.gz",
    "regions.csv",
    "overlay.png",
    "figure.png",
    *EVIDENCE_FILES,
    *MAP_FILES,
)
LARGE_IMAGE = 64_000_000  # output pixels; larger results become a pyramid instead of a PNG
PREVIEW_SIDE = 2048  # longest side of overlay.png in pixels
FIGURE_SIDE = 1024  # longest side of the panels of figure.png


@dataclass(frozen=True)
class Shown:
    """What the pictures of an image show.

    Attributes:
        image: the input, an ImageFile.
        scale: output pixels per input pixel; 1 if the image was not super-resolved.
        pixels: RGB of the output size, read by rectangle.
        labels: label raster, or None if nuclei were not segmented.
        microns: um per output pixel, None if unknown.
    """

    image: Any
    scale: int
    pixels: Any
    labels: Any
    microns: float | None


def write_results(
    folder: Path,
    shown: Shown,
    jpeg_quality: int,
    note: str | None = None,
    warning: str = "",
    write=write_image,
):
    """Write pictures, pyramid and label map of one image.

    Args:
        folder: folder to write to.
        shown: what they show.
        jpeg_quality: of a pyramid, 1 to 100; 0 = lossless.
        note: text for the Software field of the TIFF files.
        warning: what makes the image unlike the training data; printed in the figure.
        write: writes a picture, as `write_image` does.
    """
    image, scale, microns = shown.image, shown.scale, shown.microns
    pixels, labels = shown.pixels, shown.labels
    width, height = pixels.width, pixels.height
    low, outlined, step = None, None, shrinking(width, height, FIGURE_SIDE)
    if scale > 1:
        shrunk_by = shrinking(image.width, image.height, PREVIEW_SIDE)
        low = preview(image, shrunk_by)
        low_dpi = dots_per_inch(microns and microns * scale * shrunk_by)
        write(folder / "low_resolution.png", low, low_dpi)
        if is_large(image, pixels):
            path = folder / "super_resolved.ome.tif"
            write_pyramid(path, pixels, microns, jpeg_quality or None, note)
        else:
            whole = pixels.read(0, 0, width, height)
            write(folder / "super_resolved.png", whole, dots_per_inch(microns))
    if labels is not None:
        outlined = preview(labels, step, "first")
        write(folder / "overlay.png", _overlay(pixels, labels))
        write_label_tiff(folder / "nuclei_labels.tif", labels, microns, note)
    size = microns and microns * step
    detail = Detail(shown, step) if step > 1 else None
    shrunk = preview(pixels, step)
    path = folder / "figure.png"
    write_figure(path, Views(low, shrunk, outlined), size, detail, warning, write)


@dataclass(frozen=True)
class Detail:
    """Reads a field of a preview at full resolution, for the inset of the figure.

    Attributes:
        shown: what the figure shows.
        step: pixels of the result per pixel of the preview.
    """

    shown: Shown
    step: int

    def __call__(self, field):
        """Return the views of a field (x, y, width, height) of the preview."""
        image, scale, labels = self.shown.image, self.shown.scale, self.shown.labels
        x, y, width, height = (side * self.step // scale for side in field)
        width = max(1, min(width, image.width - x))
        height = max(1, min(height, image.height - y))
        box = [side * scale for side in (x, y, width, height)]
        low = image.read(x, y, width, height) if scale > 1 else None
        return Views(low, self.shown.pixels.read(*box), labels and labels.read(*box))


def publish(partial: Path, folder: Path):
    """Give finished results their final names; delete older results that were not made again."""
    for name in RESULTS:
        if (partial / name).exists():
            (partial / name).replace(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)


def is_large(image: Any, pixels: Any) -> bool:
    """Tell whether a result is too large for one PNG; image: the input, pixels: the result."""
    return image.is_slide or pixels.width * pixels.height > LARGE_IMAGE


def shrinking(width: int, height: int, longest: int) -> int:
    """Return the whole-number factor that shrinks an image to at most `longest` pixels."""
    return -(-max(width, height) // longest)


def _overlay(pixels, labels):
    step = shrinking(pixels.width, pixels.height, PREVIEW_SIDE)
    return draw_outlines(preview(pixels, step), preview(labels, step, "first"))
