"""Micrometres per pixel, where a file says them and a microscope can have them."""

import re
import xml.etree.ElementTree as ElementTree

import tifffile

PLAUSIBLE_MICRONS = (0.05, 20.0)  # um per pixel; 300 dpi, a printer's setting, would be 85
MICRONS_PER_UNIT = {"um": 1, "micron": 1, "microns": 1, "\u00b5m": 1, "\u03bcm": 1, "\\u00b5m": 1}
MICRONS_PER_UNIT |= {"nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25400, "in": 25400}


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
