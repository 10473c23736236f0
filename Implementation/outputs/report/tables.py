"""The tables of a run as the report shows them: images, their regions, groups of images."""

import csv
import math
from pathlib import Path

from outputs.groups import GROUP_COLUMNS, UNITS
from outputs.tables import columns_of, text_of

# Titles of the measures by which groups are compared.
MEASURES = {
    "density_per_mm2": "Density",
    "median_area_um2": "Median area",
    "median_area_px2": "Median area",
    "median_circularity": "Median circularity",
    "median_eccentricity": "Median eccentricity",
    "median_mean_hematoxylin_od": "Median hematoxylin",
    "median_nearest_neighbour_um": "Median distance of the nearest neighbour",
    "median_nearest_neighbour_px": "Median distance of the nearest neighbour",
}
# Column of regions.csv, title, unit, decimals. Columns that are empty in all rows are left out.
REGION_COLUMNS = (
    ("tissue_mm2", "Tissue", "mm²", 3),
    ("nuclei", "Nuclei", "", 0),
    ("density_per_mm2", "Density", "per mm²", 0),
    ("median_area_um2", "Median area", "µm²", 1),
    ("median_area_px2", "Median area", "px²", 1),
    ("mean_circularity", "Circularity", "mean", 2),
    ("mean_hematoxylin_od", "Hematoxylin", "mean optical density", 2),
)
SHOWN_UNITS = {"1/mm2": "per mm²", "um2": "µm²", "um": "µm", "px2": "px²"}
LABEL_ROOM = 4  # per cent of the axis at each end, where the label of a tick would be cut
MOST_REGIONS = 200  # rows of an image; the others are only in its regions.csv


def read_summary(path: Path) -> list[dict]:
    """Return the rows of summary.csv, figures as float and empty cells as None."""
    texts = ("image", "status", "error", "route", "white_rgb", "warning")
    texts += ("generator_sha256", "unet_sha256", "nucleus_score_sha256")
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [
            {"route": "", "warning": "", "estimated_microns_per_pixel": None}
            | {k: text_of(v) if k in texts else float(v) if v else None for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def read_regions(path: Path) -> dict:
    """Return what the report shows of regions.csv: columns, rows, and how many rows it leaves out.

    A row is (region, class, values); the region is "" where the row is that of a class. Empty
    without the file or a region.
    """
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        return {}
    columns = [kind for kind in REGION_COLUMNS if any(row.get(kind[0]) for row in rows)]
    shown = [
        (
            text_of(row["region"]),
            text_of(row["region_class"]),
            [float(row[name]) if row[name] else None for name, *_ in columns],
        )
        for row in rows[:MOST_REGIONS]
    ]
    return {"columns": columns, "rows": shown, "more": len(rows) - len(shown)}


def read_groups(path: Path) -> list[dict]:
    """Return the measures of groups.csv: title, unit, test, p value, and each group with points."""
    if columns_of(path) != list(GROUP_COLUMNS):
        return []
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return [_measure(name, rows) for name in UNITS if any(r["measure"] == name for r in rows)]


def _measure(name: str, rows: list[dict]) -> dict:
    """Return one measure; points are places in per cent of the axis."""
    rows = [row for row in rows if row["measure"] == name]
    of_groups = [row for row in rows if row["level"] == "group"]
    level = "patient" if any(row["level"] == "patient" for row in rows) else "image"
    units = [row for row in rows if row["level"] == level]
    values = [float(row["value"]) for row in units]
    room = 0.08 * ((max(values) - min(values)) or abs(values[0]) or 1.0)
    lower, upper = min(values) - room, max(values) + room

    def place(value):
        return f"{100 * (float(value) - lower) / (upper - lower):.2f}"

    groups = []
    for row in of_groups:
        own = [unit for unit in units if unit["group"] == row["group"]]
        groups.append(
            {
                "name": text_of(row["group"]),
                "patients": int(row["patients"]) if row["patients"] else None,
                "images": int(row["images"]),
                "nuclei": int(row["nuclei"]),
                "mean": float(row["value"]),
                "sd": float(row["sd"]) if row["sd"] else None,
                "place": place(row["value"]),
                "points": [(place(u["value"]), text_of(u["patient"] or u["image"])) for u in own],
            }
        )
    tested = [row for row in of_groups if row["test"]]
    return {
        "title": MEASURES[name],
        "unit": SHOWN_UNITS.get(rows[0]["unit"], rows[0]["unit"]),
        "test": tested[0]["test"] if tested else None,
        "p_value": float(tested[0]["p_value"]) if tested else None,
        "untested": [text_of(row["group"]) for row in of_groups if tested and row not in tested],
        "by_patient": level == "patient",
        "groups": groups,
        "ticks": [
            (place(tick), f"{tick:g}")
            for tick in ticks(upper, lower)
            if LABEL_ROOM <= float(place(tick)) <= 100 - LABEL_ROOM
        ],
    }


def ticks(upper: float, lower: float = 0.0) -> list[float]:
    """Return 3 to 8 round numbers from lower to upper."""
    span = upper - lower
    power = 10.0 ** math.floor(math.log10(span / 3))
    step = max(factor * power for factor in (1, 2, 5) if factor * power <= span / 3)
    first, last = math.ceil(lower / step - 1e-6), math.floor(upper / step + 1e-6)
    return [float(f"{number * step:.6g}") for number in range(first, last + 1)]
