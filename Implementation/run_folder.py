"""A folder of images, one after the other: nothing that is wrong with one stops the others."""

import errno
import json
import platform
import sys
import traceback
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path

from evidence import EVIDENCE_COLUMNS
from image_analysis import Analysis, Settings
from image_files import ImageReadError, find_images, open_image
from networks import ModelError, Network, blended, load_network
from nuclei import Separation
from outputs import table_writer
from progress import Progress
from provenance import differences, read_run
from report import write_report
from tqdm import tqdm

PACKAGES = ("keras", "numpy", "scikit-image", "opencv-python-headless", "tifffile")
RUN_FILES = ("summary.csv", "run.json", "report.html")  # beside the folders of the images
BAR = "{desc}: {percentage:3.0f}% |{bar}| {remaining} left"
SUMMARY_COLUMNS = (
    "image",
    "status",
    "error",
    "width_in",
    "height_in",
    "width_out",
    "height_out",
    "microns_per_pixel_out",
    "tissue_mm2",
    "tissue_px2",
    "nuclei",
    "density_per_mm2",
    "mean_area_um2",
    "sd_area_um2",
    "mean_area_px2",
    "sd_area_px2",
    *EVIDENCE_COLUMNS,
    "generator_sha256",
    "unet_sha256",
    "seconds",
)


def run_folder(constants: dict, from_run: Path | None = None) -> int:
    """Do what Final_implementation.py promises; `constants` are its constants by flag name.

    from_run: run.json of the run that this one repeats, None where it repeats none.

    Returns:
        Exit status, see Final_implementation.main.
    """
    output_folder = Path(constants["output_folder"])
    try:
        paths = find_images(Path(constants["input_folder"]))
        networks = load_networks(constants)
        earlier = from_run and read_run(from_run)  # before a repetition in place writes its own
        output_folder.mkdir(parents=True, exist_ok=True)
        record = write_run_record(output_folder / "run.json", constants, networks)
    except (ModelError, OSError, ValueError) as error:
        return _give_up(error, constants["debug"])

    for line in differences(earlier, record) if earlier else ():
        print(f"Not the same as in {from_run}: {line}", file=sys.stderr)
    rows = []
    names = result_names(paths)
    try:
        for number, path in enumerate(paths, start=1):
            folder = output_folder / names[path]
            rows.append(do_image(path, folder, networks, constants, f"{number}/{len(paths)}"))
            write_summary(output_folder / "summary.csv", rows)
        report = write_report(output_folder)
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to go on from here.", file=sys.stderr)
        return 130
    except OSError as error:  # a full or read-only disk: every further image would fail, too
        return _give_up(error, constants["debug"])
    print(f"Report: {report}")
    print_table(rows)
    return int(any(row["status"] != "done" for row in rows))


def load_networks(constants: dict) -> tuple[Network | None, Network | None]:
    """Load what the run needs: (generator, U-net), None for what is switched off.

    Raises:
        ModelError: a model is missing or not what it should be.
    """
    generator = unet = None
    if constants["super_resolve"]:
        generator = load_network(constants["generator"], "generator", scale=4, channels=3)
        if constants["faithful_share"]:
            path = constants["faithful_generator"]
            faithful = load_network(path, "faithful generator", scale=4, channels=3)
            generator = blended(generator, faithful, constants["faithful_share"])
    if constants["segment"]:
        unet = load_network(constants["unet"], "U-net", scale=1, channels=2)
    return generator, unet


def result_names(paths: list[Path]) -> dict[Path, str]:
    """Give each image its folder: its stem, with the extension where two would share a folder.

    Where that, too, is taken (a.png, a.jpg and a_png.tif), a number is added.
    """
    stems = [path.stem.casefold() for path in paths]
    names, taken = {}, set(RUN_FILES)
    for path in paths:
        alone = stems.count(path.stem.casefold()) == 1
        first = _printable(path.stem if alone else path.name.replace(".", "_"))
        candidates = chain([first], (f"{first}_{number}" for number in count(2)))
        names[path] = next(name for name in candidates if name.casefold() not in taken)
        taken.add(names[path].casefold())
    return names


