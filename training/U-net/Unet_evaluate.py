"""Score U-nets on labelled images, as they are and changed.

    python "training/U-net/Unet_evaluate.py" --labelled-folders FOLDER [FOLDER ...]

Prints and saves a table (Dice, AJI, PQ, F1, count error; mean over the images) for the images as
they are, with another stain and light, with other optics, and at 3/4 and 4/3 of their
magnification. The changes are drawn for each image by its number, so that all U-nets see the same.
"""

import sys
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
sys.path[1:1] = [str(ROOT / folder) for folder in ("training", "Implementation")]

from program.command_line import run

# --- Data ---
LABELLED_FOLDERS = (ROOT / "data" / "nuclei",)
IMAGE_NAMES = ()  # () = all
IMAGE_LIMIT = 40  # images of each folder
MASKS = "auto"  # "binary" or "instances" where a mask could be either
MICRONS_PER_PIXEL = None  # um: one number, or one per folder; None = what the files say

# --- Models ---
UNETS = (ROOT / "models" / "Unet.h5",)
UNET_MICRONS_PER_PIXEL = 0.25  # um; images of another size are resampled to it

# --- Output ---
OUTPUT_FILE = ROOT / "training" / "U-net" / "runs" / "evaluation" / "nuclei.csv"


def main(
    labelled_folders: tuple[Path, ...] = LABELLED_FOLDERS,
    image_names: tuple[str, ...] = IMAGE_NAMES,
    image_limit: int = IMAGE_LIMIT,
    masks: Literal["auto", "binary", "instances"] = MASKS,
    microns_per_pixel: float | tuple[float, ...] | None = MICRONS_PER_PIXEL,
    unets: tuple[Path, ...] = UNETS,
    unet_microns_per_pixel: float = UNET_MICRONS_PER_PIXEL,
    output_file: Path = OUTPUT_FILE,
):
    """Score U-nets on folders of labelled images.

    Args:
        labelled_folders: folders of images and labels, in any layout of data/README.md.
        image_names: only images whose names begin with one of these; none = all.
        image_limit: images scored of each folder, evenly chosen.
        masks: what masks are: auto = decided by the values of each; binary = nuclei and background;
            instances = each number or colour, or each connected part, is a nucleus.
        microns_per_pixel: um per pixel of the images: one number, or one for each folder; without
            it what the files state, otherwise unet_microns_per_pixel.
        unets: U-nets (.h5).
        unet_microns_per_pixel: um per pixel that the U-nets see; images that differ by more than
            10 % are resampled.
        output_file: CSV file for the table.

    Raises:
        SystemExit: no images, no U-nets, or a file that cannot be read.
    """
    arguments = locals()
    # Imported here, not above: TensorFlow takes seconds, and --help needs none of it.
    from shared.start import start

    start()
    from unet.evaluation import evaluate

    evaluate(**arguments)


if __name__ == "__main__":
    run(main)
