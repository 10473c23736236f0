"""One image of a run as a job, and what its folder says of it: finished, unfinished, or changed.

Light on purpose: a run over a finished folder reads no more than this.
"""

import errno
import json
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from images.errors import ImageReadError, one_line, some_of
from images.finding import shown_name, stamp
from program.disk import OutputError, appearing
from program.settings import RESULTS_VERSION, Settings
from regions.finding import RegionFiles

DISK_ERRORS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)  # every further image would fail, too


@dataclass(frozen=True)
class Job:
    """An image to be done, in a form that can be sent to another process.

    Attributes:
        path: the image.
        folder: where its results go.
        title: what to call it on the terminal.
        settings: the choices of the run.
        made_from: its `signature`.
    """

    path: Path
    folder: Path
    title: str
    settings: Settings
    made_from: dict

    @property
    def manifest(self) -> Path:
        """The file that names the image of a folder and, once it is finished, its results."""
        return self.folder / "manifest.json"

    @property
    def image(self) -> str:
        """Name of the image in the results."""
        return shown_name(self.path, self.settings.input.input_folder)


def model_files(settings: Settings) -> dict[str, str]:
    """Return the SHA-256 of each model file that the run may need; "" where there is none."""
    files = settings.model_files()
    return {n: sha256(p.read_bytes()).hexdigest() if p.is_file() else "" for n, p in files.items()}


def signature(path: Path, settings: Settings, models: dict[str, str]) -> dict:
    """Return what the results of an image depend on; the same signature means nothing to do.

    Args:
        path: the image.
        settings: the choices of the run.
        models: see `model_files`.
    """
    try:
        changed = stamp(path)
    except (OSError, ValueError):  # vanished; opening it will say so
        changed = None
    parts = settings.nuclei, settings.tiles, settings.input, settings.scale
    parts += settings.outputs, settings.maps
    choices = {name: value for part in parts for name, value in asdict(part).items()}
    for name in ("input_folder", "regions_folder", "output_folder", "overwrite"):
        del choices[name]
    for name in ("segment", "precision", "faithful_share", "test_time_augmentation"):
        choices[name] = getattr(settings.models, name)
    choices["pixel_size_model"] = settings.models.tells_pixel_sizes
    content = {"input": changed, "choices": choices, "models": models, "version": RESULTS_VERSION}
    given = settings.input
    content["regions"] = RegionFiles(given.regions_folder, given.input_folder).stamp(path)
    return json.loads(json.dumps(content))  # as it reads back from a file


def begin(job: Job, estimate: dict | None = None):
    """Make the folder of the results; from here on they do not count as finished.

    estimate: of the pixel size. It is kept, because all who work on the image must work with the
    same one, also after an interruption.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    made = {"made_from": job.made_from, "estimate": estimate}
    _write_manifest(job, {"image": job.image, "begun": made})


def begun(job: Job) -> dict | None:
    """Return {"estimate": ...} as `begin` kept it; None where nothing was begun from the same."""
    stored = read_manifest(job.manifest).get("begun")
    return stored if isinstance(stored, dict) and stored.get("made_from") == job.made_from else None


def end(job: Job, row: dict, counting: str | None = None) -> dict:
    """Write the manifest, by which a later run knows that the image is finished; return its row.

    Of the models it names those of the image's scale only: another one for other scales is no
    reason to do the image again.

    Args:
        job: of the image.
        row: of its summary.
        counting: where nuclei count, see `Analysis.counting`.
    """
    from outputs.files import RESULTS  # not above: it loads all that draws

    row = _empty_row(job) | row
    used = job.settings.models.files([row["width_out"] // row["width_in"]])
    made_from = job.made_from | {"models": _only(used, job.made_from["models"])}
    files = [name for name in RESULTS if (job.folder / name).is_file()]
    content = {"image": job.image, "made_from": made_from, "files": files, "counting": counting}
    _write_manifest(job, content | {"summary": row})
    return row


def _only(names: Iterable[str], models: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in models.items() if name in names}


def failed_row(job: Job, error: Exception) -> dict:
    """Return the row of an image that could not be done.

    Raises:
        OSError: the error itself, where it would stop all other images, too.
    """
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        raise error
    if job.settings.debug:
        traceback.print_exception(error)
    return _empty_row(job) | {"status": "failed", "error": _one_line(error)}


def finished_row(job: Job) -> dict | None:
    """Return the row of an image that was made from the same and whose results are all there.

    None if it is to be done.
    """
    stored = read_manifest(job.manifest)
    before, now = stored.get("made_from"), job.made_from
    if not isinstance(before, dict) or not isinstance(stored.get("summary"), dict):
        return None
    same = before == now | {"models": _only(before.get("models", ()), now["models"])}
    return stored["summary"] if same and not _missing(job, stored) else None


def reason_to_repeat(job: Job) -> str | None:
    """Say why an image is done again whose results are there; None where there are none."""
    stored = read_manifest(job.manifest)
    before = stored.get("made_from")
    if not isinstance(before, dict):
        return None
    if before.get("version") != RESULTS_VERSION:
        return "an earlier version of the program made its results"
    if before.get("input") != job.made_from["input"]:
        return "the file has changed"
    if before.get("regions") != job.made_from["regions"]:
        return "its annotated regions have changed"
    old, new = before.get("choices", {}), job.made_from["choices"]
    if changed := [name.upper() for name in new if old.get(name) != new[name]]:
        return f"changed: {', '.join(changed)}"
    models = before.get("models", {})
    if models != _only(models, job.made_from["models"]):
        return "another model is used now"
    if missing := _missing(job, stored):
        return f"missing: {some_of(missing)}"
    return "OVERWRITE is on"


def _missing(job: Job, stored: dict) -> list[str]:
    """Return which of the files that were written are not there any more."""
    return [name for name in stored.get("files", ()) if not (job.folder / name).is_file()]


def read_manifest(path: Path) -> dict:
    """Read a manifest; an empty dict where there is none or a damaged one."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_manifest(job: Job, content: dict):
    with appearing(job.manifest) as path:  # a crash must not leave half a manifest
        path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _empty_row(job: Job) -> dict:
    return {"image": job.image, "status": "done", "error": None}


def _one_line(error: Exception) -> str:
    text = one_line(str(error)) or type(error).__name__
    ours = isinstance(error, ImageReadError | OutputError)
    return text if ours else f"{type(error).__name__}: {text}"
