"""Score the nucleus segmentation against labels of any form (see data/README.md).

    python Implementation/Evaluate.py --image-folders FOLDER [FOLDER ...] --label-folder FOLDER

Every image is segmented and compared with the labels of the same name; images and labels may lie in
one folder. Several image folders over the same labels (enlarged low resolution, super-resolved,
high resolution) come out as one table. Binary masks give pixel figures only, unless MASKS says that
their connected parts are the nuclei. Of partly labelled images the labelled part is scored.

    python Implementation/Evaluate.py --image-folders FOLDER --did-it-help

asks of sharp images whether super-resolution helps: each is made small by two fixed degradations,
enlarged again by bicubic interpolation and by the generator, and segmented in all versions. Two
tables follow that say whether the confidence predicts errors. Labels are used if there are any.
Every constant below is also a flag: see --help.
"""

import sys
from pathlib import Path
from typing import Literal

import tyro

ROOT = Path(__file__).resolve().parents[1]

# --- Data ---
IMAGE_FOLDERS = (ROOT / "data" / "nuclei" / "images",)
LABEL_FOLDER = ROOT / "data" / "nuclei" / "instances"
MASKS = "auto"  # "binary" or "instances" where a mask could be either
IMAGE_NAMES = ()  # () = all
MICRONS_PER_PIXEL = None  # um; None = what the files say, else the U-net's

# --- Model ---
UNET = ROOT / "models" / "Unet.h5"
TEST_TIME_AUGMENTATION = False
PROBABILITY_THRESHOLD = 0.55
SEED_RISE = 0.1
SMALLEST_NUCLEUS = 4.0  # um2
PRECISION = "auto"  # as in Final_implementation.py
DID_IT_HELP = False
GENERATOR = ROOT / "models" / "generator.h5"  # for DID_IT_HELP
COMPARE_SEPARATIONS = False

# --- Output ---
OUTPUT_FILE = ROOT / "Implementation" / "results" / "evaluation.csv"


def main(
    image_folders: tuple[Path, ...] = IMAGE_FOLDERS,
    label_folder: Path = LABEL_FOLDER,
    masks: Literal["auto", "binary", "instances"] = MASKS,
    image_names: tuple[str, ...] = IMAGE_NAMES,
    microns_per_pixel: float | None = MICRONS_PER_PIXEL,
    unet: Path = UNET,
    test_time_augmentation: bool = TEST_TIME_AUGMENTATION,
    probability_threshold: float = PROBABILITY_THRESHOLD,
    seed_rise: float = SEED_RISE,
    smallest_nucleus: float = SMALLEST_NUCLEUS,
    precision: Literal["auto", "float32", "bfloat16"] = PRECISION,
    generator: Path = GENERATOR,
    did_it_help: bool = DID_IT_HELP,
    compare_separations: bool = COMPARE_SEPARATIONS,
    output_file: Path = OUTPUT_FILE,
) -> int:
    """Segment images and compare them with labels.

    Args:
        image_folders: folders of images, e.g. several versions of the same ones.
        label_folder: labels of any form, named like the images; may be the same folder.
        masks: what masks are: auto = decided by looking at each; binary = nuclei and background;
            instances = each number or colour, or each connected part, is a nucleus.
        image_names: only images whose names begin with one of these; none = all.
        microns_per_pixel: um per pixel of all images; without it what the files say, else the
            U-net's.
        unet: nucleus model (.h5).
        test_time_augmentation: take its mean over four mirrorings of each tile.
        probability_threshold: a pixel is nucleus above this probability.
        seed_rise: a summit of the relief that rises by more is a nucleus of its own.
        smallest_nucleus: um2; smaller objects are dropped.
        precision: of the networks' multiplications; auto = bfloat16 where the processor has
            instructions for it, else float32.
        generator: super-resolution model (.h5) for did_it_help.
        did_it_help: the images are sharp; degrade them, super-resolve them, and compare bicubic,
            super-resolved and high resolution.
        compare_separations: score connected components and the distance-transform watershed, too.
        output_file: CSV with a row per image and method.

    Returns:
        Exit status: 0, or 2 if images, labels or the model are missing or do not fit.
    """
    named = [("IMAGE_FOLDERS (--image-folders)", folder) for folder in image_folders]
    if not did_it_help:  # which takes high resolution for the truth where there are no labels
        named.append(("LABEL_FOLDER (--label-folder)", label_folder))
    for name, folder in named:
        if not folder.is_dir():
            print(f"{name}: expected a folder, found no {folder}; set it to yours", file=sys.stderr)
            return 2
    # Imported here, not above: TensorFlow takes seconds, and --help needs none of it.
    from program.startup import start_keras

    try:
        start_keras()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    from evaluation.did_it_help import SHOWN as HELP_SHOWN
    from evaluation.did_it_help import examine, pairs_for_help, print_trust
    from evaluation.scores import (
        SHOWN,
        chosen_pairs,
        evaluate,
        print_readings,
        print_table,
        write_rows,
    )
    from networks.loading import load_network
    from networks.network import ModelError, averaged_over_mirrorings
    from nuclei.separation import Separation
    from program.processor import chosen_precision

    separation = Separation(
        probability=probability_threshold,
        rise=seed_rise,
        smallest_nucleus=smallest_nucleus,
    )
    trust, shown = None, SHOWN
    how = separation, microns_per_pixel, masks
    try:
        precision = chosen_precision(precision)
        network = load_network(unet, "U-net", 1, 2, precision)
        if test_time_augmentation:
            network = averaged_over_mirrorings(network)
        if did_it_help:
            sharpener = load_network(generator, "generator", 4, 3, precision)
            pairs = pairs_for_help(image_folders, label_folder, image_names)
            rows, trust = examine(pairs, sharpener, network, *how)
            shown = HELP_SHOWN
        else:
            pairs = {f: chosen_pairs(f, label_folder, image_names) for f in image_folders}
            rows = evaluate(pairs, network, *how, compare_separations)
        write_rows(output_file, rows)
    except (ModelError, OSError, ValueError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    print_readings(rows)
    print_table(rows, shown)
    if trust:
        print_trust(trust)
    print(f"\na row per image{' and version' if trust else ''} is in {output_file}")
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
