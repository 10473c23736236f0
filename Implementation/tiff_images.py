"""TIFF and OME-TIFF through tifffile; of slides, a read decodes only the tiles it touches."""

import contextlib
import math
from pathlib import Path

import numpy as np
import tifffile
from image_errors import ImageReadError
from image_levels import BLOCK, Level, Source, cached_blocks, whole_level
from pixel_formats import to_rgb, upright, white_level
from pixel_sizes import tiff_microns
from plain_images import MAX_PLAIN_PIXELS, open_plain

WHITE_IS_ZERO = 0  # TIFF's photometric interpretation of inverted grey


def open_tiff(path: Path) -> Source:
    """Open a TIFF: one that is tiled, pyramidal, OME or very large stays on disk as a slide."""
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
        white = white_level(blocks[-1].sample())
        kind, microns = f"{kind}, {len(levels)} levels", tiff_microns(tif, page, index)
        rgb_levels = [each.rgb_level(white) for each in blocks]
        return Source(kind, rgb_levels, microns, True, stack.pop_all().close)


def _open_plain_tiff(path: Path, tif: tifffile.TiffFile) -> Source:
    page, pages = tif.pages[0], len(tif.pages)
    kind = "TIFF" + (f", first of {pages} pages" if pages > 1 else "")
    microns = tiff_microns(tif, page)
    # Pillow knows palettes, CMYK and 1 bit, but not 16-bit RGB.
    if page.dtype is None or page.dtype.itemsize == 1:
        return open_plain(path, kind, microns)
    _check_tiff_page(page)
    rgb = to_rgb(_samples_last(page, page.asarray()))
    rgb = 255 - rgb if page.photometric == WHITE_IS_ZERO else rgb
    pixels = upright(rgb, page.tags.valueof("Orientation", 1))
    return Source(kind, [whole_level(pixels)], microns)


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
            parts = [decode_segment(page, start + number) for page, start in self.planes]
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

    def rgb_level(self, white: float) -> Level:
        def block(column, row):
            samples = self.read(column, row)
            if samples is None:  # a tile that the scanner left out shows bare glass
                return np.full((self.height, self.width, 3), 255, np.uint8)
            rgb = to_rgb(samples, white)
            return 255 - rgb if self.page.photometric == WHITE_IS_ZERO else rgb

        size = self.page.imagewidth, self.page.imagelength
        return Level(
            *size, self.width, self.height, cached_blocks(block, self.width * self.height * 3)
        )


def decode_segment(page: tifffile.TiffPage, index: int) -> np.ndarray | None:
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
