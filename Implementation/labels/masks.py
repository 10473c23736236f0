"""What a mask means, decided by looking at it: single nuclei, or nuclei and background only."""

import cv2
import numpy as np
from scipy import ndimage
from skimage import measure

from labels.label_map import Labels

MASKS = ("auto", "binary", "instances")  # the values of the constant MASKS of the scripts
HINT = "say what it is with MASKS (--masks): binary or instances"
VOID = 255  # index of what is not labelled in the palettes of VOC and labelme
ONE_PART = 0.7  # least share of a nucleus in its largest part, and of such nuclei in a label map
SOLID = 0.9  # least share of its convex hull that a single nucleus fills


def labels_of(pixels: np.ndarray, masks: str = "auto", indexed: bool = False) -> Labels:
    """Decide what the pixels of a mask mean.

    Two values are a binary mask; so is one whose values crowd at both ends, as JPEG and smooth
    edges leave them, which is cut at half. A mask of more values, each in one place, is a label
    map, and colours are read like numbers. An only object is one nucleus.

    Args:
        pixels: (height, width), or (height, width, 2..4) with alpha or colours.
        masks: "auto"; "binary": all that is not background is nucleus, which nuclei touch is not
            known; "instances": each number or, where numbers recur, each connected part is one.
        indexed: the numbers are indices of a palette.

    Raises:
        ValueError: "auto" and the mask could mean several things.
    """
    values, note = _numbers(pixels)
    known = None
    if indexed:
        note = "by colour index, "
        if values.max() == VOID and len(_counted(values)[0]) > 2 and not (values == VOID - 1).any():
            known = values != VOID
            values = np.where(known, values, 0)
    elif not note and _has_soft_edges(values):
        half = values > values.max() / 2
        return _binary(
            half, masks, "binary mask with soft edges (JPEG or anti-aliased), cut at half"
        )
    found, numbers = _counted(values)
    if len(found) == 1 and found[0]:
        raise ValueError(f"every pixel is {found[0]}: nothing is background")
    if found[0] > 0:
        if masks == "auto":
            raise ValueError(f"no pixel is 0, the background; {HINT} (the lowest is background)")
        values = numbers
    if len(found) <= 2 or masks == "binary":
        odd = not note and int(found[-1]) not in (1, 255, 65535)
        result = _binary(values > 0, masks, f"{note}binary mask", odd)
    else:
        result = _instances(values, numbers, masks, note)
    return Labels(result.map, result.instances, result.note, known)


def _numbers(pixels: np.ndarray) -> tuple[np.ndarray, str]:
    """Return (height, width) integers, 0 = background, and "by colour, " where they are colours."""
    if pixels.ndim == 3:
        if pixels.shape[-1] in (2, 4):
            seen = pixels[..., -1:] > 0
            pixels = np.where(seen, pixels[..., :-1], 0)
        if (pixels == pixels[..., :1]).all():
            pixels = pixels[..., 0]
    if pixels.ndim == 3:
        if pixels.dtype.kind not in "u" or pixels.itemsize > 2:
            raise ValueError(f"colours of {pixels.dtype}: expected 8 or 16 bits without sign")
        return _colours(pixels), "by colour, "
    if pixels.dtype.kind == "f":
        pixels = np.nan_to_num(pixels, posinf=0, neginf=0)
        if (pixels != np.rint(pixels)).any():
            if pixels.min() < 0 or pixels.max() > 1:
                raise ValueError(f"fractions up to {pixels.max():.6g}: expected whole numbers")
            pixels = pixels * 255
        pixels = np.rint(pixels)
    if pixels.dtype.kind in "if" and pixels.min() < 0:
        raise ValueError(
            f"a label of {pixels.min():.6g}: expected 0 for background, then 1, 2, ..."
        )
    return pixels.astype(np.int64), ""


def _colours(pixels: np.ndarray) -> np.ndarray:
    """Number the colours: black or, without black, the commonest colour becomes 0."""
    red, green, blue = np.moveaxis(pixels.astype(np.int64), -1, 0)
    codes, numbers, counts = np.unique(
        red + (green << 16) + (blue << 32), return_inverse=True, return_counts=True
    )
    background = 0 if codes[0] == 0 else int(np.argmax(counts))
    order = np.arange(len(codes))
    order[order < background] += 1
    order[background] = 0
    return order[numbers].reshape(red.shape)


