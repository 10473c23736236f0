"""The files of one image: which there are, how large the pictures are, and their final names."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from outputs.evidence import EVIDENCE_FILES
from outputs.figures import draw_outlines, write_figure
from outputs.png import write_image
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
    "overlay.png",
    "figure.png",
    *EVIDENCE_FILES,
)
LARGE_IMAGE = 64_000_000  # output pixels; larger results become a pyramid instead of a PNG
PREVIEW_SIDE = 2048  # longest side of overlay.png in pixels
FIGURE_SIDE = 1024  # longest side of the panels of figure.png


def write_results(
    folder: Path, image, scale: int, pixels, labels, microns, jpeg_quality, note=None, warning=""
):
    """Write pictures, pyramid and label map of one image.

    Args:
        folder: folder to write to.
        image: the input, an ImageFile.
        scale: output pixels per input pixel; 1 if the image was not super-resolved.
        pixels: RGB of the output size, read by rectangle.
        labels: label raster, or None if nuclei were not segmented.
        microns: um per output pixel, None if unknown.
        jpeg_quality: of a pyramid, None = lossless.
        note: text for the Software field of the files.
        warning: what makes the image unlike the training data; printed in the figure.
    """
    width, height = pixels.width, pixels.height
    low, shown, step = None, None, _step(width, height, FIGURE_SIDE)
    # A second thread compresses the pictures meanwhile; only this one reads the rasters.
    with ThreadPoolExecutor(1) as thread:
        compressed = []

        def write(name, picture):
            compressed.append(thread.submit(write_image, folder / name, picture, note))

        if scale > 1:
            low = preview(image, _step(image.width, image.height, PREVIEW_SIDE))
            write("low_resolution.png", low)
            if image.is_slide or width * height > LARGE_IMAGE:
                path = folder / "super_resolved.ome.tif"
                write_pyramid(path, pixels, microns, jpeg_quality, note)
            else:
                write("super_resolved.png", pixels.read(0, 0, width, height))
        if labels is not None:
            shown = preview(labels, step, "first")
            write("overlay.png", _overlay(pixels, labels))
            write_label_tiff(folder / "nuclei_labels.tif", labels, microns, note)
        size = microns and microns * step
        detail = Detail(image, scale, pixels, labels, step) if step > 1 else None
        shrunk = preview(pixels, step)
        write_figure(folder / "figure.png", low, shrunk, shown, size, detail, note, warning)
        for picture in compressed:
            picture.result()  # raises any error of the thread


@dataclass(frozen=True)
class Detail:
    """Reads a field of a preview at full resolution, for the inset of the figure."""

    image: object
    scale: int
    pixels: object
    labels: object
    step: int

    def __call__(self, field):
        """Return (low resolution or None, picture, labels or None) of (x, y, width, height)."""
        x, y, width, height = (side * self.step // self.scale for side in field)
        width = max(1, min(width, self.image.width - x))
        height = max(1, min(height, self.image.height - y))
        box = [side * self.scale for side in (x, y, width, height)]
        low = self.image.read(x, y, width, height) if self.scale > 1 else None
        return low, self.pixels.read(*box), self.labels and self.labels.read(*box)


def publish(partial: Path, folder: Path):
    """Give finished results their final names; delete older results that were not made again."""
    for name in RESULTS:
        if (partial / name).exists():
            (partial / name).replace(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)


def _overlay(pixels, labels):
    step = _step(pixels.width, pixels.height, PREVIEW_SIDE)
    return draw_outlines(preview(pixels, step), preview(labels, step, "first"))


def _step(width: int, height: int, longest: int) -> int:
    """Return the whole-number factor that shrinks an image to at most `longest` pixels."""
    return -(-max(width, height) // longest)
