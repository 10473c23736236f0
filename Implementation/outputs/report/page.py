"""The report of a run: one HTML file that opens from disk, made from the files of the run."""

import base64
import csv
import hashlib
import json
from functools import cache
from pathlib import Path
from textwrap import shorten
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from nuclei.population import OF_WHOLE
from outputs.report.previews import LONGEST_ERROR, add_pictures
from outputs.report.tables import read_groups, read_regions, read_summary, ticks

TEMPLATE = Path(__file__).with_name("template.html")
LARGEST_REPORT = 24_000_000  # bytes; mail and web viewers often refuse 25 MB
MOST_SECTIONS = 1000  # images with a section of their own; the others are only in the table
MOST_ROWS = 20_000  # images in the table
BINS = 30
FILES = {
    "nuclei.csv": "Nuclei (CSV)",
    "nuclei.geojson": "Nuclei for QuPath (GeoJSON)",
    "nuclei.geojson.gz": "Nuclei for QuPath (GeoJSON)",
    "super_resolved.png": "Super-resolved (PNG)",
    "super_resolved.ome.tif": "Super-resolved (OME-TIFF)",
    "nuclei_labels.tif": "Label map (TIFF)",
    "regions.csv": "Regions (CSV)",
    "hotspots.csv": "Densest fields (CSV)",
    "hotspots.geojson": "Densest fields for QuPath (GeoJSON)",
    "density.png": "Density (PNG)",
    "density.ome.tif": "Density (OME-TIFF)",
    "nuclear_area.png": "Nuclear area (PNG)",
    "hematoxylin.png": "Hematoxylin (PNG)",
    "overlay.png": "Outlines (PNG)",
    "figure.png": "Figure (PNG)",
    "consistency.png": "Colour difference to the input (PNG)",
    "confidence.png": "Confidence of the super-resolution (PNG)",
    "sr_confidence.tif": "Confidence, full size (TIFF)",
}
MODEL_TITLES = {
    "generator": "Generator x4 (super-resolution)",
    "generator_x2": "Generator x2 (super-resolution)",
    "unet": "U-net (nuclei)",
    "nucleus_score": "Score of regions (nuclei told apart)",
    "pixel_size_model": "Network for pixel sizes",
}
GOOD_CONFIDENCE = 0.6  # of the super-resolution: an expected error of 5 of 255 grey levels
# Column of summary.csv, title, unit, decimals. Columns that are empty in all rows are left out.
COLUMNS = (
    ("nuclei", "Nuclei", "", 0),
    ("density_per_mm2", "Density", "per mm²", 0),
    ("median_area_um2", "Median area", "µm²", 1),
    ("median_area_px2", "Median area", "px²", 1),
    ("sr_confidence", "Confidence", f"good: from {GOOD_CONFIDENCE}", 2),
    ("mean_area_um2", "Mean area", "µm²", 1),
    ("sd_area_um2", "SD of area", "µm²", 1),
    ("mean_area_px2", "Mean area", "px²", 1),
    ("sd_area_px2", "SD of area", "px²", 1),
    ("colour_difference", "Colour difference", "CIEDE2000", 2),
    ("colour_difference_p99", "99th percentile", "CIEDE2000", 2),
    ("sr_expected_error", "Expected error", "grey levels", 1),
    ("seconds", "Time", "s", 1),
)
# Column of nuclei.csv, title, unit, upper end of the axis (None = from the data).
HISTOGRAMS = (
    ("area_um2", "Area of whole nuclei", "µm²", None),
    ("area_px2", "Area of whole nuclei", "px²", None),
    ("eccentricity", "Eccentricity of whole nuclei", "0 = circle, 1 = line", 1.0),
    ("mean_hematoxylin_od", "Hematoxylin", "mean optical density", None),
    ("nearest_neighbour_um", "Nearest neighbour", "µm", None),
    ("nearest_neighbour_px", "Nearest neighbour", "px", None),
    ("nucleus_confidence", "Confidence of the nucleus", "0.5 = contrast equals error", 1.0),
)


def write_report(output_folder: Path, summary: Path) -> Path:
    """Write `report.html` into the folder of a finished run; return its path.

    summary: the table of all images.

    The file stays below 25 MB: previews share the space that the text leaves, in the order of the
    table. It loads nothing and links to the full files. A missing or broken picture is named.
    """
    output_folder = Path(output_folder)
    rows = read_summary(summary)
    folders = _result_folders(output_folder)
    images = [_image(number, row, folders) for number, row in enumerate(rows[:MOST_ROWS], start=1)]
    sections = [image for image in images if image["folder"]][:MOST_SECTIONS]
    for image in sections:
        image |= {
            "section": True,
            "histograms": _histograms(image["folder"] / "nuclei.csv"),
            "regions": read_regions(image["folder"] / "regions.csv"),
        }
    content = {
        "rows": rows,
        "images": images,
        "columns": [c for c in COLUMNS if any(row.get(c[0]) is not None for row in rows)],
        "run": _read_run(output_folder / "run.json"),
        "groups": read_groups(output_folder / "groups.csv"),
        "white_assumed": sum(row.get("white_measured") == 0 for row in rows),
        "good_confidence": GOOD_CONFIDENCE,
        "model_titles": MODEL_TITLES,
    }
    add_pictures(sections, LARGEST_REPORT - len(_render(content)))
    path = output_folder / "report.html"
    path.write_bytes(_render(content))
    return path


