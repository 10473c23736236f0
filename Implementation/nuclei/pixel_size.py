"""How large the pixels of an image are, told by its nuclei, which are about as large in all tissue.

The U-net looks at a few patches as if a pixel had one size, then another. At the right size it is
surest of what it finds, sees a middle in each nucleus, and nuclei have the diameter that nuclei
have. No size is told where it finds too few.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from scipy import ndimage

from networks.network import Network, unet_microns
from nuclei.separation import separate
from tiles.geometry import Reader, Window, intersection, resized
from tiles.resampling import resampled

SIZES = (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0)  # um per pixel of the search
HALF = 0.5  # octave: beside a size, those larger and smaller by 1.4 are looked at
SIDE = 224  # of a patch, in pixels of the U-net
MOST_PATCHES = 3
PLACES = 12  # along each side of the image, among which patches are chosen
PLACE = 64  # pixels of the image at each place that are looked at
EOSIN_IN_RED = 0.4  # of its density in green, and more; hematoxylin has as much in both
PASSED_OVER = 0.05  # share of the bluest places: ink is among them
FEWEST = 3  # whole nuclei; fewer tell nothing
NOTHING = -100.0  # log-likelihood of a size at which too little is found
LEAST_SURE = 0.86  # mean probability of nuclei that tell anything
# Nuclei at the right size, and how far they are from that as a rule: how sure the U-net is (against
# the size at which it is surest), its distance map in their middle, their diameter.
SURE_SPREAD = 0.02
MIDDLE, MIDDLE_SPREAD = 0.71, 0.1
DIAMETER, DIAMETER_SPREAD = 6.8, 0.6  # um, octaves
# An assumed size at which nuclei look like this is not doubted, and no other is tried.
CONVINCING_SURE, CONVINCING_UM = 0.9, (4.0, 8.0)
# One is doubted that is off by this factor, if nuclei speak that much more for the estimate.
# Nuclei of some tissues are twice as large as those of others: a smaller factor may be the tissue.
OFF, AHEAD = 2.5, 3.0


@dataclass(frozen=True)
class Look:
    """What the U-net finds as if pixels had a size.

    Attributes:
        octave: log2 of the size in um.
        sure: mean probability in them; 0 where there are too few.
        middle: median of the highest value of the distance map in each.
        diameter: their median in um.
    """

    octave: float
    sure: float = 0.0
    middle: float = 0.0
    diameter: float = DIAMETER

    @property
    def convincing(self) -> bool:
        """Whether nuclei look as they should, so that no other size needs to be tried."""
        right = CONVINCING_UM[0] <= self.diameter <= CONVINCING_UM[1]
        return right and self.sure >= CONVINCING_SURE

    def score(self, surest: float) -> float:
        """Return the log-likelihood of this at the right size; NOTHING if it tells nothing.

        surest: `sure` at the size at which it is highest.
        """
        if self.sure < LEAST_SURE:
            return NOTHING
        octaves = math.log2(self.diameter / DIAMETER) / DIAMETER_SPREAD
        unsure = (surest - self.sure) / SURE_SPREAD
        flat = max(MIDDLE - self.middle, 0) / MIDDLE_SPREAD
        return -unsure - flat - octaves**2 / 2


@dataclass(frozen=True)
class Estimate:
    """What the nuclei of an image tell of its pixel size.

    Attributes:
        microns: um per pixel; None = they tell nothing.
        ahead: by how much they speak more for it than for the assumed size, in log-likelihood; 0
            where they are not convincing at any size.
    """

    microns: float | None = None
    ahead: float = 0.0


def is_doubted(factor: float, ahead: float) -> bool:
    """Tell whether an assumed size is doubted: `factor` = estimate / assumed; `ahead` of it."""
    return not 1 / OFF <= factor <= OFF and ahead > AHEAD


def patches_for(pixels: float) -> int:
    """Return how many patches an image is worth that has so many pixels at the U-net's size.

    Three looks at them cost at most a quarter of what segmenting it does.
    """
    return min(MOST_PATCHES, int(pixels / 4 / (3 * SIDE**2)))


class Looks:
    """Looks at patches of an image, each size once.

    Args:
        image: `width`, `height` and `read(x, y, width, height)`, uint8 RGB.
        unet: the nucleus network.
        patches: how many are looked at.
    """

    def __init__(self, image: Any, unet: Network, patches: int):
        self.image, self.unet = image, unet
        self.spots, self.taken = bluest_spots(image, patches), {}

    def estimate(self, assumed: float) -> Estimate:
        """Estimate the pixel size in um; `assumed` is tried first, and no other if it convinces."""
        middle = math.log2(assumed)
        looks = self._at(middle, middle - HALF, middle + HALF)
        if not looks[0].convincing:
            looks += self._at(*map(math.log2, SIZES))
            best = _best(looks).octave
            looks += self._at(best - HALF, best + HALF)
        return _estimated(list(dict.fromkeys(looks)), looks[0])

    def _at(self, *octaves: float) -> list[Look]:
        for octave in octaves:
            if octave not in self.taken:
                self.taken[octave] = _look(self.image, self.spots, self.unet, octave)
        return [self.taken[octave] for octave in octaves]


def _best(looks: list[Look]) -> Look:
    surest = max(each.sure for each in looks)
    return max(looks, key=lambda each: each.score(surest))


def _estimated(looks: list[Look], assumed: Look) -> Estimate:
    """Return the mean of the sizes around the best one, weighted by what speaks for each."""
    best, surest = _best(looks), max(each.sure for each in looks)
    if best.score(surest) == NOTHING:
        return Estimate()
    near = [each for each in looks if abs(each.octave - best.octave) < 2.1 * HALF]
    ahead = [best.score(surest) - each.score(surest) for each in near]
    weights = np.exp(-np.array(ahead))
    octave = float(np.average([each.octave for each in near], weights=weights))
    margin = best.score(surest) - assumed.score(surest)
    return Estimate(2.0**octave, margin if best.convincing else 0.0)


def bluest_spots(image: Any, count: int) -> list[tuple[int, int]]:
    """Return places (x, y) apart from each other where much hematoxylin is, the bluest first."""
    side = min(PLACE, image.width, image.height)
    steps = [max(1, (length - side) // PLACES) for length in (image.width, image.height)]
    found = []
    for y in range(0, image.height - side + 1, steps[1]):
        for x in range(0, image.width - side + 1, steps[0]):
            pixels = cv2.resize(image.read(x, y, side, side), (8, 8), interpolation=cv2.INTER_AREA)
            red, green, _ = np.moveaxis(-np.log10((pixels.astype(np.float32) + 1) / 256), -1, 0)
            blueness = float(np.maximum(red - EOSIN_IN_RED * green, 0).mean())
            found.append((blueness, x + side // 2, y + side // 2))
    found.sort(reverse=True)
    chosen, apart = [], min(image.width, image.height) / 4
    for _, x, y in found[int(PASSED_OVER * len(found)) :]:
        if all(math.hypot(x - a, y - b) >= apart for a, b in chosen):
            chosen.append((x, y))
    return chosen[:count]


def _look(image: Any, spots: list[tuple[int, int]], unet: Network, octave: float) -> Look:
    """Look at patches around the spots as if pixels had 2**octave um."""
    microns = unet_microns(unet)
    ratio = 2.0**octave / microns
    image_extent = Window(0, 0, image.width, image.height)
    extent = resized(image_extent, ratio)
    read = resampled(image.read, image_extent, extent)
    windows = []
    for window in (_around(spot, ratio, extent) for spot in spots):
        if all(intersection(window, each) is None for each in windows):  # a nucleus counts once
            windows.append(window)
    found = [_nuclei(unet, read, window) for window in windows]
    count = sum(len(areas) for areas, _, _ in found)
    if count < FEWEST:
        return Look(octave)
    areas, sure, middle = (np.concatenate(values) for values in zip(*found, strict=True))
    diameter = 2 * microns * math.sqrt(float(np.median(areas)) / math.pi)
    mean = float(np.average(sure, weights=areas))
    return Look(octave, mean, float(np.median(middle)), diameter)


def _around(spot: tuple[int, int], ratio: float, extent: Window) -> Window:
    """Return the patch around a spot of the image, in pixels of the U-net, inside `extent`."""
    ends = extent.width, extent.height
    sides = [min(SIDE, end) for end in ends]
    corner = [
        max(0, min(round(at * ratio - side / 2), end - side))
        for at, side, end in zip(spot, sides, ends, strict=True)
    ]
    return Window(*corner, *sides)


def _nuclei(
    unet: Network, read: Reader, window: Window
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return area in pixels, mean probability and highest distance of whole nuclei in a patch."""
    pixels = read(*vars(window).values())
    missing = [(0, SIDE - side) for side in pixels.shape[:2]]
    tile = np.pad(pixels, [*missing, (0, 0)], "symmetric")  # one shape: the U-net is traced once
    maps = unet.predict(tile[None])[0, : window.height, : window.width]
    probability, distance = np.moveaxis(maps, -1, 0)
    labels = separate(probability, distance, unet_microns(unet))
    numbers = np.arange(1, labels.max(initial=0) + 1)
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    numbers = np.setdiff1d(numbers, rim)
    if not len(numbers):
        return np.empty(0), np.empty(0), np.empty(0)
    areas = np.bincount(labels.ravel())[numbers]
    sure = ndimage.mean(probability, labels, numbers)
    return areas, sure, ndimage.maximum(distance, labels, numbers)
