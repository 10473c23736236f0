"""Choose the thresholds of the separation on the label sets of several laboratories together."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from evaluation.scores import chosen_size, predict_maps, scores
from labels.pairing import Pair
from labels.reading import read_image, read_labels
from metrics.segmentation import mean_of
from networks.network import Network
from nuclei.separation import Separation, separate

GRID = {  # values that are tried
    "probability": (0.4, 0.45, 0.5, 0.55, 0.6),
    "least_overlap": (0.1, 0.15, 0.2, 0.25),
    "smallest_nucleus": (2.0, 4.0, 8.0),  # um2
}
FLAGS = {  # of Evaluate.py and Final_implementation.py, by which a choice is set
    "probability": "--probability-threshold",
    "least_overlap": "--least-overlap",
    "smallest_nucleus": "--smallest-nucleus",
}
PASSES = 2  # over all thresholds
IMAGES_PER_SET = 12  # at most, evenly chosen
FIGURES = ("pq", "aji", "f1", "count_error")


def tune(sets: dict[Path, list[Pair]], unet: Network, separation: Separation, microns, masks: str):
    """Vary one threshold after the other and keep the best value; print what was tried.

    The thresholds that are given are the first and are tried with those of GRID. A choice is worth
    its PQ less its count error, each the mean over the sets, so that a large set counts no more
    than a small one.

    Args:
        sets: {folder: its pairs}.
        unet: the network.
        separation: the thresholds to begin with.
        microns: um per pixel of the images; None = what each file says, else the U-net's.
        masks: what masks are, see `labels.masks.labels_of`.

    Returns:
        (the best `Separation`, a row for each one that was tried).

    Raises:
        ValueError: the labels of an image do not tell single nuclei.
    """
    fields = {folder: _fields(pairs, unet, microns, masks) for folder, pairs in sets.items()}
    best, tried = separation, {}
    for name in (*GRID,) * PASSES:
        values = sorted({*GRID[name], getattr(separation, name)})
        choices = [replace(best, **{name: value}) for value in values]
        for choice in tqdm(choices, desc=name, leave=False):
            if choice not in tried:
                tried[choice] = _figures(fields, choice)
        best = max(choices, key=lambda choice: tried[choice]["worth"])
    rows = [_values(choice) | figures for choice, figures in tried.items()]
    rows.sort(key=lambda row: -row["worth"])
    _print(rows, best)
    return best, rows


def _fields(pairs: list[Pair], unet: Network, microns: float | None, masks: str) -> list[tuple]:
    """Return (pair, labels, maps, um per pixel) of some images of a set."""
    chosen = np.linspace(0, len(pairs) - 1, min(IMAGES_PER_SET, len(pairs))).astype(int)
    fields = []
    for pair in tqdm([pairs[index] for index in chosen], desc="maps", leave=False):
        image, stated = read_image(pair)
        labels = read_labels(pair, image.shape[:2], masks)
        if not labels.instances:
            raise ValueError(f"{pair.image}: its labels do not tell single nuclei ({labels.note})")
        size, _ = chosen_size(pair, microns, stated, unet)
        fields.append((pair, labels, predict_maps(unet, image, size).astype(np.float16), size))
    return fields


def _figures(fields: dict[Path, list[tuple]], separation: Separation) -> dict[str, float]:
    """Return the mean over the sets of each figure, and what the choice is worth."""
    means = []
    for of_set in fields.values():
        rows = []
        for pair, labels, maps, size in of_set:
            probability, distance = np.moveaxis(maps.astype(np.float32), -1, 0)
            rows.append(scores(pair, labels, separate(probability, distance, size, separation)))
        means.append(mean_of([{name: row[name] for name in FIGURES} for row in rows]))
    figures = mean_of(means)
    return figures | {"worth": figures["pq"] - figures["count_error"]}


def _values(separation: Separation) -> dict[str, float]:
    return {name: asdict(separation)[name] for name in GRID}


def _print(rows: list[dict], best: Separation):
    print("\n" + "".join(f"{name:>18}" for name in rows[0]))
    for row in rows:
        print("".join(f"{value:>18.3f}" for value in row.values()))
    chosen = " ".join(f"{FLAGS[name]} {value:g}" for name, value in _values(best).items())
    print(f"\nBest: {chosen}")
