"""TIFF and OME-TIFF through tifffile; of slides, a read decodes only the tiles it touches."""

import contextlib
import io
import math
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from images.errors import ImageReadError
from images.formats.pages import is_three_grey_planes, layout_of, tissue_series
from images.formats.plain import MAX_PLAIN_PIXELS, open_plain, own_size_limit
from images.formats.slides import BLOCK, Level, Source, cached_blocks, whole_level
from images.ome import ome_pixels
from images.pixels import range_of, to_rgb, upright
from images.sizes import number, tiff_microns
from images.white import ValueRange, stated_range

WHITE_IS_ZERO = 0  # TIFF's photometric interpretation of inverted grey
# Codes of TIFF's compressions. The decoders of the first are given the size that must come out...
SIZED_COMPRESSIONS = (1, 5, 8, 32773, 32946, 34925, 34926, 50000)  # none, LZW, deflate, zstd, ...
# ... while JPEG, JPEG 2000 and WebP say their own, up to gigabytes in a file of a few bytes.
SELF_SIZED_COMPRESSIONS = (6, 7, 33003, 33004, 33005, 34712, 34927, 50001)
# What Pillow decodes: none, CCITT, LZW, JPEG, deflate, PackBits, ThunderScan, LZMA and zstd.
PILLOW_COMPRESSIONS = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32809, 32946, 34925, 50000)
PILLOW_BITS = (1, 2, 4, 8)  # per sample, of several samples only the last
SAMPLED_BLOCKS = 48  # in which white is looked for
SELF_SIZED_FORMATS = ("JPEG", "JPEG2000", "WEBP")  # as Pillow, which reads their sizes, names them


def open_tiff(path: Path) -> Source:
    """Open a TIFF: one that is tiled, pyramidal, OME or very large stays on disk as a slide."""
    with contextlib.ExitStack() as stack:
        tif = stack.enter_context(tifffile.TiffFile(path))
        index, further = tissue_series(tif)
        page, levels = tif.series[index].keyframe, tif.series[index].levels
        is_slide = (tif.is_ome or len(levels) > 1 or page.is_tiled) and _is_grey_or_rgb(page)
        if not (is_slide or _pixels(page) > MAX_PLAIN_PIXELS):
            return _open_plain_tiff(path, tif, index, further)
        if page.is_tiled and (tif.is_svs or tif.is_ndpi or tif.is_scn or tif.is_bif):
            # OpenSlide has refused it: tiles may be left, but not what it says of itself.
            raise ImageReadError("a slide file cut short or altered; copy it again from its source")
        kind = "OME-TIFF" if tif.is_ome else "tiled TIFF" if page.is_tiled else "striped TIFF"
        blocks = [_TiffBlocks(level) for level in levels]
        # One range of values for the whole slide, whatever region is read first.
        stated = _stated(tif, page)
        values = range_of(blocks[-1].sample(stated is not None), stated)
        kind, microns = f"{kind}, {len(levels)} levels", tiff_microns(tif, page)
        rgb_levels = [each.rgb_level(values) for each in blocks]
        turned = page.tags.valueof("Orientation", 1)
        turned = f"its Orientation tag ({turned:d}) is not applied" if turned != 1 else None
        notes = _said(values.note, blocks[0].layout.note, turned, further)
        return Source(kind, rgb_levels, microns, True, stack.pop_all().close, notes)


def _open_plain_tiff(path: Path, tif: tifffile.TiffFile, index: int, further) -> Source:
    series = tif.series[index]
    page, pages = series.keyframe, len(tif.pages)
    kind = "TIFF" + (f", page {page.index + 1} of {pages}" if pages > 1 else "")
    microns = tiff_microns(tif, page)
    if not is_three_grey_planes(series) and _is_for_pillow(page, series):
        return open_plain(path, kind, microns, page.index, _said(further))
    layout = layout_of(series)
    planes = _whole_planes(page, layout.planes)
    pixels = np.concatenate(planes, axis=-1)[..., : layout.samples]
    values = range_of(pixels, _stated(tif, page))
    rgb = to_rgb(pixels, values, layout.premultiplied)
    rgb = 255 - rgb if page.photometric == WHITE_IS_ZERO else rgb
    pixels = upright(rgb, page.tags.valueof("Orientation", 1))
    notes = _said(values.note, layout.note, further)
    return Source(kind, [whole_level(pixels)], microns, notes=notes)


