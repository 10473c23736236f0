"""Writers for the results of one image: pyramid, label map, PNG, CSV table and GeoJSON.

Pixels come from a raster: an object with the attributes `width`, `height`, `channels` and `dtype`
and the method `read(x, y, width, height)`, which returns an array (height, width, channels), or
(height, width) when it has one channel. Rasters are read tile by tile and rows and features are
added one by one, so that no result has to fit in memory.
"""

import csv
import json
import math
import uuid
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from numbers import Integral, Real
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import tifffile
from raster import Raster

TILE = 512  # side of a TIFF tile, in pixels
TILE_BUFFER = 2**24  # bytes of raw tiles that wait for compression
CLASSIC_TIFF_LIMIT = 2**32 - 2**25  # bytes that a TIFF with 32-bit offsets can hold

# Column of the nuclei table -> measurement name, in the manner of QuPath's own. A row has either
# the micrometre or the pixel columns.
MEASUREMENT_NAMES = {
    "area_um2": "Area µm^2",
    "area_px2": "Area px^2",
    "perimeter_um": "Perimeter µm",
    "perimeter_px": "Perimeter px",
    "circularity": "Circularity",
    "solidity": "Solidity",
    "eccentricity": "Eccentricity",
    "major_axis_um": "Major axis µm",
    "major_axis_px": "Major axis px",
    "minor_axis_um": "Minor axis µm",
    "minor_axis_px": "Minor axis px",
    "mean_hematoxylin_od": "Hematoxylin OD mean",
    "probability": "Detection probability",
}
NUCLEUS_CLASS = {"name": "Nucleus", "color": [0, 200, 120]}
NUCLEUS_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "nucleus")
# Made once: json.dumps would make one per nucleus.
ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

# The eight neighbours (x, y) of a pixel, counter-clockwise from the right one.
NEIGHBOURS = np.array([(1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1)])
DIRECTION = np.zeros(9, int)  # number of a neighbour by 3 x + y + 4
DIRECTION[NEIGHBOURS @ (3, 1) + 4] = np.arange(8)


def write_pyramid(path, raster, microns_per_pixel, jpeg_quality=90, software_note=None):
    """Write an RGB raster as tiled, pyramidal OME-TIFF (BigTIFF).

    raster: 3 channels of uint8. microns_per_pixel: side of one pixel in micrometres, or None when
    unknown (the file then states no physical size). jpeg_quality: 1-100, or None for lossless
    deflate. software_note: content of the TIFF Software tag.

    The levels below full resolution lie in SubIFDs (the OME-TIFF 6 layout). Each holds the means
    of 2 x 2 pixels of the level above it, until the larger side is at most 512 px; an odd last
    row or column is averaged by itself. The reduced levels pass through a temporary raw file
    beside `path`, a third of the raw image in size. Raises ValueError for other rasters.
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


def write_label_tiff(path, raster, microns_per_pixel):
    """Write a raster of one channel as uint32 label map: plain tiled TIFF, deflate, lossless.

    The pixel size (micrometres, or None when unknown) goes into the resolution tags. The file is
    a BigTIFF only where the uncompressed labels would pass 4 GB.
    """
    raw_size = raster.width * raster.height * np.dtype(np.uint32).itemsize
    with tifffile.TiffWriter(path, bigtiff=raw_size > CLASSIC_TIFF_LIMIT) as tiff:
        tiff.write(
            (tile.reshape(tile.shape[:2]).astype(np.uint32) for _, _, tile in _tiles(raster)),
            shape=(raster.height, raster.width),
            dtype=np.uint32,
            photometric="minisblack",
            tile=(TILE, TILE),
            compression="zlib",
            metadata=None,
            buffersize=TILE_BUFFER,
            **_resolution(microns_per_pixel),
        )


def write_image(path, image):
    """Write an image, uint8 grey (height, width) or RGB (height, width, 3), as PNG."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    # cv2.imwrite cannot open a path with other than ASCII letters on every system.
    Path(path).write_bytes(cv2.imencode(".png", image)[1].tobytes())


@contextmanager
def table_writer(path, columns=None):
    """Open a CSV table (UTF-8) and give the function that adds one row, a dict.

    The header is `columns`, or the keys of the first row. Floats are written with 6 significant
    digits. Text that a spreadsheet would run as a formula (it begins with = + - @, tab or carriage
    return) gets a leading apostrophe; numbers are never touched. A row with a column that the
    header lacks raises ValueError.
    """
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = None

        def add(row):
            nonlocal writer
            if writer is None:
                writer = _started_table(file, row)
            writer.writerow({name: _cell(value) for name, value in row.items()})

        if columns is not None:
            writer = _started_table(file, columns)
        yield add


