"""The training of a U-net: checks, samples, network, fit, model and record."""

import shutil
import time
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np

from labels.masks import MASKS
from labels.reading import check_labels
from shared.blending import blend
from shared.epochs import adam, read_log
from shared.machine import use_bfloat16, use_devices
from shared.saving import print_end, print_finished_before, record, save_model, write_json
from shared.setup import (
    check_numbers,
    check_run_folder,
    describe,
    plain,
    shares_of,
)
from unet.callbacks import BEST_BY, standard_callbacks
from unet.data import NucleiBatches, load_sample
from unet.fine_tuning import print_comparison, with_defaults
from unet.model import first_unet, nuclei_loss
from unet.scoring import score
from unet.sets import Sets, evenly, find_sets, load_samples, with_replay

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
        run = describe(
            constants,
            [pair.files for pair in sets.learned],
            [pair.files for pair in sets.judged],
        )
        check_run_folder(chosen.run_folder, run)
        if (chosen.run_folder / "Unet.json").is_file():
            print_finished_before(chosen.run_folder / "Unet.h5")
            if chosen.replace_shipped_model:
                publish(chosen.run_folder, ROOT / "models")
            return
        use_devices(chosen.devices, chosen.batch_size)
        if chosen.bfloat16:
            use_bfloat16()
        print_plan(chosen, sets)
        check_labels([*sets.learned, *sets.judged, *sets.check], chosen.masks)
        training, weights, validation, check = read_sets(chosen, sets, shares)
        keras.utils.set_random_seed(chosen.seed)
        unet = first_unet(
            chosen.first_filters,
            chosen.depth,
            chosen.vgg19_weights,
            chosen.initial_unet,
            chosen.freeze_encoder,
        )
    except (OSError, ValueError) as error:
        raise SystemExit(f"{error}{_advice(error, arguments['training_folders'])}") from None
    samples = training + validation + check
    for note, count in Counter(sample.note for sample in samples).most_common():
        print(f"{count} labelled by: {note}")
    write_json(chosen.run_folder / "run.json", run)
    batches = NucleiBatches(
        training, weights, chosen.crop, chosen.batch_size, chosen.steps_per_epoch, chosen.seed
    )
    started = time.time()
    scored = {"held out": validation, "check": check} if chosen.initial_unet else {}
    score_all = partial(score_sets, scored, 2**chosen.depth, chosen.unet_microns_per_pixel)
    before = score_all(unet, "before")
    fit(unet, batches, validation, chosen)
    if chosen.tuned_share < 1:
        blend(unet, keras.models.load_model(chosen.initial_unet, compile=False), chosen.tuned_share)
    save_model(unet, chosen.run_folder / "Unet.h5")
    after = score_all(unet, "after")
    comparison = {name: (len(scored[name]), before[name], after[name]) for name in before}

    figures = write_records(chosen.run_folder, run, time.time() - started, comparison)
    if chosen.replace_shipped_model:
        publish(chosen.run_folder, ROOT / "models")
    if comparison:
        print_comparison(comparison)
    print_best(chosen.run_folder, chosen.tuned_share)
    print_end(chosen.run_folder / "Unet.h5", "--unet", figures)


def print_plan(chosen, sets: Sets):
    """Print what is trained, and on what, in a line each."""
    what = f"Fine-tuning {chosen.initial_unet}" if chosen.initial_unet else "A new U-net"
    print(
        f"{what}: {_counted(chosen.epochs, 'epoch')} of "
        f"{_counted(chosen.steps_per_epoch, 'step')}, learning rate {chosen.learning_rate:g}"
    )
    replayed = sum(map(len, sets.replay))
    own = len(sets.learned) - replayed
    print(f"{_counted(own, 'image')} for training, {len(sets.judged)} for validation")
    if replayed:
        names = ", ".join(map(str, chosen.replay_folders))
        print(
            f"{chosen.replay_share:.0%} of the crops are replayed from "
            f"{_counted(replayed, 'image')} of {names}"
        )
    elif chosen.initial_unet:
        print("Nothing is replayed: the U-net may forget other tissue (see REPLAY_FOLDERS)")
    if sets.left_out:
        print(f"{_counted(sets.left_out, 'image')} left out of training: see {chosen.left_out}")
    held_out = [pair.image.name for pair in sets.judged]
    more = f" and {len(held_out) - 5} more" if len(held_out) > 5 else ""
    print(f"Held out: {', '.join(held_out[:5])}{more}")


