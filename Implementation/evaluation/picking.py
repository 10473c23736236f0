"""Which fields of a finished run are most worth correcting: the least certain, and varied ones."""

import csv
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from outputs.tables import ENCODING
from pipeline.job import read_manifest
from tiles.geometry import Window

MOST_SHRUNK = 0.125  # of the side of a field
FEWEST = 0.25  # of the median number of nuclei of the image; emptier fields teach little


@dataclass(frozen=True)
class Field:
    """A field of the result of an image.

    Attributes:
        folder: results of the image.
        window: its place, in pixels of the result.
        nuclei: how many have their centroid in it.
        confidence: their mean, 0..1; see `confidence_of`.
        appearance: numbers that tell how it looks: nuclei, their size, its spread, their stain.
    """

    folder: Path
    window: Window
    nuclei: int
    confidence: float
    appearance: tuple[float, ...]

    @property
    def name(self) -> str:
        """Name of its files, without suffix."""
        return f"{self.folder.name}_x{self.window.x}_y{self.window.y}"


def fields_of_run(results: Path, side: int) -> list[Field]:
    """Cut all images of a run into fields that do not overlap; return those that hold nuclei.

    Nearly empty ones are left out, each measured by its own image, so that sparse tissue keeps
    fields beside dense tissue. Images without any are printed.

    Args:
        results: output folder of the run.
        side: of a field, in pixels of the result, an eighth less where one more fits so; smaller
            images are taken whole.

    Raises:
        ValueError: there are no finished images with nuclei.
    """
    folders = [path for path in sorted(results.glob("*")) if (path / "nuclei.csv").is_file()]
    of_images = {folder: _fields_of_image(folder, side) for folder in folders if _finished(folder)}
    if not any(of_images.values()):
        raise ValueError(
            f"RESULTS_FOLDER {results}: expected the output folder of a finished run that found "
            "nuclei, found none; run Final_implementation.py first"
        )
    empty = [folder.name for folder, fields in of_images.items() if not fields]
    if empty:
        print(f"no field, as no nuclei were found: {', '.join(empty)}")
    return [field for fields in of_images.values() for field in _well_filled(fields)]


def choose(fields: list[Field], count: int) -> list[Field]:
    """Choose fields that the networks are unsure of, spread over the images and unlike each other.

    Of each image the less confident half competes. The least confident field is the first; each
    further one is, among those of the images with the fewest fields so far, the one that looks
    least like any chosen before (farthest-point sampling, Gonzalez 1985).

    Args:
        fields: to choose from.
        count: how many at most.
    """
    fields = _least_confident(fields, count)
    looks = np.array([field.appearance for field in fields])
    looks = (looks - looks.mean(axis=0)) / np.maximum(looks.std(axis=0), 1e-9)
    chosen, taken = [0], Counter([fields[0].folder])
    nearest = np.linalg.norm(looks - looks[0], axis=1)
    while len(chosen) < min(count, len(fields)):
        left = [index for index in range(len(fields)) if index not in chosen]
        fewest = min(taken[fields[index].folder] for index in left)
        left = [index for index in left if taken[fields[index].folder] == fewest]
        best = max(left, key=nearest.__getitem__)
        chosen.append(best)
        taken[fields[best].folder] += 1
        nearest = np.minimum(nearest, np.linalg.norm(looks - looks[best], axis=1))
    return [fields[index] for index in chosen]


def confidence_of(row: dict[str, str]) -> float:
    """Return how sure the networks are of a nucleus, a row of nuclei.csv, 0..1.

    The U-net's mean probability times the confidence of the super-resolved nucleus, where there is
    one.
    """
    sharpness = float(row.get("nucleus_confidence") or "nan")
    return float(row["probability"]) * (1.0 if math.isnan(sharpness) else sharpness)


def _least_confident(fields: list[Field], count: int) -> list[Field]:
    """Return the less confident half of each image's fields, more where else too few are left."""
    fields = sorted(fields, key=lambda field: field.confidence)
    total = Counter(field.folder for field in fields)
    each, kept, seen = -(-count // len(total)), [], Counter()
    for field in fields:
        if seen[field.folder] < max(-(-total[field.folder] // 2), each):
            kept.append(field)
            seen[field.folder] += 1
    return kept


def _finished(folder: Path) -> bool:
    return isinstance(read_manifest(folder / "manifest.json").get("summary"), dict)


def _well_filled(fields: list[Field]) -> list[Field]:
    """Return the fields of one image without its nearly empty ones."""
    fewest = FEWEST * np.median([field.nuclei for field in fields]) if fields else 0
    return [field for field in fields if field.nuclei >= fewest]


def _fields_of_image(folder: Path, side: int) -> list[Field]:
    summary = read_manifest(folder / "manifest.json")["summary"]
    columns, width = _parts(summary["width_out"], side)
    rows_of_fields, height = _parts(summary["height_out"], side)
    inside = {}
    with (folder / "nuclei.csv").open(encoding=ENCODING, newline="") as file:
        for row in csv.DictReader(file):
            place = float(row["centroid_x_px"]), float(row["centroid_y_px"])
            x, y = (
                max((start for start in starts if start <= at), default=0)
                for starts, at in zip((columns, rows_of_fields), place, strict=True)
            )
            if place[0] < x + width and place[1] < y + height:
                inside.setdefault((x, y), []).append(row)
    return [
        _field(folder, Window(x, y, width, height), rows)
        for (x, y), rows in sorted(inside.items(), key=lambda item: item[0][::-1])
    ]


def _parts(length: int, side: int) -> tuple[list[int], int]:
    """Return where fields begin along a side, evenly spread, and how long they are there.

    A field may be shorter by MOST_SHRUNK if one more fits so: 1,000 pixels are two fields of 500.
    """
    count = max(1, int(length / (side * (1 - MOST_SHRUNK))))
    size = min(side, length // count)
    return np.linspace(0, length - size, count).astype(int).tolist(), size


def _field(folder: Path, window: Window, rows: list[dict[str, str]]) -> Field:
    area = "area_um2" if "area_um2" in rows[0] else "area_px2"
    sizes = np.log([float(row[area]) for row in rows])
    stain = np.mean([float(row["mean_hematoxylin_od"]) for row in rows])
    confidence = float(np.mean([confidence_of(row) for row in rows]))
    appearance = math.log(len(rows)), float(sizes.mean()), float(sizes.std()), float(stain)
    return Field(folder, window, len(rows), confidence, appearance)
