"""Train the network that tells which regions of the U-net's maps are nuclei.

It decides where touching nuclei are parted and what is no nucleus at all (see
`Implementation/nuclei/separation.py`). Fill TRAINING_FOLDERS with images whose labels tell touching
nuclei apart, such as those of the U-net's own training, and run

    python "training/U-net/Score_train.py"

To resume an interrupted run, start it again with the same command. Every constant below is also a
flag: see --help.
"""

import sys
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
sys.path[1:1] = [str(ROOT / folder) for folder in ("training", "Implementation")]

from program.command_line import run

# --- Data ---
TRAINING_FOLDERS = (ROOT / "data" / "nuclei",)
FOLDER_WEIGHTS = ()  # one for each training folder; () = all equal
VALIDATION_FOLDERS = ()
VALIDATION_NAMES = ()
VALIDATION_SHARE = 0.1  # used where neither names nor validation folders are given
VALIDATION_LIMIT = 12  # images
LEFT_OUT = ROOT / "training" / "U-net" / "left_out.csv"  # None = no image is left out
MASKS = "auto"  # "binary" or "instances" where a mask could be either
MICRONS_PER_PIXEL = None  # um: one number, or one per folder; None = what the files say

# --- Network ---
UNET = ROOT / "models" / "Unet.h5"
UNET_MICRONS_PER_PIXEL = 0.25  # um; images of another size are resampled to it
VIEWS = 2  # of each image, with stain, light, optics and magnification changed at random
HIDDEN = 32  # neurons
EPOCHS = 40
SEED = 1

# --- Output ---
RUN_FOLDER = ROOT / "training" / "U-net" / "runs" / "score"
REPLACE_SHIPPED_MODEL = False  # True: copy the finished network into models/


def main(
    training_folders: tuple[Path, ...] = TRAINING_FOLDERS,
    folder_weights: tuple[float, ...] = FOLDER_WEIGHTS,
    validation_folders: tuple[Path, ...] = VALIDATION_FOLDERS,
    validation_names: tuple[str, ...] = VALIDATION_NAMES,
    validation_share: float = VALIDATION_SHARE,
    validation_limit: int = VALIDATION_LIMIT,
    left_out: Path | None = LEFT_OUT,
    masks: Literal["auto", "binary", "instances"] = MASKS,
    microns_per_pixel: float | tuple[float, ...] | None = MICRONS_PER_PIXEL,
    unet: Path = UNET,
    unet_microns_per_pixel: float = UNET_MICRONS_PER_PIXEL,
    views: int = VIEWS,
    hidden: int = HIDDEN,
    epochs: int = EPOCHS,
    seed: int = SEED,
    run_folder: Path = RUN_FOLDER,
    replace_shipped_model: bool = REPLACE_SHIPPED_MODEL,
):
    """Train the network that scores candidates for nuclei.

    Args:
        training_folders: folders of images and labels, in any layout of data/README.md.
        folder_weights: relative weight of the regions of each folder; none = all equal.
        validation_folders: folders of images that are scored only.
        validation_names: images of the training folders whose names begin with one of these are
            kept for validation.
        validation_share: without names and validation folders, this share of the images.
        validation_limit: validation images, evenly chosen.
        left_out: CSV file with the columns set, image, reason of images not to train on.
        masks: what masks are: auto = decided by the values of each; binary = nuclei and background;
            instances = each number or colour, or each connected part, is a nucleus.
        microns_per_pixel: um per pixel of the images: one number, or one for each training and
            then each validation folder; without it what the files state, otherwise
            unet_microns_per_pixel.
        unet: the U-net (.h5) whose maps are looked at.
        unet_microns_per_pixel: um per pixel that the U-net sees.
        views: random views of each image.
        hidden: neurons of the network.
        epochs: how often it sees all regions.
        seed: random seed of the split, the views and the first weights.
        run_folder: folder for the network, its record and what is computed on the way.
        replace_shipped_model: copy the finished network into models/.

    Raises:
        SystemExit: a constant, an image or the U-net cannot be used, or the run folder holds
            another run; nothing was trained.
    """
    arguments = locals()
    # Imported here, not above: TensorFlow takes seconds, and --help needs none of it.
    from shared.start import start

    start()
    from unet.score.training import train

    train(arguments)


if __name__ == "__main__":
    try:
        run(main)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command continues where it was.")
