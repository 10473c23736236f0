"""What names tell: which files and folders hold labels, and of which image."""

import re
from pathlib import Path
from unicodedata import normalize

from images.finding import FOREIGN_SUFFIXES

IMAGE_FOLDERS = ("images", "image", "tissue images")
# The first one that exists is read: the better labels come first.
LABEL_FOLDERS = (
    "instances",
    "label masks modify",
    "label masks",
    "labels",
    "label",
    "annotations",
    "masks",
    "mask",
)
GROUND_TRUTH_FOLDER = re.compile(r"(gt|ground[ _-]?truth)([ _-]?\d+)?")
# Of NuInsSeg: areas where even pathologists could not tell the nuclei.
LEFT_OUT_FOLDERS = ("ambiguous area masks", "vague areas")
PASSED_OVER = ("__macosx", "overlay", "overlays")
LABEL_ENDS = (
    "_labeled_mask_corrected",
    "_cp_masks",
    "_instances",
    "_roiset",
    "_labels",
    "_label",
    "_masks",
    "_mask",
    "_gt",
)
IMAGE_END = "_crop"  # of TCIA's images
OUTLINES = (".geojson", ".geojson.gz", ".roi", ".mat")  # files that are nothing but labels
PERHAPS = (".json", ".json.gz", ".xml", ".zip", ".npy")  # labels if they are named like an image
_INNER_SUFFIX = re.compile(
    r"\.(ome|png|tiff?|jpe?g|webp|bmp|svs|ndpi|mrxs|scn|geojson|json)$", re.IGNORECASE
)


def hidden(path: Path) -> bool:
    """Tell what the system or an unpacked archive left: `.DS_Store`, `._a.png`, `~$a`."""
    return path.name.startswith((".", "~$")) or path.name.casefold() in PASSED_OVER


def is_raster(path: Path) -> bool:
    """Tell whether a file may be a picture, by its suffix."""
    return bool(path.suffix) and path.suffix.lower() not in FOREIGN_SUFFIXES


def holds_outlines(path: Path) -> bool:
    """Tell a label file that is no picture."""
    return path.name.lower().endswith(OUTLINES)


def may_hold_labels(path: Path) -> bool:
    """Tell a file that is a label if an image is named like it."""
    return path.name.lower().endswith(OUTLINES + PERHAPS)


def stem(path: Path) -> str:
    """Return the name without its suffixes: `a` of `a.png`, `a.ome.tif` and `a.png.geojson.gz`.

    In one of the ways in which systems store the same letters (NFC).
    """
    name = normalize("NFC", path.stem)
    while (inner := _INNER_SUFFIX.search(name)) and inner.start():
        name = name[: inner.start()]
    return name


def image_names(path: Path) -> list[str]:
    """Return what a label of this image can be called, without its end."""
    name = stem(path)
    return [name, name[: -len(IMAGE_END)]] if _ends(name, IMAGE_END) else [name]


def label_names(path: Path) -> list[str]:
    """Return what the image of this label can be called."""
    name = stem(path)
    shorter = [name[: -len(end)] for end in LABEL_ENDS if _ends(name, end)]
    return [name, *shorter[:1]]


def is_label_folder(name: str) -> bool:
    """Tell a folder of labels by its name."""
    name = name.casefold()
    return name in LABEL_FOLDERS or bool(GROUND_TRUTH_FOLDER.fullmatch(name))


def is_role(name: str) -> bool:
    """Tell a folder whose name says no more than that images or labels lie in it."""
    return name.casefold() in IMAGE_FOLDERS or is_label_folder(name)


def natural(path: Path) -> list:
    """Key that sorts `2.png` before `10.png`."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _ends(name: str, end: str) -> bool:
    return name.lower().endswith(end) and len(name) > len(end)
