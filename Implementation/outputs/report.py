"""The report of a run: one HTML file that opens from disk, made from what the run has written."""

import base64
import csv
import hashlib
import json
import math
from pathlib import Path
from textwrap import shorten
from urllib.parse import quote

import cv2
import numpy as np
import tifffile
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from outputs.figures import draw_outlines

TEMPLATE = Path(__file__).with_name("report_template.html")
LARGEST_REPORT = 24_000_000  # bytes; mail and web viewers often refuse 25 MB
LARGEST_PREVIEWS = 4_000_000  # bytes of HTML that the pictures of one image may take
VIEWER_MARKUP = 3_000  # bytes of HTML around the pictures of one image
PREVIEW_SIDE = 3072  # longest side of a preview in pixels; phones decode this
BYTES_PER_PIXEL = 0.15  # a low guess for all layers together: too large previews are shrunk again
WEBP_QUALITY = 90
LOSSLESS = 101  # OpenCV's quality above which WebP is lossless
TILE_BUFFER = 2**24  # bytes of label tiles that are read in one go
MOST_SECTIONS = 1000  # images with a section of their own; the others stand in the table alone
MOST_ROWS = 20_000  # images in the table
LONGEST_ERROR = 500  # characters
BINS = 30
PICTURES = ("super_resolved.png", "super_resolved.ome.tif", "low_resolution.png", "overlay.png")
FILES = {
    "nuclei.csv": "Nuclei (CSV)",
    "nuclei.geojson": "Nuclei for QuPath (GeoJSON)",
    "nuclei.geojson.gz": "Nuclei for QuPath (GeoJSON)",
    "super_resolved.png": "Super-resolved (PNG)",
    "super_resolved.ome.tif": "Super-resolved (OME-TIFF)",
    "nuclei_labels.tif": "Label map (TIFF)",
    "overlay.png": "Outlines (PNG)",
    "figure.png": "Figure (PNG)",
    "consistency.png": "Colour difference to the input (PNG)",
    "confidence.png": "Confidence of the super-resolution (PNG)",
    "sr_confidence.tif": "Confidence, full size (TIFF)",
}
# Column of summary.csv, title, unit, decimals. A column that is empty in every row is left out.
COLUMNS = (
    ("nuclei", "Nuclei", "", 0),
    ("density_per_mm2", "Density", "per mm²", 0),
    ("mean_area_um2", "Mean area", "µm²", 1),
    ("sd_area_um2", "SD of area", "µm²", 1),
    ("mean_area_px2", "Mean area", "px²", 1),
    ("sd_area_px2", "SD of area", "px²", 1),
    ("colour_difference", "Colour difference", "CIEDE2000", 2),
    ("colour_difference_p99", "99th percentile", "CIEDE2000", 2),
    ("sr_expected_error", "Expected error", "grey levels", 1),
    ("sr_confidence", "Confidence", "0 to 1", 2),
    ("seconds", "Time", "s", 1),
)
# Column of nuclei.csv, title, unit, upper end of the axis (None = from the data).
HISTOGRAMS = (
    ("area_um2", "Area", "µm²", None),
    ("area_px2", "Area", "px²", None),
    ("eccentricity", "Eccentricity", "0 = circle, 1 = line", 1.0),
    ("mean_hematoxylin_od", "Hematoxylin", "mean optical density", None),
    ("sr_confidence", "Super-resolution confidence", "0 to 1", 1.0),
)


def write_report(output_folder: Path) -> Path:
    """Write `report.html` into the folder of a run, as run_folder leaves it; return its path.

    The file stays below 25 MB: previews share what the text leaves, in the order of the table. It
    loads nothing and links to the full files. A missing or broken picture is named in it.
    """
    output_folder = Path(output_folder)
    rows = _read_rows(output_folder / "summary.csv")
    folders = _result_folders(output_folder)
    images = [_image(number, row, folders) for number, row in enumerate(rows[:MOST_ROWS], start=1)]
    sections = [image for image in images if image["folder"]][:MOST_SECTIONS]
    for image in sections:
        image |= {"section": True, "histograms": _histograms(image["folder"] / "nuclei.csv")}
    content = {
        "rows": rows,
        "images": images,
        "columns": [c for c in COLUMNS if any(row.get(c[0]) is not None for row in rows)],
        "run": _read_run(output_folder / "run.json"),
    }
    _add_pictures(sections, LARGEST_REPORT - len(_render(content)))
    path = output_folder / "report.html"
    path.write_bytes(_render(content))
    return path


