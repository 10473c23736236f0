"""Find out where overlapping microscope fields lie and blend them into one image.

Fields have the same magnification and orientation. A shift (x, y) is the place, in pixels, of the
second field's top left corner in the first one. Candidates come from phase correlation (Kuglin &
Hines 1975) or SIFT (Lowe 2004); only the normalised cross-correlation of the overlap decides.
"""

from dataclasses import dataclass

import cv2
import numpy as np

COARSE_SIDE = 400  # pixels; longest side of the shrunken fields on which all pairs are tested
FINE_SIGMA, BROAD_SIGMA = 1.5, 16  # pixels; only detail between these two sizes is compared
LEAST_CONTRAST = 0.5  # grey levels; a band-passed overlap with less shows nothing to compare
LEAST_SIDE = 16  # pixels; an overlap narrower than this proves nothing
CANDIDATES = 6  # peaks of the phase correlation that are looked at
TAPER = 0.03  # part of a side over which a field fades to its border; more hides narrow overlaps
LEAST_MATCHES = 6  # SIFT matches that must agree on a shift
MATCH_TOLERANCE = 3.0  # pixels between the shifts of SIFT matches that agree
FEATURES = 1500  # SIFT points of a field
DARKEST, BRIGHTEST = 5, 250  # 8-bit values outside say nothing about a field's brightness
FEATHER_POWER = 3  # higher: the blend changes over faster and stays sharper


@dataclass(frozen=True)
class Pair:
    """Two overlapping fields: their numbers, the shift (x, y) in pixels and its evidence.

    `correlation` is that of the overlap (-1 to 1), `weight` is it times the overlapping part.
    """

    first: int
    second: int
    shift: tuple[float, float]
    correlation: float
    weight: float


def shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Average factor x factor pixels; last rows and columns that fill no whole one are dropped."""
    height, width = (max(1, side // factor) for side in image.shape[:2])
    image = image[: height * factor, : width * factor]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def band_pass(grey: np.ndarray) -> np.ndarray:
    """Take noise and uneven light out of uint8 (height, width); float32 about 0."""
    grey = grey.astype(np.float32)
    fine = cv2.GaussianBlur(grey, (0, 0), FINE_SIGMA)
    return fine - cv2.GaussianBlur(grey, (0, 0), BROAD_SIGMA)


def overlap(first_shape, second_shape, shift) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the overlap as (rows, columns) of the first and of the second; empty where none."""
    sides = zip(first_shape[:2], second_shape[:2], (round(shift[1]), round(shift[0])), strict=True)
    first, second = [], []
    for size, other, offset in sides:
        start, end = max(0, offset), max(min(size, offset + other), max(0, offset))
        first.append(slice(start, end))
        second.append(slice(start - offset, end - offset))
    return tuple(first), tuple(second)


def overlap_part(first_shape, second_shape, shift) -> float:
    """Overlap as part of the smaller field; 0 where it is too narrow to prove anything."""
    rows, columns = overlap(first_shape, second_shape, shift)[0]
    height, width = rows.stop - rows.start, columns.stop - columns.start
    smaller = min(first_shape[0] * first_shape[1], second_shape[0] * second_shape[1])
    return height * width / smaller if min(height, width) >= LEAST_SIDE else 0.0


def correlation(first: np.ndarray, second: np.ndarray, shift) -> float:
    """Normalised cross-correlation of the overlap of two band-passed fields; 0 where it is flat."""
    in_first, in_second = overlap(first.shape, second.shape, shift)
    a, b = first[in_first], second[in_second]
    if min(a.shape) < LEAST_SIDE:
        return 0.0
    deviations = float(a.std()), float(b.std())
    if min(deviations) < LEAST_CONTRAST:
        return 0.0
    return float(np.mean((a - a.mean()) * (b - b.mean()))) / (deviations[0] * deviations[1])


def spectrum(band: np.ndarray, size: tuple[int, int], taper: float = TAPER) -> np.ndarray:
    """Fourier transform of a band-passed field, faded to its border, zero-padded to `size`."""
    windows = []
    for side in band.shape:
        distance = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
        windows.append(np.sin(np.pi / 2 * np.minimum(1, distance / (taper * side))) ** 2)
    window = np.outer(*windows).astype(np.float32)
    return np.fft.rfft2(band * window, size).astype(np.complex64)


