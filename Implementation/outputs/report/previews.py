"""The pictures of the report: reduced, compressed, and together no larger than it may be."""

import base64
import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from textwrap import shorten

import cv2
import imagecodecs
import numpy as np
import tifffile

from outputs.figures import draw_outlines

LARGEST_PREVIEWS = 4_000_000  # bytes of HTML that the pictures of one image may take
VIEWER_MARKUP = 3_000  # bytes of HTML around them
PREVIEW_SIDE = 3072  # longest side of a preview in pixels; phones decode this
BYTES_PER_PIXEL = 0.15  # a low estimate for all layers together; previews that are too large shrink
# Quality of WebP, and how long it searches: OpenCV's 4 takes twice as long for 4 % fewer bytes.
WEBP = {"level": 90, "lossless": False, "method": 2}
WEBP_LOSSLESS = {"lossless": True, "method": 1}
THREADS = 2  # decoding, shrinking and encoding release Python's lock
TILE_BUFFER = 2**24  # bytes of label tiles that are read at a time
LONGEST_ERROR = 500  # characters
PICTURES = ("super_resolved.png", "super_resolved.ome.tif", "low_resolution.png", "overlay.png")
# File, title on the switch, what it shows.
MAPS = (
    ("density.png", "Density", "Nuclei per mm² of tissue"),
    ("nuclear_area.png", "Size", "Median area of the nuclei"),
    ("hematoxylin.png", "Stain", "Mean hematoxylin of the nuclei"),
    ("consistency.png", "Colour difference", "Colour difference between output and input"),
    ("confidence.png", "Confidence", "Confidence of the super-resolution"),
)
MAP_SIDES = (1200, 800, 500)  # longest side of a map in pixels; the first whose maps fit
SHARE_OF_MAPS = 0.3  # of the bytes of an image


def add_pictures(images: list[dict], budget: int):
    """Add pictures and maps to images; together they take at most `budget` bytes of the page.

    Args:
        images: what the template knows of each; gets `pictures` or `picture_error`, and `maps`.
        budget: bytes.
    """
    for done, image in enumerate(images):
        share = min(LARGEST_PREVIEWS, budget / (len(images) - done) - VIEWER_MARKUP)
        image["maps"] = _maps(image["folder"], share * SHARE_OF_MAPS)
        taken = sum(len(picture) for _, _, picture in image["maps"])
        share, budget = share - taken, budget - taken
        try:
            image["pictures"] = _pictures(image["folder"], image["row"], share)
        except (OSError, ValueError, cv2.error, tifffile.TiffFileError) as error:
            image["picture_error"] = shorten(str(error), LONGEST_ERROR)
        layers = image["pictures"]["layers"] if image["pictures"] else {}
        budget -= VIEWER_MARKUP + sum(map(len, layers.values()))


def _maps(folder: Path, budget: float) -> list[tuple[str, str, str]]:
    """Return (title, what it shows, data URI) of the maps of an image; none if they do not fit."""
    found = [kind for kind in MAPS if (folder / kind[0]).is_file()]
    for side in MAP_SIDES:
        pictures = _in_threads(partial(_map, side=side), [folder / name for name, _, _ in found])
        drawn = zip(found, pictures, strict=True)
        maps = [(title, shows, picture) for (_, title, shows), picture in drawn if picture]
        if sum(len(picture) for _, _, picture in maps) <= budget:
            return maps
    return []


def _map(path: Path, side: int) -> str | None:
    """Return a map of at most `side` pixels as data URI, None where it cannot be read."""
    try:
        picture = _read_picture(path, side)
    except (OSError, ValueError, cv2.error):  # the file beside the report will say so
        return None
    reduced = min(1, side / max(picture.shape[:2]))
    size = [max(1, round(length * reduced)) for length in picture.shape[1::-1]]
    return _encoded(picture, size, 1)


def _in_threads(work: Callable, items: Iterable) -> list:
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(work, items))


def _pictures(folder: Path, row: dict, budget: float) -> dict | None:
    """Return the layers of an image as data URIs of at most `budget` bytes, None without picture.

    `after` is the picture itself; `before` the low resolution, at its own size if that is smaller
    (the browser enlarges it); `outlines` is transparent except for the nuclei's outlines.
    """
    name = next((name for name in PICTURES if (folder / name).is_file()), None)
    if name is None:
        return None
    full = int(row["width_out"]), int(row["height_out"])
    step = -(-max(full) // PREVIEW_SIDE)
    images = {"after": _read_picture(folder / name, max(full) // step)}
    if name.startswith("super_resolved") and (folder / "low_resolution.png").is_file():
        images["before"] = _read_picture(folder / "low_resolution.png", max(full) // step)
    if name != "overlay.png" and (folder / "nuclei_labels.tif").is_file():
        images["outlines"] = _read_labels(folder / "nuclei_labels.tif", step)
    pixels = math.prod(full) / step**2
    further = math.ceil((pixels * BYTES_PER_PIXEL / max(1, budget)) ** 0.5)
    while step * further <= max(full):
        size = [-(-side // (step * further)) for side in full]
        encode = partial(_encoded, size=size, further=further)
        layers = dict(zip(images, _in_threads(encode, images.values()), strict=True))
        if sum(map(len, layers.values())) <= budget:
            return {"layers": layers, "name": name, "full": full, "reduced": step * further}
        further += math.ceil(further / 4)
    return None


def _encoded(image: np.ndarray, size: list[int], further: int) -> str:
    """Return a picture shrunk to `size`, or the outlines of a label map, as WebP data URI."""
    if image.ndim == 2:
        labels = image[::further, ::further]
        drawn = draw_outlines(np.zeros((*labels.shape, 3), np.uint8), labels)
        image, how = np.dstack([drawn, 255 * drawn.any(axis=2).astype(np.uint8)]), WEBP_LOSSLESS
    else:
        smaller = size[0] < image.shape[1]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if smaller else image
        how = WEBP
    webp = imagecodecs.webp_encode(np.ascontiguousarray(image), **how)
    return "data:image/webp;base64," + base64.b64encode(webp).decode()


def _read_picture(path: Path, side: int) -> np.ndarray:
    """Return a picture as RGB; of a pyramid the smallest level whose longest side is >= `side`."""
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as tiff:
            levels = tiff.series[0].levels
            large = [level for level in levels if max(level.shape[:2]) >= side]
            return (large or levels[:1])[-1].asarray()
    # cv2.imread does not open paths with non-ASCII letters on every system.
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path.name} is not a readable picture")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_labels(path: Path, step: int) -> np.ndarray:
    """Return every `step`-th pixel of a label map; only some of its tiles are in memory at once."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        labels = np.zeros([-(-side // step) for side in page.shape], np.int32)
        for tile, place, _ in page.segments(buffersize=TILE_BUFFER):
            if tile is not None:  # None: a tile that was never written
                y, x = place[2:4]
                part = tile[0, -y % step :: step, -x % step :: step, 0]
                target = labels[-(-y // step) :, -(-x // step) :][: part.shape[0], : part.shape[1]]
                target[:] = part[: target.shape[0], : target.shape[1]]  # edge tiles are padded
    return labels
