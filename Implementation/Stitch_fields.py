"""Stitch overlapping microscope fields into one image, for those without a slide scanner.

Take pictures field by field with one objective, without turning the camera, each overlapping the
last by about half. Copy those of one specimen (and nothing else) into INPUT_FOLDER and run

    python Implementation/Stitch_fields.py

The files may come in any order. Fields that fit nowhere are named and left out. The folder of
OUTPUT_FILE can be the INPUT_FOLDER of Final_implementation.py. Constants are also flags: --help.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

if __package__:  # python -m: the rooms are not on the path then
    sys.exit("Start this script by its path: python Implementation/Stitch_fields.py")

from images.finding import find_images
from images.opening import open_image
from images.stitching.matching import (
    Field,
    brightness,
    common_microns,
    find_pairs,
    place,
    progress,
    read_fields,
)
from images.stitching.registration import Pair, blend, feather
from outputs.tiff import write_pyramid
from program.command_line import run
from program.startup import print_any_name
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
STRIP = 1024  # rows of the result that are blended at a time


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
    print_any_name()
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
            for top in progress(range(0, height, STRIP), "blending"):
                bottom = min(height, top + STRIP)
                parts = _parts(fields, places, gains, top, bottom)
                raster.write(0, top, blend(parts, bottom - top, width))
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
            weights = feather(height, width)[first:last]
            yield x, y + first - top, pixels, gains[number], weights


def print_table(fields: dict[int, Field], positions, gains, pairs: list[Pair]):
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


if __name__ == "__main__":
    sys.exit(run(main))
