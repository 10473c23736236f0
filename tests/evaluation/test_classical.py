"""Nuclei found without a network, on drawn tissue."""

import cv2
import numpy as np
import pytest

from evaluation.classical import classical_nuclei
from metrics.segmentation import instance_metrics

BACKGROUND, NUCLEUS = (225, 170, 205), (80, 60, 140)


def discs(side=160):
    """Draw four dark discs, two of them touching, and a dot; return the image and its label map."""
    image, labels = np.full((side, side, 3), BACKGROUND, np.uint8), np.zeros((side, side), np.int32)
    for number, place in enumerate([(40, 40), (110, 40), (60, 120), (83, 120)], start=1):
        cv2.circle(image, place, 12, NUCLEUS, -1)
        cv2.circle(labels, place, 12, number, -1)
    cv2.circle(image, (130, 130), 2, NUCLEUS, -1)
    return image, labels


@pytest.mark.parametrize("microns", [0.25, 0.5])
def test_discs_are_found_and_parted_and_dots_are_not(microns):
    image, labels = discs()
    if microns == 0.5:
        image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        labels = labels[::2, ::2]
    found = instance_metrics(labels, classical_nuclei(image, microns))
    assert (found["predicted_count"], found["lost"]) == (4, 0) and found["aji"] > 0.75


def test_an_even_image_has_no_nuclei():
    assert not classical_nuclei(np.full((30, 40, 3), 200, np.uint8), 0.25).any()
