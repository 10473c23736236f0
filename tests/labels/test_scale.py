"""Images of another pixel size, with their labels, at the U-net's."""

import numpy as np
import pytest

from helpers.drawn_tissue import draw_discs
from labels.label_map import Labels
from labels.scale import at_pixel_size, nearest, pixel_size

TRUTH = draw_discs((20, 20, 8), (60, 40, 12))
IMAGE = np.where(TRUTH[..., None] > 0, (110, 60, 140), (230, 170, 205)).astype(np.uint8)


@pytest.mark.parametrize("microns", [None, 0.25, 0.23, 0.27])
def test_nearly_equal_sizes_are_left_alone(microns):
    labels = Labels(TRUTH, True, "label map")
    image, same = at_pixel_size(IMAGE, labels, microns, 0.25)
    assert image is IMAGE and same is labels


@pytest.mark.parametrize("microns", [0.5, 0.125, 0.4])
def test_image_and_labels_are_resampled_together(microns):
    labels = Labels(TRUTH, True, "label map", np.arange(100)[None].repeat(80, 0) < 50)
    image, resampled = at_pixel_size(IMAGE, labels, microns, 0.25)
    ratio = microns / 0.25
    assert image.shape == (round(80 * ratio), round(100 * ratio), 3)
    assert resampled.map.shape == resampled.known.shape == image.shape[:2]
    assert set(np.unique(resampled.map)) == {0, 1, 2}
    for number in (1, 2):
        areas = [np.count_nonzero(each == number) for each in (TRUTH, resampled.map)]
        assert areas[1] == pytest.approx(areas[0] * ratio**2, rel=0.06)
    dark = image[..., 1] < 115
    assert np.mean(dark == (resampled.map > 0)) > 0.98
    assert resampled.known.mean() == pytest.approx(0.5, abs=0.01)
    assert resampled.instances
    assert resampled.note == f"label map, resampled from {microns:g} to 0.25 um per pixel"


def test_twice_as_large_repeats_pixels():
    expected = TRUTH.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(nearest(TRUTH, (160, 200)), expected)


def test_a_printers_resolution_is_refused():
    with pytest.raises(ValueError, match=r"10\.58 um per pixel.*MICRONS_PER_PIXEL"):
        at_pixel_size(IMAGE, Labels(TRUTH, True, ""), 10.583, 0.25)


def test_what_is_given_counts_and_a_contradiction_is_stated():
    assert pixel_size(None, None) == (None, "")
    assert pixel_size(None, 0.5) == (0.5, "")
    assert pixel_size(0.5, 0.51) == (0.5, "")
    size, remark = pixel_size(0.25, 0.5)
    assert size == 0.25 and "0.25 um per pixel as given, though the file says 0.5" in remark
