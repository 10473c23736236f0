"""Score the nucleus segmentation against labels of any form (see data/README.md).

    python Implementation/Evaluate.py --image-folders FOLDER [FOLDER ...] --label-folder FOLDER

Every image is segmented and compared with the labels of the same name; images and labels may be in
one folder. Several folders of the same images (enlarged low resolution, super-resolved, high
resolution) give one table. Binary masks give pixel figures only, unless MASKS states that their
connected parts are the nuclei. Of partly labelled images, only the labelled part is scored.

    python Implementation/Evaluate.py --image-folders FOLDER --did-it-help

tests on sharp images whether super-resolution helps: each is degraded in two fixed ways, enlarged
again by bicubic interpolation and by the generators (x4 from 10x, x2 from 20x), and segmented in
all versions. Further tables show how well the confidence predicts errors. Labels are used if there
are any.

    python Implementation/Evaluate.py --image-folders FOLDER --estimate-sizes

tests how well the pixel size is told, on images brought to several sizes.
Every constant below is also a flag: see --help.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

if __package__:  # python -m: the rooms are not on the path then
    sys.exit("Start this script by its path: python Implementation/Evaluate.py")

from program.command_line import run

ROOT = Path(__file__).resolve().parents[1]

# --- Data ---
IMAGE_FOLDERS = (ROOT / "data" / "nuclei",)
LABEL_FOLDER = None  # None = labels are with the images, in a layout of data/README.md
MASKS = "auto"  # "binary" or "instances" where a mask could be either
IMAGE_NAMES = ()  # () = all
MICRONS_PER_PIXEL = None  # um; None = what the files say, else the U-net's

# --- Model ---
UNET = ROOT / "models" / "Unet.h5"
NUCLEUS_SCORE = ROOT / "models" / "nucleus_score.h5"
TEST_TIME_AUGMENTATION = False
PROBABILITY_THRESHOLD = 0.5
LEAST_OVERLAP = 0.15
SMALLEST_NUCLEUS = 2.0  # um2
PRECISION = "auto"  # as in Final_implementation.py
DID_IT_HELP = False
GENERATOR = ROOT / "models" / "generator.h5"  # for DID_IT_HELP
GENERATOR_X2 = ROOT / "models" / "generator_x2.h5"
COMPARE_SEPARATIONS = False
ESTIMATE_SIZES = False  # True: how well the pixel size is told, at several sizes
PIXEL_SIZE_MODEL = ROOT / "models" / "pixel_size.h5"  # for ESTIMATE_SIZES
TUNE = False  # True: choose the thresholds on all image folders together

# --- Output ---
OUTPUT_FILE = ROOT / "Implementation" / "results" / "evaluation.csv"

EXAMINATIONS = ("did_it_help", "compare_separations", "estimate_sizes", "tune")  # one at a time


def main(
    image_folders: tuple[Path, ...] = IMAGE_FOLDERS,
    label_folder: Path | None = LABEL_FOLDER,
    masks: Literal["auto", "binary", "instances"] = MASKS,
    image_names: tuple[str, ...] = IMAGE_NAMES,
    microns_per_pixel: float | None = MICRONS_PER_PIXEL,
    unet: Path = UNET,
    nucleus_score: Path = NUCLEUS_SCORE,
    test_time_augmentation: bool = TEST_TIME_AUGMENTATION,
    probability_threshold: float = PROBABILITY_THRESHOLD,
    least_overlap: float = LEAST_OVERLAP,
    smallest_nucleus: float = SMALLEST_NUCLEUS,
    precision: Literal["auto", "float32", "bfloat16"] = PRECISION,
    generator: Path = GENERATOR,
    generator_x2: Path = GENERATOR_X2,
    did_it_help: bool = DID_IT_HELP,
    compare_separations: bool = COMPARE_SEPARATIONS,
    estimate_sizes: bool = ESTIMATE_SIZES,
    pixel_size_model: Path = PIXEL_SIZE_MODEL,
    tune: bool = TUNE,
    output_file: Path = OUTPUT_FILE,
) -> int:
    """Segment images and compare them with labels.

    Args:
        image_folders: folders of images, e.g. several versions of the same images.
        label_folder: labels of any form, named like the images; None = they are with the images,
            in each image folder.
        masks: what masks are: auto = decided by the values of each; binary = nuclei and background;
            instances = each number or colour, or each connected part, is a nucleus.
        image_names: only images whose names begin with one of these; none = all.
        microns_per_pixel: um per pixel of all images; without it what the files state, or else
            the U-net's.
        unet: nucleus model (.h5).
        nucleus_score: network (.h5) that tells which regions of the U-net's maps are nuclei.
        test_time_augmentation: average it over four mirrorings of each tile.
        probability_threshold: a pixel belongs to a nucleus above this probability.
        least_overlap: a region whose expected overlap (intersection over union) with a true nucleus
            is smaller is not taken for one.
        smallest_nucleus: um2; smaller objects are dropped.
        precision: precision of the networks' multiplications; auto = bfloat16 if the processor has
            instructions for it, otherwise float32.
        generator: x4 super-resolution model (.h5) for did_it_help.
        generator_x2: x2 super-resolution model (.h5) for did_it_help.
        did_it_help: the images are sharp; degrade them, super-resolve them, and compare bicubic,
            super-resolved and high resolution.
        compare_separations: also score connected components and the distance-transform watershed.
        estimate_sizes: bring the images to the pixels of several objectives and estimate their
            size; labels are not needed.
        pixel_size_model: network that tells pixel sizes (.h5) for estimate_sizes.
        tune: try other thresholds of the separation beside those given and print their PQ and
            count error, as means over the image folders, and the flags of the best.
        output_file: CSV with a row per image and method (tune: per choice of thresholds).

    Returns:
        Exit status: 0, or 2 if images, labels or the model are missing or do not fit.
    """
    chosen = SimpleNamespace(**locals())
    try:
        check(chosen)
        # Imported here, not above: TensorFlow takes seconds, and --help needs none of it.
        from program.startup import start_keras

        start_keras()
        from evaluation.examinations import examine

        examine(chosen)
    except (OSError, ValueError) as error:  # ValueError: also a model's own
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


def check(chosen):
    """Raise ValueError for choices that exclude each other and folders that are not there."""
    asked = [f"--{name.replace('_', '-')}" for name in EXAMINATIONS if getattr(chosen, name)]
    if len(asked) > 1:
        raise ValueError(f"expected only one of {', '.join(asked)}; leave out the others")
    named = [("IMAGE_FOLDERS (--image-folders)", folder) for folder in chosen.image_folders]
    if chosen.label_folder and not chosen.did_it_help:  # which works without labels, too
        named.append(("LABEL_FOLDER (--label-folder)", chosen.label_folder))
    for name, folder in named:
        if not folder.is_dir():
            raise ValueError(f"{name}: expected a folder, found no {folder}; set it to yours")


if __name__ == "__main__":
    sys.exit(run(main))
