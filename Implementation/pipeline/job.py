"""One image of a run as a job: opened, analysed, and its manifest written, whatever goes wrong."""

import errno
import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from images.errors import ImageReadError, one_line, printable
from images.finding import stamp
from images.opening import open_image
from images.sizes import refuse_coarse_size
from networks.loading import load_network
from networks.network import Network, averaged_over_mirrorings, blended
from nuclei.separation import Separation
from outputs.terminal import Progress
from pipeline.analysis import Analysis, Settings
from pipeline.output_folder import OutputError, appearing

NETWORK_CONSTANTS = (  # that decide which networks are loaded
    "generator",
    "faithful_generator",
    "unet",
    "super_resolve",
    "segment",
    "faithful_share",
    "test_time_augmentation",
    "precision",
)
DISK_ERRORS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)  # every further image would fail, too


@dataclass(frozen=True)
class Job:
    """An image to be done, in a form that can be sent to another process.

    Attributes:
        path: the image.
        folder: where its results go.
        title: what to call it on the terminal.
        constants: those of Final_implementation.py, by flag name.
        made_from: its `signature`.
    """

    path: Path
    folder: Path
    title: str
    constants: dict
    made_from: dict

    @property
    def manifest(self) -> Path:
        """The file that says that the image is finished."""
        return self.folder / "manifest.json"


def load_networks(constants: dict) -> tuple[Network | None, Network | None]:
    """Load what the run needs: (generator, U-net), None for what is switched off.

    constants: NETWORK_CONSTANTS at least.

    Raises:
        ModelError: a model is missing or not what it should be.
    """
    generator = unet = None
    precision = constants["precision"]
    if constants["super_resolve"]:
        generator = load_network(constants["generator"], "generator", 4, 3, precision)
        if constants["faithful_share"]:
            path = constants["faithful_generator"]
            faithful = load_network(path, "faithful generator", 4, 3, precision)
            generator = blended(generator, faithful, constants["faithful_share"])
    if constants["segment"]:
        unet = load_network(constants["unet"], "U-net", 1, 2, precision)
        if constants["test_time_augmentation"]:
            unet = averaged_over_mirrorings(unet)
    return generator, unet


def do_job(job: Job, networks, progress: Progress) -> dict:
    """Analyse one image; return its row of the summary, also when it fails.

    Raises:
        OSError: the disk is full or the output folder cannot be written.
    """
    try:
        with opened(job, networks, progress) as analysis:
            if analysis.image.is_slide and analysis.scale > 1 and analysis.microns is None:
                tqdm.write(_warning(job, analysis))
            begin(job)
            return end(job, analysis.run())
    except Exception as error:
        return failed_row(job, error)


@contextmanager
def opened(job: Job, networks, progress: Progress) -> Iterator[Analysis]:
    """Open the image of a job and give its analysis, not yet begun."""
    region = job.constants["region"]
    with open_image(job.path, read_at(job.constants), region) as image:
        if not job.constants["microns_per_pixel"]:
            refuse_coarse_size(job.path, image.microns_per_pixel, image.is_slide)
        settings = settings_from(job.constants)
        processes = job.constants["measuring_processes"]
        yield Analysis(image, job.folder, *networks, settings, progress, processes)


def begin(job: Job):
    """Make the folder of the results; from here on they do not count as finished."""
    job.folder.mkdir(parents=True, exist_ok=True)
    job.manifest.unlink(missing_ok=True)


def end(job: Job, row: dict) -> dict:
    """Write the manifest, by which a later run knows that the image is finished; return its row."""
    row = _empty_row(job) | row
    content = {"made_from": job.made_from, "summary": row}
    with appearing(job.manifest) as path:  # a crash must not leave half a manifest
        path.write_text(json.dumps(content, indent=2), encoding="utf-8")
    return row


def failed_row(job: Job, error: Exception) -> dict:
    """Return the row of an image that could not be done.

    Raises:
        OSError: the error itself, where it would stop all other images, too.
    """
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        raise error
    if job.constants["debug"]:
        traceback.print_exception(error)
    return _empty_row(job) | {"status": "failed", "error": _one_line(error)}


def finished_row(job: Job) -> dict | None:
    """Return the row of an image that was made from the same; None if it is to be done."""
    try:
        stored = json.loads(job.manifest.read_text("utf-8"))
        return stored["summary"] if stored["made_from"] == job.made_from else None
    except (OSError, ValueError, KeyError, TypeError):  # none, or a damaged one
        return None


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
        geojson_frame=constants["geojson_frame"],
        geojson_gzip=constants["geojson_gzip"],
    )


def read_at(constants: dict) -> float:
    """Return the um per pixel at which slides are read."""
    default = 1.0 if constants["super_resolve"] else 0.25
    return constants["read_at_microns_per_pixel"] or default


def signature(path: Path, networks, constants: dict) -> dict:
    """Return what a finished image was made from; the same signature means nothing to do."""
    try:
        changed = stamp(path)
    except (OSError, ValueError):  # vanished; opening it will say so
        changed = None
    content = {
        "input": changed,
        "region": constants["region"],
        "settings": settings_from(constants),
        "read_at": read_at(constants),
        "models": [network and network.sha256 for network in networks],
        "precision": constants["precision"],
    }
    return json.loads(json.dumps(content, default=vars))  # as it reads back from a file


def _warning(job: Job, analysis: Analysis) -> str:
    """Say before the long work that it may be done on the wrong scale."""
    size = f"{analysis.extent.width} x {analysis.extent.height}"
    return (
        f"{job.title}: the slide states no pixel size, so it is read at its full resolution and "
        f"enlarged to {size} pixels. If it was scanned at 40x, stop (Ctrl-C) and run it with "
        "--no-super-resolve --microns-per-pixel 0.25"
    )


def _empty_row(job: Job) -> dict:
    return {"image": printable(job.path.name), "status": "done", "error": None}


def _one_line(error: Exception) -> str:
    text = one_line(str(error)) or type(error).__name__
    ours = isinstance(error, ImageReadError | OutputError)
    return text if ours else f"{type(error).__name__}: {text}"
