"""Make a super-resolved copy of a set of images and masks, to train the U-net on.

    python training/SRGAN/SRGAN_copy_set.py --source-folder SET --target-folder COPY

In a run the U-net sees super-resolved images, so it should be trained on some: every image is
degraded at random, as in the training of the SRGAN, by the scale of the generator (x2 or x4), and
super-resolved. Masks are copied. Layout: images/ with masks/ or instances/ beside it.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
sys.path[1:1] = [str(ROOT / folder) for folder in ("training", "Implementation")]

from images.degradation import Degradation, degrade
from program.command_line import run

# --- Data ---
SOURCE_FOLDER = ROOT / "data" / "nuclei"
TARGET_FOLDER = ROOT / "data" / "nuclei_super_resolved"
GENERATOR = ROOT / "models" / "generator.h5"
DEGRADATION = Degradation()  # ranges of blur, noise and JPEG
SEED = 1

LABELS = ("masks", "instances")  # folders that are copied


def main(
    source_folder: Path = SOURCE_FOLDER,
    target_folder: Path = TARGET_FOLDER,
    generator: Path = GENERATOR,
    degradation: Degradation = DEGRADATION,
    seed: int = SEED,
):
    """Make a super-resolved copy of a training set.

    Args:
        source_folder: the set: images/ with masks/ or instances/ beside it.
        target_folder: folder for the copy, in the same layout.
        generator: super-resolution model (.h5).
        degradation: ranges of blur, noise and JPEG.
        seed: random seed of the degradation.

    Raises:
        SystemExit: no images or labels in the source folder, some in the target folder, no
            generator, or sides that are not multiples of 4.
    """
    # Imported here, not above: TensorFlow takes seconds, and --help needs none of it.
    from shared.start import start

    start()
    import keras

    from images.finding import find_images
    from images.opening import open_image
    from shared.pictures import save_picture
    from srgan.callbacks import centre_crop
    from srgan.models import scale_of
    from srgan.prediction import super_resolve

    try:
        paths = find_images(source_folder / "images")
        refuse_one_name(paths)
        refuse_filled(target_folder)
        if not any((source_folder / kind).is_dir() for kind in LABELS):
            folders = " or ".join(LABELS)
            raise FileNotFoundError(f"expected {folders} in {source_folder}, found none")
        if not generator.is_file():
            raise FileNotFoundError(f"expected a model, found no {generator}")
        model = keras.models.load_model(generator, compile=False)
        scale = scale_of(model)
    except (OSError, ValueError) as error:
        raise SystemExit(
            f"{error}; set SOURCE_FOLDER (--source-folder), TARGET_FOLDER (--target-folder) and "
            "GENERATOR (--generator)"
        ) from None
    (target_folder / "images").mkdir(parents=True, exist_ok=True)
    for index, path in enumerate(tqdm(paths)):
        try:
            with open_image(path) as file:
                image, microns = file.read(0, 0, file.width, file.height), file.microns_per_pixel
        except ValueError as error:
            raise SystemExit(str(error)) from None
        if centre_crop(image, max(image.shape)).shape != image.shape:
            raise SystemExit(f"{path}: sides must be multiples of 4 for its mask to fit")
        low = degrade(image, np.random.default_rng((seed, index)), degradation, scale)
        target = target_folder / "images" / f"{path.stem}.png"
        save_picture(target, super_resolve(model, low), microns)  # of the size of the source
    for kind in LABELS:
        if (source_folder / kind).is_dir():
            shutil.copytree(source_folder / kind, target_folder / kind, dirs_exist_ok=True)


def refuse_one_name(paths: list[Path]):
    """Raise ValueError where two images would get one name: one copy would replace the other."""
    seen = {}
    for path in paths:
        first = seen.setdefault(path.stem.casefold(), path)
        if first != path:
            raise ValueError(f"{first} and {path.name} would have one copy; rename one of them")


def refuse_filled(target_folder: Path):
    """Raise ValueError where the target holds a set: the source itself, or an older copy."""
    filled = [target_folder / kind for kind in ("images", *LABELS)]
    if any(folder.is_dir() and any(folder.iterdir()) for folder in filled):
        raise ValueError(f"expected a new or an empty folder, found a set in {target_folder}")


if __name__ == "__main__":
    run(main)
