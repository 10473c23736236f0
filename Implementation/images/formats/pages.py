"""Which pages of a TIFF are the image, and which of their samples are red, green and blue."""

import math
import re
from dataclasses import dataclass

import numpy as np
import tifffile

from images.errors import ImageReadError

REDUCED, MASK = 1, 4  # bits of NewSubfileType
ALPHA = {1: True, 2: False}  # ExtraSamples: are the colours already multiplied by it?
RGB_LIKE = (2, 6)  # photometric interpretations RGB and YCbCr
OVERVIEWS = re.compile(r"\b(label|macro|overview|thumbnail)\b", re.IGNORECASE)
AXES = {"Z": "focal planes", "T": "time points", "C": "channels"}
MAY_BE_COLOURS = "CQI"  # axes of planes: channels, or of a meaning that nobody stated
EXPORT = "export one RGB picture (in Fiji: Image > Type > RGB Color)"


@dataclass(frozen=True)
class Layout:
    """Where the colours of an image lie.

    Attributes:
        planes: (page, number of the plane in it); of several, samples are to be joined.
        samples: how many of the samples, joined from all planes, are colours and alpha: 1 to 4.
        premultiplied: the colours are already multiplied by alpha.
        note: one line on what was assumed or left out, None for nothing.
    """

    planes: list[tuple]
    samples: int
    premultiplied: bool = False
    note: str | None = None


def tissue_series(tif: tifffile.TiffFile) -> tuple[int, str | None]:
    """Return the number of the series that is the image, and a note on further ones.

    It is the largest that is no label, overview, thumbnail, mask or reduced copy.
    """
    promised = (tif.imagej_metadata or {}).get("images", 1) if tif.is_imagej else 1
    if promised > 1 and tif.series[0].kind != "imagej":
        found = f"an ImageJ file of {promised} planes, some of which are missing"
        raise ImageReadError(f"{found}; copy it again from its source")
    images = [index for index, series in enumerate(tif.series) if not _is_beside(series)]
    images = images or list(range(len(tif.series)))
    sizes = [_pixels(tif.series[index]) for index in images]
    index = images[int(np.argmax(sizes))]
    others = len(images) - 1
    note = f"the largest of {len(images)} images in the file; the others are left out"
    return index, note if others else None


def layout_of(level: tifffile.TiffPageSeries) -> Layout:
    """Say where the colours are; refuse a stack, a time series and channels that are no RGB."""
    page = level.keyframe
    extent = zip(level.axes, level.shape, strict=True)
    stacked = {axis: n for axis, n in extent if axis not in "YXS" and n > 1}
    samples = page.samplesperpixel
    if stacked:
        if list(stacked.values()) != [3] or samples > 1 or not set(stacked) <= set(MAY_BE_COLOURS):
            raise ImageReadError(_not_rgb(page, stacked))
        note = None if "C" in stacked else "three grey pages: taken as red, green and blue"
        # ImageJ may write one page alone, whose planes follow one another.
        pages = list(level.pages)
        planes = [(each, 0) for each in pages] if len(pages) == 3 else [(page, n) for n in range(3)]
        return Layout(planes, 3, note=note)
    alpha = page.extrasamples[0] if page.extrasamples else None
    colours = 3 if page.photometric in RGB_LIKE else samples - (alpha in ALPHA)
    if colours not in (1, 3) or samples < colours:
        raise ImageReadError(_not_rgb(page, {"C": samples}))
    keep = colours + (alpha in ALPHA)
    note = f"{samples - keep} of {samples} samples per pixel left out: neither colour nor alpha"
    planes = [(page, number) for number in range(samples if page.planarconfig == 2 else 1)]
    return Layout(planes, keep, ALPHA.get(alpha, False), note if samples > keep else None)


def _is_beside(series: tifffile.TiffPageSeries) -> bool:
    subfile = int(series.keyframe.subfiletype)
    return bool(subfile & (REDUCED | MASK)) or bool(OVERVIEWS.search(series.name or ""))


def _pixels(series: tifffile.TiffPageSeries) -> int:
    return series.keyframe.imagewidth * series.keyframe.imagelength


def _not_rgb(page: tifffile.TiffPage, stacked: dict[str, int]) -> str:
    found = " x ".join(f"{n} {AXES.get(axis, 'pictures')}" for axis, n in stacked.items())
    total = math.prod(stacked.values())
    each = "" if total == 1 else f" of {page.imagewidth} x {page.imagelength} pixels"
    return f"a stack of {found}{each}, not one RGB picture; {EXPORT}"
