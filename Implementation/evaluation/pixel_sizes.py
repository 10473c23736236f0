"""How well the pixel size is told from tissue: the work behind `Evaluate.py --estimate-sizes`.

Images of known size are brought to the pixels of several objectives, and their size is estimated
from as many patches as a run takes at most; of small images it takes fewer. A doubt of the right
size would be a false alarm, one of a wrong size is right.
"""

from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from evaluation.scores import chosen_images
from images.finding import different_ends
from labels.pairing import Pair
from labels.reading import read_image
from labels.scale import pixel_size
from networks.network import Network, unet_microns
from networks.pixel_size import PixelSizeNetwork
from nuclei.pixel_size import MOST_PATCHES, Estimate, estimate, is_doubted
from nuclei.separation import Separation
from tiles.raster import InMemory

SIZES = (0.125, 0.25, 0.5, 1.0, 2.0)  # um per pixel to which images are brought
WRONG = (0.25, 0.5, 2.0, 4.0)  # times the right size
RIGHT = (1.5, 2.0)  # factors within which an estimate counts as right
IMAGES_PER_FOLDER = 20  # at most, evenly chosen
SHOWN = {
    "told": "told",
    **{f"within {factor:g}": f"within {factor:g}" for factor in RIGHT},
    "false alarm": "false alarm",
    "alarm x2": "alarm x2",
    "alarm x4": "alarm x4",
}


def estimate_sizes(
    folders,
    names,
    microns: float | None,
    sizes: PixelSizeNetwork,
    unet: Network,
    separation: Separation | None = None,
) -> list[dict]:
    """Estimate the pixel size of images at several sizes.

    Args:
        folders: of images; masks among them are left out.
        names: only images whose names begin with one of these; none = all.
        microns: um per pixel of all images; None = what each file says, else the U-net's.
        sizes: the network that tells pixel sizes.
        unet: the nucleus network.
        separation: how its nuclei are told apart; None = as usual.

    Returns:
        A row for each image and size with what is told of it.

    Raises:
        OSError, ValueError: no such images.
    """
    rows = []
    for folder in folders:
        for path in tqdm(_evenly(chosen_images([folder], names)), desc=folder.name, leave=False):
            image, stated = read_image(Pair(path, ()))
            size, remark = pixel_size(microns, stated)
            size = size or unet_microns(unet)
            if remark:
                tqdm.write(f"{path.name}: {remark}")
            for right in SIZES:
                shown = InMemory(resized(image, size / right))
                found = estimate(shown, sizes, unet, MOST_PATCHES, separation)
                row = {"folder": str(folder), "image": path.name, "microns_per_pixel": right}
                rows.append(row | _figures(found, right))
    return rows


def resized(image: np.ndarray, ratio: float) -> np.ndarray:
    """Return an image at `ratio` times its size: by area means, or cubic where it is enlarged."""
    how = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
    return image if ratio == 1 else cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=how)


def print_sizes(rows: list[dict]):
    """Print the shares for each folder and for each size, and for all."""
    folders = different_ends([Path(name) for name in _values(rows, "folder")], 2)
    groups = [(end, [r for r in rows if r["folder"] == str(f)]) for f, end in folders.items()]
    sizes = _values(rows, "microns_per_pixel")
    groups += [(f"{s:g} um", [r for r in rows if r["microns_per_pixel"] == s]) for s in sizes]
    groups.append(("all", rows))
    width = max(len(name) for name, _ in groups)
    print(f"\n{'':{width}}{'n':>6}" + "".join(f"{title:>13}" for title in SHOWN.values()))
    for name, group in groups:
        cells = "".join(f"{_share(group, figure):>13}" for figure in SHOWN)
        print(f"{name:{width}}{len(group):>6}{cells}")


def _evenly(paths: list[Path]) -> list[Path]:
    chosen = np.linspace(0, len(paths) - 1, min(len(paths), IMAGES_PER_FOLDER)).astype(int)
    return [paths[index] for index in chosen]


def _figures(found: Estimate, right: float) -> dict:
    """Return what is told, and whether right and wrong sizes are doubted."""
    told = found.microns is not None
    factor = found.microns / right if told else 1.0
    figures = {"estimate": found.microns, "told": told}
    for near in RIGHT:
        figures[f"within {near:g}"] = 1 / near <= factor <= near if told else None
    figures["false alarm"] = is_doubted(factor, found.agreed)
    for wrong in WRONG:
        figures[f"alarm x{wrong:g}"] = is_doubted(factor / wrong, found.agreed)
    return figures


def _values(rows: list[dict], name: str) -> list:
    return list(dict.fromkeys(row[name] for row in rows))


def _share(rows: list[dict], figure: str) -> str:
    """Return a share in per cent; an alarm x2 is one at twice or half the right size."""
    names = [figure]
    if figure.startswith("alarm"):
        names += [f"alarm x{1 / float(figure.split('x')[1]):g}"]
    values = [row[name] for row in rows for name in names if row[name] is not None]
    return f"{np.mean(values):.1%}" if values else "-"