def do_image(path: Path, folder: Path, networks, constants: dict, position: str) -> dict:
    """Analyse one image into `folder`; return its row of the summary, also when it fails.

    Raises:
        OSError: the disk is full or the output folder cannot be written.
    """
    settings = settings_from(constants)
    manifest = folder / "manifest.json"
    signature = _signature(path, networks, settings, constants)
    image_name = _printable(path.name)
    name = f"{position} {image_name}"
    finished = None if constants["overwrite"] else _finished_row(manifest, signature)
    if finished:
        print(f"{name}: finished before, skipped")
        return finished
    row = {"image": image_name, "status": "done", "error": None}
    try:
        with (
            open_image(path, read_at(constants)) as image,
            tqdm(total=1, bar_format=BAR, leave=False) as bar,
        ):
            folder.mkdir(parents=True, exist_ok=True)
            manifest.unlink(missing_ok=True)
            row |= Analysis(image, folder, *networks, settings, Progress(bar, name)).run()
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
            raise
        if constants["debug"]:
            traceback.print_exc()
        return row | {"status": "failed", "error": _one_line(error)}
    content = {"made_from": signature, "summary": row}
    fresh = manifest.with_suffix(".new")  # a crash must not leave half a manifest
    fresh.write_text(json.dumps(content, indent=2), encoding="utf-8")
    fresh.replace(manifest)
    return row


def settings_from(constants: dict) -> Settings:
    """Gather the constants that shape the results of an image."""
    return Settings(
        microns_per_pixel=constants["microns_per_pixel"],
        tile_size=constants["tile_size"],
        batch_size=constants["batch_size"],
        separation=Separation(
            probability=constants["probability_threshold"],
            rise=constants["seed_rise"],
            smallest_nucleus=constants["smallest_nucleus"],
        ),
        tissue_threshold=constants["tissue_threshold"],
        jpeg_quality=constants["jpeg_quality"] or None,
    )


def read_at(constants: dict) -> float:
    """Return the um per pixel at which slides are read."""
    default = 1.0 if constants["super_resolve"] else 0.25
    return constants["read_at_microns_per_pixel"] or default


def write_summary(path: Path, rows: list[dict]):
    """Write the table of all images so far."""
    with table_writer(path, SUMMARY_COLUMNS) as add:
        for row in rows:
            add(row)


def write_run_record(path: Path, constants: dict, networks) -> dict:
    """Write what is needed to repeat the run: constants, versions, models; return it."""
    generator, unet = networks
    record = {
        "constants": constants,
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in PACKAGES},
        "models": {
            name: network and {"sha256": network.sha256, "record": network.record}
            for name, network in (("generator", generator), ("unet", unet))
        },
    }
    path.write_text(json.dumps(record, indent=2), encoding="utf-8")
    return record


def print_table(rows: list[dict]):
    """Print one line per image: sizes, nuclei, density, mean area, seconds; or its error."""
    width = max(len("image"), *(len(row["image"]) for row in rows))
    header = ("in", "out", "nuclei", "per mm2", "mean area", "seconds")
    print(f"\n{'image':{width}}" + "".join(f"{title:>13}" for title in header))
    for row in rows:
        if row["status"] != "done":
            print(f"{row['image']:{width}}  failed: {row['error']}")
            continue
        cells = [f"{row[f'width_{end}']}x{row[f'height_{end}']}" for end in ("in", "out")]
        cells.append(_shown(row.get("nuclei"), "d"))
        cells.append(_shown(row.get("density_per_mm2"), ".0f"))
        unit = "px2" if row["microns_per_pixel_out"] is None else "um2"
        cells.append(_shown(row.get(f"mean_area_{unit}"), ".1f", f" {unit}"))
        cells.append(_shown(row["seconds"], ".1f"))
        print(f"{row['image']:{width}}" + "".join(f"{cell:>13}" for cell in cells))
        if row.get("warning"):
            print(f"{'':{width}}  warning: {row['warning']}")


def _shown(value, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _signature(path, networks, settings, constants) -> dict:
    """Return what a finished image was made from; the same signature means nothing to do."""
    try:
        file = path.stat()
        stamp = [file.st_size, file.st_mtime_ns]
    except OSError:  # vanished; opening it will say so
        stamp = None
    return json.loads(
        json.dumps(
            {
                "input": stamp,
                "settings": settings,
                "read_at": read_at(constants),
                "models": [network and network.sha256 for network in networks],
            },
            default=vars,
        )
    )


def _finished_row(manifest: Path, signature: dict) -> dict | None:
    """Return the summary of an image that was made from the same; None if it is to be done."""
    try:
        stored = json.loads(manifest.read_text("utf-8"))
        return stored["summary"] if stored["made_from"] == signature else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # none, or a damaged one
        return None


def _printable(name: str) -> str:
    """Return a file name with ? for what is no text: a name from a system of another encoding."""
    return name.encode("utf-8", "replace").decode("utf-8")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, ImageReadError) else f"{type(error).__name__}: {text}"


def _give_up(error: Exception, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(" ".join(str(error).split()), file=sys.stderr)
    return 2


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ModuleNotFoundError:  # e.g. OpenCV installed under another wheel's name
        return None
