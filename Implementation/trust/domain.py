"""Is this an image of the kind that the networks were trained on? If not, why not, in a few words.

Simple measures of the input at 0.5 to 1 um per pixel, each with a limit far from what H&E of eight
sources shows. An image is never refused, only flagged.

Colour is measured in optical density, where a stain has the same hue however strong it is:
hematoxylin and eosin absorb most in green, DAB and melanin in blue, green and yellow objects
elsewhere. The exact blue and pink of a laboratory therefore do not matter. Focus and noise are told
by how the power of the brightness is spread over spatial frequencies.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

PATCH = 64  # side of the squares whose spectrum is taken, in pixels
MOST_PATCHES = 64  # squares, spread over the tissue
SMALLEST_PATCH = 32  # smaller images have too few frequencies to tell focus and noise
# Below both, an image is blank: share of what counts, and fields of the tissue mask (of 8 um: a
# quarter of a millimetre square, which a small biopsy on a large slide exceeds).
LEAST_TISSUE = 0.001
LEAST_FIELDS = 1000
HE_HUES = (40.0, 190.0)  # degrees, hue in optical density, of H&E: blue 60, violet 90, pink 140
MOST_FOREIGN = 0.40  # share of the colour outside these hues; H&E up to .16, DAB from .92
LEAST_COLOUR = 0.05  # difference of the channels' densities / mean density; H&E from .14, grey 0
MOST_CLIPPED = 0.30  # share of tissue pixels with a saturated channel; H&E up to .14
# At 0.5 um per pixel H&E shows about the same, and sigma 1.5 um as much blur as 3 um does at 1 um.
LEAST_FINE = -2.0  # log10(fine / medium detail) without noise; H&E from -1.7, sigma 3 um below -2.2
LEAST_DETAIL = -4.0  # log10(fine / coarse detail) without noise; H&E from -3.4
MOST_FLAT = -0.8  # log10(finest / coarse detail); H&E up to -1.24, white noise 0
PIXEL_SIZES = (0.5, 2.0)  # times the nominal pixel size
SIGNS_MICRONS = 1.0  # um per pixel at which an image is measured that is not enlarged
BANDS = {"medium": (4, 8), "fine": (8, 16), "finest": (16, 32), "coarse": (1, 8), "noise": (28, 32)}


@dataclass(frozen=True)
class Signs:
    """What `measure_signs` finds in an image; nan if it could not be measured.

    Attributes:
        blank: whether there is next to no tissue.
        foreign: share of the colour, by optical density, outside the hues of H&E.
        colour: mean difference between the channels' densities / mean density.
        clipped: share of tissue pixels with a channel at either end of its range.
        fine: log10 of fine over medium detail, noise subtracted.
        detail: log10 of fine over coarse detail, noise subtracted; blur so strong that it also
            removes the medium detail shows only here.
        flat: log10 of the finest over coarse detail.
    """

    blank: bool
    foreign: float
    colour: float
    clipped: float
    fine: float
    detail: float
    flat: float


def measure_signs(read, width: int, height: int, tissue: np.ndarray, counting: float) -> Signs:
    """Measure an image on at most MOST_PATCHES squares of PATCH pixels of its tissue.

    Args:
        read: function (x, y, width, height) -> uint8 RGB at 0.5 to 1 um per pixel.
        width, height: size of the image in these pixels.
        tissue: bool (rows, columns), the tissue mask of the whole image at any size.
        counting: share of the image that counts; there is no tissue outside it.
    """
    if tissue.mean() <= LEAST_TISSUE * counting and tissue.sum() < LEAST_FIELDS:
        return Signs(True, *[math.nan] * 6)
    side_x, side_y = min(PATCH, width), min(PATCH, height)
    colours, clipped, spectra = [], [], []
    for x, y in patch_corners(width, height, tissue):
        patch = read(x, y, side_x, side_y)
        rows = np.arange(y, y + side_y) * tissue.shape[0] // height
        columns = np.arange(x, x + side_x) * tissue.shape[1] // width
        mask = tissue[np.ix_(rows, columns)]
        ends = (patch >= 254) | (patch <= 1)
        clipped.append(ends.any(axis=-1)[mask])
        colours.append(cv2.blur(patch, (2, 2))[mask])  # single pixels carry the camera's noise
        spectra.append(spectrum(patch))
    foreign, colour = colour_signs(np.concatenate(colours))
    detail = detail_signs(np.mean(spectra, axis=0))
    return Signs(False, foreign, colour, float(np.concatenate(clipped).mean()), *detail)


def patch_corners(width: int, height: int, tissue: np.ndarray) -> list[tuple[int, int]]:
    """Return the corners (x, y) of squares spread over the tissue and mostly filled by it."""
    rows, columns = tissue.shape
    side = max(1, PATCH * columns // width), max(1, PATCH * rows // height)
    filled = cv2.blur(tissue.astype(np.float32), side, borderType=cv2.BORDER_REPLICATE)
    inside = np.argwhere((filled > 0.5) & tissue)
    if not len(inside):
        inside = np.argwhere(tissue)
    chosen = inside[np.linspace(0, len(inside) - 1, min(len(inside), MOST_PATCHES)).astype(int)]
    corners = {}
    for row, column in chosen:
        x = (2 * column + 1) * width // (2 * columns) - PATCH // 2
        y = (2 * row + 1) * height // (2 * rows) - PATCH // 2
        corner = max(0, min(int(x), width - PATCH)), max(0, min(int(y), height - PATCH))
        corners[corner] = None  # a dict keeps the order and drops duplicates
    return list(corners)


def colour_signs(pixels: np.ndarray) -> tuple[float, float]:
    """Return (foreign, colour), see `Signs`, of uint8 RGB pixels (n, 3)."""
    density = -np.log10((pixels.astype(np.float64) + 1) / 256)
    chroma = np.ptp(density, axis=1)
    red, green, blue = density.T
    hue = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360
    outside = (hue < HE_HUES[0]) | (hue > HE_HUES[1])
    total = max(float(chroma.sum()), 1e-9)
    return float(chroma[outside].sum()) / total, total / max(float(density.mean(1).sum()), 1e-9)


def spectrum(patch: np.ndarray) -> np.ndarray:
    """Return the mean power of the brightness at 0/64, 1/64, ... 31/64 cycles per pixel.

    patch: uint8 RGB (height, width, 3). The mean is subtracted and the edges fade out (Hann).
    """
    grey = patch.mean(axis=-1)
    height, width = grey.shape
    fade = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[None, 1:-1]
    power = np.abs(np.fft.fft2((grey - grey.mean()) * fade)) ** 2 / (fade**2).sum()
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    ring = np.minimum((frequency * 64).astype(int), 31).ravel()
    return np.bincount(ring, power.ravel(), 32) / np.maximum(1, np.bincount(ring, minlength=32))


def detail_signs(power: np.ndarray) -> tuple[float, float, float]:
    """Return (fine, detail, flat), see `Signs`, of the mean spectrum of an image's patches."""
    band = {name: float(power[slice(*limits)].mean()) for name, limits in BANDS.items()}
    noise = 0.9 * band["noise"]  # this band is mostly noise, which is the same in all bands
    fine, medium, coarse = (max(band[n] - noise, 1e-3) for n in ("fine", "medium", "coarse"))
    flat = math.log10((band["finest"] + 1e-6) / (band["coarse"] + 1e-6))
    return math.log10(fine / medium), math.log10(fine / coarse), flat


