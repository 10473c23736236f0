"""Did super-resolution help, and does its confidence tell where it fails? Asked of images whose
high resolution is known: the work behind `Evaluate.py --did-it-help`."""

from itertools import pairwise

import cv2
import numpy as np
from scipy.stats import spearmanr
from tqdm import tqdm

from evaluation.scores import chosen_images, chosen_pairs, chosen_size, predict_maps, scores
from images.degradation import degrade_area, degrade_scanner
from labels.label_map import Labels
from labels.pairing import Pair
from labels.reading import read_image, read_labels
from metrics.segmentation import MATCH_IOU, best_ious, instance_metrics, pixel_metrics
from networks.network import Network, predict_image
from nuclei.separation import separate
from trust.confidence import (
    OFFSET,
    confidence,
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
CONFIDENCES = (0.4, 0.5, 0.6)  # between which images are grouped; 0.6 = good, says the report
NUCLEUS_CONFIDENCES = (0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
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
}


def pairs_for_help(folders, label_folder, names):
    """Return the pairs of all folders, without labels where there are none, which is printed.

    Raises:
        OSError, ValueError: no images, or some of them lack labels.
    """
    try:
        return [pair for f in folders for pair in chosen_pairs(f, label_folder, names)]
    except (OSError, ValueError) as error:
        print(f"no labels ({error}): compared with the nuclei of the high resolution alone")
    return [Pair(path, ()) for path in chosen_images(folders, names)]


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
        the nuclei found on the high resolution with the prefix `high_`; and a dict per scale,
        degradation and image with `scale`, `degradation` and arrays: `error`, `expected`, `detail`,
        `departure` of the blocks, `confidence`, `wrong` and (where labels tell single nuclei of the
        whole image) `wrong_by_label` of the nuclei found on the super-resolved image.
    """
    rows, trust = [], []
    for index, pair in enumerate(tqdm(pairs, leave=False)):
        image, stated = read_image(pair)
        sides = [side // BLOCK * BLOCK for side in image.shape[1::-1]]
        high = image[: sides[1], : sides[0]]
        size, _ = chosen_size(pair, microns, stated, unet)
        truth = _truth(pair, image.shape[:2], masks, high.shape[:2])
        found = _segmented(unet, high, separation, size)
        for degradation in DEGRADATIONS:
            nuclei = {}
            for generator in generators:
                low = degraded(high, degradation, index, generator.scale)
                sharp = enlarge(generator, low)
                bicubic = cv2.resize(low, sides, interpolation=cv2.INTER_CUBIC)
                name = f"x{generator.scale} from {40 // generator.scale}x"
                nuclei[f"bicubic {name}"] = _segmented(unet, bicubic, separation, size)
                predicted = _segmented(unet, sharp, separation, size)
                nuclei[f"super-resolved {name}"] = predicted
                entry = {"degradation": degradation, "scale": generator.scale}
                entry |= _errors(high, low, sharp) | _trusted(low, sharp, predicted, found)
                if truth and truth.instances and truth.known is None:
                    entry["wrong_by_label"] = best_ious(predicted, truth.map) <= MATCH_IOU
                trust.append(entry)
            for version, predicted in (nuclei | {"high resolution": found}).items():
                place = {"folder": degradation, "image": pair.image.name, "method": version}
                rows.append(place | _figures(pair, truth, predicted, found))
    return rows, trust


def degraded(high: np.ndarray, degradation: str, seed: int, scale: int = 4) -> np.ndarray:
    """Make the low resolution of a uint8 RGB image; `seed` fixes the noise of `scanner`."""
    if degradation == "area":
        return degrade_area(high, scale)
    return degrade_scanner(high, np.random.default_rng(seed), scale)


def enlarge(generator: Network, low: np.ndarray) -> np.ndarray:
    """Super-resolve a uint8 RGB image as a whole run does, into uint8 RGB."""
    sharp = predict_image(generator, low, TILE)
    return np.clip(np.rint(sharp), 0, 255).astype(np.uint8)


def print_trust(trust: list[dict]):
    """Print how well the confidence predicts error: of blocks, and of nuclei; for each scale."""
    for scale in sorted({entry["scale"] for entry in trust}, reverse=True):
        print(f"\nConfidence of x{scale} super-resolution")
        _print_trust([entry for entry in trust if entry["scale"] == scale])


def _print_trust(trust):
    print(
        f"\nExpected error of {BLOCK}x{BLOCK} blocks: rank correlation with the true absolute error"
    )
    print(f"{'':14}{'blocks':>8}{'all':>8}{'per image':>11}{'expected':>10}{'true':>8}   best fit")
    for name, group in _groups(trust):
        columns = ("error", "expected", "detail", "departure")
        error, expected, detail, departure = (_joined(group, key) for key in columns)
        each = np.nanmean([_rank(entry["expected"], entry["error"]) for entry in group])
        fit = "FACTOR {2:.2f}, powers {0:.2f} and {1:.2f}".format(*fitted(detail, departure, error))
        print(
            f"{name:14}{len(error):>8}{_rank(expected, error):>8.3f}{each:>11.3f}"
            f"{expected.mean():>10.2f}{error.mean():>8.2f}   {fit}"
        )
    print("\nWrong nuclei (no true one with IoU > .5) among the least and most confident fifth")
    print(f"{'':14}{'truth':>17}{'nuclei':>8}{'wrong':>8}{'least':>8}{'most':>8}{'ratio':>8}")
    for name, group in _groups(trust):
        for key, truth in (("wrong", "high resolution"), ("wrong_by_label", "labels")):
            judged = [entry for entry in group if key in entry]
            if not judged:
                continue
            wrong = _joined(judged, key)
            least, most = wrong_shares(_joined(judged, "confidence"), wrong)
            ratio = f"{least / most:.1f}" if most else "-"
            print(
                f"{name:14}{truth:>17}{len(wrong):>8}{wrong.mean():>8.3f}{least:>8.3f}{most:>8.3f}"
                f"{ratio:>8}"
            )
    print(
        "\nImages by their mean confidence, sr_confidence of summary.csv (truth: high resolution)"
    )
    print(f"{'':14}{'images':>8}{'|error|':>9}{'nuclei':>8}{'wrong':>8}")
    for name, group in by_confidence(trust).items():
        wrong, error = _joined(group, "wrong"), _joined(group, "error")
        print(f"{name:14}{len(group):>8}{error.mean():>9.2f}{len(wrong):>8}{wrong.mean():>8.3f}")

    _print_calibration(trust)


def _print_calibration(trust):
    confidences, wrong = _joined(trust, "confidence"), _joined(trust, "wrong")
    print("\nNuclei by their confidence, nucleus_confidence of nuclei.csv (both degradations)")
    print(f"{'':14}{'nuclei':>8}{'with a partner in high resolution':>35}")
    for (low, high), count, share in calibration(confidences, wrong):
        print(f"{f'{low:g} to {high:g}':14}{count:>8}{share:>35.2f}")


def calibration(confidences: np.ndarray, wrong: np.ndarray):
    """List ((from, to), nuclei, share of them that is not wrong) for ranges of the confidence.

    Ranges without nuclei, and nuclei without a confidence (nan), are left out.
    """
    found = []
    for low, high in pairwise(NUCLEUS_CONFIDENCES):
        inside = (confidences >= low) & (confidences < high if high < 1 else confidences <= 1)
        if inside.any():
            found.append(((low, high), int(inside.sum()), float(1 - wrong[inside].mean())))
    return found


def by_confidence(trust: list[dict]) -> dict[str, list[dict]]:
    """Group what `examine` tells of images by their mean confidence; no group is empty."""
    means = [float(confidence(entry["expected"]).mean()) for entry in trust]
    groups = {}
    for low, high in pairwise((0, *CONFIDENCES, 1)):
        found = [e for e, mean in zip(trust, means, strict=True) if low <= mean < high]
        if found:
            groups[f"{low:g} to {high:g}"] = found
    return groups


def fitted(detail, departure, error) -> np.ndarray:
    """Fit (DETAIL_POWER, DEPARTURE_POWER, FACTOR) of confidence.py to blocks, least squares."""
    terms = [np.log(detail + OFFSET), np.log(departure + OFFSET), np.ones(len(detail))]
    target = np.log(np.maximum(error, OFFSET))
    powers = np.linalg.lstsq(np.stack(terms, axis=1), target, rcond=None)[0]
    return np.append(powers[:2], np.exp(powers[2]))


def wrong_shares(confidence: np.ndarray, wrong: np.ndarray) -> tuple[float, float]:
    """Return the share of wrong nuclei among the least and the most confident fifth.

    Nuclei without a confidence (nan) are left out.
    """
    known = ~np.isnan(confidence)
    order = np.argsort(confidence[known], kind="stable")
    fifth = max(1, len(order) // 5)
    sorted_wrong = wrong[known][order]
    return float(sorted_wrong[:fifth].mean()), float(sorted_wrong[-fifth:].mean())


def _segmented(unet, image, separation, microns):
    maps = predict_maps(unet, image, microns)
    return separate(maps[..., 0], maps[..., 1], microns, separation)


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


def _figures(pair: Pair, truth: Labels | None, predicted, found) -> dict:
    """Return figures against the labels (if any), and against what the high resolution shows."""
    figures = {"predicted_count": int(predicted.max())}
    if truth:
        figures |= scores(pair, truth, predicted) | {"labels": truth.note}
    against = pixel_metrics(found > 0, predicted > 0) | instance_metrics(found, predicted)
    names = ("dice", "aji", "pq", "invented", "lost")
    return figures | {f"high_{name}": against[name] for name in names}


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
    return {"confidence": trusted, "wrong": best_ious(labels, found) <= MATCH_IOU}


def _groups(trust):
    """Yield each degradation with its images, then all together."""
    for degradation in DEGRADATIONS:
        yield degradation, [entry for entry in trust if entry["degradation"] == degradation]
    yield "both", trust


def _joined(group, key) -> np.ndarray:
    return np.concatenate([entry[key] for entry in group])


def _rank(first, second) -> float:
    """Spearman's rank correlation, nan where either is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first, second)[0])
