"""Pixel sizes as files state them, in um: OME, Aperio, ImageJ and the resolution of a TIFF."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import tifffile

from images.errors import ImageReadError, one_line
from images.ome import ome_pixels

PLAUSIBLE_MICRONS = (0.05, 20.0)  # um per pixel; 300 dpi, a printer's setting, would be 85
TOLERANCE = 0.05  # relative difference above which two pixel sizes are not the same
COARSEST_PLAIN = 4.0  # um per pixel; coarser than a 2.5x objective, no nucleus is seen

_UNITS = {  # um: how programs write the unit, in lower case
    1e-6: "pm picometer picometre",
    1e-4: "\u00e5 angstrom \u00e5ngstr\u00f6m",
    1e-3: "nm nanometer nanometre",
    # Both signs for micro, ImageJ's way to write one, and UTF-8 that was taken for Latin-1.
    1.0: "um micron micrometer micrometre \u00b5m \u03bcm \\u00b5m \u00e2\u00b5m \u00b5 \u03bc",
    1e3: "mm millimeter millimetre",
    1e4: "cm centimeter centimetre",
    1e6: "m meter metre",
    25400.0: 'inch inche in "',
}
MICRONS_PER_UNIT = {
    name: size for size, names in _UNITS.items() for name in names.casefold().split()
}


def microns_per_unit(unit: str) -> float | None:
    """Return a unit of length in um, None for a name that is none (`pixel`, `reference frame`)."""
    name = unit.strip().casefold()
    plural = name[:-1] if len(name) > 3 and name.endswith("s") else name
    return MICRONS_PER_UNIT.get(name, MICRONS_PER_UNIT.get(plural))


def number(text: str | float | None) -> float | None:
    """Return a number that may have a decimal comma, as programs write it on such systems."""
    try:
        return float(str(text).strip().replace(",", "."))
    except ValueError:
        return None


def plausible_microns(x: float | str | None, y: float | str | None = None) -> float | None:
    """Mean of two sizes in um that agree to 5 % and that a microscope can have, else None."""
    sizes = [number(x), number(x if y is None else y)]
    if None in sizes:
        return None
    mean = sum(sizes) / 2
    alike = abs(sizes[0] - sizes[1]) < 0.05 * mean
    return mean if alike and PLAUSIBLE_MICRONS[0] <= mean <= PLAUSIBLE_MICRONS[1] else None


@dataclass(frozen=True)
class StatedSize:
    """What a user says of the pixel size of files, at their full resolution.

    Attributes:
        microns: um per pixel; None = nothing is said.
        for_all: whether it counts against what a file says of itself.
    """

    microns: float | None = None
    for_all: bool = False

    def or_of_file(self, microns: float | None) -> tuple[float | None, tuple[str, ...]]:
        """Choose between this size and that of a file.

        Args:
            microns: um per pixel that the file states, None where it does not.

        Returns:
            (um per pixel or None, notes): a note of one line where the two differ.
        """
        if self.microns is None or microns is None:
            return self.microns or microns, ()
        if abs(self.microns / microns - 1) <= TOLERANCE:
            return (self.microns if self.for_all else microns), ()
        both = f"the file states {microns:.4g} um per pixel, --microns-per-pixel {self.microns:.4g}"
        if self.for_all:
            return self.microns, (f"{both}, which is used",)
        return microns, (f"{both}; the file's is used (--microns-per-pixel-for-all: the other)",)


def refuse_coarse_size(path: Path, microns: float | None, is_slide: bool) -> None:
    """Raise ImageReadError for a size at which a plain image would show no nuclei.

    It comes from a desktop scanner or an editing program; enlarged to the size of nuclei at 40x,
    the image would become a giant.
    """
    if microns and not is_slide and microns > COARSEST_PLAIN:
        raise ImageReadError(
            one_line(
                f"{path.name}: expected at most {COARSEST_PLAIN:g} um per pixel, to see nuclei, "
                f"found {microns:.3g} um ({25400 / microns:.0f} dpi); give the true size "
                "with --microns-per-pixel and, if the file states this one, with "
                "--microns-per-pixel-for-all, too"
            )
        )


def tiff_microns(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> float | None:
    """Pixel size in um: from OME or Aperio metadata, else from the resolution tags."""
    if microns := _ome_microns(ome_pixels(tif, page)):
        return microns
    if tif.is_svs and (mpp := re.search(r"\bMPP\s*=\s*([\d.,]+)", page.description)):
        return plausible_microns(mpp[1])
    tags = page.tags
    units = [{2: "inch", 3: "cm"}.get(tags.valueof("ResolutionUnit", 1), "")] * 2
    if tif.is_imagej:
        found = tif.imagej_metadata or {}
        unit = str(found.get("unit", units[0]))
        units = [unit, str(found.get("yunit", unit))]
    scales = [microns_per_unit(unit) for unit in units]
    per_unit = [tags.valueof(name) for name in ("XResolution", "YResolution")]
    if None in scales or not all(pair and pair[0] and pair[1] for pair in per_unit):
        return None
    return plausible_microns(
        *(scale * pair[1] / pair[0] for scale, pair in zip(scales, per_unit, strict=True))
    )


def _ome_microns(pixels: ElementTree.Element) -> float | None:
    sizes = []
    for axis in "XY":
        size = number(pixels.get(f"PhysicalSize{axis}"))
        scale = microns_per_unit(pixels.get(f"PhysicalSize{axis}Unit", "um"))
        sizes.append(None if size is None or scale is None else size * scale)
    return plausible_microns(*sizes)
