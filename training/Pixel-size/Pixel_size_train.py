"""Train the network that tells the pixel size of H&E images without metadata.

Fill IMAGE_FOLDERS with images of known pixel size (no labels are needed) and run

    python training/Pixel-size/Pixel_size_train.py

To resume an interrupted run, start it again with the same command. A RUN_FOLDER belongs to one set
of images and constants. Every constant below is also a flag: see --help.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[1:1] = [str(ROOT / folder) for folder in ("training", "Implementation")]

from program.command_line import run

# --- Data ---
IMAGE_FOLDERS = (ROOT / "data" / "high_resolution",)
FOLDER_WEIGHTS = ()  # one for each folder; () = all equal
MICRONS_PER_PIXEL = None  # um: one number, or one per folder; None = what the files say
VALIDATION_NAMES = ()
VALIDATION_SHARE = 0.1  # used where no names are given

# --- Training ---
PATCHES = 8000
VALIDATION_PATCHES = 1000
VGG19_WEIGHTS = "imagenet"  # Keras downloads them; or a file
HIDDEN = 128  # neurons
EPOCHS = 60
SEED = 1

# --- Output ---
RUN_FOLDER = ROOT / "training" / "Pixel-size" / "runs" / "default"
REPLACE_SHIPPED_MODEL = False  # True: copy the finished network into models/


def main(
    image_folders: tuple[Path, ...] = IMAGE_FOLDERS,
    folder_weights: tuple[float, ...] = FOLDER_WEIGHTS,
    microns_per_pixel: float | tuple[float | None, ...] | None = MICRONS_PER_PIXEL,
    validation_names: tuple[str, ...] = VALIDATION_NAMES,
    validation_share: float = VALIDATION_SHARE,
    patches: int = PATCHES,
    validation_patches: int = VALIDATION_PATCHES,
    vgg19_weights: str = VGG19_WEIGHTS,
    hidden: int = HIDDEN,
    epochs: int = EPOCHS,
    seed: int = SEED,
    run_folder: Path = RUN_FOLDER,
    replace_shipped_model: bool = REPLACE_SHIPPED_MODEL,
):
    """Train the network that tells pixel sizes.

    Args:
        image_folders: folders of sharp images or slides, searched recursively.
        folder_weights: relative share of the patches taken from each folder; none = all equal.
        microns_per_pixel: um per pixel of the images: one number, or one for each folder, None for
            what its files state; without it what the files state. Slides keep what they state.
        validation_names: images whose names begin with one of these are kept for validation.
        validation_share: if none is given, this share of the images, at least one, at random.
        patches: random patches that are learned from.
        validation_patches: random patches of the images held out.
        vgg19_weights: imagenet (Keras downloads them) or the path of a weights file.
        hidden: neurons of the perceptron behind VGG19.
        epochs: how often it sees all patches.
        seed: random seed of the split, the patches and the first weights.
        run_folder: folder for the network, its record and what is computed on the way.
        replace_shipped_model: copy the finished network into models/.

    Raises:
        SystemExit: a constant or an image cannot be used, or the run folder holds another run;
            nothing was trained.
    """
    arguments = locals()
    # Imported here, not above: TensorFlow takes seconds, and --help needs none of it.
    from shared.start import start

    start()
    from pixelsize.training import train

    train(arguments)


if __name__ == "__main__":
    try:
        run(main)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command continues where it was.")