def _render(content: dict) -> bytes:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": _shown, "figure": _figure, "script_hash": _script_hash}
    html = environment.get_template(TEMPLATE.name).render(**content)
    return html.encode("utf-8", "replace")  # a file name that is no UTF-8 must not cost the report


def _script_hash(script: str) -> str:
    """Return the hash by which the page's security policy knows its only script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _read_rows(path: Path) -> list[dict]:
    """Return the rows of summary.csv; figures as float, empty cells as None."""
    texts = ("image", "status", "error", "warning", "generator_sha256", "unet_sha256")
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [
            {"warning": ""}
            | {k: _text(v) if k in texts else float(v) if v else None for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def _text(cell: str) -> str:
    """Return a text as it was before outputs.table_writer guarded it against spreadsheets."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(("=", "+", "-", "@")) else cell


def _result_folders(output_folder: Path) -> dict[str, Path]:
    """Return the folder of each finished image by its file name; the newest where there are two."""
    folders = {}
    for path in sorted(output_folder.glob("*/manifest.json"), key=lambda m: m.stat().st_mtime_ns):
        try:
            folders[json.loads(path.read_text("utf-8"))["summary"]["image"]] = path.parent
        except (ValueError, KeyError, TypeError):  # damaged: its image counts as unfinished
            continue
    return folders


def _image(number: int, row: dict, folders: dict[str, Path]) -> dict:
    """Return what the template needs to know of an image, without histograms and pictures."""
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
        "histograms": [],
        "pictures": None,
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
    trained_on = constants.get("training_folders") or constants.get("high_resolution_folders")
    facts = {"trained_on": trained_on or "not recorded"} | record | {"sha256": model["sha256"]}
    return {"facts": facts, "validation": validation, "constants": constants, "known": bool(record)}