def phase_correlation(first: np.ndarray, second: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Phase correlation of two spectra: (size), highest at the shift; negative ones wrap round."""
    cross = first * np.conj(second)
    cross /= np.abs(cross) + 1e-6 * np.abs(cross).max() + 1e-12
    # The band-pass left only noise in the highest frequencies; whitened, they would outvote all.
    fy, fx = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])
    low = np.exp(-2 * (np.pi * FINE_SIGMA) ** 2 * (fy**2 + fx**2)).astype(np.float32)
    return np.fft.irfft2(cross * low, size)


def padded_size(shapes) -> tuple[int, int]:
    """Rows and columns that hold any shift of two of these fields without wrapping round."""
    sides = (max(sides) * 2 for sides in zip(*shapes, strict=True))
    return tuple(cv2.getOptimalDFTSize(side) for side in sides)


def candidate_shifts(surface: np.ndarray, first_shape, second_shape, least_area) -> list[tuple]:
    """Return where `phase_correlation` peaks with at least `least_area` pixels of overlap."""
    y, x = (np.round(np.fft.fftfreq(side) * side).astype(int) for side in surface.shape)
    rows, columns = (
        np.minimum(a, s + b) - np.maximum(0, s)
        for a, b, s in zip(first_shape, second_shape, (y, x), strict=True)
    )
    rows, columns = (np.where(side < LEAST_SIDE, 0, side) for side in (rows, columns))
    surface = np.where(np.outer(rows, columns) >= max(1, least_area), surface, -np.inf)
    shifts = []
    for _ in range(CANDIDATES):
        row, column = np.unravel_index(np.argmax(surface), surface.shape)
        if surface[row, column] == -np.inf:
            break
        shifts.append((int(x[column]), int(y[row])))
        surface[max(0, row - 4) : row + 5, max(0, column - 4) : column + 5] = -np.inf
    return shifts


def sift_points(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SIFT points (n, 2) as (x, y) and their descriptors (n, 128) of uint8 (height, width)."""
    points, descriptors = cv2.SIFT_create(FEATURES).detectAndCompute(grey, None)
    places = np.array([point.pt for point in points], np.float32).reshape(-1, 2)
    return places, np.empty((0, 128), np.float32) if descriptors is None else descriptors


def sift_shift(first: tuple, second: tuple) -> tuple[float, float] | None:
    """Return the shift that most SIFT matches agree on, None where too few do.

    One match fixes a shift, so every match is tried as RANSAC's sample and none has to be drawn.
    """
    (places, descriptors), (other_places, other_descriptors) = first, second
    if min(len(places), len(other_places)) < LEAST_MATCHES:
        return None
    matches = cv2.BFMatcher().knnMatch(other_descriptors, descriptors, k=2)
    good = [best for best, next_best in matches if best.distance < 0.8 * next_best.distance]
    if len(good) < LEAST_MATCHES:
        return None
    ends = [(match.queryIdx, match.trainIdx) for match in good]
    shifts = np.array([places[there] - other_places[here] for here, there in ends])
    agree = np.linalg.norm(shifts[:, None] - shifts[None], axis=2) < MATCH_TOLERANCE
    votes = agree.sum(axis=1)
    if votes.max() < LEAST_MATCHES:
        return None
    x, y = shifts[agree[np.argmax(votes)]].mean(axis=0)
    return float(x), float(y)


def refine(first: np.ndarray, second: np.ndarray, shift, reach: float) -> tuple[tuple, float]:
    """Improve a shift of two full-size grey fields (uint8) to a fraction of a pixel.

    reach: pixels by which the shift may be wrong. Returns the shift and the correlation there.
    """
    in_first, in_second = overlap(first.shape, second.shape, shift)
    a, b = band_pass(first[in_first]), band_pass(second[in_second])
    size = tuple(cv2.getOptimalDFTSize(side) for side in a.shape)
    # Nearly the same piece twice: a soft border costs nothing and keeps its edges out of the peak.
    surface = phase_correlation(spectrum(a, size, 0.15), spectrum(b, size, 0.15), size)
    reach = max(1, min(round(reach), min(a.shape) // 2 - 2))
    near = np.arange(-reach - 1, reach + 2)
    window = surface[np.ix_(near, near)]
    row, column = np.unravel_index(np.argmax(window[1:-1, 1:-1]), (2 * reach + 1,) * 2)
    around = window[row : row + 3, column : column + 3]
    rest = (near[column + 1] + _vertex(around[1]), near[row + 1] + _vertex(around[:, 1]))
    better = round(shift[0]) + float(rest[0]), round(shift[1]) + float(rest[1])
    return better, correlation(a, b, rest)


def _vertex(values: np.ndarray) -> float:
    """Place of the top of the parabola through 3 values at -1, 0, 1; the middle one is highest."""
    curvature = values[0] - 2 * values[1] + values[2]
    return float(np.clip((values[0] - values[2]) / (2 * curvature), -0.5, 0.5)) if curvature else 0


def may_overlap(first: int, second: int, grid: tuple[int, int] | None) -> bool:
    """Whether fields are neighbours, also across a corner, in a grid (rows, columns) if any."""
    if grid is None:
        return True
    (row, column), (other_row, other_column) = (divmod(each, grid[1]) for each in (first, second))
    return max(abs(row - other_row), abs(column - other_column)) <= 1


def groups(numbers, pairs: list[Pair]) -> dict[int, set[int]]:
    """Return for each field the set of all that pairs connect with it; connected ones share it."""
    group = {number: {number} for number in numbers}
    for pair in pairs:
        if group[pair.first] is not group[pair.second]:
            joined = group[pair.first] | group[pair.second]
            group |= dict.fromkeys(joined, joined)
    return group


def solve_positions(
    numbers, pairs: list[Pair], tolerance: float
) -> tuple[dict[int, np.ndarray], list[Pair]]:
    """Place the largest group of fields by weighted least squares over all its pairs.

    Pairs that miss the common solution by more than `tolerance` pixels are taken out, the worst
    first, and the rest is solved again. Returns the position (x, y) of every field in the group
    and the pairs that hold it together.
    """
    pairs = list(pairs)
    while True:
        # Of equally large groups the one with the most evidence.
        group = max(
            groups(numbers, pairs).values(),
            key=lambda group: (len(group), sum(p.weight for p in pairs if p.first in group)),
        )
        group, pairs = sorted(group), [pair for pair in pairs if pair.first in group]
        positions, misses = _robust_positions(group, pairs)
        if misses.max(initial=0) <= tolerance:
            return dict(zip(group, positions, strict=True)), pairs
        del pairs[int(np.argmax(misses))]


def _robust_positions(group: list[int], pairs: list[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n, 2) and misses (pairs,) in pixels, by iteratively reweighted least squares.

    Cauchy's weights: a wrong pair must not bend the solution so far that right ones look wrong.
    """
    place = {number: index for index, number in enumerate(group)}
    matrix = np.zeros((len(pairs) + 1, len(group)))
    matrix[-1, 0] = 1  # only differences are known: the first field stays at (0, 0)
    shifts = np.array([pair.shift for pair in pairs] + [(0, 0)], float)
    for row, pair in enumerate(pairs):
        matrix[row, [place[pair.first], place[pair.second]]] = -1, 1
    evidence = np.sqrt([pair.weight for pair in pairs])
    evidence = np.append(evidence / evidence.max(initial=1e-9), 1)
    weights = np.ones(len(shifts))
    for _ in range(10):
        scale = (evidence * np.sqrt(weights))[:, None]
        positions = np.linalg.lstsq(matrix * scale, shifts * scale, rcond=None)[0]
        misses = np.linalg.norm(matrix @ positions - shifts, axis=1)
        weights = 1 / (1 + misses**2)
    return positions, misses[:-1]


def solve_gains(images: list[np.ndarray], positions: dict, pairs: list[Pair]) -> dict:
    """Return for each placed field the factors (3,) that make the overlaps equally bright.

    images: uint8 RGB; positions and pairs in their pixels. The logarithms of the factors are a
    least-squares solution with mean 0 (Brown & Lowe 2007, section 6, in log intensity).
    """
    group = sorted(positions)
    matrix, ratios = np.zeros((len(pairs) + 1, len(group))), np.zeros((len(pairs) + 1, 3))
    matrix[-1] = 1
    for row, pair in enumerate(pairs):
        shift = positions[pair.second] - positions[pair.first]
        first, second = images[pair.first], images[pair.second]
        ratio, pixels = _log_ratio(first, second, overlap(first.shape, second.shape, shift))
        matrix[row, [group.index(pair.first), group.index(pair.second)]] = -1, 1
        matrix[row] *= np.sqrt(pixels)
        ratios[row] = ratio * np.sqrt(pixels)
    logarithms = np.linalg.lstsq(matrix, ratios, rcond=None)[0]
    return dict(zip(group, np.exp(logarithms), strict=True))


def _log_ratio(first, second, where) -> tuple[np.ndarray, int]:
    """Log of first's brightness over second's (3,) and the pixels of the overlap that say so."""
    a, b = first[where[0]].reshape(-1, 3), second[where[1]].reshape(-1, 3)
    usable = ((np.minimum(a, b) >= DARKEST) & (np.maximum(a, b) <= BRIGHTEST)).all(axis=1)
    if not usable.any():
        return np.zeros(3), 0
    return np.log(a[usable].mean(axis=0) / b[usable].mean(axis=0)), int(usable.sum())


def feather(height: int, width: int) -> np.ndarray:
    """Blending weights (height, width) of a field: its distance to the border, to a power."""
    down, across = (
        np.minimum(np.arange(side), np.arange(side)[::-1]) + 1 for side in (height, width)
    )
    return np.minimum.outer(down, across).astype(np.float32) ** FEATHER_POWER


def blend(parts: list[tuple], height: int, width: int) -> np.ndarray:
    """Blend parts of fields into one strip, uint8 RGB (height, width, 3), white where none lies.

    parts: (x, y, pixels, gain, weights): place in the strip, uint8 RGB, factors (3,), `feather`.
    """
    total = np.zeros((height, width, 3), np.float32)
    weight = np.zeros((height, width, 1), np.float32)
    for x, y, pixels, gain, weights in parts:
        place = slice(y, y + pixels.shape[0]), slice(x, x + pixels.shape[1])
        # What one field overexposes another may show; its own clipped value would turn grey.
        clipped = pixels.max(axis=2) > BRIGHTEST
        weights = np.where(clipped, weights * np.float32(0.01), weights)[..., None]
        total[place] += pixels * np.asarray(gain, np.float32) * weights
        weight[place] += weights
    mean = np.where(weight > 0, total / np.maximum(weight, 1e-9), 255)
    return np.rint(np.clip(mean, 0, 255)).astype(np.uint8)
