"""Open any image or slide: its size, its micrometres per pixel, and any region as 8-bit RGB.

Plain images (PNG, JPEG, ...) are decoded once. Slides (OpenSlide's formats, OME-TIFF, tiled,
pyramidal or very large TIFF) stay on disk: a read decodes only the tiles that it touches.
Whatever is wrong with a file is an ImageReadError.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import openslide

from images.errors import ImageReadError, named_with_folder, one_error_type
from images.formats.dicom import slides_in
from images.formats.plain import first_bytes, open_plain
from images.formats.slides import Source, open_openslide, shrinkage
from images.formats.tiff import open_tiff
from images.sizes import StatedSize

MAX_SIDE = 2_000_000  # pixels; no slide comes near, and a strip of one must fit into memory
STUBS = {  # files that are readable, but hold no more than an overview
    ".vsi": "an Olympus .vsi holds only label and overview, its pixels lie in the folder _name_; "
    "export it as OME-TIFF or tiled TIFF",
    ".mrxs": "the slide's data are missing; copy the folder of the same name to beside the file",
}
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class ImageFile:
    """An open image or slide; a context manager made by `open_image`.

    Attributes: `path`; `kind` (a few words for logs); `is_slide`; `width`, `height` and
    `microns_per_pixel` of the pixels that `read` returns (um, None where the file does not say);
    `full_width`, `full_height` and `full_microns_per_pixel` of the file's full resolution;
    `downsample`, full-resolution pixels per returned pixel (1.0 for plain images); `place`, the
    rectangle (left, top, width, height) of the whole image that it stands for, in pixels as they
    are read: the whole of it, or the region that was asked for; `notes`, a line each for what was
    assumed (the value of white) or left out; `origin`, the place (x, y) in OpenSlide's own frame
    from which all of this counts, not (0, 0) where a slide states the bounds of what was scanned.
    """

    def __init__(
        self,
        path: Path,
        source: Source,
        target: float | None = None,
        region: Sequence[int] | None = None,
    ):
        self.path, self.kind, self.is_slide = path, source.kind, source.is_slide
        self.notes, self.origin, self._close = source.notes, source.origin, source.close
        levels, microns = source.levels, source.microns
        full = levels[0]
        if full.width < 1 or full.height < 1:
            raise ImageReadError("the image has no pixels; export it again from its source")
        if max(full.width, full.height) > MAX_SIDE:
            found = f"{full.width} x {full.height} pixels, more than {MAX_SIDE} on a side"
            raise ImageReadError(f"{found}; the file is damaged, copy it again from its source")
        self.full_width, self.full_height = full.width, full.height
        self.full_microns_per_pixel = microns
        # Slides are only made coarser: a finer target would be invented detail, and resampling by
        # less than 1 % would only blur.
        wanted = target / microns if source.is_slide and target and microns else 1.0
        self.downsample = wanted if wanted > 1.01 else 1.0
        # Rounding must not cost the last pixel: 100 * 0.1 / 0.1 counts as 100.
        width = max(1, math.floor(full.width / self.downsample + 1e-6))
        height = max(1, math.floor(full.height / self.downsample + 1e-6))
        left, right = self._along("x", region and region[::2], width)
        top, bottom = self._along("y", region and region[1::2], height)
        self.width, self.height = right - left, bottom - top
        self.place = left, top, self.width, self.height
        self.microns_per_pixel = microns and microns * self.downsample
        # The coarsest level that is still as fine as what is asked for (to 1 %).
        limit = self.downsample * 1.01
        fine = [each for each in levels if shrinkage(full.width, each.width) <= limit]
        self._level = min(fine or levels[:1], key=lambda level: level.width)
        self._step_x = self.downsample / shrinkage(full.width, self._level.width)
        self._step_y = self.downsample / shrinkage(full.height, self._level.height)

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Return a region as uint8 RGB (height, width, 3), in pixels of `width` x `height`.

        Every pixel is the mean over its own box of the whole slide, so pieces fit together exactly.
        Raises ValueError for an empty region, one that is not inside the image or a closed file,
        and ImageReadError where the file cannot be decoded.
        """
        if self._level is None:
            raise ValueError(f"{self.path.name} is closed; read inside the `with` block")
        if not (0 <= x < x + width <= self.width and 0 <= y < y + height <= self.height):
            raise ValueError(
                f"region x={x} y={y} width={width} height={height} is not inside the "
                f"{self.width} x {self.height} pixels of {self.path.name}; ask for a part of it"
            )
        x, y = x + self.place[0], y + self.place[1]
        with one_error_type(self.path):
            if self.downsample == 1.0:
                return self._level.read(x, y, width, height)
            return self._level.read_shrunk(x, y, width, height, self._step_x, self._step_y)

    def _along(self, axis: str, part: Sequence[int] | None, size: int) -> tuple[int, int]:
        """Return begin and end, in pixels as they are read, of a region along one side.

        `part` is (begin, length) at full resolution, None for all; `size` is the whole side.
        """
        if part is None:
            return 0, size
        begin, length = part
        first = max(0, math.floor(begin / self.downsample))
        end = min(size, math.ceil((begin + length) / self.downsample))
        if first >= end:
            raise ImageReadError(
                f"REGION {axis} = {begin}, length {length} lies outside the {self.full_width} x "
                f"{self.full_height} pixels of the image at full resolution; choose one inside"
            )
        return first, end

    def close(self) -> None:
        """Close the file and let go of its pixels; a second call does nothing."""
        self._level = None
        self._close()

    def __enter__(self) -> "ImageFile":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def open_image(
    path: str | Path,
    read_at_microns_per_pixel: float | Callable[[float | None], float | None] | None = None,
    region: Sequence[int] | None = None,
    stated: StatedSize | None = None,
) -> ImageFile:
    """Open an image or slide by its content, whatever its suffix; pixels of slides stay on disk.

    `path` is a file, or a folder that holds one DICOM slide. `read_at_microns_per_pixel` (um) is
    the scale at which a slide is read where that is more than 1 % coarser than its full resolution
    and its pixel size is known, or a function that gives this scale for the pixel size of the file
    (None = as it is); plain images are taken as they are. `region` (x, y, width, height,
    in pixels of the full resolution) limits it to a part, which is cut at the border of the image.
    `stated` is what the user says of the pixel size. Raises ImageReadError for a file that cannot
    be read or a region that lies outside, ValueError for a scale <= 0.
    """
    path = Path(path)
    read_at = read_at_microns_per_pixel
    if not (read_at is None or callable(read_at) or 0 < read_at < math.inf):
        raise ValueError(f"read_at_microns_per_pixel is {read_at}; give a positive number, or None")
    with one_error_type(path):
        source = _open_source(path)
        microns, notes = (stated or StatedSize()).or_of_file(source.microns)
        source = replace(source, microns=microns, notes=(*source.notes, *notes))
        target = read_at(microns) if callable(read_at) else read_at
        try:
            return ImageFile(path, source, target, region)
        except BaseException:
            source.close()
            raise


def read_image(path: Path) -> np.ndarray:
    """Read an image or slide whole, at its full resolution: uint8 RGB (height, width, 3).

    Raises ImageReadError, which names the folder as well.
    """
    with named_with_folder(path), open_image(path) as image:
        return image.read(0, 0, image.width, image.height)


def _open_source(path: Path) -> Source:
    if path.is_dir() and len(slides := slides_in(path)) == 1:  # else first_bytes refuses it
        path = slides[0]
    head = first_bytes(path)
    vendor = openslide.OpenSlide.detect_format(path)
    # OpenSlide knows no pixel size of a vendorless TIFF and cuts 16 bit to 8; tifffile not.
    if vendor not in (None, "generic-tiff"):
        return open_openslide(path, vendor)
    if stub := STUBS.get(path.suffix.lower()):
        raise ImageReadError(stub)
    return open_tiff(path) if head.startswith(TIFF_MAGIC) else open_plain(path)
