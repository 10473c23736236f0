"""A folder of images, one after the other: nothing that is wrong with one stops the others."""

import json
import logging
import platform
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path

from tqdm import tqdm

from images.errors import one_line, printable
from images.finding import find_images, name_of
from images.masks import without_masks
from networks.precision import chosen_precision
from outputs.evidence import EVIDENCE_COLUMNS
from outputs.report import write_report
from outputs.tables import table_writer
from outputs.terminal import BAR, Progress
from pipeline.job import Job, do_job, finished_row, load_networks, signature
from pipeline.output_folder import appearing, folder_name, locked
from pipeline.provenance import differences, read_run

PACKAGES = ("keras", "numpy", "scikit-image", "opencv-python-headless", "tifffile")
RUN_FILES = ("summary.csv", "run.json", "report.html")  # beside the folders of the images
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
    # Decided here, so that the record says it and all machines of a cluster do the same.
    constants = constants | {"precision": chosen_precision(constants["precision"])}
    output_folder = Path(constants["output_folder"])
    if not constants["debug"]:
        _quiet_readers()
    try:
        paths = images_of(Path(constants["input_folder"]))
        networks = load_networks(constants)
        earlier = from_run and read_run(from_run)  # before a repetition in place writes its own
        output_folder.mkdir(parents=True, exist_ok=True)
        lock = locked(output_folder)
    except (OSError, ValueError) as error:  # ValueError: also a model's or the folder's own
        return _give_up(error, constants["debug"])
    with lock:
        return _run_locked(output_folder, paths, networks, constants, earlier)


def _run_locked(output_folder: Path, paths: list[Path], networks, constants, earlier) -> int:
    jobs = make_jobs(paths, output_folder, networks, constants)
    rows = {}
    try:
        record = write_run_record(output_folder / "run.json", constants, networks)
        for line in differences(earlier, record) if earlier else ():
            print(f"Not the same as in the earlier run: {line}", file=sys.stderr)
        for number, row in _work_off(jobs, networks, constants):
            rows[number] = row
            write_summary(output_folder / "summary.csv", [rows[n] for n in sorted(rows)])
        report = write_report(output_folder)
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to go on from here.", file=sys.stderr)
        return 130
    except ConnectionError as error:  # to the scheduler
        return _give_up(error, constants["debug"])
    except OSError as error:  # a full or read-only disk: every further image would fail, too
        then = "finished images are kept; run the same command again once this is put right"
        return _give_up(f"{output_folder} cannot be written: {error}; {then}", constants["debug"])
    print(f"Report: {report}")
    print_table([rows[number] for number in sorted(rows)])
    print_unknown_sizes(rows.values())
    return int(any(row["status"] != "done" for row in rows.values()))


def images_of(folder: Path) -> list[Path]:
    """List the images of a folder; say which files are left out because they are masks.

    Raises:
        OSError, ValueError: there is no folder, or no image in it.
    """
    images, masks = without_masks(find_images(folder))
    names = ", ".join(printable(path.name) for path in masks[:3]) + ", ..." * (len(masks) > 3)
    if not images:
        raise ValueError(f"expected images of tissue in {folder}, found masks only ({names})")
    if masks:
        print(f"Left out, because they are masks or label maps: {len(masks)} files ({names})")
    return images


def make_jobs(paths: list[Path], output_folder: Path, networks, constants: dict) -> list[Job]:
    """Make the images of a run into jobs, for this process or any other."""
    jobs, names = [], result_names(paths)
    for number, path in enumerate(paths, start=1):
        title = f"{number}/{len(paths)} {printable(path.name)}"
        folder = (output_folder / names[path]).absolute()
        jobs.append(
            Job(path.absolute(), folder, title, constants, signature(path, networks, constants))
        )
    return jobs


def _work_off(jobs: list[Job], networks, constants: dict) -> Iterator[tuple[int, dict]]:
    """Do all jobs, here or on a cluster; yield (number, row of the summary) as they finish."""
    unfinished = {}
    for number, job in enumerate(jobs):
        finished = None if constants["overwrite"] else finished_row(job)
        if finished:
            print(f"{job.title}: finished before, skipped")
            yield number, finished
        else:
            unfinished[number] = job
    if unfinished and constants["scheduler"]:
        # Imported here: who has one machine need not have Dask.
        from pipeline.cluster import rows_from_cluster

        yield from rows_from_cluster(unfinished, constants)
        return
    for number, job in unfinished.items():
        with tqdm(total=1, bar_format=BAR, leave=False) as bar:
            row = do_job(job, networks, Progress(bar, job.title))
        yield number, row


def result_names(paths: list[Path]) -> dict[Path, str]:
    """Give each image its folder: its stem, with the extension where two would share a folder.

    Where that, too, is taken (a.png, a.jpg and a_png.tif), a number is added.
    """
    stems = [name_of(path).casefold() for path in paths]
    names, taken = {}, {*RUN_FILES, *(f"{name}.new" for name in RUN_FILES)}
    for path in paths:
        alone = stems.count(name_of(path).casefold()) == 1
        first = folder_name(name_of(path) if alone else path.name.replace(".", "_"))
        candidates = chain([first], (f"{first}_{number}" for number in count(2)))
        names[path] = next(name for name in candidates if name.casefold() not in taken)
        taken.add(names[path].casefold())
    return names


def write_summary(path: Path, rows: list[dict]):
    """Write the table of all images so far."""
    with appearing(path) as fresh, table_writer(fresh, SUMMARY_COLUMNS) as add:
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
    with appearing(path) as fresh:
        fresh.write_text(json.dumps(record, indent=2), encoding="utf-8")
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


def print_unknown_sizes(rows: Iterable[dict]):
    """Say which images have no pixel size, and what that means for their results."""
    names = [
        row["image"]
        for row in rows
        if row["status"] == "done" and row["microns_per_pixel_out"] is None
    ]
    if names:
        print(
            f"No pixel size is known of {', '.join(names)}: lengths and areas are in pixels, there "
            "is no density, and nuclei were looked for as if the pixels had the size that the "
            "U-net was trained at. If you know it, give --microns-per-pixel."
        )


def _shown(value, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _give_up(error: Exception | str, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(one_line(str(error)), file=sys.stderr)
    return 2


def _quiet_readers():
    """Leave out what the decoders say of a damaged file; the image's one line has the reason."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
    # Pillow's remarks on damaged tags and EXIF are UserWarnings; all its others stay.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ModuleNotFoundError:  # e.g. OpenCV installed under another wheel's name
        return None