def _render(content: dict) -> bytes:
    html = _template().render(**content)
    return html.encode("utf-8", "replace")  # file names may hold invalid UTF-8


@cache  # to compile it takes longer than a small report
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": _shown, "figure": _figure, "script_hash": _script_hash}
    return environment.get_template(TEMPLATE.name)


def _script_hash(script: str) -> str:
    """Return the hash that allows the page's only script in its security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _result_folders(output_folder: Path) -> dict[str, Path]:
    """Return the folder of each finished image by its file name; the newest if there are two."""
    folders = {}
    for path in sorted(output_folder.glob("*/manifest.json"), key=lambda m: m.stat().st_mtime_ns):
        try:
            folders[json.loads(path.read_text("utf-8"))["summary"]["image"]] = path.parent
        except (ValueError, KeyError, TypeError):  # damaged: its image counts as unfinished
            continue
    return folders


def _image(number: int, row: dict, folders: dict[str, Path]) -> dict:
    """Return what the template needs to know about an image, without histograms and pictures."""
    folder = folders.get(row["image"]) if row["status"] == "done" else None
    link = folder and quote(folder.name, errors="replace") + "/"
    error = row["error"].removeprefix(row["image"] + ": ")
    return {
        "id": f"image-{number}",
        "row": row,
        "folder": folder,
        "link": link,
        "files": [(link + f, t) for f, t in FILES.items() if folder and (folder / f).is_file()],
        "error": shorten(error, LONGEST_ERROR),
        "section": False,
        "regions": {},
        "histograms": [],
        "pictures": None,
        "maps": [],
        "picture_error": None,
    }


def _read_run(path: Path) -> dict:
    run = json.loads(path.read_text("utf-8"))
    models = {name: model and _model(model) for name, model in run["models"].items()}
    return run | {"models": models}


def _model(model: dict) -> dict:
    """Split the record beside a model into general facts, validation figures and constants."""
    record = dict(model["record"])
    constants, validation = record.pop("constants", {}), record.pop("validation", {})
    folders = (
        constants.get(f"{kind}_folders") for kind in ("training", "high_resolution", "image")
    )
    trained_on = next(filter(None, folders), None)
    facts = {"trained_on": trained_on or "not recorded"} | record | {"sha256": model["sha256"]}
    return {"facts": facts, "validation": validation, "constants": constants, "known": bool(record)}


def _shown(value) -> str:
    """Return a value of a record as short text; a long list (names of images) as its length."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) if len(value) <= 6 else f"{len(value)} entries"
    if value is None or value == "":
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _figure(value: float | None, decimals: int) -> str:
    if value is None:
        return "-"
    text = f"{value:.{decimals}f}"
    return text if float(text) or not value else f"{value:.2g}"  # a little is not nothing


def _histograms(table: Path) -> list[dict]:
    """Return the histograms of a nuclei table; none without a table or nuclei.

    As in all statistics, nuclei that the border cuts have no part in those of size and shape.
    """
    if not table.is_file():
        return []
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        wanted = [kind for kind in HISTOGRAMS if kind[0] in header]
        places = [header.index(name) for name in (*(kind[0] for kind in wanted), "touches_border")]
        lines = ([float(line[place] or "nan") for place in places] for line in reader)
        *columns, cut = np.fromiter(lines, np.dtype((np.float32, len(places)))).T
    histograms = []
    for (name, *texts), values in zip(wanted, columns, strict=True):
        values = values[np.isfinite(values) & ((cut == 0) | (name not in OF_WHOLE))]
        if len(values):
            histograms.append(_histogram(values, *texts))
    return histograms


def _histogram(values: np.ndarray, title: str, unit: str, upper: float | None) -> dict:
    """Return a histogram as SVG path in a field of 100 x 100 (y down), with its axis from 0.

    values: finite, at least one. upper: end of the axis; None = the 99.5 % quantile, so that one
    giant nucleus does not flatten the rest. Values beyond either end count in the last bar there.
    """
    upper = upper or max(0.0, float(np.quantile(values, 0.995))) or 1.0
    counts, _ = np.histogram(np.clip(values, 0, upper), BINS, (0, upper))
    bars = "".join(f"V{100 - 100 * c / counts.max():.1f}h{100 / BINS:.3f}" for c in counts)
    median = float(np.median(values))
    return {
        "title": title,
        "unit": unit,
        "path": f"M0 100{bars}V100Z",
        "ticks": [(f"{100 * tick / upper:.2f}", f"{tick:g}") for tick in ticks(upper)],
        "most": int(counts.max()),
        "count": len(values),
        "median": f"{float(f'{median:.3g}'):g}",
        "median_place": f"{min(100, max(0, 100 * median / upper)):.2f}",
        "beyond": int((values > upper).sum()),
        "upper": f"{float(f'{upper:.3g}'):g}",
    }