def _counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def read_sets(chosen, sets: Sets, shares):
    """Read all images: (training samples, their weights, validation samples, check samples)."""
    read = partial(load_sample, masks=chosen.masks, unet_microns=chosen.unet_microns_per_pixel)
    training, weights, validation = load_samples(
        [*sets.training, *sets.replay],
        with_replay(shares, len(sets.replay), chosen.replay_share),
        sets.validation,
        sets.held_out,
        read,
    )
    check = [read(pair, keep_labels=True) for pair in sets.check]
    return training, weights, evenly(validation, chosen.validation_limit), check


def fit(unet, batches, validation, chosen):
    """Train in place; an interrupted training goes on from its last finished epoch."""
    unet.compile(adam(chosen.learning_rate, chosen.epochs * chosen.steps_per_epoch), nuclei_loss)
    callbacks = standard_callbacks(
        chosen.run_folder, batches, validation, 2**chosen.depth, chosen.unet_microns_per_pixel
    )
    unet.evaluate(*batches[0], verbose=0)  # builds: else JAX and PyTorch draw batches ahead
    # The batches are random already; shuffling them would keep a resumed run from repeating.
    unet.fit(batches, epochs=chosen.epochs, callbacks=callbacks, shuffle=False)


def score_sets(sets: dict, pooling: int, microns: float, unet, when: str) -> dict[str, dict]:
    """Return the figures of a U-net on each set that is not empty, by its name."""
    found = {}
    for name, samples in sets.items():
        if samples:
            print(f"Scoring {len(samples)} images ({name}) {when} the training")
            found[name] = score(unet, samples, pooling, microns)
    return found


def check_constants(constants: dict):
    """Raise ValueError for the first constant that cannot work, before any image is read."""
    names = (
        "validation_limit",
        "replay_limit",
        "first_filters",
        "batch_size",
        "steps_per_epoch",
        "epochs",
        "crop",
    )
    if constants["masks"] not in MASKS:
        raise ValueError(f"MASKS: expected {' or '.join(MASKS)}, found {constants['masks']}")
    least = {**dict.fromkeys(names, 1), "depth": 2, "seed": 0}
    check_numbers(constants, least, multiples={})
    check_numbers(
        constants,
        least={},
        multiples={"crop": 2 ** constants["depth"]},
        positive=("learning_rate", "unet_microns_per_pixel"),
        shares=("validation_share", "replay_share", "tuned_share"),
    )
    if constants["tuned_share"] < 1 and not constants["initial_unet"]:
        raise ValueError(
            "TUNED_SHARE: below 1 it needs an INITIAL_UNET, whose weights are the rest"
        )
    fits = constants["first_filters"] == 16 and constants["depth"] <= 4
    if constants["vgg19_weights"] and not fits:
        found = f"{constants['first_filters']} and {constants['depth']}"
        raise ValueError(
            f"VGG19_WEIGHTS: expected FIRST_FILTERS 16 and DEPTH 2 to 4, as VGG19, found {found}"
        )
    if constants["initial_unet"] and constants["vgg19_weights"]:
        raise ValueError("VGG19_WEIGHTS: expected None with an INITIAL_UNET, which has weights")
    trained = constants["initial_unet"] or constants["vgg19_weights"]
    if constants["freeze_encoder"] and not trained:
        raise ValueError(
            "FREEZE_ENCODER: expected an INITIAL_UNET or VGG19_WEIGHTS, or the encoder would keep "
            "its random weights"
        )
    if constants["check_folders"] and not constants["initial_unet"]:
        raise ValueError(
            "CHECK_FOLDERS: expected an INITIAL_UNET; what a new U-net has forgotten cannot be told"
        )
    if constants["replay_share"] == 1:
        raise ValueError("REPLAY_SHARE: expected less than 1, or nothing new is learned")


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


def publish(run_folder: Path, models: Path):
    """Copy the finished U-net and its record into the folder of shipped models."""
    for name in ("Unet.h5", "Unet.json"):
        shutil.copy2(run_folder / name, models / name)


def _advice(error, training_folders) -> str:
    named = any(str(folder) in str(error) for folder in training_folders)
    if not (isinstance(error, FileNotFoundError) and named):
        return ""
    return (
        "\nPut images and masks there, or set TRAINING_FOLDERS (--training-folders). The TCIA set\n"
        "is at doi 10.7937/tcia.2019.4a4dkp9u: copy its N_crop.png and\n"
        "N_labeled_mask_corrected.png files there; see data/README.md."
    )
