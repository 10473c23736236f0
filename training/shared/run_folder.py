"""What a run folder belongs to: the constants, images and weights of the run that it holds."""

import dataclasses
import hashlib
import json
from pathlib import Path

from images.errors import some_of
from images.finding import stamp

# They change neither what is learned nor in what order, so a run may continue with others; of
# left_out the images tell.
NOT_COMPARED = (
    *("run_folder", "devices", "left_out"),
    *("replace_shipped_model", "replace_shipped_models"),
)

# What constants meant that earlier versions did not have, so that their runs can be continued.
MEANT_BEFORE = {"tuned_share": 1.0}

LARGEST_READ = 2**26  # bytes of a file of which the content is compared; of a larger one, the size


def plain(value):
    """Return a constant as JSON can hold it, with only the end of a path."""
    if dataclasses.is_dataclass(value):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, Path):  # records must not reveal whose disk it is
        return "/".join(value.parts[-3:])
    return value


def describe(constants: dict, training, validation, weights: dict) -> dict:
    """Return the description by which a run is recognised.

    Args:
        constants: all constants as `plain` returns them.
        training, validation: for each image the tuple of its files.
        weights: path of each file of weights that it starts from or is judged by, by its constant;
            None or a word, such as "imagenet", for those that are no file.

    Returns:
        `constants`, `weights` ({constant: SHA-256}), `training_images` and `validation_images`; the
        latter {name: [[[bytes, SHA-256] of each file], ...]}, with more than one entry if images
        of several folders share a name. Large files and folders have no SHA-256.
    """
    paths = {name: Path(path) for name, path in weights.items() if path is not None}
    hashes = {name: content_of(path) for name, path in paths.items() if path.is_file()}
    run = {"constants": constants, "weights": hashes}
    for side, images in {"training_images": training, "validation_images": validation}.items():
        run[side] = {}
        for files in images:
            run[side].setdefault(plain(files[0]), []).append([_described(f) for f in files])
    return run


def _described(file: Path) -> list:
    """Return bytes and, where it is not large, content of a file."""
    size = stamp(file)[0]
    return [size, None if file.is_dir() or size > LARGEST_READ else content_of(file)]


def check_run_folder(folder: Path, run: dict):
    """Make sure that a run folder is new or holds the run that is to continue.

    Args:
        folder: the run folder, which may not exist yet.
        run: see `describe`.

    Raises:
        ValueError: it holds a run with other constants or images, or an unknown one.
    """
    file = folder / "run.json"
    another = "give another RUN_FOLDER (--run-folder) for a new run"
    if file.is_file():
        changes = _changes(json.loads(file.read_text(encoding="utf-8")), run)
        if changes:
            raise ValueError(
                f"RUN_FOLDER {folder} holds a run with other constants or images:\n  "
                + "\n  ".join(changes)
                + f"\nSet them back to continue it, or {another}."
            )
        return
    leftovers = sorted(path.name for end in ("*backup", "*.h5") for path in folder.glob(end))
    if leftovers:
        raise ValueError(
            f"RUN_FOLDER {folder} holds {', '.join(leftovers)} but no run.json, so it is not "
            f"known what they were trained with: {another}."
        )


def content_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a slide's folder."""
    files = sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            while block := content.read(2**20):
                total.update(block)
    return total.hexdigest()


def _changes(old: dict, new: dict) -> list[str]:
    """Return what differs between the descriptions of two runs, one line each."""
    after = _flat(new["constants"])
    meant = {name: value for name, value in MEANT_BEFORE.items() if name in after}
    before = meant | _flat(old["constants"])
    names = [name for name in before | after if name.split(".")[0] not in NOT_COMPARED]
    lines = [
        f"{name.upper()} was {before.get(name, 'unknown')}, is {after.get(name, 'gone')}"
        for name in names
        if before.get(name) != after.get(name)
    ]
    earlier = old.get("weights", new["weights"])  # an earlier version did not record them
    lines += [
        f"{name.upper()} has another content"
        for name, content in new["weights"].items()
        if earlier.get(name, content) != content
    ]
    for kind in ("training_images", "validation_images"):
        files, now = old[kind], _as_described(new[kind], old[kind])
        found = {
            "more": [name for name in now if name not in files],
            "missing": [name for name in files if name not in now],
            "changed": [name for name in now if name in files and now[name] != files[name]],
        }
        parts = [f"{len(some)} {what} ({some_of(some)})" for what, some in found.items() if some]
        if parts:
            lines.append(f"{kind.replace('_', ' ')}: {'; '.join(parts)}")
    return lines


def _as_described(images: dict, old: dict) -> dict:
    """Return images as an earlier version described them, by the bytes of their files alone.

    images, old: see `describe`, of this run and of the one that the folder holds.
    """
    if any(isinstance(file, list) for files in old.values() for each in files for file in each):
        return images
    return {name: [[size for size, _ in each] for each in files] for name, files in images.items()}


def _flat(constants: dict) -> dict:
    """Flatten constants that hold several values: {"degradation.blur_sigma": ...}."""
    flat = {}
    for name, value in constants.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{part}": item for part, item in value.items()}
        else:
            flat[name] = value
    return flat