def _counted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted values that occur, and `values` counted 0, 1, ... without gaps."""
    if values.size and values.max() < 2**20:  # faster than sorting all pixels
        seen = np.bincount(values.ravel()) > 0
        return np.flatnonzero(seen), (np.cumsum(seen) - 1)[values]
    found, numbers = np.unique(values, return_inverse=True)
    return found, numbers.reshape(values.shape)


def _has_soft_edges(values: np.ndarray) -> bool:
    """Tell whether grey values are those of a binary mask after JPEG, resizing or anti-aliasing.

    Then the top lies near white, whatever is deep inside an object is bright, and the greys
    between lie along the bright. So do the faint ones, but for the 16 pixels that blocks of a JPEG
    reach: else they are classes or numbers, beside a 255 for what is not labelled.
    """
    top = int(values.max())
    white = 255 if top <= 255 else 65535
    if top < 0.8 * white or len(_counted(values[(values > 0) & (values < 0.75 * top)])[0]) < 3:
        return False
    square = np.ones((5, 5), np.uint8)
    object_, bright = values > 0.25 * top, values >= 0.75 * top
    grey = object_ & ~bright
    deep = cv2.erode(object_.astype(np.uint8), square) > 0
    faint = (values > 0) & ~object_
    near = cv2.dilate(bright.astype(np.uint8), square) > 0
    around = cv2.dilate(bright.astype(np.uint8), np.ones((33, 33), np.uint8)) > 0
    return bool(
        bright[deep].sum() >= 0.95 * deep.sum()
        and near[grey].sum() >= 0.9 * grey.sum()
        and around[faint].sum() >= 0.9 * faint.sum()
        and bright.sum() >= 0.3 * object_.sum()
    )


def _binary(mask: np.ndarray, masks: str, note: str, odd_value: bool = False) -> Labels:
    """Label the connected parts; an only one is a nucleus if it looks like one.

    Nobody writes a binary mask with an odd value: it is the number of the nucleus.
    """
    parts, count = ndimage.label(mask, output=np.int32)
    if masks == "instances":
        return Labels(parts, True, f"{note}, each connected part a nucleus")
    if masks == "auto" and count == 0:
        return Labels(parts, True, "no nuclei")
    if masks == "auto" and count == 1:
        solidity = measure.regionprops(parts)[0].solidity if mask.sum() > 2 else 1.0
        if odd_value or solidity >= SOLID:
            soft = "" if note.endswith("binary mask") else f"{note}, "
            return Labels(parts, True, f"{soft}one nucleus")
    return Labels(parts, False, note)


def _instances(values: np.ndarray, numbers: np.ndarray, masks: str, note: str) -> Labels:
    """Read a label map, each of whose numbers stands in one place.

    Args:
        values: (height, width), 0 = background.
        numbers: those of `values` counted 0, 1, ... without gaps.
        masks, note: see `labels_of`.
    """
    parts, count = measure.label(numbers, background=0, return_num=True, connectivity=2)
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    owner = np.zeros(count + 1, np.int64)
    owner[parts.ravel()] = numbers.ravel()
    areas[0] = 0
    whole = np.bincount(owner, weights=areas)[1:]
    largest = np.zeros(len(whole) + 1)
    np.maximum.at(largest, owner, areas)
    share = largest[1:] / whole
    if np.mean(share >= ONE_PART) >= ONE_PART and largest.sum() >= ONE_PART * whole.sum():
        # More numbers than pixels cannot be a count of nuclei, but codes.
        kept = values if values.max() <= values.size else numbers
        return Labels(kept.astype(np.int32), True, f"{note}label map")
    if masks == "instances":
        return Labels(
            parts.astype(np.int32), True, f"{note}each connected part of one value a nucleus"
        )
    raise ValueError(
        f"{len(whole)} values in {count} connected parts: neither a binary mask nor a label map, "
        f"whose nuclei are numbered; {HINT}"
    )
