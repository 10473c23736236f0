"""Metrics against hand-worked cases, and the properties they must have."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from metrics.segmentation import instance_metrics, mean_of, pixel_metrics, within

SCORES = ("aji", "pq", "dq", "sq", "f1")
label_maps = hnp.arrays(np.int32, (6, 7), elements=st.integers(0, 5))


def strip(*labels):
    """A label map of one row."""
    return np.array([labels], dtype=np.int32)


def test_pixel_metrics_by_hand():
    truth = strip(1, 1, 1, 0, 0, 0, 0, 0, 0, 0)
    predicted = strip(0, 1, 1, 1, 1, 0, 0, 0, 0, 0)
    scores = pixel_metrics(truth, predicted)
    # 3 true, 4 predicted, 2 shared, 5 in the union; wrong at pixels 0, 3 and 4.
    assert scores["pixel_accuracy"] == pytest.approx(7 / 10)
    assert scores["background_accuracy"] == pytest.approx(7 / 10)
    assert scores["dice"] == pytest.approx(2 * 2 / (3 + 4))
    assert scores["iou"] == pytest.approx(2 / 5)


def test_every_value_but_zero_is_nucleus():
    truth = strip(0, 4, 9, 0)
    assert pixel_metrics(truth, np.uint8([[0, 255, 255, 0]]))["dice"] == 1
    assert pixel_metrics(truth, truth > 0)["dice"] == 1


@pytest.mark.parametrize("empty_side", [0, 1])
def test_pixels_empty_against_non_empty(empty_side):
    masks = [strip(0, 1, 1, 0), strip(0, 1, 1, 0)]
    masks[empty_side] = strip(0, 0, 0, 0)
    scores = pixel_metrics(*masks)
    assert (scores["dice"], scores["iou"], scores["pixel_accuracy"]) == (0, 0, 0.5)


def test_instances_by_hand():
    truth = strip(1, 1, 1, 1, 0, 2, 2, 2, 0, 0, 3, 3)
    predicted = strip(7, 7, 7, 0, 0, 0, 0, 4, 4, 0, 0, 0)
    scores = instance_metrics(truth, predicted)
    # Nucleus 1 with 7: 3 shared, union 4, IoU .75, a match.
    # Nucleus 2 with 4: 1 shared, union 3 + 2 - 1 = 4, IoU .25, no match, but the pair enters AJI.
    # Nucleus 3: untouched, its 2 px go below. No prediction is unused.
    assert scores["aji"] == pytest.approx((3 + 1) / (4 + 4 + 2))
    # TP 1, FP 1, FN 2.
    assert scores["dq"] == scores["f1"] == pytest.approx(1 / (1 + 1 / 2 + 2 / 2))
    assert scores["sq"] == pytest.approx(0.75)
    assert scores["pq"] == pytest.approx(0.75 / 2.5)
    assert (scores["true_count"], scores["predicted_count"]) == (3, 2)
    assert scores["count_error"] == pytest.approx(1 / 3)
    assert (scores["invented"], scores["lost"]) == (1, 2)


def test_aji_counts_a_prediction_for_every_nucleus_that_takes_it():
    truth = strip(1, 1, 1, 2, 2, 0)
    predicted = strip(1, 1, 1, 1, 1, 0)
    # Both nuclei take the one prediction: 3 / 5 and 2 / 5.
    assert instance_metrics(truth, predicted)["aji"] == pytest.approx((3 + 2) / (5 + 5))


def test_aji_takes_the_largest_iou_not_the_largest_overlap():
    truth = np.array([[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    predicted = np.array([[5, 5, 5, 8, 8], [5, 5, 5, 5, 5], [5, 5, 5, 5, 5]])
    # 5 shares 3 px of its 13, IoU 3 / 15; 8 shares 2 px of its 2, IoU 2 / 5. Nucleus 1 takes 8,
    # and the 13 px of 5 go below.
    assert instance_metrics(truth, predicted)["aji"] == pytest.approx(2 / (5 + 13))


def test_an_iou_of_one_half_is_no_match():
    scores = instance_metrics(strip(1, 1, 0), strip(1, 0, 0))  # IoU 1 / 2
    assert (scores["pq"], scores["invented"], scores["lost"]) == (0, 1, 1)
    assert np.isnan(scores["sq"])


def test_empty_against_empty_is_perfect():
    empty = np.zeros((3, 4), np.int32)
    scores = instance_metrics(empty, empty)
    assert [scores[name] for name in SCORES] == [1] * 5
    assert np.isnan(scores["count_error"])
    pixels = pixel_metrics(empty, empty)
    assert all(value == 1 for value in pixels.values())


def test_instances_empty_against_non_empty():
    empty, two = strip(0, 0, 0, 0), strip(0, 1, 2, 2)
    found_nothing = instance_metrics(two, empty)
    assert [found_nothing[name] for name in ("aji", "pq", "dq", "f1")] == [0] * 4
    assert (found_nothing["lost"], found_nothing["count_error"]) == (2, 1)
    found_too_much = instance_metrics(empty, two)
    assert [found_too_much[name] for name in ("aji", "pq", "dq", "f1")] == [0] * 4
    assert found_too_much["invented"] == 2
    assert np.isnan(found_too_much["count_error"])


def test_splitting_a_nucleus_lowers_instance_scores_only():
    truth = np.zeros((12, 12), np.int32)
    truth[1:5, 1:5] = 1
    truth[6:10, 2:10] = 2
    split = truth.copy()
    split[6:10, 6:10] = 3
    whole, halves = instance_metrics(truth, truth), instance_metrics(truth, split)
    # Nucleus 2 (32 px) takes one half (16 of 32, no match), the other half is unused:
    # AJI (16 + 16) / (16 + 32 + 16); PQ: TP 1, FP 2, FN 1.
    assert halves["aji"] == pytest.approx(32 / 64) and whole["aji"] == 1
    assert halves["pq"] == pytest.approx(1 / (1 + 1 + 0.5)) and whole["pq"] == 1
    assert pixel_metrics(truth, split)["dice"] == 1


@given(label_maps)
def test_a_map_against_itself_is_perfect(labels):
    scores = instance_metrics(labels, labels)
    assert [scores[name] for name in SCORES] == [1] * 5
    assert scores["invented"] == scores["lost"] == 0


@given(label_maps, label_maps, st.permutations(range(1, 6)))
def test_label_values_change_nothing(truth, predicted, order):
    relabel = np.array([0, *order]) * 70_001  # also not consecutive
    expected = instance_metrics(truth, predicted)
    assert instance_metrics(truth, relabel[predicted]) == pytest.approx(expected, nan_ok=True)
    assert instance_metrics(relabel[truth], predicted) == pytest.approx(expected, nan_ok=True)


def aji_by_loops(true_masks, predicted_masks):
    """Algorithm 1 of Kumar et al. 2017, line by line; of equal IoUs the first counts."""
    intersection, union, used = 0, 0, set()
    for true in true_masks:
        ious = [(true & each).sum() / (true | each).sum() for each in predicted_masks]
        if not any(ious):
            union += true.sum()
            continue
        best = int(np.argmax(ious))
        intersection += (true & predicted_masks[best]).sum()
        union += (true | predicted_masks[best]).sum()
        used.add(best)
    union += sum(each.sum() for n, each in enumerate(predicted_masks) if n not in used)
    return intersection / union if union else 1


@settings(deadline=None)
@given(label_maps, label_maps)
def test_agrees_with_the_definitions_written_as_loops(truth, predicted):
    scores = instance_metrics(truth, predicted)
    true_masks = [truth == label for label in np.unique(truth[truth > 0])]
    predicted_masks = [predicted == label for label in np.unique(predicted[predicted > 0])]
    ious = [(a & b).sum() / (a | b).sum() for a in true_masks for b in predicted_masks]
    matched = [iou for iou in ious if iou > 0.5]
    nuclei = len(true_masks) + len(predicted_masks)
    assert scores["pq"] == pytest.approx(2 * sum(matched) / nuclei if nuclei else 1)
    assert scores["lost"] == len(true_masks) - len(matched)
    assert scores["invented"] == len(predicted_masks) - len(matched)
    assert scores["pq"] <= scores["dq"]
    assert scores["aji"] == pytest.approx(aji_by_loops(true_masks, predicted_masks))


@pytest.mark.parametrize("metrics", [pixel_metrics, instance_metrics])
def test_shapes_must_agree(metrics):
    with pytest.raises(ValueError, match=r"\(4, 5\) and \(5, 4\)"):
        metrics(np.zeros((4, 5), int), np.zeros((5, 4), int))
    with pytest.raises(ValueError, match="without pixels"):
        metrics(np.zeros((0, 5), int), np.zeros((0, 5), int))


def test_a_probability_map_is_no_label_map():
    with pytest.raises(TypeError, match="float32"):
        instance_metrics(np.zeros((2, 2), np.int32), np.zeros((2, 2), np.float32))


def test_mean_leaves_nan_out():
    means = mean_of([{"pq": 0.5, "sq": np.nan, "x": np.nan}, {"pq": 1, "sq": 0.8, "x": np.nan}])
    assert means["pq"] == 0.75 and means["sq"] == 0.8 and np.isnan(means["x"])
    assert mean_of([]) == {}


def test_mean_of_a_score_that_only_some_have():
    assert mean_of([{"dice": 0.5}, {"dice": 1, "pq": 0.25}]) == {"dice": 0.75, "pq": 0.25}
    assert mean_of([{"dice": 1, "pq": 0.25}, {"dice": 0.5}]) == {"dice": 0.75, "pq": 0.25}


# --- A part of an image ---


def test_nuclei_mostly_outside_are_left_out_and_others_cut_at_the_border():
    labels = strip(1, 1, 0, 2, 2, 2, 0, 3, 3, 3)
    known = strip(1, 1, 1, 1, 1, 0, 0, 0, 0, 1) > 0
    np.testing.assert_array_equal(within(labels, known), strip(1, 1, 0, 2, 2, 0, 0, 0, 0, 0))
    assert within(labels, None) is labels


@given(labels=label_maps, known=hnp.arrays(bool, (6, 7)))
def test_within_a_part_nothing_else_is_left(labels, known):
    part = within(labels, known)
    assert part.dtype == labels.dtype and not part[~known].any()
    assert ((part == labels) | (part == 0)).all()
    np.testing.assert_array_equal(within(labels, known | True), labels)
    for label in set(np.unique(part)) - {0}:
        assert np.sum(part == label) >= np.sum(labels == label) / 2
