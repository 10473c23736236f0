"""Which pages of a TIFF are the image, and which of their samples are red, green and blue."""

import math
import re
from dataclasses import dataclass

import numpy as np
import tifffile

from images.errors import ImageReadError
from images.ome import PRIMARY_COLOURS, colour_order, ome_pixels, order_of

REDUCED, MASK = 1, 4  # bits of NewSubfileType
ALPHA = {1: True, 2: False}  # ExtraSamples: are the colours already multiplied by it?
GREY = (0, 1)  # photometric interpretations, with white and with black at zero
RGB_LIKE = (2, 6)  # photometric interpretations RGB and YCbCr
OVERVIEWS = re.compile(r"\b(label|macro|overview|thumbnail)\b", re.IGNORECASE)
AXES = {"Z": "focal planes", "T": "time points", "C": "channels"}
MAY_BE_COLOURS = "CQI"  # axes of planes: channels, or of a meaning that nobody stated
EXPORT = "export one RGB picture (in Fiji: Image > Type > RGB Color)"
ONE_FILE = "export the set of files that it belongs to as one"


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
    # The XML of one file of a set describes the images of all; tifffile looks for them beside it.
    held = [n for n, each in enumerate(tif.series) if not tif.is_ome or _pages_in(tif, each)]
    if tif.series and not held:
        raise ImageReadError(f"an OME-TIFF whose pixels lie in other files; {ONE_FILE}")
    images = [index for index in held if not _is_beside(tif.series[index])] or held
    sizes = [_pixels(tif.series[index]) for index in images]
    index = images[int(np.argmax(sizes))]
    others = len(images) - 1
    note = f"the largest of {len(images)} images in the file; the others are left out"
    return index, note if others else None


def layout_of(level: tifffile.TiffPageSeries) -> Layout:
    """Say where the colours are.

    Raises ImageReadError for a stack, a time series, channels that are no RGB, and planes that lie
    in other files.
    """
    page = level.keyframe
    if is_three_grey_planes(level):
        return _grey_planes(level)
    samples = page.samplesperpixel
    alpha = page.extrasamples[0] if page.extrasamples else None
    colours = 3 if page.photometric in RGB_LIKE else samples - (alpha in ALPHA)
    if colours not in (1, 3) or samples < colours:
        raise ImageReadError(_not_rgb(page, {"C": samples}))
    keep = colours + (alpha in ALPHA)
    note = f"{samples - keep} of {samples} samples per pixel left out: neither colour nor alpha"
    planes = [(page, number) for number in range(samples if page.planarconfig == 2 else 1)]
    return Layout(planes, keep, ALPHA.get(alpha, False), note if samples > keep else None)


def is_three_grey_planes(level: tifffile.TiffPageSeries) -> bool:
    """Tell whether colours lie in three grey planes; raise ImageReadError for any other stack."""
    page, extent = level.keyframe, zip(level.axes, level.shape, strict=True)
    stacked = {axis: n for axis, n in extent if axis not in "YXS" and n > 1}
    may_be_colours = page.photometric in GREY and page.samplesperpixel == 1
    may_be_colours &= list(stacked.values()) == [3] and set(stacked) <= set(MAY_BE_COLOURS)
    if stacked and not may_be_colours:
        raise ImageReadError(_not_rgb(page, stacked))
    return bool(stacked)


def _grey_planes(level: tifffile.TiffPageSeries) -> Layout:
    """Return red, green and blue of three grey planes, in their order where none is stated."""
    tif, page, pages = level.parent, level.keyframe, list(level)
    if missing := len(pages) - len(_pages_in(tif, level)):
        found = f"an OME-TIFF that lacks {missing} of the image's {len(pages)} planes"
        raise ImageReadError(f"{found}; {ONE_FILE}")
    # ImageJ may write one page alone, whose planes follow one another.
    planes = [(each, 0) for each in pages] if len(pages) == 3 else [(page, n) for n in range(3)]
    order = _stated_order(tif, page)
    what = "channels" if "C" in level.axes else "pages"
    note = None if order else f"three grey {what}: taken as red, green and blue"
    return Layout([planes[number] for number in order or range(3)], 3, note=note)


def _stated_order(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> list[int] | None:
    """Return which channels are red, green and blue, None where the file does not say it."""
    if not tif.is_imagej:
        return colour_order(ome_pixels(tif, page))
    shown = tif.imagej_metadata or {}
    tables = shown.get("LUTs", [])
    if not len(tables):  # red, green and blue are the colours that ImageJ gives to a composite
        return [0, 1, 2] if shown.get("mode") == "composite" else None
    brightest = (np.asarray(table)[:, -1].tobytes() for table in tables)  # red, green and blue
    return order_of([PRIMARY_COLOURS.get(int.from_bytes(each, "big")) for each in brightest])


def _pages_in(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> list:
    """Return the pages of a series that lie in this very file."""
    return [page for page in series if page is not None and page.parent is tif]


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
