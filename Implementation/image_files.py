"""Open any image or slide: its size, its micrometres per pixel, and any region as 8-bit RGB.

Plain images (PNG, JPEG, ...) are decoded once. Slides (OpenSlide's formats, OME-TIFF, tiled,
pyramidal or very large TIFF) stay on disk: a read decodes only the tiles that it touches.
Whatever is wrong with a file is an ImageReadError.
"""

import contextlib
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import openslide
import tifffile
from PIL import Image, UnidentifiedImageError

_IMAGES = "png jpg jpeg bmp webp gif tif tiff jp2 ppm"
_SLIDES = "svs ndpi mrxs scn bif vms vmu svslide dcm qptiff"
_FOREIGN = """txt md rst csv tsv xls xlsx ods doc docx odt ppt pptx pdf htm html json jsonl geojson
    xml yaml yml toml ini cfg db sqlite log dat opt ome qpdata roi py pyc ipynb r m sh bat groovy
    ijm exe lnk zip gz tar 7z rar h5 hdf5 keras npy npz mat pkl md5 sha256 tmp part bak"""
IMAGE_SUFFIXES = tuple(f".{name}" for name in _IMAGES.split())
SLIDE_SUFFIXES = tuple(f".{name}" for name in _SLIDES.split())
FOREIGN_SUFFIXES = frozenset(f".{name}" for name in _FOREIGN.split())
MAX_PLAIN_PIXELS = 400_000_000  # a plain image is held in memory: 1.2 GB of 8-bit RGB
CACHE_BYTES = 256 * 2**20  # decoded tiles kept per open slide
BLOCK = 512  # side in pixels of the pieces in which files without tiles of their own are read
WHITE_IS_ZERO = 0  # TIFF's photometric interpretation of inverted grey
PLAUSIBLE_MICRONS = (0.05, 20.0)  # um per pixel; 300 dpi, a printer's setting, would be 85
# Named formats only: Pillow would also start Ghostscript for an EPS file.
PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "GIF", "TIFF", "JPEG2000", "PPM")
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MICRONS_PER_UNIT = {"um": 1, "micron": 1, "microns": 1, "\u00b5m": 1, "\u03bcm": 1, "\\u00b5m": 1}
MICRONS_PER_UNIT |= {"nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25400, "in": 25400}


class ImageReadError(ValueError):
    """A file cannot be read; the message is one line: which file, what was found, what to do."""


@dataclass(frozen=True)
class _Level:
    """One resolution of an image as a grid of blocks.

    `block(column, row)` is uint8 RGB; at the right and lower rim it may be cut or padded.
    """

    width: int
    height: int
    block_width: int
    block_height: int
    block: Callable[[int, int], np.ndarray]

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        region = np.empty((height, width, 3), np.uint8)
        for row in range(y // self.block_height, (y + height - 1) // self.block_height + 1):
            for column in range(x // self.block_width, (x + width - 1) // self.block_width + 1):
                left, top = column * self.block_width, row * self.block_height
                x0, x1 = max(x, left), min(x + width, left + self.block_width)
                y0, y1 = max(y, top), min(y + height, top + self.block_height)
                part = self.block(column, row)[y0 - top : y1 - top, x0 - left : x1 - left]
                region[y0 - y : y1 - y, x0 - x : x1 - x] = part
        return region


class ImageFile:
    """An open image or slide; a context manager made by `open_image`.

    Attributes: `path`; `kind` (a few words for logs); `is_slide`; `width`, `height` and
    `microns_per_pixel` of the pixels that `read` returns (um, None where the file does not say);
    `full_width`, `full_height` and `full_microns_per_pixel` of the file's full resolution;
    `downsample`, full-resolution pixels per returned pixel (1.0 for plain images).
    """

    def __init__(
        self, path, kind, levels, microns, is_slide=False, target=None, close=lambda: None
    ):
        self.path, self.kind, self.is_slide, self._close = path, kind, is_slide, close
        full = levels[0]
        if full.width < 1 or full.height < 1:
            raise ImageReadError("the image has no pixels; export it again from its source")
        self.full_width, self.full_height = full.width, full.height
        self.full_microns_per_pixel = microns
        # Slides are only made coarser: a finer target would be invented detail, and resampling by
        # less than 1 % would only blur.
        wanted = target / microns if target and microns else 1.0
        self.downsample = wanted if wanted > 1.01 else 1.0
        # Rounding must not cost the last pixel: 100 * 0.1 / 0.1 counts as 100.
        self.width = max(1, math.floor(full.width / self.downsample + 1e-6))
        self.height = max(1, math.floor(full.height / self.downsample + 1e-6))
        self.microns_per_pixel = microns and microns * self.downsample
        # The coarsest level that is still as fine as what is asked for (to 1 %).
        limit = self.downsample * 1.01
        fine = [each for each in levels if _shrinkage(full.width, each.width) <= limit]
        self._level = min(fine or levels[:1], key=lambda level: level.width)
        self._step_x = self.downsample / _shrinkage(full.width, self._level.width)
        self._step_y = self.downsample / _shrinkage(full.height, self._level.height)

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
        with _one_error_type(self.path):
            level = self._level
            if self.downsample == 1.0:
                return level.read(x, y, width, height)
            left, columns = _boxes(x, width, self._step_x, level.width)
            top, rows = _boxes(y, height, self._step_y, level.height)
            source = level.read(left, top, math.ceil(columns[1][-1]), math.ceil(rows[1][-1]))
            means = _box_means(_box_means(source, *rows, axis=0), *columns, axis=1)
            return np.rint(means).astype(np.uint8)

    def close(self) -> None:
        """Close the file and let go of its pixels; a second call does nothing."""
        self._level = None
        self._close()

    def __enter__(self) -> "ImageFile":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def find_images(folder: str | Path) -> list[Path]:
    """Return the images and slides directly in `folder`, in natural order (`2.png`, `10.png`).

    Passed over: hidden files, folders (also the companion folder of an MRXS slide), files without a
    suffix and files that by their suffix are something else (`.txt`, `.csv`, `.geojson`, ...). All
    others are listed, so that one that cannot be read is reported and not lost. Raises
    FileNotFoundError, NotADirectoryError, or ValueError where there is no image.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"expected a folder of images, found no {folder}; check the path")
    if not folder.is_dir():
        raise NotADirectoryError(f"expected a folder of images, {folder} is a file; name a folder")
    entries = list(folder.iterdir())
    images = [path for path in entries if _may_be_image(path)]
    if not images:
        raise ValueError(
            f"no images in {folder} ({len(entries)} other entries): expected PNG, TIFF, SVS or "
            "other image files directly in it; copy them there or name another folder"
        )
    return sorted(images, key=_natural)


def open_image(path: str | Path, read_at_microns_per_pixel: float | None = None) -> ImageFile:
    """Open an image or slide by its content, whatever its suffix; pixels of slides stay on disk.

    `read_at_microns_per_pixel` (um) is the scale at which a slide is read where that is more than
    1 % coarser than its full resolution and its pixel size is known; plain images are taken as they
    are. Raises ImageReadError for a file that cannot be read, ValueError for a scale <= 0.
    """
    path = Path(path)
    target = read_at_microns_per_pixel
    if target is not None and not 0 < target < math.inf:
        raise ValueError(f"read_at_microns_per_pixel is {target}; give a positive number, or None")
    with _one_error_type(path):
        head = _first_bytes(path)
        vendor = openslide.OpenSlide.detect_format(path)
        # OpenSlide knows no pixel size of a vendorless TIFF and cuts 16 bit to 8; tifffile not.
        if vendor not in (None, "generic-tiff"):
            return _open_openslide(path, vendor, target)
        if head.startswith(TIFF_MAGIC):
            return _open_tiff(path, target)
        return _open_plain(path)


@contextlib.contextmanager
def _one_error_type(path: Path) -> Iterator[None]:
    """Turn every exception of the decoding libraries into ImageReadError."""
    try:
        yield
    except Exception as error:
        name = " ".join(path.name.split())  # a file name may hold a line break
        raise ImageReadError(f"{name}: {_explain(error)}") from error


def _explain(error: Exception) -> str:
    if isinstance(error, ImageReadError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "the file is not there, it was moved or deleted; check the path"
    if isinstance(error, PermissionError):
        return "there is no permission to read the file; change its permissions"
    if isinstance(error, MemoryError):
        return "it needs more memory than is free; convert it to a tiled TIFF or free some memory"
    if isinstance(error, UnidentifiedImageError):
        return "not an image or slide of a known format; convert it to PNG or TIFF, or remove it"
    detail = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return (
        f"truncated, damaged or of an unsupported kind ({detail}); copy it again from its source "
        "or export it as PNG or tiled TIFF"
    )


def _first_bytes(path: Path) -> bytes:
    # A pipe or device would block for ever when opened.
    if path.exists() and not path.is_file():
        raise ImageReadError("a folder or device, not a file; name an image file")
    with path.open("rb") as file:
        head = file.read(32)
    if not head:
        raise ImageReadError("the file is empty (0 bytes); copy it again from its source")
    return head


def _natural(path: Path) -> tuple[list, str]:
    parts = re.split(r"(\d+)", path.name.casefold())
    return [int(part) if part.isdecimal() else part for part in parts], path.name


def _may_be_image(path: Path) -> bool:
    if path.name.startswith((".", "~$")) or path.suffix.lower() in FOREIGN_SUFFIXES:
        return False
    # A dangling link is listed too, so that the missing file is reported.
    return bool(path.suffix) and (path.is_file() or (path.is_symlink() and not path.exists()))


# --- resampling ---


def _shrinkage(full: int, size: int) -> float:
    """Full-resolution pixels per level pixel; a whole number where rounding explains the rest."""
    whole = round(full / size)
    return float(whole) if abs(size * whole - full) < whole else full / size


def _boxes(
    first: int, count: int, step: float, size: int
) -> tuple[int, tuple[np.ndarray, np.ndarray]]:
    """Source boxes of `count` output pixels: offset of the source window, (starts, ends) in it."""
    edges = np.arange(first, first + count + 1) * step
    starts, ends = np.minimum(edges[:-1], size - 1), np.minimum(edges[1:], size)
    offset = math.floor(starts[0])
    return offset, (starts - offset, ends - offset)


def _box_means(image: np.ndarray, starts: np.ndarray, ends: np.ndarray, axis: int) -> np.ndarray:
    """Area averaging along `axis`: means over the intervals [start, end) in pixels, as float32."""
    first = np.floor(starts).astype(int)
    shape = [1] * image.ndim
    shape[axis] = len(starts)
    total = np.float32(0)
    for tap in range(int(np.max(np.ceil(ends) - first))):
        pixel = first + tap
        overlap = np.minimum(ends, pixel + 1) - np.maximum(starts, pixel)
        weight = np.maximum(overlap, 0) / (ends - starts)
        values = np.take(image, np.minimum(pixel, image.shape[axis] - 1), axis)
        total = total + weight.astype(np.float32).reshape(shape) * values
    return total


# --- grey levels ---


def _white_level(pixels: np.ndarray) -> float:
    """White by number type and largest value: 12-bit cameras write 16-bit files."""
    if pixels.dtype == np.uint8:
        return 255.0
    largest = float(pixels[np.isfinite(pixels)].max(initial=0))
    ladder = (1, 255, 4095, 65535) if pixels.dtype.kind in "fb" else (255, 4095, 65535)
    return float(next((white for white in ladder if largest <= white), largest))


def _to_rgb(pixels: np.ndarray, white: float | None = None) -> np.ndarray:
    """Grey, grey + alpha, RGB or RGBA of any number type -> uint8 RGB over white, like glass.

    `pixels` is (height, width) or (height, width, samples); `white` is the value that becomes 255.
    """
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    samples = pixels.shape[-1]
    if samples > 4:
        raise ImageReadError(f"the image has {samples} channels, not RGB; export it as RGB")
    colour = pixels[..., : 3 if samples > 2 else 1]
    if colour.dtype != np.uint8 or samples in (2, 4):
        scale = 255 / (white or _white_level(colour))
        colour = np.nan_to_num(colour.astype(np.float32), posinf=0) * scale
        if samples in (2, 4):
            opaque = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
            alpha = pixels[..., -1:].astype(np.float32) / opaque
            colour = colour * alpha + 255 * (1 - alpha)
        colour = np.rint(np.clip(colour, 0, 255)).astype(np.uint8)
    return np.repeat(colour, 3, -1) if colour.shape[-1] == 1 else np.ascontiguousarray(colour)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the EXIF or TIFF orientation 1..8."""
    pixels = pixels.swapaxes(0, 1) if orientation >= 5 else pixels
    pixels = pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


# --- pixel size ---


def _plausible(x: float | str | None, y: float | str | None = None) -> float | None:
    """Mean of two sizes in um that agree to 5 % and that a microscope can have, else None."""
    try:
        sizes = [float(x), float(x if y is None else y)]
    except (TypeError, ValueError):
        return None
    mean = sum(sizes) / 2
    alike = abs(sizes[0] - sizes[1]) < 0.05 * mean
    return mean if alike and PLAUSIBLE_MICRONS[0] <= mean <= PLAUSIBLE_MICRONS[1] else None


def _tiff_microns(
    tif: tifffile.TiffFile, page: tifffile.TiffPage, series_index: int = 0
) -> float | None:
    """Pixel size in um: from OME or Aperio metadata, else from the resolution tags."""
    if tif.is_ome and (microns := _ome_microns(tif.ome_metadata, series_index)):
        return microns
    if tif.is_svs and (mpp := re.search(r"\bMPP ?= ?([\d.]+)", page.description)):
        return _plausible(mpp[1])
    tags = page.tags
    unit = {2: "inch", 3: "cm"}.get(tags.valueof("ResolutionUnit", 1))
    if tif.is_imagej:
        unit = str((tif.imagej_metadata or {}).get("unit", unit)).lower()
    per_unit = [tags.valueof(name) for name in ("XResolution", "YResolution")]
    if unit not in MICRONS_PER_UNIT or not all(pair and pair[0] and pair[1] for pair in per_unit):
        return None
    return _plausible(*(MICRONS_PER_UNIT[unit] * pair[1] / pair[0] for pair in per_unit))


def _ome_microns(xml: str, series_index: int) -> float | None:
    try:
        images = [e for e in ElementTree.fromstring(xml).iter() if e.tag.endswith("}Pixels")]
        pixels = images[series_index].attrib
        units = [pixels.get(f"PhysicalSize{axis}Unit", "um").lower() for axis in "XY"]
        sizes = [pixels.get(f"PhysicalSize{axis}", "nan") for axis in "XY"]
        return _plausible(
            *(float(size) * MICRONS_PER_UNIT[unit] for size, unit in zip(sizes, units, strict=True))
        )
    except (ElementTree.ParseError, IndexError, KeyError, ValueError):
        return None


# --- plain images ---


def _check_plain_size(width: int, height: int) -> None:
    if width * height > MAX_PLAIN_PIXELS:
        limit = f"more than {MAX_PLAIN_PIXELS // 10**6} million"
        raise ImageReadError(f"{width} x {height} pixels, {limit}; convert it to a tiled TIFF")


def _open_plain(path: Path, kind: str | None = None, microns: float | None = None) -> ImageFile:
    # Ours replaces Pillow's own bomb limit, which is lower, and is checked on the header alone.
    pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path, formats=PILLOW_FORMATS) as image:
            _check_plain_size(*image.size)
            image.load()
            pixels = _upright(_pillow_rgb(path, image), image.getexif().get(0x0112, 1))
            if kind is None:
                kind, dpi = image.format, image.info.get("dpi")
                microns = _plausible(*(25400 / d for d in dpi)) if dpi and all(dpi) else None
    finally:
        Image.MAX_IMAGE_PIXELS = pillow_limit
    return ImageFile(path, kind, [_whole(pixels)], microns)


def _pillow_rgb(path: Path, image: Image.Image) -> np.ndarray:
    if image.format == "PNG" and _first_bytes(path)[24] == 16:
        # Pillow reads 16-bit colour as 8 bit; OpenCV does not, but takes a truncated file, which
        # has failed in Pillow by now.
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(pixels.shape[-1]) if pixels.ndim == 3 else None
        return _to_rgb(pixels[..., order] if order else pixels)
    if image.mode == "F" or image.mode.startswith("I"):
        return _to_rgb(np.asarray(image))
    return _to_rgb(np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB")))


def _whole(pixels: np.ndarray) -> _Level:
    height, width = pixels.shape[:2]
    return _Level(width, height, max(width, 1), max(height, 1), lambda column, row: pixels)


# --- TIFF and OME-TIFF ---


def _open_tiff(path: Path, target: float | None) -> ImageFile:
    with contextlib.ExitStack() as stack:
        tif = stack.enter_context(tifffile.TiffFile(path))
        # The largest series is the tissue; others are label, overview or thumbnail.
        index = max(range(len(tif.series)), key=lambda i: _pixels(tif.series[i].keyframe))
        page, levels = tif.series[index].keyframe, tif.series[index].levels
        is_slide = (tif.is_ome or len(levels) > 1 or page.is_tiled) and _is_grey_or_rgb(page)
        if not (is_slide or _pixels(page) > MAX_PLAIN_PIXELS):
            return _open_plain_tiff(path, tif)
        if page.is_tiled and (tif.is_svs or tif.is_ndpi or tif.is_scn or tif.is_bif):
            # OpenSlide has refused it: tiles may be left, but not what it says of itself.
            raise ImageReadError("a slide file cut short or altered; copy it again from its source")
        kind = "OME-TIFF" if tif.is_ome else "tiled TIFF" if page.is_tiled else "striped TIFF"
        blocks = [_TiffBlocks(level) for level in levels]
        # One value of white for the whole slide, whatever region is read first.
        white = _white_level(blocks[-1].sample())
        kind, microns = f"{kind}, {len(levels)} levels", _tiff_microns(tif, page, index)
        rgb_levels = [each.rgb_level(white) for each in blocks]
        image = ImageFile(path, kind, rgb_levels, microns, True, target)
        image._close = stack.pop_all().close
        return image


def _open_plain_tiff(path: Path, tif: tifffile.TiffFile) -> ImageFile:
    page, pages = tif.pages[0], len(tif.pages)
    kind = "TIFF" + (f", first of {pages} pages" if pages > 1 else "")
    microns = _tiff_microns(tif, page)
    # Pillow knows palettes, CMYK and 1 bit, but not 16-bit RGB.
    if page.dtype is None or page.dtype.itemsize == 1:
        return _open_plain(path, kind, microns)
    _check_tiff_page(page)
    rgb = _to_rgb(_samples_last(page, page.asarray()))
    rgb = 255 - rgb if page.photometric == WHITE_IS_ZERO else rgb
    upright = _upright(rgb, page.tags.valueof("Orientation", 1))
    return ImageFile(path, kind, [_whole(upright)], microns)


def _pixels(page: tifffile.TiffPage) -> int:
    return page.imagewidth * page.imagelength


def _samples_last(page: tifffile.TiffPage, pixels: np.ndarray) -> np.ndarray:
    return np.moveaxis(pixels, 0, -1) if page.axes == "SYX" else np.atleast_3d(pixels)


def _is_grey_or_rgb(page: tifffile.TiffPage) -> bool:
    # YCbCr is turned into RGB by the JPEG decoder only.
    return page.photometric in (0, 1, 2) or (page.photometric == 6 and page.compression in (6, 7))


def _check_tiff_page(page: tifffile.TiffPage) -> None:
    photometric = page.keyframe.photometric
    if not _is_grey_or_rgb(page.keyframe):
        name = getattr(photometric, "name", photometric)
        raise ImageReadError(f"a TIFF with {name} colours cannot be read; convert it to RGB")
    ends = np.asarray(page.dataoffsets, np.uint64) + np.asarray(page.databytecounts, np.uint64)
    if ends.size == 0 or int(ends.max()) > page.parent.filehandle.size:
        raise ImageReadError("the TIFF is truncated, pixels are missing; copy it from its source")


class _TiffBlocks:
    """One resolution of a TIFF as a grid of blocks: its tiles or strips, decoded one by one."""

    def __init__(self, level: tifffile.TiffPageSeries):
        page, pages = level.keyframe, list(level.pages)
        if set(level.axes) - set("YXSC") or None in pages or len(pages) * page.samplesperpixel > 4:
            found = f"a stack or channels of shape {level.shape} ({level.axes})"
            raise ImageReadError(f"{found}, not RGB; save one RGB plane")
        for each in pages:
            _check_tiff_page(each)
        self.page, self.memory_maps = page, []
        self.width = page.tilewidth if page.is_tiled else page.imagewidth
        self.height = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
        if page.is_memmappable:  # uncompressed in one piece: any part is there without the rest
            maps = [each.asarray(out="memmap") for each in pages]
            self.memory_maps = [_samples_last(page, each) for each in maps]
            self.width = self.height = BLOCK
        if self.width * self.height > MAX_PLAIN_PIXELS:
            found = f"a TIFF compressed in pieces of {self.width} x {self.height} pixels"
            raise ImageReadError(f"{found}; convert it to a tiled TIFF")
        self.across = math.ceil(page.imagewidth / self.width)
        self.down = math.ceil(page.imagelength / self.height)
        # The samples of a pixel lie together, or each in a plane of its own, or in pages.
        separate = page.samplesperpixel if page.planarconfig == 2 else 1
        plane_size = self.across * self.down
        self.planes = [(each, number * plane_size) for each in pages for number in range(separate)]

    def read(self, column: int, row: int) -> np.ndarray | None:
        """Return a block (height, width, samples) as stored; None for one that is left out."""
        if self.memory_maps:
            y, x = row * self.height, column * self.width
            parts = [plane[y : y + self.height, x : x + self.width] for plane in self.memory_maps]
        else:
            number = row * self.across + column
            parts = [_segment(page, start + number) for page, start in self.planes]
        return None if any(part is None for part in parts) else np.concatenate(parts, axis=-1)

    def sample(self) -> np.ndarray:
        """Return colours from all over the level, enough to tell white; 8 bits need none."""
        samples = [np.zeros(1, self.page.dtype)]
        if self.page.dtype != np.uint8:
            places = np.linspace(0, self.across * self.down - 1, 16).astype(int)
            for place in sorted(set(places.tolist())):
                block = self.read(place % self.across, place // self.across)
                samples += [] if block is None else [block[..., :3].ravel()]
        return np.concatenate(samples)

    def rgb_level(self, white: float) -> _Level:
        def block(column, row):
            samples = self.read(column, row)
            if samples is None:  # a tile that the scanner left out shows bare glass
                return np.full((self.height, self.width, 3), 255, np.uint8)
            rgb = _to_rgb(samples, white)
            return 255 - rgb if self.page.photometric == WHITE_IS_ZERO else rgb

        size = self.page.imagewidth, self.page.imagelength
        return _Level(*size, self.width, self.height, _cached(block, self.width * self.height * 3))


def _segment(page: tifffile.TiffPage, index: int) -> np.ndarray | None:
    """Decode one tile or strip as (height, width, samples); None where it is left out."""
    count, file, keyframe = page.databytecounts[index], page.parent.filehandle, page.keyframe
    if count == 0:
        return None
    # Read at once: asking the page for its decoder or tables moves the file's position.
    file.seek(page.dataoffsets[index])
    data = file.read(count)
    tables = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader}
    decoded = keyframe.decode(data, index, **tables)[0]
    return None if decoded is None else decoded[0]


def _cached(block: Callable, block_bytes: int) -> Callable:
    return lru_cache(maxsize=max(2, CACHE_BYTES // block_bytes))(block)


# --- OpenSlide ---


def _open_openslide(path: Path, vendor: str, target: float | None) -> ImageFile:
    with contextlib.ExitStack() as stack:
        slide = stack.enter_context(openslide.OpenSlide(path))
        microns = _plausible(*(slide.properties.get(f"openslide.mpp-{axis}") for axis in "xy"))
        levels = [_openslide_level(slide, number) for number in range(slide.level_count)]
        image = ImageFile(
            path, f"{vendor} slide, {len(levels)} levels", levels, microns, True, target
        )
        image._close = stack.pop_all().close
        return image


def _openslide_level(slide: openslide.OpenSlide, number: int) -> _Level:
    """Blocks on a fixed grid.

    OpenSlide takes the place of a region in full-resolution pixels, so that windows of a coarse
    level that began anywhere could disagree by a fraction of a pixel.
    """
    side, scale = BLOCK, slide.level_downsamples[number]
    glass = "#" + slide.properties.get("openslide.background-color", "ffffff")
    width, height = slide.level_dimensions[number]

    def block(column, row):
        size = min(side, width - column * side), min(side, height - row * side)
        place = round(column * side * scale), round(row * side * scale)
        region = slide.read_region(place, number, size)
        canvas = Image.new("RGB", size, glass)
        canvas.paste(region, mask=region.getchannel("A"))
        return np.asarray(canvas)

    return _Level(width, height, side, side, _cached(block, side * side * 3))
