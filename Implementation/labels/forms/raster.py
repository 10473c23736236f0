"""Files with a number or colour per pixel, read as stored: not scaled, indices kept."""

from pathlib import Path

import cv2
import numpy as np
import scipy.io
import tifffile
from PIL import Image, UnidentifiedImageError

from images.formats.plain import PILLOW_FORMATS, first_bytes, own_size_limit
from images.opening import TIFF_MAGIC
from images.pixels import upright

MATLAB_VARIABLE = (
    "inst_map"  # of CoNSeP, CPM-15, CPM-17 and Kumar, as HoVer-Net's authors give them
)
BLACK = 32  # level below which a grey of a palette is black; QuPath's Necrosis has 50
GREY = 16  # levels by which the red, green and blue of a grey may differ


def read_pixels(path: Path) -> tuple[np.ndarray, bool]:
    """Read a mask of any image format, turned as its orientation says, or a .npy array.

    Returns:
        (pixels, indexed): (height, width) or (height, width, samples) of the file's number type;
        `indexed` where the numbers stand for colours of a palette. Greys whose first is not the
        black one are read themselves.

    Raises:
        ValueError, OSError: the file cannot be read or has other dimensions.
    """
    head = first_bytes(path)
    if path.suffix.lower() == ".npy":
        return _plane(_array(path)), False
    return _tiff(path) if head.startswith(TIFF_MAGIC) else _picture(path, head)


def read_matlab(path: Path) -> np.ndarray:
    """Return the label map `inst_map` of a .mat file (up to version 7), (height, width)."""
    try:
        content = scipy.io.loadmat(path, variable_names=[MATLAB_VARIABLE])
    except NotImplementedError:
        raise ValueError("a MATLAB 7.3 file; save it again with the option -v7") from None
    if MATLAB_VARIABLE not in content:
        found = ", ".join(name for name, _, _ in scipy.io.whosmat(path)) or "nothing"
        raise ValueError(f"expected the variable {MATLAB_VARIABLE}, found {found}")
    return _plane(content[MATLAB_VARIABLE])


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        if "pickle" not in str(error).lower():
            raise
        raise ValueError(
            "not a plain array but Python objects, which are not opened because they can run "
            "programs; save the label map itself (Cellpose: masks as PNG or TIFF)"
        ) from None


def _tiff(path: Path) -> tuple[np.ndarray, bool]:
    with tifffile.TiffFile(path) as tif:
        series = tif.series[0]
        pixels, axes = series.asarray(), series.axes
        page = tif.pages.first
        indexed = page.photometric == tifffile.PHOTOMETRIC.PALETTE
        # Of tiles it is not applied, as in images.
        orientation = 1 if page.is_tiled else page.tags.valueof("Orientation", default=1)
        white_is_zero = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        if white_is_zero and pixels.dtype == bool:
            pixels = ~pixels
        if indexed and page.colormap is not None:
            pixels, indexed = _unsorted(pixels, page.colormap.T >> 8)
    if axes.startswith("S"):
        pixels, axes = np.moveaxis(pixels, 0, -1), axes[1:] + "S"
    return upright(_plane(pixels, colour=axes.endswith("S")), orientation), indexed


def _picture(path: Path, head: bytes) -> tuple[np.ndarray, bool]:
    try:
        with own_size_limit(), Image.open(path, formats=PILLOW_FORMATS) as image:
            image.load()
            mode, pixels, kind = image.mode, np.asarray(image), image.format
            orientation = image.getexif().get(0x0112, 1)
            indexed = mode == "P"
            if indexed:
                palette = np.reshape(image.getpalette("RGB"), (-1, 3))
                pixels, indexed = _unsorted(pixels, palette)
    except UnidentifiedImageError:
        raise ValueError(
            "not a readable label map; replace or remove it together with its image"
        ) from None
    if kind == "PNG" and head[24] == 16 and pixels.ndim == 3:
        # Pillow cuts 16-bit colour to 8 bit.
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[-1]]]
    return upright(_plane(pixels), orientation), indexed


def _unsorted(indices: np.ndarray, palette: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return (pixels, whether they still are indices) of a file with a palette of (n, 3) levels.

    Programs that reduce colours sort them as they like: Pillow's `quantize` gives the white nuclei
    of a binary mask index 0, which is the background wherever people or QuPath number classes. So
    where all is grey and black comes later, the greys count, and black is the background.
    """
    used = np.flatnonzero(np.bincount(indices.ravel()))
    if used[-1] >= len(palette):
        return indices, True
    colours = palette[used].astype(int)
    greys = colours.mean(axis=1).round().astype(np.uint8)
    if np.ptp(colours, axis=1).max() > GREY or greys[0] < BLACK or greys.min() >= BLACK:
        return indices, True
    levels = np.zeros(used[-1] + 1, np.uint8)
    levels[used] = greys - greys.min() if len(used) > 2 else np.where(greys < BLACK, 0, 255)
    return levels[indices.astype(np.intp)], False  # indices of one bit are bool


def _plane(pixels: np.ndarray, colour: bool = True) -> np.ndarray:
    """Return (height, width) or (height, width, 2..4); refuse stacks and what is no number."""
    if pixels.dtype.kind not in "biuf":
        raise ValueError(f"expected numbers, found an array of {pixels.dtype}")
    if pixels.ndim > 2:
        sides = tuple(side for side in pixels.shape if side > 1)
        pixels = pixels.reshape(sides) if len(sides) == 2 else pixels
    if pixels.ndim == 3 and colour and pixels.shape[-1] in (2, 3, 4):
        return pixels
    if pixels.ndim != 2 or not pixels.size:
        found = " x ".join(map(str, pixels.shape))
        raise ValueError(f"expected one plane of labels, found {found}; save a label map per image")
    return pixels
