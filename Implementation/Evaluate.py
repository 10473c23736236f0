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
from typing import Literal

import tyro

if __package__:  # python -m: the rooms are not on the path then
    sys.exit("Start this script by its path: python Implementation/Evaluate.py")

ROOT = Path(__file__).resolve().parents[1]

# --- Data ---
IMAGE_FOLDERS = (ROOT / "data" / "nuclei",)
LABEL_FOLDER = None  # None = labels are with the images, in a layout of data/README.md
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
GENERATOR_X2 = ROOT / "models" / "generator_x2.h5"
COMPARE_SEPARATIONS = False
ESTIMATE_SIZES = False  # True: how well the pixel size is told, at several sizes
PIXEL_SIZE_MODEL = ROOT / "models" / "pixel_size.h5"  # for ESTIMATE_SIZES
TUNE = False  # True: choose the thresholds on all image folders together

# --- Output ---
OUTPUT_FILE = ROOT / "Implementation" / "results" / "evaluation.csv"


def main(
    image_folders: tuple[Path, ...] = IMAGE_FOLDERS,
    label_folder: Path | None = LABEL_FOLDER,
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
        test_time_augmentation: average it over four mirrorings of each tile.
        probability_threshold: a pixel belongs to a nucleus above this probability.
        seed_rise: a summit of the relief that rises by more is a separate nucleus.
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
        tune: try other thresholds of the separation and print their PQ and count error, as means
            over the image folders.
        output_file: CSV with a row per image and method.

    Returns:
        Exit status: 0, or 2 if images, labels or the model are missing or do not fit.
    """
    named = [("IMAGE_FOLDERS (--image-folders)", folder) for folder in image_folders]
    if label_folder and not did_it_help:  # which works without labels, too
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
    from evaluation import did_it_help as help_work
    from evaluation import pixel_sizes
    from evaluation.scores import (
        SHOWN,
        chosen_pairs,
        evaluate,
        print_readings,
        print_table,
        write_rows,
    )
    from evaluation.trust_tables import print_trust
    from evaluation.tuning import tune as tuned
    from labels.reading import check_labels
    from networks.loading import load_network, load_pixel_size_network
    from networks.network import averaged_over_mirrorings
    from nuclei.separation import Separation
    from program.processor import chosen_precision

    separation = Separation(probability_threshold, seed_rise, smallest_nucleus=smallest_nucleus)
    trust, shown = None, SHOWN
    how = separation, microns_per_pixel, masks
    try:
        precision = chosen_precision(precision)
        network = load_network(unet, "U-net", 1, 2, precision)
        if test_time_augmentation:
            network = averaged_over_mirrorings(network)
        if estimate_sizes:
            sizes = load_pixel_size_network(pixel_size_model)
            rows = pixel_sizes.estimate_sizes(
                image_folders, image_names, microns_per_pixel, sizes, network
            )
            write_rows(output_file, rows)
            pixel_sizes.print_sizes(rows)
            return 0
        if did_it_help:
            generators = [
                load_network(generator, "generator", 4, 3, precision),
                load_network(generator_x2, "x2 generator", 2, 3, precision),
            ]
            pairs = help_work.pairs_for_help(image_folders, label_folder, image_names)
            check_labels(pairs, masks)
            rows, trust = help_work.examine(pairs, generators, network, *how)
            shown = help_work.SHOWN
        else:
            pairs = {f: chosen_pairs(f, label_folder, image_names) for f in image_folders}
            check_labels([pair for found in pairs.values() for pair in found], masks)
            if tune:
                tuned(pairs, network, microns_per_pixel, masks)
                return 0
            rows = evaluate(pairs, network, *how, compare_separations)
        write_rows(output_file, rows)
    except (OSError, ValueError) as error:  # ValueError: also a model's own
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    print_readings(rows)
    print_table(rows, shown)
    if trust:
        print_trust(trust)
    print(f"\nOne row per image{' and version' if trust else ''}: {output_file.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