def _whole_planes(page: tifffile.TiffPage, planes: list[tuple]) -> list[np.ndarray]:
    pages = list(dict.fromkeys(each for each, _ in planes))
    for each in pages:
        _check_tiff_page(each)
        for segment in range(len(each.dataoffsets)):
            _segment(each, segment)
    if page.is_memmappable:
        size = page.imagewidth, page.imagelength
        return [_read_part(*plane, 0, 0, *size) for plane in planes]
    return [_samples_last(page, each.asarray()) for each in pages]


def _is_for_pillow(page: tifffile.TiffPage, series: tifffile.TiffPageSeries) -> bool:
    """Whether Pillow reads all of it: it knows palettes, CMYK and 1 bit, but not 16-bit RGB.

    Of a fourth sample it does not always know what it means.
    """
    bits = PILLOW_BITS if page.samplesperpixel == 1 else PILLOW_BITS[-1:]
    if page.compression not in PILLOW_COMPRESSIONS or page.bitspersample not in bits:
        return False
    if len(page.treeindex) > 1 or page.dtype not in (None, np.uint8, np.bool_):
        return False  # Pillow does not read sub-IFDs
    if not _is_grey_or_rgb(page):
        return True
    # Pillow opens no file whose first page it does not know.
    return page.index == 0 and set(series.axes) <= set("YXS") and page.samplesperpixel in (1, 3)


def _stated(tif: tifffile.TiffFile, page: tifffile.TiffPage):
    bits = number(ome_pixels(tif, page).get("SignificantBits"))
    return stated_range(tif, page, bits and int(bits))


def _said(*notes: str | None) -> tuple[str, ...]:
    return tuple(note for note in notes if note)


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
    compression = page.keyframe.compression
    if compression not in SIZED_COMPRESSIONS + SELF_SIZED_COMPRESSIONS:
        name = getattr(compression, "name", compression)
        raise ImageReadError(f"a TIFF compressed as {name} cannot be read; export it as JPEG")
    ends = np.asarray(page.dataoffsets, np.uint64) + np.asarray(page.databytecounts, np.uint64)
    if ends.size == 0 or int(ends.max()) > page.parent.filehandle.size:
        raise ImageReadError("the TIFF is truncated, pixels are missing; copy it from its source")


