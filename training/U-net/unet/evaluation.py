"""U-nets scored on labelled images as they are and changed: figures and table."""

import cv2
import numpy as np
from keras import layers
from tqdm import tqdm

from images.finding import different_ends
from labels.pairing import Pair
from labels.reading import check_labels
from metrics.segmentation import mean_of
from shared.appearance import vary_optics, vary_stain_and_light
from shared.comparing import load_models, write_table
from shared.saving import recorded_microns
from unet.data import Sample, load_sample
from unet.scoring import predict_maps, scores_of
from unet.sets.finding import evenly, pairs_of_folders

POOLING = (layers.MaxPooling2D, layers.AveragePooling2D)
SHOWN = {"dice": "Dice", "aji": "AJI", "pq": "PQ", "f1": "F1", "count_error": "count error"}
CHANGES = {
    "as they are": lambda sample, rng: sample.image,
    "other stain and light": lambda sample, rng: vary_stain_and_light(
        sample.image, sample.white, rng
    ),
    "other optics": lambda sample, rng: vary_optics(sample.image, rng),
    "3/4 of the magnification": lambda sample, rng: _resampled(sample.image, 3 / 4),
    "4/3 of the magnification": lambda sample, rng: _resampled(sample.image, 4 / 3),
}


def evaluate(
    labelled_folders,
    image_names,
    image_limit,
    masks,
    microns_per_pixel,
    unets,
    unet_microns_per_pixel,
    output_file,
):
    """Do what Unet_evaluate.py promises; see its `main` for the arguments."""
    try:
        found, _ = pairs_of_folders(labelled_folders, (), microns_per_pixel)
        chosen = [evenly(chosen_pairs(pairs, image_names), image_limit) for pairs in found]
        networks = load_models(unets, "U-net", "UNETS")
        check_sizes(unets, unet_microns_per_pixel)
        check_labels([pair for pairs in chosen for pair in pairs], masks)
        ends, rows = different_ends(labelled_folders, 2), []
        for folder, pairs in zip(labelled_folders, chosen, strict=True):
            samples = [
                load_sample(pair, masks, unet_microns_per_pixel, keep_labels=True)
                for pair in tqdm(pairs, desc=f"reading {folder.name}", leave=False)
            ]
            rows += judge(networks, samples, unet_microns_per_pixel, ends[folder])
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from None
    write_table(output_file, rows)
    print_table(rows)
    print(f"\nthe table is in {output_file}")


def check_sizes(unets, microns: float):
    """Raise ValueError for a U-net that was trained at another pixel size, by its record."""
    for path in unets:
        recorded = recorded_microns(path)
        if recorded and abs(recorded / microns - 1) > 0.01:
            raise ValueError(
                f"UNET_MICRONS_PER_PIXEL: expected {recorded:g} um, which {path} was trained at, "
                f"found {microns:g}; compare U-nets of unequal sizes in runs of their own"
            )


def chosen_pairs(pairs: list[Pair], names) -> list[Pair]:
    """Return those of the pairs of a folder whose images' names begin with one of `names`.

    Raises:
        ValueError: none does.
    """
    chosen = [pair for pair in pairs if not names or pair.image.name.startswith(tuple(names))]
    if not chosen:
        raise ValueError(
            f"IMAGE_NAMES (--image-names): none of {len(pairs)} images, such as {pairs[0].image}, "
            f"has a name that begins with {' or '.join(names)}"
        )
    return chosen


def judge(networks: dict, samples: list[Sample], microns: float, title: str) -> list[dict]:
    """Return a row of mean figures for each change and U-net on one folder of images.

    Args:
        networks: {name: U-net}.
        samples: with labels.
        microns: um per pixel of the samples.
        title: of the folder.
    """
    rows = []
    for name, change in CHANGES.items():
        for network, unet in networks.items():
            bar = tqdm(samples, desc=f"{title}, {name}, {network}", leave=False)
            figures = [
                changed_scores(unet, sample, change(sample, np.random.default_rng(index)), microns)
                for index, sample in enumerate(bar)
            ]
            row = {"folder": title, "images": name, "unet": network, "n": len(samples)}
            means = mean_of(figures)
            rows.append(row | {figure: means[figure] for figure in SHOWN})
    return rows


def changed_scores(unet, sample: Sample, image: np.ndarray, microns: float) -> dict[str, float]:
    """Score a U-net on a changed image of a sample, against the labels as they are.

    The maps of an image of another size are brought back to the size of the labels, as in a run:
    labels of another size would lose gaps and small nuclei, and the figures would not compare.

    Args:
        unet: the model.
        sample: with labels.
        image: uint8 RGB, the sample's image changed.
        microns: um per pixel of the sample.
    """
    maps = predict_maps(unet, image, pooling_of(unet))
    height, width = sample.image.shape[:2]
    return scores_of(sample, cv2.resize(maps, (width, height)), microns)


def pooling_of(unet) -> int:
    """Return the number of which the sides of a U-net's input must be multiples."""
    return 2 ** sum(isinstance(layer, POOLING) for layer in unet.layers)


def print_table(rows: list[dict]):
    """Print the figures, a line for each folder, change and U-net."""
    keys = ("folder", "images", "unet")
    widths = [max(len(row[key]) for row in rows) + 2 for key in keys]
    titles = "".join(f"{title:>13}" for title in SHOWN.values())
    print(f"\n{'':{sum(widths)}}{'n':>4}{titles}")
    for row in rows:
        names = "".join(f"{row[key]:{width}}" for key, width in zip(keys, widths, strict=True))
        print(f"{names}{row['n']:>4}" + "".join(f"{row[figure]:>13.3f}" for figure in SHOWN))


def _resampled(image: np.ndarray, ratio: float) -> np.ndarray:
    how = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=how)
