"""Stitch overlapping microscope fields into one image, for those without a slide scanner.

Take pictures field by field with one objective, without turning the camera, each overlapping the
last by about half. Copy those of one specimen (and nothing else) into INPUT_FOLDER and run

    python Implementation/Stitch_fields.py

The files may come in any order. Fields that fit nowhere are named and left out. The folder of
OUTPUT_FILE can be the INPUT_FOLDER of Final_implementation.py. Constants are also flags: --help.
"""

import sys
from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

if __package__:  # python -m: the rooms are not on the path then
    sys.exit("Start this script by its path: python Implementation/Stitch_fields.py")

from images import fields as fs
from images.finding import find_images
from images.opening import ImageReadError, open_image
from outputs.tiff import write_pyramid
from program.terminal import BAR
from tiles.raster import Raster

ROOT = Path(__file__).resolve().parents[1]

# --- Input and output ---
INPUT_FOLDER = ROOT / "data" / "fields"  # the fields of one specimen, nothing else
OUTPUT_FILE = ROOT / "data" / "stitched" / "stitched.png"  # .png or .ome.tif
MICRONS_PER_PIXEL = None  # um per pixel of the fields; None = from the files

# --- Arrangement ---
GRID = None  # (rows, columns): files in natural order, row by row from the left; None = any order
MINIMUM_OVERLAP = 0.05  # part of a field; pairs that overlap less are not found
SMALLEST_CORRELATION = 0.5  # of the overlap, 0 to 1; pairs below it are not neighbours

LARGEST_PNG = 100_000_000  # pixels; larger results become .ome.tif, which is read piece by piece
LARGEST_FIELD = 100_000_000  # pixels; more is a slide
STRIP = 1024  # rows of the result that are blended at a time


@dataclass(frozen=True)
class Field:
    """A field in memory: full-size grey to measure shifts; colours are read again for blending."""

    path: Path
    kind: str
    microns_per_pixel: float | None
    grey: np.ndarray  # uint8 (height, width)


def main(
    input_folder: Path = INPUT_FOLDER,
    output_file: Path = OUTPUT_FILE,
    microns_per_pixel: float | None = MICRONS_PER_PIXEL,
    grid: tuple[int, int] | None = GRID,
    minimum_overlap: float = MINIMUM_OVERLAP,
    smallest_correlation: float = SMALLEST_CORRELATION,
) -> int:
    """Stitch overlapping microscope fields into one image.

    Args:
        input_folder: folder of the fields of one specimen, all of one magnification.
        output_file: the image, .png or .ome.tif; a very large PNG is written as .ome.tif instead.
        microns_per_pixel: um per pixel of the fields; None = from the files.
        grid: rows and columns if the files' natural order is row by row, each from the left;
            None = any order, every pair of fields is tried.
        minimum_overlap: part of a field; pairs that overlap less are not found.
        smallest_correlation: of the overlap, 0 to 1; pairs below it are not neighbours.

    Returns:
        Exit status: 0; 1 if fields were left out, 2 if there is no image, 130 if interrupted.
    """
    try:
        _check_constants(**locals())
        paths = find_images(input_folder)
        fields, left_out = read_fields(paths, grid)
        microns = microns_per_pixel or common_microns(list(fields.values()))
        limits = minimum_overlap, smallest_correlation
        pairs = find_pairs(fields, grid, limits)
        positions, kept = place(fields, pairs, limits)
        for number in sorted(set(fields) - set(positions)):
            left_out[fields[number].path.name] = "overlaps no field of the largest group"
        gains = brightness(fields, positions, kept)
        written, size = write(fields, positions, gains, output_file, microns)
    except KeyboardInterrupt:
        print("\nInterrupted; nothing was written.", file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    print_table(fields, positions, gains, kept)
    scale = "pixel size unknown" if microns is None else f"{microns:.4g} um per pixel"
    print(f"\n{written}: {size[0]} x {size[1]} pixels, {scale}")
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    return int(bool(left_out))


def read_fields(paths: list[Path], grid) -> tuple[dict[int, Field], dict[str, str]]:
    """Return the fields by their number among the files, and why the others cannot be read."""
    folder, fields, left_out = paths[0].parent, {}, {}
    if grid and len(paths) != grid[0] * grid[1]:
        raise ValueError(
            f"GRID: {grid[0]} x {grid[1]} fields expected, {len(paths)} files found in {folder}; "
            "set GRID to None if some are missing"
        )
    for number, path in enumerate(_bar(paths, "reading")):
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
    bands = {number: fs.band_pass(grey) for number, grey in coarse.items()}
    size = fs.padded_size([band.shape for band in bands.values()])
    spectra = {number: fs.spectrum(band, size) for number, band in bands.items()}
    tests = [each for each in combinations(sorted(fields), 2) if fs.may_overlap(*each, grid)]
    pairs = []
    for a, b in _bar(tests, "matching"):
        surface = fs.phase_correlation(spectra[a], spectra[b], size)
        least = limits[0] * min(bands[a].size, bands[b].size)
        shifts = fs.candidate_shifts(surface, bands[a].shape, bands[b].shape, least)
        judged = [(fs.correlation(bands[a], bands[b], shift), shift) for shift in shifts]
        # Shrinking costs some correlation; the full size decides.
        if judged and max(judged)[0] >= limits[1] / 2:
            pairs += _verified(fields, a, b, np.multiply(max(judged)[1], factor), factor, limits)
    points = {}
    for a, b in _bar(tests, "matching by SIFT"):
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
    strong = correlation >= limits[1]
    return [fs.Pair(a, b, better, correlation, correlation * part)] if strong else []


def place(fields: dict[int, Field], pairs: list[fs.Pair], limits) -> tuple[dict, list[fs.Pair]]:
    """Return the position (x, y) of each field of the largest group and the pairs it rests on.

    Pairs that turn out to overlap, but were not recognised before, are tried again at their places.
    """
    # A lens distorts large fields a little, so their overlaps cannot all agree exactly.
    tolerance = max(3.0, 0.005 * max(max(field.grey.shape) for field in fields.values()))
    positions, kept = fs.solve_positions(fields, pairs, tolerance)
    known = {(pair.first, pair.second) for pair in kept}
    for a, b in _bar(sorted(set(combinations(sorted(positions), 2)) - known), "checking"):
        kept += _verified(fields, a, b, positions[b] - positions[a], tolerance, limits)
    return fs.solve_positions(positions, kept, tolerance)


def brightness(fields: dict[int, Field], positions, pairs: list[fs.Pair]) -> dict:
    """Return the factors (3,) of red, green and blue that make the fields equally bright."""
    factor = _coarse_factor(fields)
    images = {}
    for number in _bar(positions, "brightness"):
        with open_image(fields[number].path) as image:
            images[number] = fs.shrink(_pixels(image), factor)
    coarse = {number: position / factor for number, position in positions.items()}
    return fs.solve_gains(images, coarse, pairs)


def write(fields, positions, gains, output_file: Path, microns) -> tuple[Path, tuple[int, int]]:
    """Blend and write the image, named when complete; return its path and (width, height)."""
    # Whole pixels: half a pixel of error is invisible, resampling would blur every field.
    corner = np.min(list(positions.values()), axis=0)
    places = {number: np.rint(place - corner).astype(int) for number, place in positions.items()}
    ends = [place + fields[number].grey.shape[::-1] for number, place in places.items()]
    width, height = map(int, np.max(ends, axis=0))
    is_png = output_file.suffix.lower() == ".png"
    if is_png and width * height > LARGEST_PNG:
        output_file, is_png = output_file.with_suffix(".ome.tif"), False
    output_file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output_file.parent) as folder:
        unfinished = Path(folder) / output_file.name
        with Raster(Path(folder) / "stitched.raw", width, height, 3, np.uint8) as raster:
            for top in _bar(range(0, height, STRIP), "blending"):
                bottom = min(height, top + STRIP)
                parts = _parts(fields, places, gains, top, bottom)
                raster.write(0, top, fs.blend(parts, bottom - top, width))
            if is_png:
                dpi = {} if microns is None else {"dpi": (25400 / microns,) * 2}
                Image.fromarray(raster.read(0, 0, width, height)).save(unfinished, **dpi)
            else:
                write_pyramid(unfinished, raster, microns, jpeg_quality=None)
        unfinished.replace(output_file)
    return output_file, (width, height)