def warnings_of(signs: Signs, relative_size: float | None, side: int) -> list[str]:
    """State what makes an image unlike the training data; an empty list if nothing does.

    Args:
        signs: what was measured.
        relative_size: the image's pixel size / the nominal one, None if unknown.
        side: shorter side of the image in pixels; below SMALLEST_PATCH detail is not assessed.
    """
    if signs.blank:
        return ["blank: no tissue"]
    found = []
    if relative_size and not PIXEL_SIZES[0] * 0.95 < relative_size < PIXEL_SIZES[1] * 1.05:
        found.append(f"pixel size: {relative_size:.2g} times that of the training images")
    if signs.colour < LEAST_COLOUR:
        found.append("not H&E: no colour")
    elif signs.foreign > MOST_FOREIGN:
        found.append(f"not H&E: {signs.foreign:.0%} of the colour is neither blue, violet nor pink")
    if signs.clipped > MOST_CLIPPED:
        found.append(f"saturated: {signs.clipped:.0%} of the tissue is over- or underexposed")
    if side >= SMALLEST_PATCH:
        if signs.flat > MOST_FLAT:
            found.append("noise: as much fine detail as coarse")
        elif signs.fine < LEAST_FINE or signs.detail < LEAST_DETAIL:
            found.append("out of focus or enlarged: no fine detail")
    return found