def _shown(value) -> str:
    """Return a value of a record as short text; long lists (names of images) as their length."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) if len(value) <= 6 else f"{len(value)} entries"
    if value is None or value == "":
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _figure(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _histograms(table: Path) -> list[dict]:
    """Return the histograms of a nuclei table; none without table or nuclei."""
    if not table.is_file():
        return []
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        wanted = [kind for kind in HISTOGRAMS if kind[0] in header]
        places = [header.index(kind[0]) for kind in wanted]
        lines = ([float(line[place] or "nan") for place in places] for line in reader)
        columns = np.fromiter(lines, np.dtype((np.float32, len(places)))).T
    columns = [column[np.isfinite(column)] for column in columns]
    pairs = zip(wanted, columns, strict=True)
    return [_histogram(values, *kind[1:]) for kind, values in pairs if len(values)]


def _histogram(values: np.ndarray, title: str, unit: str, upper: float | None) -> dict:
    """Return a histogram as SVG path in a field of 100 x 100 (y down), with its axis from 0.

    values: finite, at least one. upper: end of the axis; None: the 99.5 % quantile, so that one
    giant does not flatten the rest. What lies beyond either end is counted in the last bar there.
    """
    upper = upper or max(0.0, float(np.quantile(values, 0.995))) or 1.0
    counts, _ = np.histogram(np.clip(values, 0, upper), BINS, (0, upper))
    bars = "".join(f"V{100 - 100 * c / counts.max():.1f}h{100 / BINS:.3f}" for c in counts)
    median = float(np.median(values))
    return {
        "title": title,
        "unit": unit,
        "path": f"M0 100{bars}V100Z",
        "ticks": [(f"{100 * tick / upper:.2f}", f"{tick:g}") for tick in _ticks(upper)],
        "most": int(counts.max()),
        "count": len(values),
        "median": f"{float(f'{median:.3g}'):g}",
        "median_place": f"{min(100, max(0, 100 * median / upper)):.2f}",
        "beyond": int((values > upper).sum()),
        "upper": f"{float(f'{upper:.3g}'):g}",
    }


def _ticks(upper: float) -> list[float]:
    """Return 4 to 8 round numbers from 0 to at most upper."""
    power = 10.0 ** math.floor(math.log10(upper / 3))
    step = max(factor * power for factor in (1, 2, 5) if factor * power <= upper / 3)
    return [float(f"{number * step:.6g}") for number in range(int(upper / step + 1e-6) + 1)]


def _add_pictures(images: list[dict], budget: int):
    """Give each image its pictures; together they take at most `budget` bytes of the page."""
    for done, image in enumerate(images):
        share = min(LARGEST_PREVIEWS, budget / (len(images) - done) - VIEWER_MARKUP)
        try:
            image["pictures"] = _pictures(image["folder"], image["row"], share)
        except (OSError, ValueError, cv2.error, tifffile.TiffFileError) as error:
            image["picture_error"] = shorten(str(error), LONGEST_ERROR)
        layers = image["pictures"]["layers"] if image["pictures"] else {}
        budget -= VIEWER_MARKUP + sum(map(len, layers.values()))


def _pictures(folder: Path, row: dict, budget: float) -> dict | None:
    """Return the layers of an image as data URIs of at most `budget` bytes, None without picture.

    `after` is the picture itself; `before` the low resolution, at its own size where that is
    smaller (the browser enlarges it); `outlines` is transparent but for the nuclei.
    """
    name = next((name for name in PICTURES if (folder / name).is_file()), None)
    if name is None:
        return None
    full = int(row["width_out"]), int(row["height_out"])
    step = -(-max(full) // PREVIEW_SIDE)
    images = {"after": _read_picture(folder / name, max(full) // step)}
    if name.startswith("super_resolved") and (folder / "low_resolution.png").is_file():
        images["before"] = _read_picture(folder / "low_resolution.png", max(full) // step)
    if name != "overlay.png" and (folder / "nuclei_labels.tif").is_file():
        images["outlines"] = _read_labels(folder / "nuclei_labels.tif", step)
    pixels = math.prod(full) / step**2
    further = math.ceil((pixels * BYTES_PER_PIXEL / max(1, budget)) ** 0.5)
    while step * further <= max(full):
        size = [-(-side // (step * further)) for side in full]
        layers = {layer: _encoded(image, size, further) for layer, image in images.items()}
        if sum(map(len, layers.values())) <= budget:
            return {"layers": layers, "name": name, "full": full, "reduced": step * further}
        further += math.ceil(further / 4)
    return None


def _encoded(image: np.ndarray, size: list[int], further: int) -> str:
    """Return a picture, shrunk to `size`, or a label map's outlines as WebP in a data URI."""
    if image.ndim == 2:
        labels = image[::further, ::further]
        drawn = draw_outlines(np.zeros((*labels.shape, 3), np.uint8), labels)
        image, quality = np.dstack([drawn, 255 * drawn.any(axis=2).astype(np.uint8)]), LOSSLESS
        image = cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA)
    else:
        smaller = size[0] < image.shape[1]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if smaller else image
        image, quality = cv2.cvtColor(image, cv2.COLOR_RGB2BGR), WEBP_QUALITY
    webp = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1]
    return "data:image/webp;base64," + base64.b64encode(webp).decode()


def _read_picture(path: Path, side: int) -> np.ndarray:
    """Return a picture as RGB; of a pyramid the smallest level whose longest side is >= `side`."""
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as tiff:
            levels = tiff.series[0].levels
            large = [level for level in levels if max(level.shape[:2]) >= side]
            return (large or levels[:1])[-1].asarray()
    # cv2.imread cannot open a path with other than ASCII letters on every system.
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path.name} is not a readable picture")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_labels(path: Path, step: int) -> np.ndarray:
    """Return every `step`-th pixel of a label map; only some of its tiles are in memory at once."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        labels = np.zeros([-(-side // step) for side in page.shape], np.int32)
        for tile, place, _ in page.segments(buffersize=TILE_BUFFER):
            if tile is not None:  # None: a tile that was never written
                y, x = place[2:4]
                part = tile[0, -y % step :: step, -x % step :: step, 0]
                target = labels[-(-y // step) :, -(-x // step) :][: part.shape[0], : part.shape[1]]
                target[:] = part[: target.shape[0], : target.shape[1]]  # edge tiles are padded
    return labels