def _parts(fields, places, gains, top: int, bottom: int):
    """Yield what lies in these rows of the image, as `fields.blend` takes it."""
    for number, (x, y) in places.items():
        height, width = fields[number].grey.shape
        first, last = max(0, top - y), min(height, bottom - y)
        if first < last:
            with open_image(fields[number].path) as image:
                pixels = image.read(0, first, width, last - first)
            weights = fs.feather(height, width)[first:last]
            yield x, y + first - top, pixels, gains[number], weights


def print_table(fields: dict[int, Field], positions, gains, pairs: list[fs.Pair]):
    """Print one line per field: place in pixels, brightness, and the pairs it rests on."""
    wide = max(5, *(len(field.path.name) for field in fields.values()))
    print(f"{'field':{wide}}      x      y  brightness  neighbours  correlation")
    corner = np.min(list(positions.values()), axis=0)
    for number, field in fields.items():
        if number not in positions:
            print(f"{field.path.name:{wide}}  left out")
            continue
        x, y = positions[number] - corner
        evidence = [p.correlation for p in pairs if number in (p.first, p.second)]
        print(f"{field.path.name:{wide}}{x:7.0f}{y:7.0f}{1 / gains[number].mean():12.3f}", end="")
        print(f"{len(evidence):12d}{np.median(evidence):13.3f}")


def _check_constants(input_folder, output_file, microns_per_pixel, grid, **fractions: float):
    """Raise ValueError for the first constant that cannot work, before anything is read."""
    if not input_folder.is_dir():
        wanted = "INPUT_FOLDER (--input-folder): expected a folder of fields"
        raise ValueError(f"{wanted}, found no {input_folder}; set it to yours")
    if output_file.suffix.lower() not in (".png", ".tif", ".tiff"):
        raise ValueError(f"OUTPUT_FILE: expected .png or .ome.tif, found {output_file.name}")
    if output_file.resolve().parent == input_folder.resolve():
        raise ValueError("OUTPUT_FILE is in INPUT_FOLDER, among the fields; name another folder")
    if microns_per_pixel is not None and not 0 < microns_per_pixel < np.inf:
        raise ValueError(f"MICRONS_PER_PIXEL: expected more than 0, found {microns_per_pixel}")
    if grid is not None and min(grid) < 1:
        raise ValueError(f"GRID: expected (rows, columns) of at least 1, found {grid}")
    for name, value in fractions.items():
        if not 0 < value < 1:
            raise ValueError(f"{name.upper()}: expected a number between 0 and 1, found {value}")


def _coarse_factor(fields: dict[int, Field]) -> int:
    return -(-max(max(field.grey.shape) for field in fields.values()) // fs.COARSE_SIDE)


def _pixels(image) -> np.ndarray:
    return image.read(0, 0, image.width, image.height)


def _bar(items, text: str):
    return tqdm(items, desc=text, bar_format=BAR, leave=False)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
