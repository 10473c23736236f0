"""The nuclei of one window of an image, found by themselves, and all windows put together.

Windows are worked on in any order, by any process; they become label map, table and GeoJSON in the
order of the windows, so that numbers and bytes do not depend on who did which.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuclei.geojson import nucleus_feature, outline
from nuclei.measurement import measure
from nuclei.separation import Separation, renumbered, separate
from tiles.geometry import Window
from tiles.raster import Raster
from trust.confidence import nucleus_confidence, restored


@dataclass(frozen=True)
class WindowNuclei:
    """The nuclei that belong to one window.

    Attributes:
        place: rectangle that `labels` covers: the window with its context.
        labels: int32 (height, width), 0 = background, 1..N = nuclei of this window.
        columns: N values under each name of the table, but `label`.
        outlines: N rings of (x, y) in pixels of the label map of the image.
    """

    place: Window
    labels: np.ndarray
    columns: dict[str, np.ndarray]
    outlines: list[np.ndarray]

    def save(self, path: Path):
        """Write to a file, compressed."""
        with path.open("wb") as file:  # NumPy would add a suffix to the name of a path
            np.savez_compressed(
                file,
                place=list(vars(self.place).values()),
                labels=self.labels,
                points=np.concatenate(self.outlines),
                ends=np.cumsum([len(ring) for ring in self.outlines]),
                **{f"column {name}": values for name, values in self.columns.items()},
            )

    @classmethod
    def load(cls, path: Path) -> "WindowNuclei":
        """Read what `save` has written."""
        with np.load(path) as file:
            columns = {
                name.removeprefix("column "): file[name]
                for name in file.files
                if name.startswith("column ")
            }
            outlines = np.split(file["points"], file["ends"][:-1])
            return cls(Window(*file["place"].tolist()), file["labels"], columns, outlines)


def table_columns(microns: float | None, super_resolved: bool) -> list[str]:
    """Return the columns of the nuclei table.

    Args:
        microns: um per pixel, None where unknown.
        super_resolved: whether nuclei have a confidence of the super-resolution.
    """
    empty = np.zeros((8, 8), np.int32)
    columns = measure(empty, np.zeros((8, 8, 3), np.uint8), empty, microns)
    if super_resolved:
        columns |= nucleus_confidence(empty, np.zeros((8, 8, 3), np.uint8), empty)
    return [name for name in columns if name != "bbox"] + ["touches_border"]


def find_nuclei(
    window: Window,
    place: Window,
    image: Window,
    pixels: np.ndarray,
    maps: np.ndarray,
    errors: np.ndarray | None,
    microns: float | None,
    unet_microns: float,
    separation: Separation,
) -> WindowNuclei | None:
    """Find and measure the nuclei of a window.

    Each nucleus is found in a window with context and belongs to the window that holds its
    centroid, so that it is counted once and cut nowhere.

    Args:
        window: the window, in pixels of the image.
        place: the window with its context.
        image: extent of the image.
        pixels: uint8 RGB of `place`.
        maps: (height, width, 2) of `place`: probability and distance, in 1/255.
        errors: expected error of the super-resolution in `place`, as `confidence.stored` gives
            it; None without one.
        microns: um per pixel, None where unknown.
        unet_microns: stands in for it in the separation.
        separation: thresholds.

    Returns:
        None where there is no nucleus.
    """
    probability, distance = np.moveaxis(maps.astype(np.float32) / 255, -1, 0)
    found = separate(probability, distance, microns or unet_microns, separation)
    labels = _owned(found, place, window)
    if not labels.any():
        return None
    columns = measure(labels, pixels, probability, microns)
    if errors is not None:
        columns |= nucleus_confidence(labels, pixels, restored(errors), found == 0)
    boxes = columns.pop("bbox")
    columns = _shifted(columns, place, microns)
    top, left, bottom, right = boxes.T
    columns["touches_border"] = (
        (left + place.x == 0)
        | (top + place.y == 0)
        | (right + place.x == image.width)
        | (bottom + place.y == image.height)
    ).astype(int)
    del columns["label"]
    outlines = []
    for number, (top, left, bottom, right) in enumerate(boxes, start=1):
        mask = labels[top:bottom, left:right] == number
        outlines.append(outline(mask, left + place.x, top + place.y))
    return WindowNuclei(place, labels, columns, outlines)


def merge(
    windows: Iterable[WindowNuclei],
    raster: Raster,
    add_row: Callable[[dict], None],
    add_feature: Callable[[dict], None],
    scale: float,
    shift: tuple[float, float],
) -> dict:
    """Number the nuclei of all windows through; fill label map, table and GeoJSON.

    Args:
        windows: in their order.
        raster: label map of the image, all zero.
        add_row: takes a row of the table.
        add_feature: takes a feature of the GeoJSON.
        scale, shift: from pixels of the label map to the coordinates of the GeoJSON.

    Returns:
        Number of nuclei, sum of their areas and of the squares of these.
    """
    sums = {"count": 0, "area": 0.0, "area_squared": 0.0}
    for found in windows:
        numbers = np.where(found.labels > 0, found.labels + sums["count"], 0)
        _write_labels(raster, found.place, numbers.astype(np.uint32))
        for index, ring in enumerate(found.outlines):
            row = {"label": sums["count"] + index + 1}
            row |= {name: values[index] for name, values in found.columns.items()}
            add_row(row)
            add_feature(nucleus_feature(ring, row, scale, shift))
        areas = found.columns["area_um2" if "area_um2" in found.columns else "area_px2"]
        sums["count"] += len(areas)
        sums["area"] += float(areas.sum())
        sums["area_squared"] += float((areas**2).sum())
    return sums


def _owned(labels: np.ndarray, place: Window, window: Window) -> np.ndarray:
    """Return a label map of the nuclei whose centroids lie in the window, numbered anew 1..N.

    By whole coordinates of the image, so that all windows agree on a centroid at their border.
    """
    y, x = np.nonzero(labels)
    numbers, count = labels[y, x], labels.max() + 1
    pixels = np.maximum(np.bincount(numbers, minlength=count), 1)
    centre_x = np.bincount(numbers, x + place.x, count) / pixels + 0.5
    centre_y = np.bincount(numbers, y + place.y, count) / pixels + 0.5
    owned = (centre_x >= window.x) & (centre_x < window.x + window.width)
    owned &= (centre_y >= window.y) & (centre_y < window.y + window.height)
    return renumbered(labels, owned)


def _write_labels(raster, place, labels):
    """Add a window's nuclei; pixels that an earlier window has already named stay."""
    present = raster.read(place.x, place.y, place.width, place.height)
    raster.write(place.x, place.y, np.where(present > 0, present, labels)[..., None])


def _shifted(columns: dict, place: Window, microns: float | None) -> dict:
    """Return the measurements with centroids in the coordinates of the whole image."""
    for axis, start in (("x", place.x), ("y", place.y)):
        columns[f"centroid_{axis}_px"] = columns[f"centroid_{axis}_px"] + start
        if microns is not None:
            columns[f"centroid_{axis}_um"] = columns[f"centroid_{axis}_px"] * microns
    return columns
