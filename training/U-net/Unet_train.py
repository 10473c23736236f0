"""Train a U-net that finds and separates nuclei in H&E images.

Fill TRAINING_FOLDERS with images and labels (see data/README.md for the layouts) and run

    python "training/U-net/Unet_train.py"

    python "training/U-net/Unet_train.py" --initial-unet models/Unet.h5 --training-folders corrected

improves a trained one on a handful of corrected fields: a short training that also repeats crops of
older images, and ends with a table of the figures before and after.

To resume an interrupted run, start it again with the same command: it continues from its last
finished epoch. A RUN_FOLDER belongs to one set of images and constants. Every constant below is
also a flag: see --help.
"""

import sys
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
sys.path[1:1] = [str(ROOT / folder) for folder in ("training", "Implementation")]

from program.command_line import run

# --- Data ---
TRAINING_FOLDERS = (ROOT / "data" / "nuclei",)
FOLDER_WEIGHTS = ()  # one for each folder; () = all equal
VALIDATION_FOLDERS = ()  # () = use VALIDATION_NAMES or VALIDATION_SHARE
VALIDATION_NAMES = ()
VALIDATION_SHARE = None  # None = 0.1; 0.25 for fine-tuning
VALIDATION_LIMIT = 40  # images
LEFT_OUT = ROOT / "training" / "U-net" / "left_out.csv"  # not trained on, and why; None = no list
MASKS = "auto"  # "binary" or "instances" where a mask could be either
MICRONS_PER_PIXEL = None  # um: one number, or one per folder; None = what the files say
UNET_MICRONS_PER_PIXEL = None  # um; None = INITIAL_UNET's, else 0.25; others are resampled
REPLAY_FOLDERS = None  # older images mixed in; None = data/nuclei for fine-tuning, if it is filled
REPLAY_SHARE = 0.5  # of all crops
REPLAY_LIMIT = 100  # images of each of these folders
CHECK_FOLDERS = ()  # other tissue, scored before and after fine-tuning: does the U-net forget?
CROP = 256  # pixels, a multiple of 2**DEPTH

# --- Network ---
FIRST_FILTERS = 16
DEPTH = 4
VGG19_WEIGHTS = None  # what the encoder starts from: imagenet (Keras downloads them) or a file
INITIAL_UNET = None  # a Unet.h5 to fine-tune
FREEZE_ENCODER = False  # True: takes less time, learns less
TUNED_SHARE = None  # of the fine-tuned weights in Unet.h5, the rest are INITIAL_UNET's; None = 0.6

# --- Training ---
BATCH_SIZE = 8
STEPS_PER_EPOCH = 150
EPOCHS = None  # None = 15; 3 for fine-tuning
LEARNING_RATE = None  # peak; None = 2e-3; 5e-4 for fine-tuning
SEED = 1
BFLOAT16 = False  # True: 1.5 times faster with TensorFlow on processors that have bfloat16
DEVICES = 1  # a number or "all"; more than one needs KERAS_BACKEND=jax

# --- Output ---
RUN_FOLDER = ROOT / "training" / "U-net" / "runs" / "default"  # checkpoints are kept here, too
REPLACE_SHIPPED_MODEL = False  # True: copy the finished U-net into models/


