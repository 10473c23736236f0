"""Train a U-net that finds and separates nuclei in H&E images.

Fill TRAINING_FOLDERS with images and masks (see data/README.md for the layouts) and run

    python "training/U-net/Unet_train.py"

An interrupted run is started again with the same command and goes on from its last epoch. A
RUN_FOLDER belongs to one set of images and constants. Every constant below is also a flag: see
--help.
"""

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notes; before Keras

import keras
import numpy as np
import tyro
from unet_callbacks import standard_callbacks
from unet_data import NucleiBatches, find_pairs, load_sample
from unet_epochs import adam, read_log
from unet_model import first_unet, nuclei_loss
from unet_saving import print_end, print_finished_before, record, save_model, write_json
from unet_setup import (
    check_folder_weights,
    check_numbers,
    check_run_folder,
    describe,
    hold_out,
    plain,
    refuse_repeats,
    use_devices,
)

ROOT = Path(__file__).resolve().parents[2]

# --- Data ---
TRAINING_FOLDERS = (ROOT / "data" / "nuclei",)
FOLDER_WEIGHTS = (1.0,)
VALIDATION_FOLDERS = ()  # () = VALIDATION_NAMES or VALIDATION_SHARE count
VALIDATION_NAMES = ()
VALIDATION_SHARE = 0.1
VALIDATION_LIMIT = 40  # images
MICRONS_PER_PIXEL = 0.25  # um
CROP = 256  # pixels, a multiple of 2**DEPTH
CROWDING = 1.5  # at most so many nuclei pasted against others per nucleus; 0 = none

# --- Network ---
FIRST_FILTERS = 16
DEPTH = 4
VGG19_WEIGHTS = None  # a second, frozen encoder: imagenet (Keras downloads them) or a file
INITIAL_UNET = None  # a Unet.h5 to fine-tune

# --- Training ---
BATCH_SIZE = 8
STEPS_PER_EPOCH = 150
EPOCHS = 15
LEARNING_RATE = 2e-3  # peak
SEED = 1
BFLOAT16 = False  # True: 1.5 times as fast with TensorFlow on processors that have bfloat16
DEVICES = 1  # number or "all"; several need KERAS_BACKEND=jax

# --- Output ---
RUN_FOLDER = ROOT / "training" / "U-net" / "runs" / "default"  # also holds the checkpoints
REPLACE_SHIPPED_MODEL = False  # True: copy the finished U-net into models/


def main(
    training_folders: tuple[Path, ...] = TRAINING_FOLDERS,
    folder_weights: tuple[float, ...] = FOLDER_WEIGHTS,
    validation_folders: tuple[Path, ...] = VALIDATION_FOLDERS,
    validation_names: tuple[str, ...] = VALIDATION_NAMES,
    validation_share: float = VALIDATION_SHARE,
    validation_limit: int = VALIDATION_LIMIT,
    microns_per_pixel: float = MICRONS_PER_PIXEL,
    crop: int = CROP,
    crowding: float = CROWDING,
    first_filters: int = FIRST_FILTERS,
    depth: int = DEPTH,
    vgg19_weights: str | None = VGG19_WEIGHTS,
    initial_unet: Path | None = INITIAL_UNET,
    batch_size: int = BATCH_SIZE,
    steps_per_epoch: int = STEPS_PER_EPOCH,
    epochs: int = EPOCHS,
    learning_rate: float = LEARNING_RATE,
    seed: int = SEED,
    bfloat16: bool = BFLOAT16,
    devices: int | Literal["all"] = DEVICES,
    run_folder: Path = RUN_FOLDER,
    replace_shipped_model: bool = REPLACE_SHIPPED_MODEL,
):
    """Train the U-net.

    Args:
        training_folders: folders of images and masks, each in the TCIA or the images/masks layout.
        folder_weights: relative share of the crops that come from each folder.
        validation_folders: folders of images that are never trained on, e.g. other organs.
        validation_names: training images whose names begin with one of these are kept out.
        validation_share: without both: this share of the images, at least one, drawn at random.
        validation_limit: images judged after each epoch, evenly chosen.
        microns_per_pixel: um per pixel of the training images; goes into the record.
        crop: side of a training crop in pixels, a multiple of 2**depth.
        crowding: in each training image at most so many copies of its nuclei, per nucleus, are
            pasted against others, which shows where touching nuclei part; 0 = none.
        first_filters: width of the U-net at full resolution.
        depth: number of its 2x2 poolings.
        vgg19_weights: imagenet (Keras downloads them) or the path of a weights file adds the
            first six convolutions of VGG19, frozen, as a second encoder; an initial_unet that has
            it keeps its own.
        initial_unet: a Unet.h5 to start from (fine-tuning) instead of a new one.
        batch_size: crops per step.
        steps_per_epoch: steps between two validations.
        epochs: epochs of the whole run.
        learning_rate: highest learning rate; a cosine takes it down to 1 %.
        seed: seed of the weights, the split and all crops.
        bfloat16: multiply in bfloat16; only with the TensorFlow backend.
        devices: number of devices that share each batch, or all; several need the JAX backend.
        run_folder: gets model, record, log, pictures and checkpoints of this one run.
        replace_shipped_model: copy the finished U-net into models/.

    Raises:
        SystemExit: a constant, image or mask cannot be used, or the run folder holds another run;
            nothing was trained.
    """
    constants = {name: plain(value) for name, value in locals().items()}
    constants["vgg19_weights"] = vgg19_weights and Path(vgg19_weights).name
    try:
        check_constants(constants)
        # All pairs are matched before the first is read: a misnamed mask shows at once.
        pairs = [find_pairs(folder) for folder in training_folders]
        judged_pairs = [pair for folder in validation_folders for pair in find_pairs(folder)]
        held_out = split(pairs, judged_pairs, validation_names, validation_share, seed)
        files = [pair for found in pairs for pair in found]
        run = describe(
            constants,
            [pair for pair in files if pair[0] not in held_out],
            judged_pairs + [pair for pair in files if pair[0] in held_out],
        )
        check_run_folder(run_folder, run)
        if (run_folder / "Unet.json").is_file():
            print_finished_before(run_folder / "Unet.h5")
            if replace_shipped_model:
                publish(run_folder, ROOT / "models")
            return
        use_devices(devices, batch_size)
        if bfloat16:
            use_bfloat16()
        training, weights, validation = load_samples(
            pairs, folder_weights, judged_pairs, held_out, crowding, seed
        )
        keras.utils.set_random_seed(seed)
        unet = first_unet(first_filters, depth, vgg19_weights, initial_unet)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{error}{_advice(error)}") from None
    print(f"{len(training)} images for training, {len(validation)} for validation")
    write_json(run_folder / "run.json", run)
    batches = NucleiBatches(training, weights, crop, batch_size, steps_per_epoch, seed)
    judged = np.linspace(0, len(validation) - 1, min(validation_limit, len(validation)))
    judged = [validation[index] for index in judged.astype(int)]
    started = time.time()
    unet.compile(adam(learning_rate, epochs * steps_per_epoch), nuclei_loss)
    callbacks = standard_callbacks(run_folder, batches, judged, 2**depth)
    unet.evaluate(*batches[0], verbose=0)  # builds: else JAX and PyTorch draw batches ahead
    # The batches are random already; shuffling them would keep a resumed run from repeating.
    unet.fit(batches, epochs=epochs, callbacks=callbacks, shuffle=False)
    save_model(unet, run_folder / "Unet.h5")

    figures = write_record(run_folder, run, time.time() - started)
    if replace_shipped_model:
        publish(run_folder, ROOT / "models")
    print_end(run_folder / "Unet.h5", "--unet", figures)


