"""Writers of TIFF files: the pyramidal OME-TIFF, label maps and other grey images.

Pixels come from a raster: an object with the attributes `width`, `height`, `channels` and `dtype`
and the method `read(x, y, width, height)`, which returns an array (height, width, channels), or
(height, width) if it has one channel. Rasters are read tile by tile, so that no result has to fit
into memory.
"""

import math
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tifffile

from tiles.raster import Raster

TILE = 512  # side of a TIFF tile, in pixels
TILE_BUFFER = 2**24  # bytes of raw tiles that wait for compression
CLASSIC_TIFF_LIMIT = 2**32 - 2**25  # bytes that a TIFF with 32-bit offsets can hold


def write_pyramid(path, raster, microns_per_pixel, jpeg_quality=90, software_note=None):
    """Write an RGB raster as tiled, pyramidal OME-TIFF (BigTIFF).

    raster: 3 channels of uint8. microns_per_pixel: side of one pixel in micrometres, or None if
    unknown (the file then states no physical size). jpeg_quality: 1-100, or None for lossless
    deflate. software_note: content of the TIFF Software tag.

    The levels below full resolution are SubIFDs (the OME-TIFF 6 layout). Each holds the means of
    2 x 2 pixels of the level above it, until the larger side is at most 512 px; an odd last row or
    column is averaged by itself. The reduced levels go through temporary raw files beside `path`,
    together a third of the raw image in size. Raises ValueError for other rasters.
    """
    if raster.channels != 3 or np.dtype(raster.dtype) != np.uint8:
        raise ValueError(
            "a pyramid holds RGB images of uint8, "
            f"found {raster.channels} channel(s) of {np.dtype(raster.dtype)}"
        )
    path = Path(path)
    sizes = _level_sizes(raster.width, raster.height)
    with (
        TemporaryDirectory(dir=path.parent) as folder,
        ExitStack() as files,
        tifffile.TiffWriter(path, bigtiff=True, ome=True) as tiff,
    ):
        levels = [raster]
        for number, size in enumerate(sizes[1:]):
            reduced = Raster(Path(folder) / f"{number}.raw", *size, 3, np.uint8)
            levels.append(files.enter_context(reduced))
        for level, reduced in zip_longest(levels, levels[1:]):
            level_size = microns_per_pixel and microns_per_pixel * raster.width / level.width
            first_page = _first_page(len(sizes) - 1, microns_per_pixel, software_note)
            tiff.write(
                _tiles_and_reduce(level, reduced),
                shape=(level.height, level.width, 3),
                dtype=np.uint8,
                photometric="rgb",
                tile=(TILE, TILE),
                buffersize=TILE_BUFFER,
                **_compression(jpeg_quality),
                **_resolution(level_size),
                **(first_page if level is raster else {"subfiletype": 1, "metadata": None}),
            )


def write_label_tiff(path, raster, microns_per_pixel, software_note=None):
    """Write a raster of one channel as uint32 label map; see `write_grey_tiff`."""
    write_grey_tiff(path, raster, microns_per_pixel, software_note, np.uint32)


def write_grey_tiff(path, raster, microns_per_pixel, software_note=None, dtype=np.uint8):
    """Write a raster of one integer channel as plain tiled TIFF, deflate, lossless.

    The pixel size (micrometres, or None if unknown) goes into the resolution tags, software_note
    into the Software tag. The file is a BigTIFF only if the uncompressed samples exceed 4 GB.
    """
    raw_size = raster.width * raster.height * np.dtype(dtype).itemsize
    with tifffile.TiffWriter(path, bigtiff=raw_size > CLASSIC_TIFF_LIMIT) as tiff:
        tiff.write(
            (tile.reshape(tile.shape[:2]).astype(dtype) for _, _, tile in _tiles(raster)),
            shape=(raster.height, raster.width),
            dtype=dtype,
            photometric="minisblack",
            software=_ascii(software_note),
            tile=(TILE, TILE),
            compression="zlib",
            metadata=None,
            buffersize=TILE_BUFFER,
            **_resolution(microns_per_pixel),
        )


def _level_sizes(width, height):
    sizes = [(width, height)]
    while max(width, height) > TILE:
        width, height = math.ceil(width / 2), math.ceil(height / 2)
        sizes.append((width, height))
    return sizes


def _first_page(sublevels, microns_per_pixel, software_note):
    metadata = {"axes": "YXS"}
    if microns_per_pixel is not None:
        for axis in "XY":
            metadata[f"PhysicalSize{axis}"] = microns_per_pixel
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    return {"subifds": sublevels, "metadata": metadata, "software": _ascii(software_note)}


def _ascii(note):
    """Return text for the TIFF Software tag, which is ASCII by definition."""
    return note and note.encode("ascii", "replace").decode()


def _tiles(raster):
    """Yield the tiles of a raster in TIFF order as (x, y, pixels); smaller at its far edges."""
    for y in range(0, raster.height, TILE):
        for x in range(0, raster.width, TILE):
            width, height = min(TILE, raster.width - x), min(TILE, raster.height - y)
            yield x, y, raster.read(x, y, width, height)


def _tiles_and_reduce(raster, reduced):
    """Yield full tiles of the raster and fill `reduced`, the next level (None at the last)."""
    for x, y, tile in _tiles(raster):
        if reduced is not None:
            reduced.write(x // 2, y // 2, _halve(tile))
        # Padded with edge pixels: JPEG would let black padding bleed into the image.
        missing_rows, missing_columns = TILE - tile.shape[0], TILE - tile.shape[1]
        yield np.pad(tile, ((0, missing_rows), (0, missing_columns), (0, 0)), mode="edge")


def _halve(image):
    """Return the means of 2 x 2 pixels, rounded half to even so that no level gets brighter."""
    odd_rows, odd_columns = image.shape[0] % 2, image.shape[1] % 2
    image = np.pad(image, ((0, odd_rows), (0, odd_columns), (0, 0)), mode="edge")
    image = image.astype(np.uint16)
    total = image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]
    return np.rint(total / np.float32(4)).astype(np.uint8)


def _compression(jpeg_quality):
    if jpeg_quality is None:
        return {"compression": "zlib", "predictor": True}
    # The colour carries the stain: keep chroma at full resolution.
    return {
        "compression": "jpeg",
        "compressionargs": {"level": jpeg_quality},
        "subsampling": (1, 1),
    }


def _resolution(microns_per_pixel):
    if microns_per_pixel is None:
        return {}
    pixels_per_centimetre = 1e4 / microns_per_pixel
    return {
        "resolution": (pixels_per_centimetre, pixels_per_centimetre),
        "resolutionunit": "CENTIMETER",
    }
