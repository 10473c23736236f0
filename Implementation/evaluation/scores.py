"""Segment images with known nuclei and compare: the work behind Evaluate.py."""

from collections import Counter
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.segmentation import watershed
from tqdm import tqdm

from images.finding import find_images
from images.masks import without_masks
from labels.label_map import Labels, naming
from labels.pairing import Pair, find_pairs
from labels.reading import read_image, read_labels
from labels.scale import pixel_size, ratio_of
from metrics.segmentation import instance_metrics, mean_of, pixel_metrics, within
from networks.network import Network, predict_image, unet_microns, unet_ratio
from nuclei.separation import Separation, separate
from outputs.tables import table_writer
from tiles.geometry import Window, resized
from tiles.resampling import resampled

TILE = 1024  # pixels per side of a tile for the U-net
SHOWN = {  # figure: heading of its column on the terminal; the table has more
    "true_count": "true",
    "predicted_count": "found",
    "pixel_accuracy": "accuracy",
    "background_accuracy": "all-backgr",
    "dice": "Dice",
    "aji": "AJI",
    "pq": "PQ",
    "f1": "F1",
    "count_error": "count err",
    "invented": "inv",
    "lost": "lost",
}
COUNTS = {"true_count", "predicted_count", "invented", "lost", "high_invented", "high_lost"}


def chosen_pairs(folder: Path, label_folder: Path | None, names=()) -> list[Pair]:
    """Pair the images of a folder with their labels; `names` begin those that are wanted.

    Raises:
        OSError, ValueError: see `find_pairs`; or no image has such a name.
    """
    pairs = find_pairs(folder, label_folder)
    chosen = [pair for pair in pairs if not names or pair.image.name.startswith(tuple(names))]
    if not chosen:
        raise ValueError(f"no images in {folder} whose names begin with {', '.join(names)}")
    return chosen


def chosen_images(folders, names=(), recursive=False) -> list[Path]:
    """List the images of folders, masks left out; `names` begin those that are wanted.

    recursive: also those of the folders below.

    Raises:
        OSError, ValueError: a folder holds no images, or none has such a name.
    """
    found = [path for folder in folders for path in find_images(folder, recursive)]
    images, _ = without_masks(found)
    chosen = [path for path in images if not names or path.name.startswith(tuple(names))]
    if not chosen:
        where = ", ".join(map(str, folders))
        raise ValueError(f"no images in {where} whose names begin with {', '.join(names)}")
    return chosen


def evaluate(pairs, unet, separation, microns, masks, compare_separations):
    """Score every image.

    Args:
        pairs: {folder: its pairs}.
        unet: the network.
        separation: thresholds of the separation.
        microns: um per pixel of the images; None = what each file says, else the U-net's.
        masks: what masks are, see `labels.masks.labels_of`.
        compare_separations: score the two classical separations, too.

    Returns:
        A dict per image and method with its figures. `labels` says how the labels were read.
    """
    methods = {"best regions": separate}
    if compare_separations:
        methods |= {
            "connected components": separate_by_components,
            "distance transform": separate_by_distance_transform,
        }
    rows = []
    for folder, found in pairs.items():
        for pair in tqdm(found, desc=folder.name, leave=False):
            image, stated = read_image(pair)
            truth = read_labels(pair, image.shape[:2], masks)
            size, remark = chosen_size(pair, microns, stated, unet)
            maps = predict_maps(unet, image, size)
            place = {"folder": str(folder), "image": pair.image.name}
            reading = {
                "labels": ", ".join(filter(None, [truth.note, remark])),
                "microns_per_pixel": size,
            }
            for method, split in methods.items():
                predicted = split(maps[..., 0], maps[..., 1], size, separation)
                figures = scores(pair, truth, predicted)
                rows.append(place | {"method": method} | figures | reading)
    return rows


