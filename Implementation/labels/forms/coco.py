"""COCO JSON: one file for all images of a folder; polygons or run lengths."""

from functools import lru_cache
from itertools import takewhile
from pathlib import Path, PurePosixPath

import numpy as np
from scipy import ndimage

from labels.forms.geojson import read_json
from labels.forms.outlines import Piece, covered, stacked
from labels.label_map import Labels, check_size

KEYS = {"images", "annotations"}


def coco_images(path: Path) -> dict[str, list[dict]] | None:
    """Return {file name: entries} of the images that a COCO file is about, None if it is no COCO.

    Names are without folders, so that several images may share one: see `entry_of`.
    """
    return _indexed(path, path.stat().st_mtime_ns)[0]


def entry_of(images: dict[str, list[dict]], image: Path) -> dict | None:
    """Return the entry of an image, None where there is none.

    Where several have its name, the folders decide, from the last one on.

    Raises:
        ValueError: they do not.
    """
    found = images.get(image.name, [])
    if len(found) < 2:
        return found[0] if found else None
    alike = [_alike_parts(PurePosixPath(each["file_name"]), image) for each in found]
    if alike.count(max(alike)) > 1:
        raise ValueError(f"several images are called {image.name}; give them different names")
    return found[alike.index(max(alike))]


def is_coco(content) -> bool:
    """Tell COCO from other JSON."""
    return isinstance(content, dict) and content.keys() >= KEYS


def labels_of_coco(path: Path, image: Path, shape: tuple[int, int]) -> Labels:
    """Read the objects of one image, whatever their category, as nuclei.

    A crowd (`iscrowd`, a mask around several objects) is an area whose nuclei are not known.

    Args:
        path: the COCO file.
        image: its file, by whose name and folders it is found.
        shape: its (height, width).

    Raises:
        ValueError: the image is not in it, has another size there, or an object has no outline.
    """
    images, annotations = _indexed(path, path.stat().st_mtime_ns)
    entry = entry_of(images or {}, image)
    if entry is None:
        raise ValueError(f"nothing about {image.name}")
    if "height" in entry and "width" in entry:
        check_size((int(entry["height"]), int(entry["width"])), shape)
    known, pieces = np.ones(shape, bool), []
    for each in annotations.get(entry["id"], []):
        piece = _piece(each, shape)
        if not each.get("iscrowd"):
            pieces.append(piece)
        elif piece is not None:
            window, mask = piece
            known[window] &= ~mask
    drawn, remark = stacked(pieces, shape)
    notes = ["outlines (COCO)", remark, "" if known.all() else "crowds left out"]
    return Labels(drawn, True, ", ".join(filter(None, notes)), None if known.all() else known)


@lru_cache(maxsize=4)  # one file serves many images
def _indexed(path: Path, changed: int):
    content = read_json(path)
    if not is_coco(content):
        return None, {}
    try:
        images, annotations = {}, {}
        for each in content["images"]:
            images.setdefault(PurePosixPath(each["file_name"]).name, []).append(each)
        for each in content["annotations"]:
            annotations.setdefault(each["image_id"], []).append(each)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not COCO: {error} is missing or of another kind") from None
    return images, annotations


def _alike_parts(name: PurePosixPath, image: Path) -> int:
    """Count the folders that two paths share at their ends, one by one from the file's on."""
    both = zip(reversed(name.parts), reversed(image.parts), strict=False)
    return sum(1 for _ in takewhile(lambda parts: parts[0] == parts[1], both))


def _piece(annotation: dict, shape: tuple[int, int]) -> Piece | None:
    """Return the pixels of an object, None where it is off the image."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        mask = _run_lengths(segmentation, shape)
        boxes = ndimage.find_objects(mask.astype(np.uint8))
        window = boxes[0] if boxes else np.s_[:0, :0]
        return window, mask[window]
    if not segmentation:
        raise ValueError(f"object {annotation.get('id')} has a box but no outline")
    return covered([[np.reshape(ring, (-1, 2))] for ring in segmentation], shape)


def _run_lengths(segmentation: dict, shape: tuple[int, int]) -> np.ndarray:
    """Decode COCO's run lengths of 0 and 1 in turn, down the columns; plain or as text."""
    check_size(tuple(segmentation.get("size", ())) or (0, 0), shape)
    counts = segmentation.get("counts")
    counts = _numbers(counts) if isinstance(counts, str) else counts
    runs = np.asarray(counts, np.int64)
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != shape[0] * shape[1]:
        raise ValueError("run lengths that do not add up to the size of the image")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape, order="F")


def _numbers(text: str) -> list[int]:
    """Decode COCO's text: five bits and a flag for more per character, from the fourth run on
    differences to the run before the last."""
    counts, place = [], 0
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            if place == len(text):
                raise ValueError("truncated run lengths")
            bits = ord(text[place]) - 48
            value |= (bits & 31) << shift
            more = bool(bits & 32)
            shift, place = shift + 5, place + 1
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    return counts
