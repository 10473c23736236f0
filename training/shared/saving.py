"""What a training produces: the model, its record, and the closing message."""

import contextlib
import inspect
import json
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import absl.logging
import h5py
import keras


def write_json(path: Path, content: dict):
    """Write a JSON file that is either complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=2), encoding="utf-8")
    unfinished.replace(path)


def save_model(model: keras.Model, path: Path):
    """Save a whole model as .h5 that is either complete or absent.

    Without the optimizer, because `load_model` would look for the loss, which is not part of Keras.
    And without the layers' default arguments, because a newer Keras has more of them, and an older
    one refuses those it does not know.
    """
    unfinished = path.with_name(f"unfinished_{path.name}")
    with _no_note_on_hdf5():
        model.save(unfinished, include_optimizer=False)
    with h5py.File(unfinished, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps(_without_defaults(config))
    unfinished.replace(path)


def recorded_microns(model: Path | None) -> float | None:
    """Return the um per pixel that a U-net sees, by its record; None where that says nothing."""
    try:
        stated = json.loads(model.with_suffix(".json").read_text("utf-8"))["microns_per_pixel"]
    except (AttributeError, OSError, ValueError, KeyError, TypeError):
        return None
    return float(stated) if isinstance(stated, int | float) and stated > 0 else None


def record(model: Path, run: dict, seconds: float, **more) -> dict:
    """Return the record that is saved beside a model: how it was made and how well it performs.

    Args:
        model: the saved model.
        run: see `describe`.
        seconds: time this run took, not counting interrupted ones before it.
        more: further entries for this kind of model.
    """
    images = {
        side: [name for name, files in run[side].items() for _ in files]
        for side in ("training_images", "validation_images")
    }
    return {
        "model": model.name,
        **more,
        "constants": run["constants"],
        **images,
        "seconds_of_this_run": round(seconds),
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
        },
    }


def publish(model: Path, models: Path):
    """Copy a finished model and its record into the folder of shipped models."""
    for file in (model, model.with_suffix(".json")):
        shutil.copy2(file, models / file.name)


def is_finished(model: Path, models: Path | None) -> bool:
    """Tell whether a run is finished; then say so, and publish its model where that is wanted.

    models: folder of the shipped models, None = not wanted.
    """
    if not model.with_suffix(".json").is_file():
        return False
    print_finished_before(model)
    if models:
        publish(model, models)
    return True


def finish(model: Path, content: dict, models: Path | None, flag: str):
    """Write the record of a saved model, which ends its run; publish it where that is wanted.

    Args:
        model: the saved model.
        content: its `record`, with an entry "validation".
        models: folder of the shipped models, None = not wanted.
        flag: by which a run uses the model.
    """
    write_json(model.with_suffix(".json"), content)
    if models:
        publish(model, models)
    print_end(model, flag, content["validation"])


def print_end(model: Path, flag: str, validation: dict):
    """Print where a finished model is, how well it performs and how to use it."""
    figures = ", ".join(
        f"{name.replace('_', ' ')} {value:.4g}" for name, value in validation.items()
    )
    print(
        f"\nFinished: {model}\nValidation: {figures}\n"
        f'Use it: python Implementation/Final_implementation.py {flag} "{model}"'
    )


def print_finished_before(model: Path):
    """Print that a run folder holds a finished run, which is not trained again."""
    print(f"Finished before: {model}; give another RUN_FOLDER (--run-folder) for a new run.")


@contextlib.contextmanager
def _no_note_on_hdf5() -> Iterator[None]:
    """Leave out Keras' advice to use its newer format; all backends and versions read this one."""
    before = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)
    try:
        yield
    finally:
        absl.logging.set_verbosity(before)


def _without_defaults(entry):
    """Return the configuration of a model without arguments that have their default value."""
    if isinstance(entry, list):
        return [_without_defaults(item) for item in entry]
    if not isinstance(entry, dict):
        return entry
    entry = {name: _without_defaults(item) for name, item in entry.items()}
    name = entry.get("class_name")
    kind = getattr(keras.layers, str(name), None) or getattr(keras.initializers, str(name), None)
    if kind and kind is not keras.layers.Rescaling:  # which requires all of its arguments
        known = inspect.signature(kind).parameters
        entry["config"] = {
            key: value
            for key, value in entry["config"].items()
            if key not in known or known[key].default != value
        }
    return entry