def scores(pair: Pair, truth: Labels, predicted: np.ndarray) -> dict:
    """Compare a label map with the labels, where these are complete.

    Pixel figures, and those of nuclei where the labels tell nuclei apart.

    Raises:
        ValueError: nothing of the image is labelled.
    """
    known = np.ones(predicted.shape, bool) if truth.known is None else truth.known
    if not known.any():
        raise ValueError(f"{pair.labels[0]}: nothing of {pair.image} is labelled")
    figures = pixel_metrics(truth.map[known] > 0, predicted[known] > 0)
    if truth.instances:
        maps = (within(labels, truth.known) for labels in (truth.map, predicted))
        figures |= instance_metrics(*maps)
    return figures


def chosen_size(pair: Pair, given: float | None, stated: float | None, unet: Network):
    """Return (um per pixel of an image, a remark or "").

    Raises:
        ValueError: the file states a size that no U-net's image has.
    """
    size, remark = pixel_size(given, stated)
    if not given:
        with naming(pair.image):
            ratio_of(size, unet_microns(unet))
    return size or unet_microns(unet), remark


def predict_maps(unet: Network, image: np.ndarray, microns: float) -> np.ndarray:
    """Return the U-net's maps of a uint8 RGB image at the image's own size, float in 0..1."""

    extent = Window(0, 0, image.shape[1], image.shape[0])
    ratio = unet_ratio(unet, microns)
    if ratio == 1:
        return predict_image(unet, image, TILE)
    small = resized(extent, ratio)
    maps = predict_image(unet, _resampled(image, extent, small), TILE)
    return _resampled(maps, small, extent)


def separate_by_components(probability, distance, microns, separation: Separation):
    """Take each connected component of the thresholded probability as a nucleus."""
    labels, _ = ndimage.label(probability > separation.probability)
    return labels


def separate_by_distance_transform(probability, distance, microns, separation: Separation):
    """Watershed on the distance transform of the thresholded probability, the textbook way."""
    mask = probability > separation.probability
    depth = ndimage.distance_transform_edt(mask)
    peaks = peak_local_max(depth, min_distance=max(1, round(1.5 / microns)), labels=mask)
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-depth, markers, mask=mask)


def _resampled(values: np.ndarray, extent: Window, new: Window) -> np.ndarray:
    """Return an image of one extent at the size of another."""
    reader = resampled(lambda x, y, w, h: values[y : y + h, x : x + w], extent, new)
    return reader(0, 0, new.width, new.height)


def write_rows(path: Path, rows: list[dict]):
    """Write a CSV row per image and method."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with table_writer(path, columns) as add:
        for row in rows:
            add(row)


def print_readings(rows: list[dict]):
    """Print how the labels were read, with the number of images."""
    notes = {(row["folder"], row["image"]): row["labels"] for row in rows if "labels" in row}
    for note, count in Counter(notes.values()).most_common():
        print(f"{count} labelled by: {note}")


def print_table(rows: list[dict], shown: dict[str, str] = SHOWN):
    """Print the mean over the images for each folder and method, with the number of images.

    A line more says of which figures fewer images tell: where some labels are binary masks, those
    have no nuclei to count.

    shown: {figure: heading of its column}. Means of counts are rounded to whole nuclei.
    """
    groups = {}
    for row in rows:
        groups.setdefault((row["folder"], row["method"]), []).append(row)
    names = {key: f"{'/'.join(Path(key[0]).parts[-2:])}, {key[1]}" for key in groups}
    name_width = max(map(len, names.values()))
    widths = {figure: max(7, len(title) + 2) for figure, title in shown.items()}
    print(f"\n{'':{name_width}}{'n':>5}" + "".join(f"{shown[n]:>{w}}" for n, w in widths.items()))
    for key, group in groups.items():
        means = mean_of([{name: row[name] for name in shown if name in row} for row in group])
        cells = (f"{_cell(name, means):>{width}}" for name, width in widths.items())
        print(f"{names[key]:{name_width}}{len(group):>5}" + "".join(cells))
        known = Counter(name for row in group for name in shown if name in row)
        for count in sorted(set(known.values()) - {len(group)}):
            figures = ", ".join(shown[name] for name in shown if known[name] == count)
            print(f"{'':{name_width}}{count:>5}  only: {figures}")


def _cell(figure: str, means: dict[str, float]) -> str:
    if figure not in means:
        return "-"
    return f"{means[figure]:.{0 if figure in COUNTS else 3}f}"