def main(
    training_folders: tuple[Path, ...] = TRAINING_FOLDERS,
    folder_weights: tuple[float, ...] = FOLDER_WEIGHTS,
    validation_folders: tuple[Path, ...] = VALIDATION_FOLDERS,
    validation_names: tuple[str, ...] = VALIDATION_NAMES,
    validation_share: float | None = VALIDATION_SHARE,
    validation_limit: int = VALIDATION_LIMIT,
    left_out: Path | None = LEFT_OUT,
    masks: Literal["auto", "binary", "instances"] = MASKS,
    microns_per_pixel: float | tuple[float, ...] | None = MICRONS_PER_PIXEL,
    unet_microns_per_pixel: float | None = UNET_MICRONS_PER_PIXEL,
    replay_folders: tuple[Path, ...] | None = REPLAY_FOLDERS,
    replay_share: float = REPLAY_SHARE,
    replay_limit: int = REPLAY_LIMIT,
    check_folders: tuple[Path, ...] = CHECK_FOLDERS,
    crop: int = CROP,
    first_filters: int = FIRST_FILTERS,
    depth: int = DEPTH,
    vgg19_weights: str | None = VGG19_WEIGHTS,
    initial_unet: Path | None = INITIAL_UNET,
    freeze_encoder: bool = FREEZE_ENCODER,
    tuned_share: float | None = TUNED_SHARE,
    batch_size: int = BATCH_SIZE,
    steps_per_epoch: int = STEPS_PER_EPOCH,
    epochs: int | None = EPOCHS,
    learning_rate: float | None = LEARNING_RATE,
    seed: int = SEED,
    bfloat16: bool = BFLOAT16,
    devices: int | Literal["all"] = DEVICES,
    run_folder: Path = RUN_FOLDER,
    replace_shipped_model: bool = REPLACE_SHIPPED_MODEL,
):
    """Train the U-net.

    Args:
        training_folders: folders of images and labels, in any layout of data/README.md.
        folder_weights: relative share of the crops taken from each folder; none = all equal.
        validation_folders: folders of images that are never trained on, e.g. other organs.
        validation_names: training images whose names begin with one of these are kept for
            validation.
        validation_share: if neither is given, this share of the images, at least one, at random;
            without it 0.1, or 0.25 for fine-tuning.
        validation_limit: images evaluated after each epoch, evenly chosen.
        left_out: CSV file (set, image, reason) of images that are not trained on; they may still
            be validated on.
        masks: what masks are: auto = decided by the values of each; binary = nuclei and background;
            instances = each number or colour, or each connected part, is a nucleus.
        microns_per_pixel: um per pixel of the images: one number, or one for each training and
            then each validation folder; without it what the files state, otherwise
            unet_microns_per_pixel. It does not hold for replayed and checked images.
        unet_microns_per_pixel: um per pixel that the U-net sees; without it what the record of
            initial_unet says, else 0.25. Images that differ by more than 10 % are resampled. Goes
            into the record.
        replay_folders: folders of images that the U-net learned before, mixed in so that it does
            not forget; without it data/nuclei, for fine-tuning, where that holds images.
        replay_share: share of all crops that is taken from these folders.
        replay_limit: images read from each of them, evenly chosen.
        check_folders: folders of other tissue that are scored before and after fine-tuning, so
            that forgetting shows; never trained on.
        crop: side of a training crop in pixels, a multiple of 2**depth.
        first_filters: a quarter of the width of the encoder's first level.
        depth: number of halvings, 2 or more.
        vgg19_weights: imagenet (Keras downloads them) or the path of a weights file: the encoder
            of a new U-net starts as the first six convolutions of VGG19; without it at random.
        initial_unet: a Unet.h5 to start from (fine-tuning) instead of a new network.
        freeze_encoder: the encoder stays as it is, which takes less time and learns less.
        tuned_share: share of the fine-tuned weights in Unet.h5, the rest are those of initial_unet,
            so that other tissue is not forgotten; without it 0.6, or 1 for a new U-net.
        batch_size: crops per step.
        steps_per_epoch: steps between two validations.
        epochs: epochs of the whole run; without it 15, or 3 for fine-tuning.
        learning_rate: highest learning rate, which a cosine lowers to 1 %; without it 0.002, or
            0.0005 for fine-tuning.
        seed: random seed of the weights, the split and all crops.
        bfloat16: multiply in bfloat16; only with the TensorFlow backend.
        devices: number of devices that share each batch, or all; more than one needs the JAX
            backend.
        run_folder: folder for the model, record, log, pictures and checkpoints of this run.
        replace_shipped_model: copy the finished U-net into models/.

    Raises:
        SystemExit: a constant, an image or a mask cannot be used, or the run folder holds another
            run; nothing was trained.
    """
    arguments = locals()
    # Imported here, not above: TensorFlow takes seconds, and --help needs none of it.
    from shared.start import start

    start()
    from unet.training import train

    train(arguments)


if __name__ == "__main__":
    try:
        run(main)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command continues from the last finished epoch.")
