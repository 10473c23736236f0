"""Train a U-net that finds and separates nuclei in H&E images.

Fill TRAINING_FOLDERS with images and masks (see data/README.md for the layouts) and run

    python "training/U-net/Unet_train.py"

An interrupted run is started again with the same command and goes on from its last epoch. Every
constant below is also a flag: see --help.
"""

import json
import platform
import shutil
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tyro
from unet_callbacks import standard_callbacks
from unet_data import NucleiBatches, find_pairs, load_sample
from unet_model import build_unet, nuclei_loss

ROOT = Path(__file__).resolve().parents[2]

# --- Data ---
TRAINING_FOLDERS = (ROOT / "data" / "nuclei",)  # each in the TCIA or the images/masks layout
FOLDER_WEIGHTS = (1.0,)  # relative share of the crops that come from each folder
VALIDATION_FOLDERS = ()  # folders of images that are never trained on, e.g. other organs
VALIDATION_NAMES = ()  # or: images of TRAINING_FOLDERS whose names begin so are kept out
VALIDATION_SHARE = 0.1  # or, where both are empty: this share of the images is kept out
VALIDATION_LIMIT = 40  # images judged after each epoch, evenly chosen
MICRONS_PER_PIXEL = 0.25  # of the training images; goes into the record
CROP = 256  # side of a training crop in pixels, a multiple of 2**DEPTH

# --- Network ---
FIRST_FILTERS = 16
DEPTH = 4
INITIAL_UNET = None  # a Unet.h5 to start from (fine-tuning) instead of a new one

# --- Training ---
BATCH_SIZE = 8
STEPS_PER_EPOCH = 150
EPOCHS = 15
LEARNING_RATE = 2e-3  # peak, then a cosine down to 1 % of it
SEED = 1

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
    first_filters: int = FIRST_FILTERS,
    depth: int = DEPTH,
    initial_unet: Path | None = INITIAL_UNET,
    batch_size: int = BATCH_SIZE,
    steps_per_epoch: int = STEPS_PER_EPOCH,
    epochs: int = EPOCHS,
    learning_rate: float = LEARNING_RATE,
    seed: int = SEED,
    run_folder: Path = RUN_FOLDER,
    replace_shipped_model: bool = REPLACE_SHIPPED_MODEL,
):
    """Train the U-net; see the constants at the top of the script.

    Raises:
        SystemExit: images or masks are missing, orphaned or unreadable; nothing was trained.
    """
    constants = {name: _plain(value) for name, value in locals().items()}
    keras.utils.set_random_seed(seed)
    try:
        training, weights, validation = load_samples(
            training_folders,
            folder_weights,
            validation_folders,
            validation_names,
            validation_share,
            seed,
        )
    except (OSError, ValueError) as error:
        raise SystemExit(f"{error}\n{_advice()}") from None
    print(f"{len(training)} images for training, {len(validation)} for validation")

    run_folder.mkdir(parents=True, exist_ok=True)
    batches = NucleiBatches(training, weights, crop, batch_size, steps_per_epoch, seed)
    if initial_unet:
        unet = keras.models.load_model(initial_unet, compile=False)
    else:
        unet = build_unet(first_filters, depth)
    judged = np.linspace(0, len(validation) - 1, min(validation_limit, len(validation)))
    judged = [validation[index] for index in judged.astype(int)]
    started = time.time()
    unet.compile(_optimizer(learning_rate, epochs * steps_per_epoch), nuclei_loss)
    callbacks = standard_callbacks(run_folder, batches, judged, 2**depth)
    unet.test_on_batch(*batches[0])  # builds: else JAX and PyTorch draw batches ahead
    # The batches are random already; shuffling them would keep a resumed run from repeating.
    unet.fit(batches, epochs=epochs, callbacks=callbacks, shuffle=False)
    # Without the optimizer: load_model would look for the loss, which is no part of Keras.
    unet.save(run_folder / "Unet.h5", include_optimizer=False)

    names = {
        "training_images": [_plain(Path(sample.name)) for sample in training],
        "validation_images": [_plain(Path(sample.name)) for sample in validation],
    }
    write_record(run_folder, constants, names, time.time() - started)
    if replace_shipped_model:
        for name in ("Unet.h5", "Unet.json"):
            shutil.copy2(run_folder / name, ROOT / "models" / name)


def load_samples(
    training_folders, folder_weights, validation_folders, validation_names, validation_share, seed
):
    """Read all pairs; whole images go either to training or to validation.

    Returns:
        (training samples, relative chance of each to be drawn, validation samples). Within a
        folder all images are drawn equally often.

    Raises:
        OSError, ValueError: what is wrong with the folders, or a side of the split is empty.
    """
    if len(training_folders) != len(folder_weights):
        raise ValueError(
            f"expected {len(training_folders)} FOLDER_WEIGHTS, found {len(folder_weights)}"
        )
    # All pairs are matched before the first is read: a misnamed mask shows at once.
    training_pairs = [find_pairs(folder) for folder in training_folders]
    validation_pairs = [pair for folder in validation_folders for pair in find_pairs(folder)]
    rng = np.random.default_rng(seed)
    training, weights = [], []
    validation = [load_sample(*pair) for pair in validation_pairs]
    for pairs, folder_weight in zip(training_pairs, folder_weights, strict=True):
        kept = []
        for pair in pairs:
            if validation_names:
                held_out = pair[0].name.startswith(tuple(validation_names))
            else:
                held_out = not validation_folders and rng.random() < validation_share
            (validation if held_out else kept).append(load_sample(*pair))
        training += kept
        weights += [folder_weight / len(kept) for _ in kept]
    if not training or not validation:
        raise ValueError(
            f"the split left {len(training)} images for training and {len(validation)} for "
            "validation: add images, or change VALIDATION_FOLDERS, _NAMES or _SHARE"
        )
    return training, weights, validation


def write_record(run_folder, constants, images, seconds):
    """Write the .json record beside the model: how it was made and what it reached."""
    log = np.atleast_1d(np.genfromtxt(run_folder / "training_log.csv", delimiter=",", names=True))
    record = {
        "model": "Unet.h5",
        "task": "nuclei in H&E: RGB 0..255 in; probability and relative distance, 0..1, out",
        "microns_per_pixel": constants["microns_per_pixel"],
        "constants": constants,
        **images,
        "validation": {column: float(log[column][-1]) for column in log.dtype.names},
        "seconds_of_this_run": round(seconds),
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
        },
    }
    (run_folder / "Unet.json").write_text(json.dumps(record, indent=2), encoding="utf-8")


def _optimizer(peak, steps):
    """Adam with a short warm-up, a cosine down to 1 %, and the average of recent weights."""
    warmup = min(200, max(1, steps // 10))
    schedule = keras.optimizers.schedules.CosineDecay(
        peak / 10, max(1, steps - warmup), alpha=0.01, warmup_target=peak, warmup_steps=warmup
    )
    momentum = 1 - 1 / max(100, steps // 20)  # the average spans a twentieth of the run
    return keras.optimizers.Adam(schedule, use_ema=True, ema_momentum=momentum)


def _plain(value):
    """Return a constant as JSON can hold it."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):  # enough to know it by; records tell nothing of whose disk it is
        return "/".join(value.parts[-3:])
    return value


def _advice():
    return (
        f"Put images and masks into {TRAINING_FOLDERS[0]}, or set TRAINING_FOLDERS\n"
        "(--training-folders). The TCIA set is at doi 10.7937/tcia.2019.4a4dkp9u: copy its\n"
        "N_crop.png and N_labeled_mask_corrected.png files there; see data/README.md."
    )


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on from the last finished epoch.")
