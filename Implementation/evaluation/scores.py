"""Segment images with known nuclei and compare: the work behind Evaluate.py."""

from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.segmentation import watershed
from tqdm import tqdm

from images.finding import find_images
from images.opening import open_image
from metrics.segmentation import instance_metrics, mean_of, pixel_metrics
from networks.network import Network, predict_image, unet_ratio
from nuclei.separation import Separation, separate
from outputs.tables import table_writer
from tiles.geometry import Window, resized
from tiles.resampling import resampled

TILE = 1024  # pixels per side of a tile for the U-net
IMAGE_MARK, MASK_MARK = "_crop", "_labeled_mask_corrected"  # names of the TCIA layout
SHOWN = {
    "true_count": "true",
    "predicted_count": "found",
    "pixel_accuracy": "pixel acc",
    "background_accuracy": "all-backgr",
    "dice": "Dice",
    "iou": "IoU",
    "aji": "AJI",
    "pq": "PQ",
    "dq": "DQ",
    "sq": "SQ",
    "f1": "F1",
    "count_error": "count err",
    "invented": "invented",
    "lost": "lost",
}


def pair_with_labels(folder: Path, label_folder: Path, names=()) -> list[tuple[Path, Path]]:
    """Find the label map of every image of a folder, by name.

    A label folder that holds `N_labeled_mask_corrected.png` files is in the TCIA layout: their
    images are `N_crop.png`, in the same or in another folder.

    Raises:
        FileNotFoundError: a folder is missing, or images lack labels; they are named.
    """
    label_files = find_images(label_folder)
    marked = [path for path in label_files if path.stem.endswith(MASK_MARK)]
    labels = {path.stem.removesuffix(MASK_MARK): path for path in marked or label_files}
    images = [
        path
        for path in find_images(folder)
        if path not in marked and (not names or path.name.startswith(tuple(names)))
    ]
    keys = [path.stem.removesuffix(IMAGE_MARK if marked else "") for path in images]
    missing = [path.name for path, key in zip(images, keys, strict=True) if key not in labels]
    if missing or not images:
        found = f"none for {', '.join(missing)}" if missing else f"no images in {folder}"
        raise FileNotFoundError(f"expected a label map for each image in {label_folder}; {found}")
    return [(path, labels[key]) for path, key in zip(images, keys, strict=True)]


def evaluate(pairs, unet, separation, microns, connected_components, compare_separations):
    """Judge every image.

    Args:
        pairs: {folder: [(image path, label path)]}.
        unet: the network.
        separation: thresholds of the separation.
        microns: um per pixel of the images.
        connected_components: the components of binary masks are nuclei.
        compare_separations: judge the two classical separations, too.

    Returns:
        A dict per image and method with its figures.
    """
    methods = {"marker watershed": separate}
    if compare_separations:
        methods |= {
            "connected components": separate_by_components,
            "distance transform": separate_by_distance_transform,
        }
    rows = []
    for folder, files in pairs.items():
        for image_path, label_path in tqdm(files, desc=folder.name, leave=False):
            with open_image(image_path) as file:
                image = file.read(0, 0, file.width, file.height)
            truth, known = read_labels(label_path, connected_components)
            if truth.shape != image.shape[:2]:
                raise ValueError(f"{image_path} and {label_path} differ in size")
            maps = predict_maps(unet, image, microns)
            for method, split in methods.items():
                predicted = split(maps[..., 0], maps[..., 1], microns, separation)
                figures = pixel_metrics(truth > 0, predicted > 0)
                if known:
                    figures |= instance_metrics(truth, predicted)
                place = {"folder": str(folder), "image": image_path.name, "method": method}
                rows.append(place | figures)
    return rows


def predict_maps(unet: Network, image: np.ndarray, microns: float) -> np.ndarray:
    """Return the U-net's maps of a uint8 RGB image at the image's own size, float in 0..1."""

    extent = Window(0, 0, image.shape[1], image.shape[0])
    ratio = unet_ratio(unet, microns)
    if ratio == 1:
        return predict_image(unet, image, TILE)
    small = resized(extent, ratio)
    maps = predict_image(unet, _resampled(image, extent, small), TILE)
    return _resampled(maps, small, extent)


def read_labels(path: Path, connected_components: bool) -> tuple[np.ndarray, bool]:
    """Read a label map; say whether its labels are single nuclei.

    Returns:
        (int (height, width) label map, True), or for a binary mask (its connected components,
        `connected_components`).

    Raises:
        ValueError: the file is not an image.
    """
    encoded = np.fromfile(path, np.uint8)  # cv2.imread fails on non-ASCII paths on Windows
    labels = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
    if labels is None:
        raise ValueError(f"{path}: not a readable label map")
    if labels.ndim == 3:
        labels = labels[..., :3].max(axis=-1)
    if len(np.unique(labels)) > 2:
        return labels.astype(np.int32), True
    return ndimage.label(labels > 0)[0], connected_components


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


def print_table(rows: list[dict], shown: dict[str, str] = SHOWN):
    """Print the mean over the images for each folder and method, with the number of images.

    shown: {figure: heading of its column}.
    """
    groups = {}
    for row in rows:
        groups.setdefault((row["folder"], row["method"]), []).append(row)
    names = {key: f"{Path(key[0]).name}, {key[1]}" for key in groups}
    width = max(map(len, names.values()))
    print(f"\n{'':{width}}{'n':>5}" + "".join(f"{title:>11}" for title in shown.values()))
    for key, group in groups.items():
        figures = [{name: row[name] for name in shown if name in row} for row in group]
        means = mean_of(figures)
        cells = "".join(f"{means[n]:>11.3f}" if n in means else f"{'-':>11}" for n in shown)
        print(f"{names[key]:{width}}{len(group):>5}{cells}")
