"""Did super-resolution help, and does its confidence tell where it fails? Asked of images whose
high resolution is known: the work behind `Evaluate.py --did-it-help`."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from evaluation.classical import classical_nuclei
from evaluation.scores import chosen_images, chosen_pairs, chosen_size, predict_maps, scores
from images.degradation import degrade_area, degrade_scanner
from labels.label_map import Labels
from labels.pairing import NoLabelsError, Pair
from labels.reading import read_image, read_labels
from labels.scale import TOLERANCE
from metrics.segmentation import (
    MATCH_IOU,
    best_ious,
    instance_metrics,
    matched_areas,
    pixel_metrics,
)
from networks.network import Network, predict_image
from nuclei.separation import separate
from trust.confidence import (
    detail_and_departure,
    expected_error,
    nucleus_confidence,
    restored,
    stored,
)
from trust.consistency import block_means

TILE = 256  # input pixels per side of a tile for the generator
BLOCK = 16  # output pixels per side of the blocks whose error is predicted
DEGRADATIONS = ("area", "scanner")
SHARP_MICRONS = 0.25  # um per pixel at 40x, by which versions are named
SHOWN = {
    "true_count": "true",
    "predicted_count": "found",
    "dice": "Dice",
    "aji": "AJI",
    "pq": "PQ",
    "invented": "invented",
    "lost": "lost",
    "high_dice": "Dice / HR",
    "high_aji": "AJI / HR",
    "high_pq": "PQ / HR",
    "high_invented": "inv / HR",
    "high_lost": "lost / HR",
    "classical_aji": "classical",
}


class Found(NamedTuple):
    """The nuclei of one version of an image, as int32 label maps.

    `labels` are those that the U-net finds, `classical` those that `classical_nuclei` finds.
    """

    labels: np.ndarray
    classical: np.ndarray


def pairs_for_help(folders, label_folder, names) -> list[Pair]:
    """Return the pairs of all folders, without labels where a folder has none, which is printed.

    Raises:
        OSError, ValueError: no images, or only some of a folder's lack labels.
    """
    return [pair for each in folders for pair in _pairs_of(each, label_folder, names)]


def _pairs_of(folder, label_folder, names) -> list[Pair]:
    try:
        return chosen_pairs(folder, label_folder, names)
    except (FileNotFoundError, NoLabelsError) as error:
        print(f"no labels ({error}): compared with the nuclei of the high resolution alone")
    return [Pair(path, ()) for path in chosen_images([folder], names, recursive=True)]


def examine(pairs, generators: list[Network], unet: Network, separation, microns, masks):
    """Degrade, super-resolve and segment every image, and compare with its high resolution.

    Args:
        pairs: the images, with or without labels.
        generators: one for each scale, e.g. x4 and x2; each gets an image of its own.
        unet: the nucleus network.
        separation: thresholds of the separation.
        microns: um per pixel of the images; None = what each file says, else the U-net's.
        masks: what masks are, see `labels.masks.labels_of`.

    Returns:
        (rows, trust): a dict per degradation, image and version with its figures, those against
        the nuclei found on the high resolution with the prefix `high_`, `classical_aji` the same
        for nuclei found without a network, see `classical_nuclei`; and a dict per scale,
        degradation and image with `scale`, `degradation` and arrays: `error`, `expected`, `detail`,
        `departure` of the blocks, `confidence`, `wrong` and (where labels tell single nuclei of the
        whole image) `wrong_by_label` of the nuclei found on the super-resolved image, `area` and
        `true_area` (pixels) of those with a partner in the high resolution.
    """
    rows, trust, sizes = [], [], {}
    for index, pair in enumerate(tqdm(pairs, leave=False)):
        image, stated = read_image(pair)
        sides = [side // BLOCK * BLOCK for side in image.shape[1::-1]]
        high = image[: sides[1], : sides[0]]
        size, _ = chosen_size(pair, microns, stated, unet)
        sizes[pair.image] = microns or stated or SHARP_MICRONS
        truth = _truth(pair, image.shape[:2], masks, high.shape[:2])
        find = partial(_found, unet, separation, size)
        found = find(high)
        for degradation in DEGRADATIONS:
            nuclei = {}
            for generator in generators:
                low = degraded(high, degradation, index, generator.scale)
                sharp = enlarge(generator, low)
                bicubic = cv2.resize(low, sides, interpolation=cv2.INTER_CUBIC)
                name = f"x{generator.scale} from {40 // generator.scale}x"
                nuclei[f"bicubic {name}"] = find(bicubic)
                predicted = nuclei[f"super-resolved {name}"] = find(sharp)
                entry = {"degradation": degradation, "scale": generator.scale}
                entry |= _errors(high, low, sharp)
                entry |= _trusted(low, sharp, predicted.labels, found.labels)
                if truth and truth.instances and truth.known is None:
                    entry["wrong_by_label"] = best_ious(predicted.labels, truth.map) <= MATCH_IOU
                trust.append(entry)
            for version, predicted in (nuclei | {"high resolution": found}).items():
                place = {"folder": degradation, "image": pair.image.name, "method": version}
                rows.append(place | _figures(pair, truth, predicted, found))
    _warn_of_other_sizes(sizes)
    return rows, trust


def _warn_of_other_sizes(sizes: dict[Path, float]):
    """Print which images the names of the versions are wrong for; sizes in um per pixel."""
    other = [
        f"{path.name} ({size:.3g} um)"
        for path, size in sizes.items()
        if abs(size / SHARP_MICRONS - 1) > TOLERANCE
    ]
    if other:
        print(
            f"'from 10x' and 'from 20x' hold for images of {SHARP_MICRONS:g} um per pixel, not for "
            f"{len(other)} of these {len(sizes)}, whose pixels became 4 and 2 times as large: "
            f"{', '.join(other)}"
        )


def degraded(high: np.ndarray, degradation: str, seed: int, scale: int = 4) -> np.ndarray:
    """Make the low resolution of a uint8 RGB image; `seed` fixes the noise of `scanner`."""
    if degradation == "area":
        return degrade_area(high, scale)
    return degrade_scanner(high, np.random.default_rng(seed), scale)


def enlarge(generator: Network, low: np.ndarray) -> np.ndarray:
    """Super-resolve a uint8 RGB image as a whole run does, into uint8 RGB."""
    sharp = predict_image(generator, low, TILE)
    return np.clip(np.rint(sharp), 0, 255).astype(np.uint8)


def _found(unet, separation, microns, image) -> Found:
    maps = predict_maps(unet, image, microns)
    labels = separate(maps[..., 0], maps[..., 1], microns, separation)
    return Found(labels, classical_nuclei(image, microns))


def _truth(pair: Pair, shape, masks: str, part) -> Labels | None:
    """Return the labels of the upper left part of an image, None where there are none."""
    if not pair.labels:
        return None
    labels = read_labels(pair, shape, masks)
    part = np.s_[: part[0], : part[1]]
    return Labels(
        labels.map[part],
        labels.instances,
        labels.note,
        None if labels.known is None else labels.known[part],
    )


def _figures(pair: Pair, truth: Labels | None, predicted: Found, found: Found) -> dict:
    """Return figures against the labels (if any), and against what the high resolution shows."""
    labels, true_labels = predicted.labels, found.labels
    figures = {"predicted_count": int(labels.max())}
    if truth:
        figures |= scores(pair, truth, labels) | {"labels": truth.note}
    against = pixel_metrics(true_labels > 0, labels > 0) | instance_metrics(true_labels, labels)
    names = ("dice", "aji", "pq", "invented", "lost")
    figures |= {f"high_{name}": against[name] for name in names}
    return figures | {
        "classical_aji": instance_metrics(found.classical, predicted.classical)["aji"]
    }


def _errors(high, low, sharp) -> dict:
    """Return true and expected errors of the blocks, and what the latter are made of."""
    shape = tuple(side // BLOCK for side in high.shape[:2])
    detail, departure = detail_and_departure(low, sharp)
    error = cv2.absdiff(sharp, high).mean(axis=-1, dtype=np.float32)
    maps = {"error": error, "expected": expected_error(low, sharp)}
    maps |= {"detail": detail, "departure": departure}
    return {name: block_means(values, shape).ravel() for name, values in maps.items()}


def _trusted(low, sharp, labels, found) -> dict:
    error = restored(stored(expected_error(low, sharp)))
    scale = sharp.shape[0] // low.shape[0]
    error = error.repeat(scale, axis=0).repeat(scale, axis=1)
    trusted = nucleus_confidence(labels, sharp, error)["nucleus_confidence"]
    areas, true_areas = matched_areas(labels, found)
    wrong = best_ious(labels, found) <= MATCH_IOU
    return {"confidence": trusted, "wrong": wrong, "area": areas, "true_area": true_areas}
