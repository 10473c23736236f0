"""Pairs -> pixels and labels: the reader that fits each form."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy import ndimage

from images.errors import ImageReadError, named_with_folder, one_line
from images.opening import open_image
from labels.doubts import refuse_doubtful
from labels.forms.coco import coco_images, labels_of_coco
from labels.forms.geojson import labels_of_geojson, read_json
from labels.forms.imagej import labels_of_imagej
from labels.forms.imagescope import labels_of_imagescope
from labels.forms.raster import read_matlab, read_pixels
from labels.forms.stacks import image_of_stack, labels_of_stack
from labels.label_map import LabelReadError, Labels, check_size, naming
from labels.masks import ONE_PART, labels_of
from labels.pairing import Pair

MOST_PIXELS = 100_000_000  # of one image; slides are labelled in fields


def read_image(pair: Pair) -> tuple[np.ndarray, float | None]:
    """Read the image of a pair.

    Returns:
        (uint8 RGB (height, width, 3), um per pixel as the file states them or None).

    Raises:
        ImageReadError, OSError: it cannot be read.
    """
    if pair.index is not None:
        return image_of_stack(pair.image.parent, pair.index), None
    with named_with_folder(pair.image), open_image(pair.image) as file:
        if file.width * file.height > MOST_PIXELS:
            raise ImageReadError(
                f"{pair.image.name}: {file.width} x {file.height} pixels, more than "
                f"{MOST_PIXELS // 10**6} million; export the labelled fields as images"
            )
        return file.read(0, 0, file.width, file.height), file.microns_per_pixel


def read_labels(pair: Pair, shape: tuple[int, int], masks: str = "auto") -> Labels:
    """Read the labels of a pair.

    Args:
        pair: which has labels.
        shape: (height, width) of its image.
        masks: what masks are, "auto", "binary" or "instances"; see `labels_of`. Outlines, .mat and
            one mask per nucleus need no telling, unless they can hardly be right.

    Raises:
        LabelReadError: they cannot be read, do not fit the image, could mean several things or can
            hardly be right; the message is one line.
    """
    path = pair.labels[0]
    if len(pair.labels) > 1:
        labels = _one_mask_per_nucleus(pair.labels, shape)
    else:
        with naming(path):
            if pair.index is not None:
                labels = labels_of_stack(path, pair.index, shape, masks)
            else:
                labels = _read(path, pair.image, shape, masks)
    if masks == "auto":
        with naming(path if len(pair.labels) == 1 else path.parent):
            refuse_doubtful(labels)
    if not pair.left_out:
        return labels
    with naming(pair.left_out):
        area = _fitting(pair.left_out, shape)[0] > 0
    area = area.any(axis=-1) if area.ndim == 3 else area
    known = ~area if labels.known is None else labels.known & ~area
    note = f"{labels.note}, ambiguous areas left out"
    return Labels(labels.map, labels.instances, note, known)


def check_labels(pairs: Iterable[Pair], masks: str = "auto"):
    """Read the labels of all pairs that have some, to name at once all that cannot be used.

    Args:
        pairs: images and labels.
        masks: see `read_labels`.

    Raises:
        ImageReadError, OSError: an image cannot be opened.
        ValueError: labels cannot be read; files with the same fault are named together, in a line.
    """
    wrong: dict[str, list[Path]] = {}
    for pair in pairs:
        try:
            if pair.labels:
                read_labels(pair, _shape(pair), masks)
        except LabelReadError as error:
            wrong.setdefault(error.reason, []).append(error.path)
    if wrong:
        named = {reason: dict.fromkeys(map(str, paths)) for reason, paths in wrong.items()}
        lines = (f"{', '.join(paths)}: {reason}" for reason, paths in named.items())
        raise ValueError(one_line("; ".join(lines)))


def _shape(pair: Pair) -> tuple[int, int]:
    """Return (height, width) of an image."""
    if pair.index is not None:
        return image_of_stack(pair.image.parent, pair.index).shape[:2]
    with named_with_folder(pair.image), open_image(pair.image) as file:
        return file.height, file.width


def _read(path: Path, image: Path, shape: tuple[int, int], masks: str) -> Labels:
    name = path.name.lower()
    if name.endswith((".geojson", ".geojson.gz", ".json", ".json.gz")):
        if coco_images(path):
            return labels_of_coco(path, image, shape)
        return labels_of_geojson(read_json(path), shape)
    if name.endswith(".xml"):
        return labels_of_imagescope(path, shape)
    if name.endswith(".roi") or zipfile.is_zipfile(path):
        return labels_of_imagej(path, shape)
    if name.endswith(".zip"):
        raise ValueError("truncated or not a zip file; save it again from ImageJ's ROI Manager")
    if name.endswith(".mat"):
        return _numbered(read_matlab(path), shape)
    pixels, indexed = _fitting(path, shape)
    return labels_of(pixels, masks, indexed)


def _numbered(pixels: np.ndarray, shape: tuple[int, int]) -> Labels:
    """Take numbers for nuclei, whatever they are."""
    check_size(pixels.shape, shape)
    if pixels.dtype.kind not in "biuf" or (pixels != np.rint(pixels)).any() or pixels.min() < 0:
        raise ValueError("expected a label map of whole numbers from 0 up")
    return Labels(pixels.astype(np.int32), True, "label map (inst_map)")


def _fitting(path: Path, shape: tuple[int, int]) -> tuple[np.ndarray, bool]:
    pixels, indexed = read_pixels(path)
    check_size(pixels.shape, shape)
    return pixels, indexed


def _one_mask_per_nucleus(paths: tuple[Path, ...], shape: tuple[int, int]) -> Labels:
    labels = np.zeros(shape, np.int32)
    for number, path in enumerate(paths, start=1):
        with naming(path):
            pixels = _fitting(path, shape)[0]
            if pixels.ndim == 3:
                pixels = pixels[..., :3].max(axis=-1)
            mask = pixels > pixels.max() / 2
            if not mask.any():
                raise ValueError("expected the mask of one nucleus, found nothing in it")
            areas = np.bincount(ndimage.label(mask, np.ones((3, 3)))[0].ravel())[1:]
            if areas.max() < ONE_PART * areas.sum():
                raise ValueError(
                    f"expected the mask of one nucleus, as in each of {len(paths)} masks of one "
                    f"image, found {len(areas)} parts; keep one mask of an image, or one of each "
                    "nucleus"
                )
        labels[mask & (labels == 0)] = number
    return Labels(labels, True, "one mask per nucleus")
