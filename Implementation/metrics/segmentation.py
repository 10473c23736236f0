"""Scores of a nuclei segmentation against its annotation: pixels, nuclei and counts."""

import numpy as np
from scipy import sparse

MATCH_IOU = 0.5  # above one half a nucleus can match one nucleus only (Kirillov et al. 2019)


def pixel_metrics(truth_mask, predicted_mask):
    """Agreement of two masks, pixel by pixel.

    Both masks have the shape (height, width); every value other than 0 is nucleus, so label
    maps and 0/255 images serve as well. Returns a dict of floats between 0 and 1:

    - `pixel_accuracy`: fraction of pixels with the right class,
    - `background_accuracy`: the accuracy of calling every pixel background, to be read beside it,
    - `dice`: 2 |A n B| / (|A| + |B|),
    - `iou`: |A n B| / |A u B|.

    Two empty masks agree: their Dice and IoU are 1. Masks of different shape, or without a pixel,
    raise ValueError.
    """
    truth, predicted = _same_shape(truth_mask, predicted_mask)
    truth, predicted = truth != 0, predicted != 0
    intersection = np.count_nonzero(truth & predicted)
    union = np.count_nonzero(truth | predicted)
    return {
        "pixel_accuracy": float(np.mean(truth == predicted)),
        "background_accuracy": float(1 - np.mean(truth)),
        "dice": 2 * intersection / (union + intersection) if union else 1.0,
        "iou": intersection / union if union else 1.0,
    }


def instance_metrics(truth_labels, predicted_labels):
    """Agreement of two label maps, nucleus by nucleus.

    Both maps have the shape (height, width) and an integer type; 0 is background and every other
    value one nucleus. Labels need not be consecutive, and which labels are used changes nothing.
    A true and a predicted nucleus match when their IoU is above 0.5. Returns a dict:

    - `aji`: Aggregated Jaccard Index (see `_aggregated_jaccard_index`),
    - `pq`, `dq`, `sq`: panoptic quality = detection quality x segmentation quality (Kirillov et
      al., Panoptic Segmentation, CVPR 2019, equation 2). `sq`, the mean IoU of the matched
      nuclei, is nan where nothing matches,
    - `f1`: F1 score of detection at IoU > 0.5, which is what PQ calls its detection quality,
    - `true_count`, `predicted_count`: numbers of nuclei,
    - `count_error`: |predicted - true| / true, nan where there is no true nucleus,
    - `invented`: predicted nuclei that match no true nucleus,
    - `lost`: true nuclei that match no predicted nucleus.

    Two empty maps agree: their scores are 1. Maps of different shape or without a pixel raise
    ValueError, maps that are not of an integer type raise TypeError.
    """
    truth, predicted = _same_shape(truth_labels, predicted_labels)
    truth, true_areas = _consecutive(truth)
    predicted, predicted_areas = _consecutive(predicted)
    pairs = _overlaps(truth, true_areas, predicted, predicted_areas)
    true_count, predicted_count = len(true_areas), len(predicted_areas)
    matched_ious = pairs["iou"][pairs["iou"] > MATCH_IOU]
    quality = _panoptic_quality(matched_ious, true_count, predicted_count)
    return {
        "aji": _aggregated_jaccard_index(pairs, true_areas, predicted_areas),
        **quality,
        "f1": quality["dq"],
        "true_count": true_count,
        "predicted_count": predicted_count,
        "count_error": abs(predicted_count - true_count) / true_count if true_count else np.nan,
        "invented": predicted_count - len(matched_ious),
        "lost": true_count - len(matched_ious),
    }


def within(labels, known):
    """Limit a label map to the part of an image whose nuclei are known, so that it can be scored.

    A nucleus of which more than half lies outside is left out, another one is cut at the border.

    labels: integers (height, width); known: bool of the same shape, or None for the whole. Returns
    a map of the same type, 0 outside.
    """
    if known is None:
        return labels
    numbers, index = np.unique(labels, return_inverse=True)
    index = index.reshape(labels.shape)
    inside = np.bincount(index[known], minlength=len(numbers))
    mostly_inside = 2 * inside >= np.bincount(index.ravel())
    return np.where(known & mostly_inside[index], labels, 0)


def best_ious(labels, others):
    """Largest IoU of each nucleus of a label map with any nucleus of another map.

    Both maps as for `instance_metrics`. Returns float (n,) in the order of the labels, 0 for a
    nucleus that touches none.
    """
    labels, others = _same_shape(labels, others)
    numbers = np.unique(labels[labels != 0])
    first, areas = _consecutive(labels)
    second, other_areas = _consecutive(others)
    pairs = _overlaps(first, areas, second, other_areas)
    best = np.zeros(len(areas))
    np.maximum.at(best, pairs["true"], pairs["iou"])
    # `_consecutive` counts in reading order; give back the order of the labels.
    inside = labels != 0
    place = np.zeros(len(numbers), np.int64)
    place[np.searchsorted(numbers, labels[inside])] = first[inside]
    return best[place]


