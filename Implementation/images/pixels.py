"""Pixels of any number type to upright 8-bit RGB, and their size as the file states it."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import tifffile

from images.errors import ImageReadError

BAND_PIXELS = 2**22  # converted in one go: floats of a whole image would take five times its memory


PLAUSIBLE_MICRONS = (0.05, 20.0)  # um per pixel; 300 dpi, a printer's setting, would be 85
MICRONS_PER_UNIT = {"um": 1, "micron": 1, "microns": 1, "\u00b5m": 1, "\u03bcm": 1, "\\u00b5m": 1}
MICRONS_PER_UNIT |= {"nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25400, "in": 25400}


def white_level(pixels: np.ndarray) -> float:
    """White by number type and largest value: 12-bit cameras write 16-bit files."""
    if pixels.dtype == np.uint8:
        return 255.0
    largest = float(pixels[np.isfinite(pixels)].max(initial=0))
    ladder = (1, 255, 4095, 65535) if pixels.dtype.kind in "fb" else (255, 4095, 65535)
    return float(next((white for white in ladder if largest <= white), largest))


def to_rgb(pixels: np.ndarray, white: float | None = None) -> np.ndarray:
    """Grey, grey + alpha, RGB or RGBA of any number type -> uint8 RGB over white, like glass.

    `pixels` is (height, width) or (height, width, samples); `white` is the value that becomes 255.
    """
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    samples = pixels.shape[-1]
    if samples > 4:
        raise ImageReadError(f"the image has {samples} channels, not RGB; export it as RGB")
    colour = pixels[..., : 3 if samples > 2 else 1]
    if colour.dtype == np.uint8 and samples in (1, 3):
        return np.repeat(colour, 3, -1) if samples == 1 else np.ascontiguousarray(colour)
    white = white or white_level(colour)
    rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
    rows = max(1, BAND_PIXELS // max(1, pixels.shape[1]))
    for top in range(0, len(pixels), rows):
        rgb[top : top + rows] = _band_to_rgb(pixels[top : top + rows], white)
    return rgb


def _band_to_rgb(pixels: np.ndarray, white: float) -> np.ndarray:
    samples = pixels.shape[-1]
    colour = pixels[..., : 3 if samples > 2 else 1]
    colour = np.nan_to_num(colour.astype(np.float32), posinf=0) * (255 / white)
    if samples in (2, 4):
        opaque = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
        alpha = pixels[..., -1:].astype(np.float32) / opaque
        colour = colour * alpha + 255 * (1 - alpha)
    return np.rint(np.clip(colour, 0, 255)).astype(np.uint8)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the EXIF or TIFF orientation 1..8."""
    pixels = pixels.swapaxes(0, 1) if orientation >= 5 else pixels
    pixels = pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def plausible_microns(x: float | str | None, y: float | str | None = None) -> float | None:
    """Mean of two sizes in um that agree to 5 % and that a microscope can have, else None."""
    try:
        sizes = [float(x), float(x if y is None else y)]
    except (TypeError, ValueError):
        return None
    mean = sum(sizes) / 2
    alike = abs(sizes[0] - sizes[1]) < 0.05 * mean
    return mean if alike and PLAUSIBLE_MICRONS[0] <= mean <= PLAUSIBLE_MICRONS[1] else None


def tiff_microns(
    tif: tifffile.TiffFile, page: tifffile.TiffPage, series_index: int = 0
) -> float | None:
    """Pixel size in um: from OME or Aperio metadata, else from the resolution tags."""
    if tif.is_ome and (microns := _ome_microns(tif.ome_metadata, series_index)):
        return microns
    if tif.is_svs and (mpp := re.search(r"\bMPP ?= ?([\d.]+)", page.description)):
        return plausible_microns(mpp[1])
    tags = page.tags
    unit = {2: "inch", 3: "cm"}.get(tags.valueof("ResolutionUnit", 1))
    if tif.is_imagej:
        unit = str((tif.imagej_metadata or {}).get("unit", unit)).lower()
    per_unit = [tags.valueof(name) for name in ("XResolution", "YResolution")]
    if unit not in MICRONS_PER_UNIT or not all(pair and pair[0] and pair[1] for pair in per_unit):
        return None
    return plausible_microns(*(MICRONS_PER_UNIT[unit] * pair[1] / pair[0] for pair in per_unit))


def _ome_microns(xml: str, series_index: int) -> float | None:
    try:
        images = [e for e in ElementTree.fromstring(xml).iter() if e.tag.endswith("}Pixels")]
        pixels = images[series_index].attrib
        units = [pixels.get(f"PhysicalSize{axis}Unit", "um").lower() for axis in "XY"]
        sizes = [pixels.get(f"PhysicalSize{axis}", "nan") for axis in "XY"]
        return plausible_microns(
            *(float(size) * MICRONS_PER_UNIT[unit] for size, unit in zip(sizes, units, strict=True))
        )
    except (ElementTree.ParseError, IndexError, KeyError, ValueError):
        return None
