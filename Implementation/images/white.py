"""Which stored value of an image is white and which is black, where 8 bits do not say it."""

from dataclasses import dataclass, replace

import numpy as np
import tifffile

LADDER = (255, 1023, 4095, 16383, 65535)  # white of cameras and of programs, 8 to 16 bits
BRIGHT, DARK = 99.9, 0.1  # per cent of the values; single hot pixels and overshoots lie outside
OVERSHOOT = 1.1  # times white; bicubic resampling goes as far beyond it
FAINTEST = 1 / 16  # of white; a brightest value below that belongs to another white
ALPHA_IGNORED = "alpha is zero wherever it was looked at: ignored"
MOST_VALUES = 2**22  # looked at; a percentile of more is the same


@dataclass(frozen=True)
class ValueRange:
    """How stored values become 0 to 255.

    Attributes:
        black, white: the values that become 0 and 255.
        opaque: the value of alpha that hides what is behind; None = alpha means nothing.
        note: one line that says what was assumed; None where the file or its type says it.
    """

    black: float
    white: float
    opaque: float | None
    note: str | None = None


def value_range(
    colour: np.ndarray,
    alpha: np.ndarray | None = None,
    stated: tuple[float, float] | None = None,
) -> ValueRange:
    """Find black and white of an image: as stated, else by its values.

    colour, alpha: values of the pixels, any shape and number type. stated: black and white by the
    file's metadata; they do not count where the values go far beyond them.
    """
    if alpha is not None and alpha.size and hides_a_picture(colour, alpha):
        values = value_range(colour, None, stated)
        note = ALPHA_IGNORED if values.note is None else f"{ALPHA_IGNORED}; {values.note}"
        return replace(values, opaque=None, note=note)
    dtype = colour.dtype
    full = 1.0 if dtype.kind in "fb" else float(np.iinfo(dtype).max)
    if dtype.kind == "b" or (dtype == np.uint8 and not stated):
        return ValueRange(0, full, full)
    low, high = _extremes(colour)
    if stated and high <= OVERSHOOT * stated[1]:
        black, white, note = *stated, None
    elif dtype == np.uint8:
        black, white, note = 0, full, None
    else:
        black, white, note = _assumed(dtype, full, low, high)
    opaque = full
    if alpha is not None and alpha.size:
        brightest = _extremes(alpha)[1]
        if brightest > OVERSHOOT or dtype.kind != "f":  # else 1, as full
            opaque = white if brightest <= OVERSHOOT * white else full
    return ValueRange(black, white, opaque, note)


def hides_a_picture(colour: np.ndarray, alpha: np.ndarray) -> bool:
    """Whether alpha is zero everywhere while the colours are not all the same.

    Programs write such files that never fill the fourth sample; nobody saves an invisible picture.

    colour: (..., samples); alpha: any shape.
    """
    if np.any(alpha):
        return False
    pixels = colour.reshape(-1, colour.shape[-1])
    return bool(np.any(pixels != pixels[:1]))


def stated_range(
    tif: tifffile.TiffFile, page: tifffile.TiffPage, significant_bits: int | None
) -> tuple[float, float] | None:
    """Black and white by the metadata of a TIFF; None where they say no more than the type does.

    significant_bits: OME's, of the image that the page belongs to.
    """
    stored = 8 * page.dtype.itemsize
    for bits in (page.bitspersample, significant_bits):
        # Writers put the size of the type there when they do not know the camera's bits.
        if page.dtype.kind in "iu" and bits and bits < stored:
            return 0.0, 2.0**bits - 1
    for names in (("MinSampleValue", "MaxSampleValue"), ("SMinSampleValue", "SMaxSampleValue")):
        if found := _meant(page, *(_single(page.tags.valueof(name)) for name in names)):
            return found
    if tif.is_imagej:  # the range of the display, which may be stretched to the image's contrast
        shown = tif.imagej_metadata or {}
        return _meant(page, *(_single(shown.get(name)) for name in ("min", "max")))
    return None


def _meant(page, least: float | None, most: float | None) -> tuple[float, float] | None:
    """Return a stated range if it is more than the smallest and largest value that occur."""
    if page.dtype.kind == "f":
        # An upper end such as 0.8312 is the brightest pixel; 1, 100 or 4095 was meant.
        if most is None or most <= 0 or most != round(most):
            return None
        return (least if least is not None and least < 0 else 0.0), most
    full = np.iinfo(page.dtype).max
    return (0.0, most) if most in LADDER and most < full and not least else None


def _single(value) -> float | None:
    """Return the one number of a tag that may hold one for each sample."""
    try:
        values = {float(each) for each in np.atleast_1d(value)}
    except (TypeError, ValueError):
        return None
    return values.pop() if len(values) == 1 else None


def _extremes(values: np.ndarray) -> tuple[float, float]:
    """Return a low and a high percentile; zero, with which rims are padded, does not count."""
    values = values.ravel()[:: max(1, values.size // MOST_VALUES)]
    values = values[np.isfinite(values) & (values != 0)]
    if not values.size:
        return 0.0, 0.0
    low = np.percentile(values, DARK, method="higher")
    return float(low), float(np.percentile(values, BRIGHT, method="lower"))


def _assumed(dtype, full: float, low: float, high: float) -> tuple[float, float, str | None]:
    """Return black and white by the values alone, and what to say about it."""
    if low < -0.1 * abs(high) and dtype.kind == "i":  # unsigned values, shifted to be signed
        return -full - 1, full, f"values from {low:.0f}: black assumed at {-full - 1:.0f}"
    if low < -0.1 * abs(high):
        white = _rung(max(high, -low), (1, *LADDER))
        said = f"values from {low:.3g} to {high:.3g}: black assumed at {-white:.4g}"
        return -white, white, f"{said}, white at {white:.4g}"
    ladder = (1, *LADDER) if dtype.kind == "f" else (*(w for w in LADDER if w < full), full)
    white = _rung(high, ladder) or full
    if white == full:
        return 0, white, None
    if white not in ladder:
        return 0, white, f"values up to {high:.4g}, no usual range: white assumed at {white:.4g}"
    if dtype.kind == "f":
        return 0, white, f"decimal values up to {high:.4g}: white assumed at {white}"
    bits = int(white).bit_length()
    note = f"{bits}-bit values in {8 * dtype.itemsize} bits: white assumed at {int(white)}"
    return 0, white, note


def _rung(high: float, ladder) -> float:
    """Return the usual white that a brightest value belongs to, or that value itself."""
    white = next((each for each in ladder if high <= OVERSHOOT * each), high)
    return white if high >= FAINTEST * white else high