def matched_areas(labels, others):
    """Areas in pixels of the nuclei of two label maps that match with an IoU above 0.5.

    Both maps as for `instance_metrics`. Returns two int arrays (n,), one pair for each match.
    """
    labels, others = _same_shape(labels, others)
    first, areas = _consecutive(labels)
    second, other_areas = _consecutive(others)
    pairs = _overlaps(first, areas, second, other_areas)
    matched = pairs["iou"] > MATCH_IOU  # above one half a nucleus has at most one partner
    return areas[pairs["true"][matched]], other_areas[pairs["predicted"][matched]]


def mean_of(scores):
    """Mean of each score over the dicts that have it, nan values left out.

    A score that is nan wherever it is stays nan; an empty list gives an empty dict.
    """
    means = {}
    for name in dict.fromkeys(name for score in scores for name in score):
        values = np.array([score[name] for score in scores if name in score], dtype=float)
        values = values[~np.isnan(values)]
        means[name] = float(values.mean()) if len(values) else np.nan
    return means


def _same_shape(truth, predicted):
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.shape != predicted.shape:
        raise ValueError(
            "annotation and prediction must have the same shape, "
            f"found {truth.shape} and {predicted.shape}"
        )
    if truth.size == 0:
        raise ValueError(f"cannot score an image without pixels, found the shape {truth.shape}")
    return truth, predicted


def _consecutive(labels):
    """Label map with nuclei 0, 1, ... in reading order and background -1; area of each in px."""
    if labels.dtype.kind not in "iub":
        raise TypeError(f"a label map must hold integers, found {labels.dtype}")
    foreground = labels != 0
    _, first_pixel, index, areas = np.unique(
        labels[foreground], return_index=True, return_inverse=True, return_counts=True
    )
    # Numbered by place, not by label: ties then fall the same way whatever the labels are.
    reading_order = np.argsort(first_pixel)
    rank = np.empty_like(reading_order)
    rank[reading_order] = np.arange(len(reading_order))
    consecutive = np.full(labels.shape, -1, dtype=np.int64)
    consecutive[foreground] = rank[index]
    return consecutive, areas[reading_order]


def _overlaps(truth, true_areas, predicted, predicted_areas):
    """The pairs of nuclei that share a pixel, with their intersection, union (px) and IoU."""
    both = (truth >= 0) & (predicted >= 0)
    table = sparse.coo_matrix(
        (np.ones(np.count_nonzero(both), dtype=np.int64), (truth[both], predicted[both])),
        shape=(len(true_areas), len(predicted_areas)),
    )
    table.sum_duplicates()
    union = true_areas[table.row] + predicted_areas[table.col] - table.data
    return {
        "true": table.row,
        "predicted": table.col,
        "intersection": table.data,
        "union": union,
        "iou": table.data / union,
    }


def _aggregated_jaccard_index(pairs, true_areas, predicted_areas):
    """AJI of Kumar et al., IEEE Trans. Med. Imaging 36(7), 2017, algorithm 1.

    Each true nucleus takes the prediction with the largest IoU; the intersections of these pairs
    are summed above, their unions below. A true nucleus that no prediction touches adds its area
    below, and so does a prediction that no true nucleus took. Nothing in the algorithm reserves a
    prediction for one true nucleus: one that several take counts once for each of them, in both
    sums, so merging nuclei is paid for in the unions.
    """
    best_first = np.lexsort((pairs["predicted"], -pairs["iou"], pairs["true"]))
    touched, first = np.unique(pairs["true"][best_first], return_index=True)
    best = best_first[first]
    missed = np.delete(true_areas, touched)
    unused = np.delete(predicted_areas, np.unique(pairs["predicted"][best]))
    union = pairs["union"][best].sum() + missed.sum() + unused.sum()
    return float(pairs["intersection"][best].sum() / union) if union else 1.0


def _panoptic_quality(matched_ious, true_count, predicted_count):
    if true_count + predicted_count == 0:
        return {"pq": 1.0, "dq": 1.0, "sq": 1.0}
    # TP + FP/2 + FN/2 is half the number of nuclei on both sides.
    both_sides = (true_count + predicted_count) / 2
    return {
        "pq": float(matched_ious.sum() / both_sides),
        "dq": len(matched_ious) / both_sides,
        "sq": float(matched_ious.mean()) if len(matched_ious) else np.nan,
    }
