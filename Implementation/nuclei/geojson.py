"""Nuclei as GeoJSON that QuPath imports as detections or annotations: features and the file."""

import gzip
import json
import math
import uuid
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

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
    "max_feret_um": "Max feret µm",
    "max_feret_px": "Max feret px",
    "min_feret_um": "Min feret µm",
    "min_feret_px": "Min feret px",
    "orientation": "Orientation °",
    "mean_hematoxylin_od": "Hematoxylin OD mean",
    "sd_hematoxylin_od": "Hematoxylin OD std dev",
    "nearest_neighbour_um": "Nearest neighbour µm",
    "nearest_neighbour_px": "Nearest neighbour px",
    "neighbours_50um": "Neighbours within 50 µm",
    "local_density_per_mm2": "Local density per mm^2",
    "in_tissue_edge": "In tissue edge",
    "probability": "Detection probability",
    "nucleus_confidence": "Nucleus confidence",
    "sr_expected_error": "Super-resolution expected error",
}
METADATA = ("region", "region_class")  # columns of text
NUCLEUS_CLASS = {"name": "Nucleus", "color": [0, 200, 120]}
NUCLEUS_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "nucleus")
# Made once: json.dumps would make one per nucleus.
ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def nucleus_feature(ring, row, scale=1.0, shift=(0.0, 0.0), kind="detection"):
    """One nucleus as GeoJSON feature with the structure of an object in QuPath.

    ring: its outline, see `outlines.outline`. row: its row of the nuclei table (`label` and
    measurements). A point p of the label map is written as p * scale + shift, so that outlines can
    be stated in the pixels of another level of the image. kind: "detection", or "annotation", which
    QuPath lets people edit. `id` depends on label and place alone: identical runs give identical
    files.
    """
    ring = (np.asarray(ring, float) * scale + np.array(shift)).round(2)
    points, (x, y) = ring.tolist(), ring.mean(axis=0)
    metadata = {name: row[name] for name in METADATA if row.get(name)}
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(NUCLEUS_NAMESPACE, f"{row['label']} {x:.2f} {y:.2f}")),
        "geometry": {"type": "Polygon", "coordinates": [[*points, points[0]]]},
        "properties": {
            "objectType": kind,
            "name": str(row["label"]),
            "classification": NUCLEUS_CLASS,
            "measurements": _measurements(row),
            **({"metadata": metadata} if metadata else {}),
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


def _measurements(row):
    values = {name: row[column] for column, name in MEASUREMENT_NAMES.items() if column in row}
    # JSON has no nan: a measurement that could not be taken is left out, as QuPath does.
    return {name: float(f"{value:.6g}") for name, value in values.items() if math.isfinite(value)}