def nucleus_feature(label_mask, x_offset, y_offset, row, scale=1.0, shift=(0, 0)):
    """One nucleus as GeoJSON feature with the structure of a QuPath detection.

    label_mask: (height, width), nonzero on the nucleus; only its largest connected part is used
    and holes are ignored. x_offset, y_offset: place of the mask's first pixel in the label map,
    in pixels. row: the nucleus' row of the nuclei table (`label` and measurements). A point p of
    the label map is written as p * scale + shift, so that outlines can be stated in the pixels of
    another level of the image. Coordinates count from the outer corner of pixel (0, 0), as
    QuPath's do.

    The outline runs midway between the pixel centres inside and outside the nucleus and is thinned
    so little that rasterising it gives the mask back. `id` depends on label and centroid alone:
    identical runs give identical files. An empty mask raises ValueError.
    """
    part = _largest_part(label_mask)

    def to_image(points):
        return (points + np.array([x_offset, y_offset])) * scale + np.array(shift)

    ring = to_image(_outline(part)).round(2).tolist()
    sums = cv2.moments(part, binaryImage=True)
    x, y = to_image(np.array([sums["m10"], sums["m01"]]) / sums["m00"] + 0.5).tolist()
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(NUCLEUS_NAMESPACE, f"{row['label']} {x:.2f} {y:.2f}")),
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "properties": {
            "objectType": "detection",
            "name": str(row["label"]),
            "classification": NUCLEUS_CLASS,
            "measurements": _measurements(row),
        },
    }


@contextmanager
def geojson_writer(path):
    """Open a GeoJSON FeatureCollection and give the function that adds one feature."""
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        separator = "\n"

        def add(feature):
            nonlocal separator
            file.write(separator + ENCODER.encode(feature))
            separator = ",\n"

        file.write('{"type":"FeatureCollection","features":[')
        yield add
        file.write("\n]}\n")


def _started_table(file, columns):
    csv.writer(file).writerow(map(_cell, columns))
    return csv.DictWriter(file, list(columns))


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
    # The Software tag is ASCII by definition.
    software = software_note and software_note.encode("ascii", "replace").decode()
    return {"subifds": sublevels, "metadata": metadata, "software": software}


def _tiles(raster):
    """Tiles of the raster in TIFF order as (x, y, pixels); those at its far edges are smaller."""
    for y in range(0, raster.height, TILE):
        for x in range(0, raster.width, TILE):
            width, height = min(TILE, raster.width - x), min(TILE, raster.height - y)
            yield x, y, raster.read(x, y, width, height)


def _tiles_and_reduce(raster, reduced):
    """Full tiles of the raster; fills `reduced`, the next level (None at the last), on the way."""
    for x, y, tile in _tiles(raster):
        if reduced is not None:
            reduced.write(x // 2, y // 2, _halve(tile))
        # Repeated edge pixels: JPEG would bleed a black padding into the image.
        missing_rows, missing_columns = TILE - tile.shape[0], TILE - tile.shape[1]
        yield np.pad(tile, ((0, missing_rows), (0, missing_columns), (0, 0)), mode="edge")


def _halve(image):
    """Means of 2 x 2 pixels, rounded half to even so that no level grows brighter."""
    odd_rows, odd_columns = image.shape[0] % 2, image.shape[1] % 2
    image = np.pad(image, ((0, odd_rows), (0, odd_columns), (0, 0)), mode="edge")
    image = image.astype(np.uint16)
    total = image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]
    return np.rint(total / np.float32(4)).astype(np.uint8)


def _compression(jpeg_quality):
    if jpeg_quality is None:
        return {"compression": "zlib", "predictor": True}
    # The stain is in the colour: keep chroma at full resolution.
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


def _cell(value):
    if isinstance(value, float):  # first, because it is quick and most cells are
        return f"{value:.6g}"
    if value is None or isinstance(value, Integral):
        return value
    if isinstance(value, Real):
        return f"{value:.6g}"
    text = str(value)
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _largest_part(mask):
    mask = (np.asarray(mask) != 0).astype(np.uint8)
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count == 1:
        raise ValueError("a nucleus needs at least one pixel, found an empty mask")
    return (parts == 1 + np.argmax(statistics[1:, cv2.CC_STAT_AREA])).astype(np.uint8)


def _outline(part):
    """Outer outline of one connected part as open ring of (x, y), float (n, 2).

    The points of marching squares, midway between a pixel and its neighbour outside, in the order
    in which a walk along the border pixels passes them; scikit-image's find_contours gives the
    same ring at several times the cost.
    """
    contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    pixels = contours[0][:, 0]
    leaving = DIRECTION[np.diff(pixels, axis=0, append=pixels[:1]) @ (3, 1) + 4]
    # From the neighbour it came from the walk turns counter-clockwise, over those outside.
    begin = leaving[np.arange(len(leaving)) - 1] + 5
    outside = (leaving - begin) % 8 if len(pixels) > 1 else np.array([8])
    turns = begin[:, np.newaxis] + np.arange(8)
    at, turn = np.nonzero((np.arange(8) < outside[:, np.newaxis]) & (turns % 2 == 0))
    ring = pixels[at] + NEIGHBOURS[turns[at, turn] % 8] / 2
    # Marching squares keeps 0.35 px from every pixel centre. approxPolyDP moves the outline by at
    # most 1.71 times its tolerance (its last pass adds the 0.71), which must stay below that.
    ring = cv2.approxPolyDP(ring[:, np.newaxis].astype(np.float32), 0.2, True)[:, 0]
    # The other way round, as GeoJSON wants it, and counted from the corner of a pixel.
    return ring[::-1].astype(float) + 0.5


def _measurements(row):
    values = {name: row[column] for column, name in MEASUREMENT_NAMES.items() if column in row}
    # JSON has no nan: a measurement that could not be taken is left out, as QuPath does.
    return {name: float(f"{value:.6g}") for name, value in values.items() if math.isfinite(value)}
