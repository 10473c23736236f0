"""How large the pixels of an image are, told by its tissue.

A network of its own (see `networks.pixel_size`) looks at a few patches where much hematoxylin is.
Then the U-net looks at the same places as if pixels had that size: where it finds no nuclei, the
image may be anything, and no size is told.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from scipy import ndimage

from networks.network import Network, unet_microns
from networks.pixel_size import KNOWN, PixelSizeNetwork
from nuclei.separation import Separation, separate
from tiles.geometry import Reader, Window, intersection, resized
from tiles.resampling import resampled

MOST_PATCHES = 3
SIDE = 224  # of a patch that the U-net looks at, in its pixels
COST = 980_000  # pixels at the U-net's size whose segmentation takes four times as long as a patch
SMALLEST = 32  # pixels; the network for sizes has seen no smaller patch
PLACES = 12  # along each side of the image, among which patches are chosen
PLACE = 64  # pixels of the image at each place that are looked at
EOSIN_IN_RED = 0.4  # of its density in green, and more; hematoxylin has as much in both
PASSED_OVER = 0.05  # share of the bluest places: ink is among them
FEWEST = 3  # whole nuclei; fewer tell nothing
LEAST_SURE = 0.8  # mean probability of nuclei that tell anything
# An assumed size is doubted that is off by more than this factor: a smaller one may be the tissue.
OFF = 1.75
AGREEING = 1.0  # octaves; patches that differ by more contradict no assumed size
SHARED = 0.5  # of a patch that lies in another: more of it, and they are no two opinions


@dataclass(frozen=True)
class Estimate:
    """What the tissue of an image tells of its pixel size.

    Attributes:
        microns: um per pixel; None = it tells nothing.
        agreed: whether all patches tell about the same size; of a small image there is only one.
    """

    microns: float | None = None
    agreed: bool = False


def is_doubted(factor: float, agreed: bool) -> bool:
    """Tell whether an assumed size is doubted.

    Args:
        factor: estimate / assumed size.
        agreed: see `Estimate`.
    """
    return agreed and not 1 / OFF <= factor <= OFF


def patches_for(pixels: float) -> int:
    """Return how many patches an image is worth that has so many pixels at the U-net's size.

    Looking at so many costs at most a quarter of what segmenting it does.
    """
    return min(MOST_PATCHES, int(pixels / COST))


def estimate(
    image: Any,
    sizes: PixelSizeNetwork,
    unet: Network,
    patches: int,
    separation: Separation | None = None,
) -> Estimate:
    """Estimate the pixel size of an image.

    Args:
        image: `width`, `height` and `read(x, y, width, height)`, uint8 RGB.
        sizes: the network that tells pixel sizes.
        unet: the nucleus network.
        patches: how many are looked at.
        separation: how nuclei are told apart; None = as usual.
    """
    extent = _extent(image)
    if min(extent.width, extent.height) < SMALLEST:
        return Estimate()
    spots = bluest_spots(image, patches)
    windows = _apart([_around(spot, sizes.side, extent) for spot in spots], SHARED)
    octaves = sizes.octaves(np.stack([image.read(*vars(each).values()) for each in windows]))
    microns = 2.0 ** float(np.median(octaves))
    if not KNOWN[0] <= microns <= KNOWN[1]:
        return Estimate()
    if not _shows_nuclei(image, spots, unet, microns, separation):
        return Estimate()
    return Estimate(microns, float(np.ptp(octaves)) <= AGREEING)


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


def _shows_nuclei(
    image: Any,
    spots: list[tuple[int, int]],
    unet: Network,
    microns: float,
    separation: Separation | None,
) -> bool:
    """Tell whether the U-net finds nuclei around the spots as if pixels had so many um."""
    ratio = microns / unet_microns(unet)
    extent = resized(_extent(image), ratio)
    read = resampled(image.read, _extent(image), extent)
    count = total = area = 0.0
    scaled = [(x * ratio, y * ratio) for x, y in spots]
    for window in _apart([_around(spot, SIDE, extent) for spot in scaled]):
        areas, sure = _nuclei(unet, read, window, separation)
        count, area, total = count + len(areas), area + areas.sum(), total + (areas * sure).sum()
    return count >= FEWEST and total >= LEAST_SURE * area


def _extent(image: Any) -> Window:
    return Window(0, 0, image.width, image.height)


def _around(spot: tuple[float, float], side: int, extent: Window) -> Window:
    """Return the square of this side around a spot, as far as it fits into `extent`."""
    ends = extent.width, extent.height
    sides = [min(side, end) for end in ends]
    corner = [
        max(0, min(round(at - side / 2), end - side))
        for at, side, end in zip(spot, sides, ends, strict=True)
    ]
    return Window(*corner, *sides)


def _apart(windows: list[Window], shared: float = 0.0) -> list[Window]:
    """Leave out windows of which more than a share lies in an earlier one: nothing tells twice."""
    kept = []
    for window in windows:
        common = [intersection(window, each) for each in kept]
        area = max((each.width * each.height for each in common if each), default=0)
        if area <= shared * window.width * window.height:
            kept.append(window)
    return kept


def _nuclei(
    unet: Network, read: Reader, window: Window, separation: Separation | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return area in pixels and mean probability of whole nuclei in a patch."""
    pixels = read(*vars(window).values())
    missing = [(0, SIDE - side) for side in pixels.shape[:2]]
    tile = np.pad(pixels, [*missing, (0, 0)], "symmetric")  # one shape: the U-net is traced once
    maps = unet.predict(tile[None])[0, : window.height, : window.width]
    probability, distance = np.moveaxis(maps, -1, 0)
    labels = separate(probability, distance, unet_microns(unet), separation)
    numbers = np.arange(1, labels.max(initial=0) + 1)
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    numbers = np.setdiff1d(numbers, rim)
    if not len(numbers):
        return np.empty(0), np.empty(0)
    areas = np.bincount(labels.ravel())[numbers]
    return areas, ndimage.mean(probability, labels, numbers)
