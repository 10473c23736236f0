"""The training of a U-net: checks, samples, network, fit, model and record."""

import shutil
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np

from labels.masks import MASKS
from labels.pairing import find_pairs
from program.processor import has_bfloat16
from shared.epochs import adam, read_log
from shared.saving import print_end, print_finished_before, record, save_model, write_json
from shared.setup import (
    check_numbers,
    check_run_folder,
    describe,
    hold_out,
    plain,
    refuse_repeats,
    shares_of,
    use_devices,
)
from unet.callbacks import standard_callbacks
from unet.data import NucleiBatches, load_sample
from unet.model import first_unet, nuclei_loss

ROOT = Path(__file__).resolve().parents[3]


def train(arguments: dict):
    """Do what the script promises; `arguments` are those of its `main`."""
    constants = {name: plain(value) for name, value in arguments.items()}
    chosen = SimpleNamespace(**arguments)
    constants["vgg19_weights"] = chosen.vgg19_weights and Path(chosen.vgg19_weights).name
    try:
        check_constants(constants)
        shares = shares_of(chosen.training_folders, chosen.folder_weights)
        # All pairs are matched before the first is read: a misnamed mask shows at once.
        pairs, judged_pairs = pairs_of_folders(
            chosen.training_folders, chosen.validation_folders, chosen.microns_per_pixel
        )
        held_out = split(
            pairs, judged_pairs, chosen.validation_names, chosen.validation_share, chosen.seed
        )
        files = [pair for found in pairs for pair in found]
        run = describe(
            constants,
            [pair.files for pair in files if pair.image not in held_out],
            [pair.files for pair in judged_pairs]
            + [pair.files for pair in files if pair.image in held_out],
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
        training, weights, validation = load_samples(
            pairs,
            shares,
            judged_pairs,
            held_out,
            partial(load_sample, masks=chosen.masks, unet_microns=chosen.unet_microns_per_pixel),
            chosen.crowding,
            chosen.seed,
        )
        keras.utils.set_random_seed(chosen.seed)
        unet = first_unet(
            chosen.first_filters, chosen.depth, chosen.vgg19_weights, chosen.initial_unet
        )
    except (OSError, ValueError) as error:
        raise SystemExit(f"{error}{_advice(error)}") from None
    print(f"{len(training)} images for training, {len(validation)} for validation")
    for note, count in Counter(sample.note for sample in training + validation).most_common():
        print(f"{count} labelled by: {note}")
    write_json(chosen.run_folder / "run.json", run)
    batches = NucleiBatches(
        training, weights, chosen.crop, chosen.batch_size, chosen.steps_per_epoch, chosen.seed
    )
    judged = np.linspace(0, len(validation) - 1, min(chosen.validation_limit, len(validation)))
    judged = [validation[index] for index in judged.astype(int)]
    started = time.time()
    unet.compile(adam(chosen.learning_rate, chosen.epochs * chosen.steps_per_epoch), nuclei_loss)
    callbacks = standard_callbacks(chosen.run_folder, batches, judged, 2**chosen.depth)
    unet.evaluate(*batches[0], verbose=0)  # builds: else JAX and PyTorch draw batches ahead
    # The batches are random already; shuffling them would keep a resumed run from repeating.
    unet.fit(batches, epochs=chosen.epochs, callbacks=callbacks, shuffle=False)
    save_model(unet, chosen.run_folder / "Unet.h5")

    figures = write_record(chosen.run_folder, run, time.time() - started)
    if chosen.replace_shipped_model:
        publish(chosen.run_folder, ROOT / "models")
    print_end(chosen.run_folder / "Unet.h5", "--unet", figures)


def check_constants(constants: dict):
    """Raise ValueError for the first constant that cannot work, before any image is read."""
    names = ("validation_limit", "first_filters", "batch_size", "steps_per_epoch", "epochs", "crop")
    if constants["masks"] not in MASKS:
        raise ValueError(f"MASKS: expected {' or '.join(MASKS)}, found {constants['masks']}")
    # The second encoder joins the levels below the first.
    depth = 2 if constants["vgg19_weights"] else 1
    least = {**dict.fromkeys(names, 1), "depth": depth, "seed": 0, "crowding": 0}
    check_numbers(constants, least, multiples={})
    check_numbers(
        constants,
        least={},
        multiples={"crop": 2 ** constants["depth"]},
        positive=("learning_rate", "unet_microns_per_pixel"),
        shares=("validation_share",),
    )


def use_bfloat16():
    """Let TensorFlow multiply in bfloat16: two thirds of the time on processors made for it.

    Its graphs are rewritten so that convolutions take and give bfloat16; weights, their updates
    and the losses stay float32, and so does the saved model.

    Raises:
        ValueError: another backend, or a processor without instructions for it.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"BFLOAT16 needs TensorFlow, found {keras.backend.backend()}")
    if not has_bfloat16():
        raise ValueError(
            "BFLOAT16: this processor has no instructions for it, training would take several "
            "times as long; leave it off"
        )
    import tensorflow as tf  # only here: training runs without it on other backends

    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})


def pairs_of_folders(training_folders, validation_folders, microns):
    """Find the pairs of all folders and note the pixel sizes that are given for them.

    Args:
        training_folders, validation_folders: the folders.
        microns: um per pixel: None, one number, or a number for each of the folders in order.

    Returns:
        (a list of pairs for each training folder, the pairs of the validation folders).

    Raises:
        OSError, ValueError: see `find_pairs`; or not as many numbers as folders.
    """
    folders = [*training_folders, *validation_folders]
    sizes = list(microns) if isinstance(microns, (list, tuple)) else [microns]
    sizes = sizes * len(folders) if len(sizes) == 1 else sizes
    if len(sizes) != len(folders) or not all(s is None or 0 < s < float("inf") for s in sizes):
        raise ValueError(
            f"MICRONS_PER_PIXEL: expected one number above 0 or {len(folders)}, for the training "
            f"and then the validation folders, found {microns}"
        )
    pairs = [
        [replace(pair, microns=size) for pair in find_pairs(folder)]
        for folder, size in zip(folders, sizes, strict=True)
    ]
    count = len(training_folders)
    return pairs[:count], [pair for found in pairs[count:] for pair in found]


def split(pairs, judged_pairs, names, share: float, seed: int) -> set[Path]:
    """Choose the images of the training folders that are kept out for validation.

    Args:
        pairs: the pairs of each training folder.
        judged_pairs: the pairs of the validation folders.
        names, share, seed: see `hold_out`; not needed where there are validation folders.

    Raises:
        ValueError: an image comes twice, or one side would be empty.
    """
    everything = [pair for found in pairs for pair in found]
    # A stack counts once for each time it is named.
    refuse_repeats([pair.files[0] for pair in everything + judged_pairs if not pair.index])
    images = [pair.image for pair in everything]
    return hold_out(images, names, share, seed) if names or not judged_pairs else set()


def load_samples(pairs, folder_weights, judged_pairs, held_out, read, crowding, seed):
    """Read all pairs.

    Args:
        pairs: the pairs of each training folder.
        folder_weights: relative chance of each folder.
        judged_pairs: the pairs of the validation folders.
        held_out: those images of the training folders that are for validation, too.
        read: `load_sample` with what holds for all images.
        crowding, seed: of the training images, see `load_sample`.

    Returns:
        (training samples, relative chance of each to be drawn, validation samples). Within a
        folder all images are drawn equally often.

    Raises:
        OSError, ValueError: an image or mask is unreadable, or they do not fit.
    """
    training, weights = [], []
    validation = [read(pair) for pair in judged_pairs]
    for found, folder_weight in zip(pairs, folder_weights, strict=True):
        validation += [read(pair) for pair in found if pair.image in held_out]
        kept = [pair for pair in found if pair.image not in held_out]
        for pair in kept:
            training.append(read(pair, crowding=crowding, seed=(seed, len(training))))
            weights.append(folder_weight / len(kept))
    return training, weights, validation


def write_record(run_folder: Path, run, seconds) -> dict:
    """Write the .json record beside the model; return the validation figures of the last epoch."""
    last = read_log(run_folder / "training_log.csv")[-1]
    figures = {name: float(value) for name, value in last.items() if name.startswith("val_")}
    entries = {
        "task": "nuclei in H&E: RGB 0..255 in; probability and relative distance, 0..1, out",
        "microns_per_pixel": run["constants"]["unet_microns_per_pixel"],
        "validation": figures,
    }
    write_json(run_folder / "Unet.json", record(run_folder / "Unet.h5", run, seconds, **entries))
    return figures


def publish(run_folder: Path, models: Path):
    """Copy the finished U-net and its record into the folder of shipped models."""
    for name in ("Unet.h5", "Unet.json"):
        shutil.copy2(run_folder / name, models / name)


def _advice(error) -> str:
    if not isinstance(error, FileNotFoundError):
        return ""
    return (
        "\nPut images and masks there, or set TRAINING_FOLDERS (--training-folders). The TCIA set\n"
        "is at doi 10.7937/tcia.2019.4a4dkp9u: copy its N_crop.png and\n"
        "N_labeled_mask_corrected.png files there; see data/README.md."
    )
