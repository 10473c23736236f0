"""The training of a U-net: fit, model and record."""

import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np

from shared.blending import blend
from shared.epochs import adam, fit, read_log
from shared.run_folder import check_run_folder, describe, plain
from shared.saving import is_finished, print_end, publish, record, save_model, write_json
from shared.setup import shares_of
from unet.callbacks import BEST_BY, standard_callbacks
from unet.data import NucleiBatches
from unet.fine_tuning import print_comparison, with_defaults
from unet.model import nuclei_loss
from unet.preparation import Prepared, check_constants, prepare, print_readings
from unet.scoring import score
from unet.sets.finding import find_sets

ROOT = Path(__file__).resolve().parents[3]


def train(arguments: dict):
    """Do what the script promises; `arguments` are those of its `main`."""
    try:
        arguments = with_defaults(arguments, ROOT / "data" / "nuclei")
        constants = {name: plain(value) for name, value in arguments.items()}
        chosen = SimpleNamespace(**arguments)
        constants["vgg19_weights"] = chosen.vgg19_weights and Path(chosen.vgg19_weights).name
        check_constants(constants)
        shares = shares_of(chosen.training_folders, chosen.folder_weights)
        # All pairs are matched before the first is read: a misnamed mask shows at once.
        sets = find_sets(chosen)
        learned, judged = ([pair.files for pair in each] for each in (sets.learned, sets.judged))
        weights = {name: arguments[name] for name in ("initial_unet", "vgg19_weights")}
        run = describe(constants, learned, judged, weights)
        check_run_folder(chosen.run_folder, run)
        models = ROOT / "models" if chosen.replace_shipped_model else None
        if is_finished(chosen.run_folder / "Unet.h5", models):
            return
        prepared = prepare(chosen, sets, shares)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{error}{_advice(error, arguments['training_folders'])}") from None
    print_readings(prepared)
    write_json(chosen.run_folder / "run.json", run)
    started = time.time()
    comparison = train_and_compare(chosen, prepared)
    figures = write_records(chosen.run_folder, run, time.time() - started, comparison)
    if models:
        publish(chosen.run_folder / "Unet.h5", models)
    if comparison:
        print_comparison(comparison)
    print_best(chosen.run_folder, chosen.tuned_share)
    print_end(chosen.run_folder / "Unet.h5", "--unet", figures)


def train_and_compare(chosen, prepared: Prepared) -> dict[str, tuple]:
    """Train the U-net in place and save it.

    Returns:
        {name of a set: (images, figures before, figures after)} of one that is fine-tuned.
    """
    unet = prepared.unet
    sizes = chosen.crop, chosen.batch_size, chosen.steps_per_epoch
    batches = NucleiBatches(prepared.training, prepared.weights, *sizes, chosen.seed)
    scored = {"held out": prepared.validation, "check": prepared.check}
    scored = scored if chosen.initial_unet else {}
    score_all = partial(score_sets, scored, 2**chosen.depth, chosen.unet_microns_per_pixel)
    before = score_all(unet, "before")
    train_on(batches, unet, prepared.validation, chosen)
    if chosen.tuned_share < 1:
        blend(unet, keras.models.load_model(chosen.initial_unet, compile=False), chosen.tuned_share)
    save_model(unet, chosen.run_folder / "Unet.h5")
    after = score_all(unet, "after")
    return {name: (len(scored[name]), before[name], after[name]) for name in before}


def train_on(batches, unet, validation, chosen):
    """Train in place; an interrupted training goes on from its last finished epoch."""
    unet.compile(adam(chosen.learning_rate, chosen.epochs * chosen.steps_per_epoch), nuclei_loss)
    callbacks = standard_callbacks(
        chosen.run_folder, batches, validation, 2**chosen.depth, chosen.unet_microns_per_pixel
    )
    unet.evaluate(*batches[0], verbose=0)  # builds: else JAX and PyTorch draw batches ahead
    fit(unet, batches, chosen.epochs, callbacks)


def score_sets(sets: dict, pooling: int, microns: float, unet, when: str) -> dict[str, dict]:
    """Return the figures of a U-net on each set that is not empty, by its name."""
    found = {}
    for name, samples in sets.items():
        if samples:
            print(f"Scoring {len(samples)} images ({name}) {when} the training")
            found[name] = score(unet, samples, pooling, microns)
    return found


def write_records(run_folder: Path, run, seconds, comparison: dict) -> dict:
    """Write the .json records beside the models; return the validation figures of the last one.

    comparison: {name of a set: (images, figures before, figures after)} of a fine-tuned U-net.
    """
    log = read_log(run_folder / "training_log.csv")
    entries = {
        "task": "nuclei in H&E: RGB 0..255 in; probability and relative distance, 0..1, out",
        "microns_per_pixel": run["constants"]["unet_microns_per_pixel"],
    }
    # The last one last: its record tells that the run is finished.
    for name, row in (("Unet_best", _best(log)), ("Unet", log[-1])):
        figures = _finite({key: row[key] for key in row if key.startswith("val_")})
        more = {"epoch": int(row["epoch"]) + 1, "validation": figures}
        if comparison and name == "Unet":
            # Those of the last epoch are of its weights before they were blended.
            more["validation"] = figures = {
                f"val_{key}": value for key, value in _finite(comparison["held out"][2]).items()
            }
            more["fine_tuning"] = {
                part: {"images": count, "before": _finite(before), "after": _finite(after)}
                for part, (count, before, after) in comparison.items()
            }
        content = record(run_folder / f"{name}.h5", run, seconds, **entries, **more)
        write_json(run_folder / f"{name}.json", content)
    return figures


def print_best(run_folder: Path, tuned_share: float):
    """Print which epoch was the best, where that is not the last; tuned_share: see the script."""
    remark = ", which is not blended with the weights before" if tuned_share < 1 else ""
    log = read_log(run_folder / "training_log.csv")
    best = _best(log)
    if best is not log[-1]:
        print(
            f"Epoch {int(best['epoch']) + 1} had the best AJI, {float(best[BEST_BY]):.3f}: "
            f"{run_folder / 'Unet_best.h5'}{remark}"
        )


def _finite(figures: dict) -> dict[str, float]:
    """Leave out nan, such as a count error where there are no nuclei: JSON has none."""
    return {name: float(value) for name, value in figures.items() if np.isfinite(float(value))}


def _best(log: list[dict]) -> dict:
    return max(log, key=lambda row: float(row[BEST_BY]))


def _advice(error, training_folders) -> str:
    named = any(str(folder) in str(error) for folder in training_folders)
    if not (isinstance(error, FileNotFoundError) and named):
        return ""
    return (
        "\nPut images and masks there, or set TRAINING_FOLDERS (--training-folders). The TCIA set\n"
        "is at doi 10.7937/tcia.2019.4a4dkp9u: copy its N_crop.png and\n"
        "N_labeled_mask_corrected.png files there; see data/README.md."
    )