class _TiffBlocks:
    """One resolution of a TIFF as a grid of blocks: its tiles or strips, decoded one by one."""

    def __init__(self, level: tifffile.TiffPageSeries):
        self.page, self.layout = level.keyframe, layout_of(level)
        page, self.planes = self.page, self.layout.planes
        for each, _ in self.planes:
            _check_tiff_page(each)
        self.width = page.tilewidth if page.is_tiled else page.imagewidth
        self.height = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
        if page.is_memmappable:  # uncompressed in one piece: any part is there without the rest
            self.width = self.height = BLOCK
        if self.width * self.height > MAX_PLAIN_PIXELS:
            found = f"a TIFF compressed in pieces of {self.width} x {self.height} pixels"
            raise ImageReadError(f"{found}; convert it to a tiled TIFF")
        self.across = math.ceil(page.imagewidth / self.width)
        self.down = math.ceil(page.imagelength / self.height)

    def read(self, column: int, row: int) -> np.ndarray | None:
        """Return a block (height, width, samples) as stored; None for one that is left out."""
        if self.page.is_memmappable:
            y, x = row * self.height, column * self.width
            height = min(self.height, self.page.imagelength - y)
            width = min(self.width, self.page.imagewidth - x)
            parts = [_read_part(*plane, x, y, width, height) for plane in self.planes]
        else:
            index = row * self.across + column
            plane_size = self.across * self.down
            parts = [
                decode_segment(page, plane * plane_size + index) for page, plane in self.planes
            ]
        if any(part is None for part in parts):
            return None
        return np.concatenate(parts, axis=-1)[..., : self.layout.samples]

    def sample(self, is_white_stated: bool) -> np.ndarray:
        """Return pixels (n, samples) from all over the level, enough to tell white and alpha."""
        samples, layout = [], self.layout
        # 8 bits say what is white; a stated white and an alpha are checked by the pixels.
        if self.page.dtype != np.uint8 or is_white_stated or layout.samples in (2, 4):
            places = np.linspace(0, self.across * self.down - 1, SAMPLED_BLOCKS).astype(int)
            for place in sorted(set(places.tolist())):
                row, column = divmod(place, self.across)
                block = self.read(column, row)
                if block is not None:  # without the padding at the rim
                    down = self.page.imagelength - row * self.height
                    across = self.page.imagewidth - column * self.width
                    samples.append(block[:down, :across].reshape(-1, layout.samples))
        return np.concatenate(samples or [np.zeros((1, layout.samples), self.page.dtype)])

    def rgb_level(self, values: ValueRange) -> Level:
        def block(column, row):
            samples = self.read(column, row)
            if samples is None:  # a tile that the scanner left out shows bare glass
                return np.full((self.height, self.width, 3), 255, np.uint8)
            rgb = to_rgb(samples, values, self.layout.premultiplied)
            return 255 - rgb if self.page.photometric == WHITE_IS_ZERO else rgb

        size = self.page.imagewidth, self.page.imagelength
        return Level(
            *size, self.width, self.height, cached_blocks(block, self.width * self.height * 3)
        )


def _read_part(page, plane: int, x: int, y: int, width: int, height: int) -> np.ndarray:
    """Read a part of a plane of an uncompressed page as (height, width, samples).

    Not through a memory map: the system kills a program whose mapped file is cut short or whose
    network share goes away.
    """
    keyframe, file = page.keyframe, page.parent.filehandle
    samples = 1 if keyframe.planarconfig == 2 else keyframe.samplesperpixel
    dtype = keyframe.dtype.newbyteorder(page.parent.byteorder)
    part = np.empty((height, width, samples), dtype)
    for row, target in enumerate(part, start=y + plane * keyframe.imagelength):
        place = (row * keyframe.imagewidth + x) * samples * dtype.itemsize
        file.seek(page.dataoffsets[0] + place)
        if file.readinto(target) != target.nbytes:
            raise ImageReadError("the TIFF ends before its pixels do; copy it from its source")
    return part.astype(keyframe.dtype, copy=False)


def decode_segment(page: tifffile.TiffPage, index: int) -> np.ndarray | None:
    """Decode one tile or strip as (height, width, samples); None where it is left out."""
    data, keyframe = _segment(page, index), page.keyframe
    tables = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader}
    decoded = keyframe.decode(data, index, **tables)[0] if data else None
    return None if decoded is None else decoded[0]


def _segment(page: tifffile.TiffPage, index: int) -> bytes:
    """Read a tile or strip as stored; refuse one of more pixels than its page has room for."""
    file, keyframe = page.parent.filehandle, page.keyframe
    # Sought and read at once: asking the page for its decoder or tables moves the file's position.
    file.seek(page.dataoffsets[index])
    data = file.read(page.databytecounts[index])
    if len(data) != page.databytecounts[index]:
        raise ImageReadError("the TIFF ends before its pixels do; copy it from its source")
    if data and keyframe.compression in SELF_SIZED_COMPRESSIONS:
        width = keyframe.tilewidth if keyframe.is_tiled else keyframe.imagewidth
        height = keyframe.tilelength if keyframe.is_tiled else keyframe.rowsperstrip
        with own_size_limit(), Image.open(io.BytesIO(data), formats=SELF_SIZED_FORMATS) as image:
            if image.width > width or image.height > height:
                found = f"{image.width} x {image.height} pixels in a place for {width} x {height}"
                raise ImageReadError(f"{found}; the TIFF is damaged, copy it from its source")
    return data
