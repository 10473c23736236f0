"""Does a super-resolved image agree with its input? Downscaled again, compared in colour.

Both measures of trust, the colour difference here and the expected error of confidence.py, are
collected window by window in a `Tally`, which gives mean, percentile and a small map of an image of
any size.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

LONGEST_MAP = 1024  # longest side of a map in cells
BIN = 0.01  # width of a bin of the histogram, in units of the value
BINS = 10_001  # the last one counts everything above 100


def colour_difference(low: np.ndarray, output: np.ndarray) -> np.ndarray:
    """CIEDE2000 between an input and its super-resolved image, downscaled again by block means.

    A difference below 1 is invisible, one above about 2 is seen by an attentive eye (Sharma et al.
    2005, doi 10.1002/col.20070, as scikit-image implements it).

    Args:
        low: uint8 RGB (height, width, 3).
        output: uint8 RGB (scale * height, scale * width, 3), scale a whole number.

    Returns:
        float32 (height, width).

    Raises:
        ValueError: the sizes do not fit.
    """
    down = block_means(output, low.shape[:2])
    difference = deltaE_ciede2000(rgb2lab(low.astype(np.float32) / 255), rgb2lab(down / 255))
    return difference.astype(np.float32)


def block_means(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the means of equal blocks, float32, `size` high and wide, of a grey or RGB image.

    Raises:
        ValueError: `image` is not larger by one whole number in both directions.
    """
    height, width = size
    scale = max(1, image.shape[0] // height)
    if image.shape[:2] != (scale * height, scale * width):
        raise ValueError(
            f"expected an image a whole number of times {width}x{height} pixels, found "
            f"{image.shape[1]}x{image.shape[0]}"
        )
    # OpenCV's area interpolation by a whole factor is this mean, nine times faster than NumPy's.
    return cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)


@dataclass
class Tally:
    """Mean, percentiles and a map of one value per pixel of a large image, added by rectangle.

    Args:
        width, height: size of the image in pixels.

    Attributes:
        step: pixels per side of a cell of the map.
        histogram: counts of the values in steps of `BIN`.
    """

    width: int
    height: int
    step: int = field(init=False)
    histogram: np.ndarray = field(init=False)

    def __post_init__(self):
        self.step = -(-max(self.width, self.height) // LONGEST_MAP)
        cells = -(-self.height // self.step), -(-self.width // self.step)
        self._sums, self._counts = np.zeros(cells), np.zeros(cells, np.int64)
        self.histogram = np.zeros(BINS, np.int64)

    def add(self, x: int, y: int, values: np.ndarray):
        """Add the values of the rectangle whose corner is (x, y).

        values: (height, width), not negative; nan is left out.
        """
        known = ~np.isnan(values)
        rows, columns = (
            np.arange(start, start + size) // self.step
            for start, size in zip((y, x), values.shape, strict=True)
        )
        cells = (rows[:, None] * self._sums.shape[1] + columns)[known]
        values = values[known].astype(np.float64)
        bins = np.minimum((values / BIN).astype(np.int64), BINS - 1)
        self.histogram += np.bincount(bins, minlength=BINS)
        size = self._sums.size
        self._sums += np.bincount(cells, values, size).reshape(self._sums.shape)
        self._counts += np.bincount(cells, minlength=size).reshape(self._counts.shape)

    @property
    def mean(self) -> float | None:
        """Mean of all values, None if there are none."""
        count = int(self._counts.sum())
        return float(self._sums.sum() / count) if count else None

    def percentile(self, percent: float) -> float | None:
        """Return a percentile, rounded up to the edge of its bin; None if there are no values."""
        total = np.cumsum(self.histogram)
        if not total[-1]:
            return None
        return (int(np.searchsorted(total, percent / 100 * total[-1])) + 1) * BIN

    def map(self) -> np.ndarray:
        """Return the mean of each cell, float (rows, columns); nan where nothing was added."""
        means = np.full(self._sums.shape, np.nan)
        return np.divide(self._sums, self._counts, out=means, where=self._counts > 0)
