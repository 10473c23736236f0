"""How far the super-resolved image may be off: expected error per pixel, confidence per nucleus.

This needs no second network and no second pass. Two quantities that are at hand predict the error:
the finest detail that the generator drew (the more it drew, the more can be wrong), and how far its
output, downscaled again, departs from the input (which it does where it takes the input for noise):

    expected error = FACTOR * (detail + OFFSET)^DETAIL_POWER * (departure + OFFSET)^DEPARTURE_POWER

in grey levels. The three numbers are a least-squares fit of the logarithms over 16x16 blocks of
images that are not in the validation set; for x2, whose output holds more of what was recorded, the
factor is smaller, so that the mean agrees with the true error. For any folder and model,
`Evaluate.py --did-it-help` prints the fit there, and how well the numbers below predict the true
error.
"""

import cv2
import numpy as np
from scipy import ndimage

from trust.consistency import block_means

DETAIL_SIGMA = 0.6  # output pixels; detail is what a Gaussian of this sigma removes
DETAIL_BOX = 3  # side of the square over which detail is averaged, in input pixels
DEPARTURE_BOX = 37  # the same for the departure: single pixels say little about noise
MARGIN = 20  # input pixels around a window on which its expected error depends
OFFSET = 0.3  # grey levels; keeps the logarithms of the fit finite
DETAIL_POWER, DEPARTURE_POWER = 0.58, 0.45
FACTOR = {4: 6.2, 2: 3.1}  # by the scale of the super-resolution
ERROR_SCALE = 10.0  # grey levels; an expected error this large is a confidence of 0.37
STEPS_PER_GREY_LEVEL = 8  # of the stored expected error, uint8
RING = 4  # output pixels around a nucleus that count as its surroundings


def detail_and_departure(low: np.ndarray, output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return detail and departure, from which the error is predicted.

    Args:
        low: uint8 RGB input (height, width, 3).
        output: uint8 RGB, its super-resolved image, a whole number of times larger.

    Returns:
        Both float32 (height, width), in grey levels.
    """
    smooth = cv2.GaussianBlur(output, (0, 0), DETAIL_SIGMA, borderType=cv2.BORDER_REFLECT)
    drawn = block_means(cv2.absdiff(output, smooth), low.shape[:2])
    detail = _box(drawn.mean(axis=-1), DETAIL_BOX)
    down = block_means(output, low.shape[:2])
    departure = np.abs(down - low.astype(np.float32)).mean(axis=-1)
    return detail, _box(departure, DEPARTURE_BOX)


def expected_error(low: np.ndarray, output: np.ndarray) -> np.ndarray:
    """Return the expected absolute error, mean over the channels, in grey levels.

    Nearer than `MARGIN` to a border that is not the image's own, values differ from those of the
    whole image. Arguments as for `detail_and_departure`, the output x4 or x2; float32 (height,
    width).
    """
    detail, departure = detail_and_departure(low, output)
    factor = FACTOR[output.shape[0] // low.shape[0]]
    return (
        factor * (detail + OFFSET) ** DETAIL_POWER * (departure + OFFSET) ** DEPARTURE_POWER
    ).astype(np.float32)


def confidence(error: np.ndarray) -> np.ndarray:
    """Turn expected errors (grey levels) into confidences: 1 for none, near 0 for large ones."""
    return np.exp(-np.asarray(error, np.float32) / ERROR_SCALE)


def stored(error: np.ndarray) -> np.ndarray:
    """Return an expected error as uint8, in steps of 1 / STEPS_PER_GREY_LEVEL."""
    return np.clip(np.rint(error * STEPS_PER_GREY_LEVEL), 0, 255).astype(np.uint8)


def restored(steps: np.ndarray) -> np.ndarray:
    """Return a stored expected error in grey levels."""
    return steps.astype(np.float32) / STEPS_PER_GREY_LEVEL


def nucleus_confidence(
    labels: np.ndarray, image: np.ndarray, error: np.ndarray, background: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Estimate for each nucleus how surely a true high-resolution image would show it, too.

    A nucleus is trusted as far as its contrast to its surroundings exceeds the expected error:
    `nucleus_confidence` is contrast / (contrast + expected error), 0 if it is no darker than its
    surroundings, 0.5 if its contrast equals the error. Each nucleus is assessed by itself, whatever
    its neighbours' numbers.

    Args:
        labels: int (height, width), 0 = background, labels 1..N.
        image: uint8 RGB (height, width, 3).
        error: expected error in grey levels, (height, width).
        background: bool (height, width), what may be a nucleus' surroundings; None = everything
            without a label.

    Returns:
        `nucleus_confidence` (0..1) and `sr_expected_error` (grey levels, mean over the nucleus and
        its surroundings) in order of the labels; the former is nan if only other nuclei surround
        it.
    """
    background = (labels == 0 if background is None else background).astype(np.uint8)
    grey = cv2.transform(image.astype(np.float32), np.full((1, 3), 1 / 3, np.float32))
    reach = np.ones((2 * RING + 1, 2 * RING + 1), np.uint8)
    boxes = ndimage.find_objects(labels)
    contrast, expected = np.full(len(boxes), np.nan), np.empty(len(boxes))
    for number, box in enumerate(boxes):
        around = tuple(slice(max(0, side.start - RING), side.stop + RING) for side in box)
        inside = (labels[around] == number + 1).view(np.uint8)
        ring = cv2.bitwise_and(cv2.dilate(inside, reach), background[around])
        if cv2.countNonZero(ring):
            contrast[number] = cv2.mean(grey[around], ring)[0] - cv2.mean(grey[around], inside)[0]
        expected[number] = cv2.mean(error[around], cv2.bitwise_or(ring, inside))[0]
    contrast = np.maximum(contrast, 0)  # keeps nan
    return {
        "nucleus_confidence": contrast / np.maximum(contrast + expected, 1e-6),
        "sr_expected_error": expected,
    }


def _box(values: np.ndarray, side: int) -> np.ndarray:
    return cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT)
