"""Network maps -> separated nuclei: the best of many candidates.

No threshold tells which summit of the maps is a nucleus: what is one in dense lymphocytes is a
bump in a large pale nucleus. So the mask is cut into fragments, too many rather than too few;
neighbouring fragments are put together step by step; each region of this tree is scored by a small
network that was trained on true nuclei; and of all ways to choose regions that do not overlap that
with the highest sum is taken (Arteta et al. 2012, doi 10.1007/978-3-642-33415-3_43; Funke et al.
2015, doi 10.1007/978-3-319-24574-4_32).
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from nuclei.candidates.fragments import find_fragments
from nuclei.candidates.merging import Tree, merge
from nuclei.candidates.regions import measure_fragments
from nuclei.candidates.scoring import NucleusScore, shipped_score


@dataclass(frozen=True)
class Separation:
    """How maps become nuclei; areas in micrometres.

    Where the pixel size is unknown, the U-net's own training pixel size stands in: it is the size
    at which nuclei look right to it.

    Attributes:
        probability: a pixel is nucleus above this probability.
        least_overlap: a region whose expected overlap with a true nucleus (IoU, 0 where it would
            not count as found) is smaller is none.
        smallest_nucleus: smaller objects are dropped.
        largest_hole: smaller holes are filled.
        score: the network that scores regions; by default the one that ships.
    """

    probability: float = 0.5
    least_overlap: float = 0.15
    smallest_nucleus: float = 2.0
    largest_hole: float = 10.0
    score: NucleusScore = field(default_factory=shipped_score)


def separate(
    probability: np.ndarray,
    distance: np.ndarray,
    microns_per_pixel: float,
    separation: Separation | None = None,
) -> np.ndarray:
    """Turn the U-net's maps into a label map of nuclei.

    Args:
        probability: (height, width) in 0..1.
        distance: (height, width) in 0..1, relative distance to the nucleus' border.
        microns_per_pixel: size of a pixel.
        separation: thresholds and the network that scores regions; None = the usual ones.

    Returns:
        int32 (height, width), 0 = background, labels 1..N in reading order of their first summits.
    """
    separation = separation or Separation()
    mask = nuclei_mask(probability, microns_per_pixel, separation)
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    labels, tree = candidates(mask, probability, distance, microns_per_pixel)
    areas = tree.regions.sums[:, 0] * microns_per_pixel**2
    scores = separation.score.of(tree.regions.features(microns_per_pixel))
    # By the root of the area: between a count, in which all nuclei are equal, and pixels.
    worth = (scores - separation.least_overlap) * np.sqrt(areas)
    worth[areas < separation.smallest_nucleus] = 0
    holder = tree.fragments_of(best_choice(tree, worth), labels.max())
    return _numbered(labels, holder)


def nuclei_mask(probability, microns_per_pixel: float, separation: Separation) -> np.ndarray:
    """Return where nuclei are, small holes filled: bool (height, width)."""
    largest = separation.largest_hole / microns_per_pixel**2
    return without_holes(probability > separation.probability, largest)


def candidates(mask, probability, distance, microns_per_pixel: float) -> tuple[np.ndarray, Tree]:
    """Return the fragments of a mask as a label map, and the tree of what they are together."""
    labels, relief = find_fragments(mask, distance, microns_per_pixel)
    fragments, borders = measure_fragments(labels, probability, distance, relief)
    return labels, merge(fragments, borders, microns_per_pixel)


def best_choice(tree: Tree, worth: np.ndarray) -> list[int]:
    """Return the regions that do not overlap and are worth most together; none is worth <= 0.

    From the fragments upwards, a region is taken if it is worth more than the best choice of its
    two parts.
    """
    best, inside = worth.tolist(), [False] * len(worth)
    taken = list(inside)
    for region, parts in enumerate(tree.parts):
        of_parts = sum(best[part] for part in parts)
        for part in parts:
            inside[part] = True
        taken[region] = best[region] > of_parts
        best[region] = max(best[region], of_parts)
    chosen, waiting = [], [region for region in range(len(best)) if not inside[region]]
    while waiting:
        region = waiting.pop()
        if taken[region]:
            chosen.append(region)
        else:
            waiting.extend(tree.parts[region])
    return chosen


def without_holes(mask: np.ndarray, largest: float) -> np.ndarray:
    """Fill the holes of a boolean mask that have fewer pixels than `largest`.

    Background that the border cuts off is no hole, however small the part that is seen.
    """
    _, parts, boxes, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    left, top, width, height, area = boxes.T
    inside = (
        (left > 0) & (top > 0) & (left + width < mask.shape[1]) & (top + height < mask.shape[0])
    )
    holes = inside & (area < largest)
    holes[0] = False  # the mask itself
    return mask | holes[parts]


def _numbered(labels: np.ndarray, holder: np.ndarray) -> np.ndarray:
    """Turn fragments into nuclei, numbered in the order of their first fragments.

    Args:
        labels: int32 (height, width), 0 = background, fragments 1..N.
        holder: int (N,), number of the nucleus that holds each fragment, -1 = none.
    """
    held = np.flatnonzero(holder >= 0)
    _, first, nucleus = np.unique(holder[held], return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int32)
    number[np.argsort(first)] = np.arange(1, len(first) + 1)
    numbers = np.zeros(len(holder) + 1, np.int32)
    numbers[held + 1] = number[nucleus]
    return numbers[labels]