def check_constants(constants: dict):
    """Raise ValueError for the first constant that cannot work, before any image is read."""
    check_folder_weights(constants["training_folders"], constants["folder_weights"])
    names = ("validation_limit", "first_filters", "batch_size", "steps_per_epoch", "epochs", "crop")
    # The second encoder joins the levels below the first.
    depth = 2 if constants["vgg19_weights"] else 1
    least = {**dict.fromkeys(names, 1), "depth": depth, "seed": 0, "crowding": 0}
    check_numbers(constants, least, multiples={})
    check_numbers(
        constants,
        least={},
        multiples={"crop": 2 ** constants["depth"]},
        positive=("learning_rate", "microns_per_pixel"),
        shares=("validation_share",),
    )


def use_bfloat16():
    """Let TensorFlow multiply in bfloat16: two thirds of the time on processors made for it.

    Its graphs are rewritten so that convolutions take and give bfloat16; weights, their updates
    and the losses stay float32, and so does the saved model.

    Raises:
        ValueError: another backend.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"BFLOAT16 needs TensorFlow, found {keras.backend.backend()}")
    import tensorflow as tf  # only here: training runs without it on other backends

    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})


def split(pairs, judged_pairs, names, share: float, seed: int) -> set[Path]:
    """Choose the images of the training folders that are kept out for validation.

    Args:
        pairs: the (image, mask) pairs of each training folder.
        judged_pairs: the pairs of the validation folders.
        names, share, seed: see `hold_out`; not needed where there are validation folders.

    Raises:
        ValueError: an image comes twice, or one side would be empty.
    """
    images = [image for found in pairs for image, _ in found]
    refuse_repeats(images + [image for image, _ in judged_pairs])
    return hold_out(images, names, share, seed) if names or not judged_pairs else set()


def load_samples(pairs, folder_weights, judged_pairs, held_out, crowding, seed):
    """Read all pairs.

    Args:
        pairs: the (image, mask) pairs of each training folder.
        folder_weights: relative chance of each folder.
        judged_pairs: the pairs of the validation folders.
        held_out: those images of the training folders that are for validation, too.
        crowding, seed: of the training images, see `load_sample`.

    Returns:
        (training samples, relative chance of each to be drawn, validation samples). Within a
        folder all images are drawn equally often.

    Raises:
        OSError, ValueError: an image or mask is unreadable, or they do not fit.
    """
    training, weights = [], []
    validation = [load_sample(*pair) for pair in judged_pairs]
    for found, folder_weight in zip(pairs, folder_weights, strict=True):
        validation += [load_sample(*pair) for pair in found if pair[0] in held_out]
        kept = [pair for pair in found if pair[0] not in held_out]
        for pair in kept:
            training.append(load_sample(*pair, crowding, seed=(seed, len(training))))
            weights.append(folder_weight / len(kept))
    return training, weights, validation


def write_record(run_folder: Path, run, seconds) -> dict:
    """Write the .json record beside the model; return the validation figures of the last epoch."""
    last = read_log(run_folder / "training_log.csv")[-1]
    figures = {name: float(value) for name, value in last.items() if name.startswith("val_")}
    entries = {
        "task": "nuclei in H&E: RGB 0..255 in; probability and relative distance, 0..1, out",
        "microns_per_pixel": run["constants"]["microns_per_pixel"],
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


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on from the last finished epoch.")
