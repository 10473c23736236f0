"""How well the confidence of super-resolution predicts errors: the tables of `--did-it-help`."""

from itertools import pairwise

import numpy as np
from scipy.stats import spearmanr

from evaluation.did_it_help import BLOCK, DEGRADATIONS
from trust.confidence import OFFSET, confidence

CONFIDENCES = (0.4, 0.5, 0.6)  # between which images are grouped; 0.6 = good, says the report
NUCLEUS_CONFIDENCES = (0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1)


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
    print("\nNuclei without a match (IoU > .5) among the least and most confident fifth")
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
    _print_areas(trust)


def _print_calibration(trust):
    confidences, wrong = _joined(trust, "confidence"), _joined(trust, "wrong")
    print("\nNuclei by their confidence, nucleus_confidence of nuclei.csv (both degradations)")
    print(f"{'':14}{'nuclei':>8}{'with a partner in high resolution':>35}")
    for (low, high), count, share in calibration(confidences, wrong):
        print(f"{f'{low:g} to {high:g}':14}{count:>8}{share:>35.2f}")


def _print_areas(trust):
    print("\nAreas of nuclei, super-resolved against high resolution (those with a partner there)")
    print(f"{'':14}{'nuclei':>8}{'median ratio':>14}{'median error':>14}{'rank correlation':>18}")
    for name, group in _groups(trust):
        areas, true_areas = _joined(group, "area"), _joined(group, "true_area")
        if len(areas):
            ratio = areas / true_areas
            print(
                f"{name:14}{len(areas):>8}{np.median(ratio):>14.3f}"
                f"{np.median(np.abs(ratio - 1)):>14.3f}{_rank(areas, true_areas):>18.3f}"
            )


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
