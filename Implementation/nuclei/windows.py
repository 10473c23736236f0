"""The nuclei of one window of an image, found by themselves, and all windows put together.

Windows are worked on in any order, by any process; they become label map, table and GeoJSON in the
order of the windows, so that numbers and bytes do not depend on who did which.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from nuclei.measurement import WHITE, measure
from nuclei.outlines import Outlines, find_outlines, thinned
from nuclei.separation import Separation, separate
from tiles.geometry import Window
from tiles.raster import Raster
from trust.confidence import nucleus_confidence, restored


@dataclass(frozen=True)
class WindowGeometry:
    """Where a window lies, in pixels of the image.

    Attributes:
        window: the window; the nuclei whose centroids lie in it are its own.
        place: the window with the context that its nuclei need.
        image: extent of the image.
    """

    window: Window
    place: Window
    image: Window


@dataclass(frozen=True)
class WindowContent:
    """What is seen in the place of a window.

    Attributes:
        pixels: uint8 RGB.
        maps: (height, width, 2), probability and distance, in 1/255.
        errors: expected error of the super-resolution, as `confidence.stored` gives it; None
            without one.
        white: R, G, B of bare glass.
    """

    pixels: np.ndarray
    maps: np.ndarray
    errors: np.ndarray | None
    white: tuple[float, float, float] = WHITE


@dataclass(frozen=True)
class PixelSize:
    """The size of a pixel.

    Attributes:
        microns: um, None where unknown.
        unet_microns: um, that of the U-net's training images.
    """

    microns: float | None
    unet_microns: float

    @property
    def assumed(self) -> float:
        """The size in um by which nuclei are separated."""
        return self.microns or self.unet_microns


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

    def only(self, kept: np.ndarray) -> "WindowNuclei":
        """Return some of the nuclei alone, numbered anew; kept: bool (N,)."""
        if kept.all():
            return self
        return WindowNuclei(
            self.place,
            _renumbered(self.labels, np.append(False, kept)),
            {name: values[kept] for name, values in self.columns.items()},
            [ring for ring, keep in zip(self.outlines, kept, strict=True) if keep],
        )

    @staticmethod
    def load_columns(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Read some columns alone of what `save` has written."""
        with np.load(path) as file:
            return {name: file[f"column {name}"] for name in names}


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
    return [*columns, "touches_border"]


def find_nuclei(
    geometry: WindowGeometry, content: WindowContent, size: PixelSize, separation: Separation
) -> WindowNuclei | None:
    """Find and measure the nuclei of a window.

    Each nucleus is found in a window with context and belongs to the window that holds its
    centroid, so that it is counted once and cut nowhere.

    Args:
        geometry: where the window lies.
        content: what is seen there.
        size: of a pixel.
        separation: thresholds.

    Returns:
        None where there is no nucleus.
    """
    probability, distance = np.moveaxis(content.maps.astype(np.float32) / 255, -1, 0)
    found = separate(probability, distance, size.assumed, separation)
    place = geometry.place
    labels = _owned(found, place, geometry.window)
    if not labels.any():
        return None
    outlines = find_outlines(labels)
    columns = measure(labels, content.pixels, probability, size.microns, content.white, outlines)
    if content.errors is not None:
        error = restored(content.errors)
        columns |= nucleus_confidence(labels, content.pixels, error, found == 0)
    columns = _shifted(columns, place, size.microns)
    columns["touches_border"] = _at_border(outlines, place, geometry.image).astype(int)
    del columns["label"]
    corners = outlines.boxes[:, 1::-1] + (place.x, place.y)
    rings = [thinned(ring, *xy) for ring, xy in zip(outlines.rings, corners, strict=True)]
    return WindowNuclei(place, labels, columns, rings)


def merge(
    windows: Iterable[WindowNuclei],
    raster: Raster,
    add_row: Callable[[dict], None],
    add_outline: Callable[[np.ndarray, dict], None],
    more: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> int:
    """Number the nuclei of all windows through; fill label map, table and outlines.

    Args:
        windows: in their order.
        raster: label map of the image, all zero.
        add_row: takes a row of the table.
        add_outline: takes the outline of a nucleus, in pixels of the label map, and its row.
        more: further columns, which need all nuclei of the image; one value each.

    Returns:
        How many there are.
    """
    count = 0
    for found in windows:
        numbers = np.where(found.labels > 0, found.labels + count, 0)
        _write_labels(raster, found.place, numbers.astype(np.uint32))
        end = count + len(found.outlines)
        columns = {"label": np.arange(count + 1, end + 1)} | found.columns
        columns |= {name: values[count:end] for name, values in more.items()}
        # Python's own numbers are written twice as fast as NumPy's.
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        for ring, row in zip(found.outlines, rows, strict=True):
            named = dict(zip(columns, row, strict=True))
            add_row(named)
            add_outline(ring, named)
        count = end
    return count


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
    return _renumbered(labels, owned)


def _renumbered(labels: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Drop labels that are not kept and number the others anew, in their order.

    Args:
        labels: int (height, width), 0 = background, labels 1..N.
        kept: bool (N + 1,), by label; that of the background does not count.

    Returns:
        int32 (height, width).
    """
    kept = np.append(False, kept[1:])
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[labels]


def _at_border(outlines: Outlines, place: Window, image: Window) -> np.ndarray:
    """Tell of each nucleus whether it touches the border of the image."""
    top, left, bottom, right = outlines.boxes.T
    return (
        (left + place.x == 0)
        | (top + place.y == 0)
        | (right + place.x == image.width)
        | (bottom + place.y == image.height)
    )


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
