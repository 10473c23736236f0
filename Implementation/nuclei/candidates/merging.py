"""Neighbouring fragments put together step by step: a tree of regions, each a candidate.

The two whose border is the least pronounced are merged first, until none that touch are left or
what they would be together is too large: a binary partition tree (Salembier and Garrido 2000,
doi 10.1109/83.841934).
"""

import heapq
from dataclasses import dataclass

import numpy as np

from nuclei.candidates.regions import Borders, Regions

LARGEST = 1000.0  # um2; what would be larger together is no nucleus


@dataclass(frozen=True)
class Tree:
    """Fragments and what they are together; the fragments come first, a part before its whole.

    Attributes:
        regions: all of them.
        parts: of each the numbers of the two regions that it was merged from, () for a fragment.
    """

    regions: Regions
    parts: list[tuple[int, ...]]

    def fragments_of(self, chosen: list[int], fragments: int) -> np.ndarray:
        """Return for each fragment the place in `chosen` of the region that holds it, else -1."""
        holder = np.full(fragments, -1)
        for place, region in enumerate(chosen):
            inside = [region]
            while inside:
                region = inside.pop()
                inside.extend(self.parts[region])
                if region < fragments:
                    holder[region] = place
        return holder


def merge(fragments: Regions, borders: Borders, microns_per_pixel: float) -> Tree:
    """Merge fragments step by step.

    A border is as pronounced as the lower of the two summits rises above its saddle.

    Args:
        fragments: measured.
        borders: between them.
        microns_per_pixel: size of a pixel.
    """
    largest = LARGEST / microns_per_pixel**2
    summits, areas = fragments.summit.tolist(), fragments.sums[:, 0].tolist()
    touching = _neighbours(borders, len(summits))
    queue = [
        (min(summits[a], summits[b]) - border[2], a, b)
        for a, around in enumerate(touching)
        for b, border in around.items()
        if a < b
    ]
    heapq.heapify(queue)
    merges = []
    while queue:
        step, a, b = heapq.heappop(queue)
        if touching[a] is None or touching[b] is None or areas[a] + areas[b] > largest:
            continue
        merges.append((a, b, touching[a][b], step))
        summits.append(max(summits[a], summits[b]))
        areas.append(areas[a] + areas[b])
        whole = len(touching)
        touching.append(_around_both(touching, a, b, whole))
        for other, border in touching[whole].items():
            step = min(summits[other], summits[whole]) - border[2]
            heapq.heappush(queue, (step, other, whole))
    parts = [()] * len(fragments.sums) + [(a, b) for a, b, _, _ in merges]
    return Tree(_measured(fragments, merges), parts)


def _neighbours(borders: Borders, count: int) -> list[dict | None]:
    """Return {neighbour: (length, sum of distances, saddle)} of each fragment."""
    touching = [{} for _ in range(count)]
    columns = borders.first, borders.second, borders.length, borders.distance, borders.saddle
    for a, b, *border in zip(*(values.tolist() for values in columns), strict=True):
        touching[a][b] = touching[b][a] = tuple(border)
    return touching


def _around_both(touching: list[dict | None], a: int, b: int, whole: int) -> dict:
    """Return the neighbours of two regions together, and put these into theirs."""
    around = {}
    for region in (a, b):
        for other, border in touching[region].items():
            if other in (a, b):
                continue
            del touching[other][region]
            if other in around:
                length, distance, saddle = around[other]
                border = (length + border[0], distance + border[1], max(saddle, border[2]))
            around[other] = touching[other][whole] = border
        touching[region] = None
    return around


def _measured(fragments: Regions, merges: list) -> Regions:
    """Measure all regions of a tree from its fragments."""
    total = len(fragments.sums) + len(merges)
    sums = np.zeros((total, fragments.sums.shape[1]))
    tops = np.zeros((total, 2))
    inner = np.zeros((total, 2))
    contact = np.zeros((total, 2))
    step = np.zeros(total)
    count = len(fragments.sums)
    sums[:count], contact[:count] = fragments.sums, fragments.contact
    tops[:count, 0], tops[:count, 1] = fragments.summit, fragments.middle
    for whole, (a, b, border, depth) in enumerate(merges, start=count):
        between = np.array(border[:2])
        sums[whole] = sums[a] + sums[b]
        tops[whole] = np.maximum(tops[a], tops[b])
        inner[whole] = inner[a] + inner[b] + between
        contact[whole] = contact[a] + contact[b] - 2 * between
        step[whole] = depth
    return Regions(sums, tops[:, 0], tops[:, 1], contact, inner, step)
