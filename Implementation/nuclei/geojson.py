"""Nuclei as GeoJSON that QuPath imports as detections: outlines, measurements, the file."""

import gzip
import json
import math
import uuid
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

import cv2
import numpy as np

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
    "sr_confidence": "Super-resolution confidence",
    "sr_expected_error": "Super-resolution expected error",
}
NUCLEUS_CLASS = {"name": "Nucleus", "color": [0, 200, 120]}
NUCLEUS_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "nucleus")
# Made once: json.dumps would make one per nucleus.
ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

# The eight neighbours (x, y) of a pixel, counter-clockwise from the right one.
NEIGHBOURS = np.array([(1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1)])
DIRECTION = np.zeros(9, int)  # number of a neighbour by 3 x + y + 4
DIRECTION[NEIGHBOURS @ (3, 1) + 4] = np.arange(8)


def outline(label_mask, x_offset, y_offset):
    """Outline of a nucleus as open ring of (x, y), float32 (n, 2), in pixels of the label map.

    label_mask: (height, width), nonzero on the nucleus; only its largest connected part is used
    and holes are ignored. x_offset, y_offset: place of the mask's first pixel in the label map.
    Coordinates count from the outer corner of pixel (0, 0), as QuPath's do.

    The outline runs midway between the pixel centres inside and outside the nucleus and is thinned
    so little that rasterising it gives the mask back. An empty mask raises ValueError.
    """
    ring = _border(_largest_part(label_mask))
    # Marching squares keeps 0.35 px from every pixel centre. approxPolyDP moves the outline by at
    # most 1.71 times its tolerance (its last pass adds the 0.71), which must stay below that.
    ring = cv2.approxPolyDP(ring[:, np.newaxis], 0.2, True)[:, 0]
    # The other way round, as GeoJSON wants it, and counted from the corner of a pixel.
    return ring[::-1] + np.float32([x_offset, y_offset]) + np.float32(0.5)


def nucleus_feature(ring, row, scale=1.0, shift=(0.0, 0.0)):
    """One nucleus as GeoJSON feature with the structure of a QuPath detection.

    ring: its `outline`. row: its row of the nuclei table (`label` and measurements). A point p of
    the label map is written as p * scale + shift, so that outlines can be stated in the pixels of
    another level of the image. `id` depends on label and place alone: identical runs give
    identical files.
    """
    ring = (np.asarray(ring, float) * scale + np.array(shift)).round(2)
    points, (x, y) = ring.tolist(), ring.mean(axis=0)
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(NUCLEUS_NAMESPACE, f"{row['label']} {x:.2f} {y:.2f}")),
        "geometry": {"type": "Polygon", "coordinates": [[*points, points[0]]]},
        "properties": {
            "objectType": "detection",
            "name": str(row["label"]),
            "classification": NUCLEUS_CLASS,
            "measurements": _measurements(row),
        },
    }


@contextmanager
def geojson_writer(path, members=None):
    """Open a GeoJSON FeatureCollection and give the function that adds one feature.

    Features go to the file one by one. A path that ends in .gz is compressed, without a time or
    name inside, so that identical runs give identical files. members: further members of the
    collection, which readers pass over (RFC 7946, section 6.1).
    """
    with Path(path).open("wb") as raw, _text(raw, Path(path).suffix == ".gz") as file:
        separator = "\n"

        def add(feature):
            nonlocal separator
            file.write(separator + ENCODER.encode(feature))
            separator = ",\n"

        head = {"type": "FeatureCollection"} | (members or {})
        file.write(json.dumps(head, separators=(",", ":"))[:-1] + ',"features":[')
        yield add
        file.write("\n]}\n")


def _text(raw, compressed):
    binary = gzip.GzipFile("", "wb", 6, raw, mtime=0) if compressed else raw
    return TextIOWrapper(binary, encoding="utf-8", newline="\n")


def _largest_part(mask):
    mask = (np.asarray(mask) != 0).astype(np.uint8)
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count == 1:
        raise ValueError("a nucleus needs at least one pixel, found an empty mask")
    return (parts == 1 + np.argmax(statistics[1:, cv2.CC_STAT_AREA])).astype(np.uint8)


def _border(part):
    """Points of marching squares around one connected part as open ring of (x, y), float32 (n, 2).

    They lie midway between a pixel and its neighbour outside and come in the order in which a walk
    along the border pixels passes them; scikit-image's find_contours gives the same ring at
    several times the cost.
    """
    contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    pixels = contours[0][:, 0]
    leaving = DIRECTION[np.diff(pixels, axis=0, append=pixels[:1]) @ (3, 1) + 4]
    # From the neighbour it came from the walk turns counter-clockwise, over those outside.
    begin = leaving[np.arange(len(leaving)) - 1] + 5
    outside = (leaving - begin) % 8 if len(pixels) > 1 else np.array([8])
    turns = begin[:, np.newaxis] + np.arange(8)
    at, turn = np.nonzero((np.arange(8) < outside[:, np.newaxis]) & (turns % 2 == 0))
    return (pixels[at] + NEIGHBOURS[turns[at, turn] % 8] / 2).astype(np.float32)


def _measurements(row):
    values = {name: row[column] for column, name in MEASUREMENT_NAMES.items() if column in row}
    # JSON has no nan: a measurement that could not be taken is left out, as QuPath does.
    return {name: float(f"{value:.6g}") for name, value in values.items() if math.isfinite(value)}
