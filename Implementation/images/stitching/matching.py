"""Read overlapping microscope fields; find which overlap, where they lie, how bright they are."""

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from images.opening import ImageReadError, open_image
from images.stitching import registration as fs
from images.stitching.dirt import LEAST_FIELDS, without_dirt
from program.terminal import BAR

LARGEST_FIELD = 100_000_000  # pixels; more is a slide
# Dust on the camera lies at the same place in every field. Where two show little else, as glass
# beside the specimen, it alone would lay them upon each other. A shift this small is no stage's
# step, and a field that was taken twice is still placed by its neighbours, if there are some.
SAME_PLACE = 16.0  # pixels, shrunken or not: as wide as dust, which also fits itself a little aside


@dataclass(frozen=True)
class Field:
    """A field in memory: full-size grey to measure shifts; colours are read again for blending."""

    path: Path
    kind: str
    microns_per_pixel: float | None
    grey: np.ndarray  # uint8 (height, width)


def read_fields(paths: list[Path], grid) -> tuple[dict[int, Field], dict[str, str]]:
    """Return the fields by their number among the files, and why the others cannot be read."""
    folder, fields, left_out = paths[0].parent, {}, {}
    if grid and len(paths) != grid[0] * grid[1]:
        raise ValueError(
            f"GRID: {grid[0]} x {grid[1]} fields expected, {len(paths)} files found in {folder}; "
            "set GRID to None if some are missing"
        )
    for number, path in enumerate(progress(paths, "reading")):
        try:
            with open_image(path) as image:
                if image.width * image.height > LARGEST_FIELD:
                    raise ImageReadError(f"{image.width} x {image.height} pixels: not a field")
                grey = cv2.cvtColor(_pixels(image), cv2.COLOR_RGB2GRAY)
                fields[number] = Field(path, image.kind, image.microns_per_pixel, grey)
        except ImageReadError as error:
            left_out[path.name] = " ".join(str(error).removeprefix(f"{path.name}: ").split())
    if len(fields) < 2:
        unreadable = "".join(f"; {name}: {reason}" for name, reason in left_out.items())
        raise ValueError(
            f"expected two readable fields, found {len(fields)} in {folder}{unreadable}"
        )
    formats = Counter(field.kind.split(",")[0] for field in fields.values())
    if len(formats) > 1:
        found = ", ".join(f"{count} {name}" for name, count in formats.most_common())
        raise ValueError(
            f"different formats in {folder}: {found}; keep the fields of one series only"
        )
    return fields, left_out


def common_microns(fields: list[Field]) -> float | None:
    """Return the um per pixel that the files state, or None; ValueError where they differ."""
    stated = sorted((f.microns_per_pixel, f.path.name) for f in fields if f.microns_per_pixel)
    if stated and stated[-1][0] > 1.01 * stated[0][0]:
        found = ", ".join(f"{name} {microns:.4g} um" for microns, name in (stated[0], stated[-1]))
        raise ValueError(
            f"different pixel sizes: {found}; take all with one objective, or set MICRONS_PER_PIXEL"
        )
    return stated[0][0] if stated else None


def find_pairs(fields: dict[int, Field], grid, limits: tuple[float, float]) -> list[fs.Pair]:
    """Find the pairs that overlap: phase correlation, then SIFT for fields not yet connected.

    limits: minimum overlap and smallest correlation. ValueError where nothing overlaps.
    """
    factor = _coarse_factor(fields)
    coarse = {number: fs.shrink(field.grey, factor) for number, field in fields.items()}
    coarse = without_dirt(coarse)
    bands = {number: fs.band_pass(grey) for number, grey in coarse.items()}
    size = fs.padded_size([band.shape for band in bands.values()])
    spectra = {number: fs.spectrum(band, size) for number, band in bands.items()}
    tests = [each for each in combinations(sorted(fields), 2) if fs.may_overlap(*each, grid)]
    pairs = []
    for a, b in progress(tests, "matching"):
        surface = fs.phase_correlation(spectra[a], spectra[b], size)
        least = limits[0] * min(bands[a].size, bands[b].size)
        shifts = fs.candidate_shifts(surface, bands[a].shape, bands[b].shape, least)
        shifts = [shift for shift in shifts if not _may_be_dust(fields, shift)]
        judged = [(fs.correlation(bands[a], bands[b], shift), shift) for shift in shifts]
        # Shrinking costs some correlation; the full size decides.
        if judged and max(judged)[0] >= limits[1] / 2:
            pairs += _verified(fields, a, b, np.multiply(max(judged)[1], factor), factor, limits)
    points = {}
    for a, b in progress(tests, "matching by SIFT"):
        if b not in fs.groups(fields, pairs)[a]:
            points |= {each: fs.sift_points(coarse[each]) for each in {a, b} - set(points)}
            shift = fs.sift_shift(points[a], points[b])
            if shift is not None:
                pairs += _verified(fields, a, b, np.multiply(shift, factor), 2 * factor, limits)
    if not pairs:
        raise ValueError(
            f"nothing overlaps: no two of {len(fields)} fields share {limits[0]:.0%} with a "
            f"correlation of {limits[1]}; expected neighbours that share about half"
        )
    return pairs


def _verified(fields, a: int, b: int, shift, reach: float, limits) -> list[fs.Pair]:
    """Return the pair with its shift refined at full size; an empty list if it does not match."""
    first, second = fields[a].grey, fields[b].grey
    part = fs.overlap_part(first.shape, second.shape, shift)
    if part < 0.9 * limits[0]:  # the shift is not exact yet: a little less may be enough
        return []
    better, correlation = fs.refine(first, second, shift, reach + 2)
    strong = correlation >= limits[1] and not _may_be_dust(fields, better)
    return [fs.Pair(a, b, better, correlation, correlation * part)] if strong else []


def _may_be_dust(fields, shift) -> bool:
    return len(fields) >= LEAST_FIELDS and max(map(abs, shift)) < SAME_PLACE


def place(fields: dict[int, Field], pairs: list[fs.Pair], limits) -> tuple[dict, list[fs.Pair]]:
    """Return the position (x, y) of each field of the largest group and the pairs it rests on.

    Pairs that turn out to overlap, but were not recognised before, are tried again at their places.
    """
    # A lens distorts large fields a little, so their overlaps cannot all agree exactly.
    tolerance = max(3.0, 0.005 * max(max(field.grey.shape) for field in fields.values()))
    positions, kept = fs.solve_positions(fields, pairs, tolerance)
    known = {(pair.first, pair.second) for pair in kept}
    for a, b in progress(sorted(set(combinations(sorted(positions), 2)) - known), "checking"):
        kept += _verified(fields, a, b, positions[b] - positions[a], tolerance, limits)
    return fs.solve_positions(positions, kept, tolerance)


def brightness(fields: dict[int, Field], positions, pairs: list[fs.Pair]) -> dict:
    """Return the factors (3,) of red, green and blue that make the fields equally bright."""
    factor = _coarse_factor(fields)
    images = {}
    for number in progress(positions, "brightness"):
        with open_image(fields[number].path) as image:
            images[number] = fs.shrink(_pixels(image), factor)
    coarse = {number: position / factor for number, position in positions.items()}
    return fs.solve_gains(images, coarse, pairs)


def _coarse_factor(fields: dict[int, Field]) -> int:
    return -(-max(max(field.grey.shape) for field in fields.values()) // fs.COARSE_SIDE)


def _pixels(image) -> np.ndarray:
    return image.read(0, 0, image.width, image.height)


def progress(items, text: str):
    """Show how far a loop has come, on the terminal."""
    return tqdm(items, desc=text, bar_format=BAR, leave=False)
