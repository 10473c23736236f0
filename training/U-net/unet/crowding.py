"""Nuclei that touch, with a known border: copies of an image's own nuclei pasted against others.

Binary masks merge touching nuclei, so they cannot teach where one ends and the next begins. A
pasted nucleus shows it to the pixel (copy-paste augmentation, Ghiasi et al. 2021, for instances).
"""

import cv2
import numpy as np
from scipy import ndimage

SMALLEST, LARGEST = 40, 4000  # pixels; other objects are debris or clumps and are not copied
ROUNDEST = 0.7  # least share of its own ellipse that a nucleus fills, else it may be a clump
MARGIN = 4  # pixels around a copy that are blended
COVERED = 0.25  # of the area of any nucleus, at most, is hidden by copies


def crowd(image: np.ndarray, labels: np.ndarray, share: float, rng: np.random.Generator):
    """Paste turned and mirrored copies of nuclei against other nuclei of the same image.

    A copy slides away from its host, in a random direction, until it touches it or covers a little
    of it; it is dropped where it would cover more of any nucleus, or leave the image. Where they
    overlap, the copy hides what lies below or, in every second case, the darker of both is seen,
    as in a thick section.

    Args:
        image: uint8 RGB (height, width, 3).
        labels: int32 (height, width), 0 = background.
        share: attempts per nucleus present; about two in five find a place.
        rng: source of all random draws.

    Returns:
        (image, labels) with the copies, new arrays of the same shapes and types.
    """
    image, labels = image.copy(), labels.copy()
    boxes = ndimage.find_objects(labels)
    originals = [
        cut
        for label, box in enumerate(boxes, start=1)
        if box is not None and (cut := _cut(image, labels, label, box)) is not None
    ]
    hosts = [label for label, box in enumerate(boxes, start=1) if box is not None]
    if not originals:
        return image, labels
    # Pixels that each nucleus may still lose, by label.
    spare = (COVERED * np.bincount(labels.ravel())).astype(np.int64)
    spare[0] = labels.size
    for _ in range(round(share * len(hosts))):
        copy, mask = _turned(*originals[rng.integers(len(originals))], rng)
        host = hosts[rng.integers(len(hosts))]
        corner = _place(labels, host, boxes[host - 1], mask, spare, rng)
        if corner is not None:
            lost = np.bincount(labels[_window(corner, mask)][mask], minlength=len(spare))
            spare = np.append(spare - lost, int(COVERED * np.count_nonzero(mask)))
            _paste(image, labels, copy, mask, corner, rng)
    return image, labels


def _cut(image, labels, label, box):
    """Return (pixels, mask) of one nucleus with its margin, or None where it is unfit to copy."""
    top, left = (side.start - MARGIN for side in box)
    bottom, right = (side.stop + MARGIN for side in box)
    if top < 0 or left < 0 or bottom > labels.shape[0] or right > labels.shape[1]:
        return None
    around = np.s_[top:bottom, left:right]
    mask = labels[around] == label
    area = np.count_nonzero(mask)
    if not SMALLEST <= area <= LARGEST or area < ROUNDEST * _ellipse_area(mask):
        return None
    copy = image[around].copy()
    copy[(labels[around] > 0) & ~mask] = 255  # neighbours stay where they are, see `_paste`
    return copy, mask


def _ellipse_area(mask) -> float:
    """Area of the ellipse whose axes are those of the smallest rectangle around a mask."""
    points = cv2.findNonZero(mask.astype(np.uint8))
    width, height = cv2.minAreaRect(points)[1]
    return np.pi / 4 * (width + 1) * (height + 1)


def _turned(copy, mask, rng):
    turns = rng.integers(4)
    copy, mask = np.rot90(copy, turns), np.rot90(mask, turns)
    return (copy[:, ::-1], mask[:, ::-1]) if rng.random() < 0.5 else (copy, mask)


def _place(labels, host, box, mask, spare, rng):
    """Slide a mask outwards from its host until it hides little: its (y, x) corner or None."""
    allowed = spare[host] * rng.uniform() if rng.random() < 0.5 else 0
    angle = rng.uniform(0, 2 * np.pi)
    step = np.array([np.sin(angle), np.cos(angle)])
    start = np.array([(side.start + side.stop) / 2 for side in box]) - np.array(mask.shape) / 2
    limit = np.array(labels.shape) - mask.shape
    for distance in range(sum(mask.shape) + sum(side.stop - side.start for side in box)):
        corner = np.rint(start + distance * step).astype(int)
        if (corner < 0).any() or (corner > limit).any():
            return None
        under = labels[_window(corner, mask)][mask]
        if np.count_nonzero(under == host) <= allowed:
            hidden = np.bincount(under, minlength=len(spare))
            return corner if (hidden <= spare).all() else None
    return None


def _paste(image, labels, copy, mask, corner, rng):
    window = _window(corner, mask)
    below = image[window].astype(np.float32)
    above = np.minimum(copy, below)
    if rng.random() < 0.5:
        above[mask] = copy[mask]
    # The dark rim of the copy comes with it as far as the optics spread it; what is bright around
    # it does not, or each border would be given away by a gap.
    spread = cv2.dilate(mask.astype(np.float32), np.ones((3, 3), np.uint8))
    weight = cv2.GaussianBlur(spread, (0, 0), 1.0)[..., None]
    image[window] = np.rint(below + weight * (above - below))
    labels[window][mask] = labels.max() + 1


def _window(corner, mask):
    return np.s_[corner[0] : corner[0] + mask.shape[0], corner[1] : corner[1] + mask.shape[1]]
