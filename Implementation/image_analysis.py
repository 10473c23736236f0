"""One image or slide from low resolution to measured nuclei, as a stream of tiles.

Four stages, each of which reads rectangles and writes rectangles, so that memory does not grow
with the image: super-resolve (raster of RGB), segment (raster of the U-net's maps), separate and
measure (raster of labels, table, GeoJSON), write (pictures). The rasters lie in a folder `.partial`
beside the results; an interrupted image goes on from its last finished tile.
"""

import json
import shutil
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from image_files import ImageFile
from networks import UNET_MICRONS, Network, unet_microns, unet_ratio
from nuclei import Separation, measure, separate, tissue_mask
from outputs import geojson_writer, nucleus_feature, table_writer
from progress import Progress
from raster import Raster, preview
from result_files import publish, write_results
from scipy import ndimage
from tiling import Window, expanded, grid, predict_tiles, resampled, resized

NUCLEI_WINDOW = 2048  # side of the windows in which nuclei are separated, whatever the tile size
UNET_TILE = 2048  # side of the U-net's tiles at most, in its pixels; more needs too much memory
NUCLEI_CONTEXT = 24.0  # um around such a window; more than the radius of a nucleus
THUMBNAIL_MICRONS = 8.0  # um per pixel of the thumbnail that tells tissue from glass


@dataclass(frozen=True)
class Settings:
    """What a user chooses for a run; see the constants of Final_implementation.py."""

    microns_per_pixel: float | None = None
    tile_size: int = 640
    batch_size: int = 1
    separation: Separation = field(default_factory=Separation)
    tissue_threshold: float = 0.08
    jpeg_quality: int | None = 90


class Analysis:
    """The stages of one image.

    Args:
        image: the opened input.
        folder: where its results go.
        generator: super-resolution network, or None to take the image as it is.
        unet: nucleus network, or None to stop after super-resolution.
        settings: the user's choices.
        progress: is told of stages and pixels done.
    """

    def __init__(
        self,
        image: ImageFile,
        folder: Path,
        generator: Network | None,
        unet: Network | None,
        settings: Settings,
        progress: Progress,
    ):
        self.image, self.folder = image, folder
        self.generator, self.unet = generator, unet
        self.settings, self.progress = settings, progress
        self.scale = generator.scale if generator else 1
        self.input_microns = settings.microns_per_pixel or image.microns_per_pixel
        self.microns = self.input_microns and self.input_microns / self.scale
        self.input_extent = Window(0, 0, image.width, image.height)
        self.extent = Window(0, 0, image.width * self.scale, image.height * self.scale)
        self.partial = folder / ".partial"
        self.state_file = self.partial / "state.json"

    def run(self) -> dict:
        """Write all results of the image; return its row of the summary."""
        started = time.monotonic()
        stages = bool(self.generator) + 2 * bool(self.unet)
        self.progress.start(stages, self.extent.width * self.extent.height / 1e6)
        state = self._prepare()
        started -= state["seconds"]
        self.tissue, self.tissue_step = self._find_tissue()
        # A nucleus on glass may fill too little of a thumbnail pixel beside the one that shows it.
        self.near_tissue = ndimage.binary_dilation(self.tissue, np.ones((3, 3)))
        row = self._describe()
        with ExitStack() as self.open_rasters:  # closed before they are deleted
            pixels = self._super_resolve(state) if self.generator else self.image
            labels = None
            if self.unet:
                maps = self._segment(state, pixels)
                labels, figures = self._separate(pixels, maps)
                row |= self._summarise(figures)
            self.progress.stage("writing")
            write_results(
                self.partial,
                self.image,
                self.scale,
                pixels,
                labels,
                self.microns,
                self.settings.jpeg_quality,
            )
        row["seconds"] = round(time.monotonic() - started, 1)
        publish(self.partial, self.folder)
        shutil.rmtree(self.partial)
        return row

    def _prepare(self) -> dict:
        """Return the state of an interrupted run with the same constants, or a fresh one."""
        file = self.image.path.stat()
        state = {
            "input": [file.st_size, file.st_mtime_ns, self.image.width, self.image.height],
            "settings": asdict(self.settings),
            "models": [network and network.sha256 for network in (self.generator, self.unet)],
        }
        if self.state_file.is_file():
            stored = json.loads(self.state_file.read_text("utf-8"))
            if all(stored.get(key) == value for key, value in state.items()):
                return stored
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        return state | {"super_resolved": [-1, -1], "segmented": [-1, -1], "seconds": 0.0}

    def _find_tissue(self) -> tuple[np.ndarray, int]:
        """Return the tissue mask of the input and the input pixels per side of a mask pixel."""
        microns = self.input_microns or (UNET_MICRONS * self.scale)
        step = max(1, round(THUMBNAIL_MICRONS / microns))
        return tissue_mask(preview(self.image, step), self.settings.tissue_threshold), step

    def _holds_tissue(self, window: Window, scale: float) -> bool:
        """Tell whether a window holds tissue or touches it, given its pixels per input pixel."""
        step = self.tissue_step * scale
        rows = slice(int(window.y / step), int((window.y + window.height - 1) / step) + 1)
        columns = slice(int(window.x / step), int((window.x + window.width - 1) / step) + 1)
        return bool(self.near_tissue[rows, columns].any())

    def _raster(self, name: str, extent: Window, channels: int, dtype) -> Raster:
        path = self.partial / name
        raster = Raster(path, extent.width, extent.height, channels, dtype)
        return self.open_rasters.enter_context(raster)

    def _super_resolve(self, state) -> Raster:
        self.progress.stage("super-resolving")
        raster = self._raster("pixels.raw", self.extent, 3, np.uint8)
        if state["super_resolved"] == [-1, -1]:
            for window in grid(self.extent.width, self.extent.height, NUCLEI_WINDOW):
                white = np.full((window.height, window.width, 3), 255, np.uint8)
                raster.write(window.x, window.y, white)
        network = self.generator
        tiles = predict_tiles(
            network.predict_middle,
            self.image.read,
            self.input_extent,
            self.settings.tile_size,
            network.radius,
            network.pooling,
            network.scale,
            self.settings.batch_size,
            lambda w: [w.y, w.x] > state["super_resolved"] and self._holds_tissue(w, 1),
        )
        for window, tile in self._resumable(tiles, state, "super_resolved", network.scale, 1.0):
            raster.write(window.x, window.y, np.clip(np.rint(tile), 0, 255).astype(np.uint8))
        return raster

    def _segment(self, state, pixels) -> Raster:
        """Fill the raster of the U-net's maps, at the U-net's own pixel size, in 1/255."""
        self.progress.stage("segmenting")
        ratio = unet_ratio(self.unet, self.microns)
        extent = resized(self.extent, ratio)
        read = pixels.read if ratio == 1 else resampled(pixels.read, self.extent, extent)
        raster = self._raster("maps.raw", extent, 2, np.uint8)
        per_input_pixel = self.scale * ratio
        tiles = predict_tiles(
            self.unet.predict_middle,
            read,
            extent,
            min(self.settings.tile_size * self.scale, UNET_TILE),
            self.unet.radius,
            self.unet.pooling,
            1,
            self.settings.batch_size,
            lambda w: [w.y, w.x] > state["segmented"] and self._holds_tissue(w, per_input_pixel),
        )
        for window, tile in self._resumable(tiles, state, "segmented", 1, 1 / ratio**2):
            raster.write(window.x, window.y, np.rint(tile * 255).astype(np.uint8))
        return raster

    def _resumable(self, tiles, state, stage, scale, progress_per_pixel):
        """Pass tiles on; once one is written, note it, so that a later run starts behind it."""
        last = time.monotonic()
        for window, tile in tiles:
            yield window, tile
            state[stage] = [window.y // scale, window.x // scale]
            now = time.monotonic()
            state["seconds"], last = state["seconds"] + now - last, now
            _replace_json(self.state_file, state)
            self.progress.advance(window.width * window.height * progress_per_pixel)

    def _separate(self, pixels, maps) -> tuple[Raster, dict]:
        """Separate and measure nuclei; return the label raster and sums for the summary.

        Each nucleus is found in a window with context and belongs to the window that holds its
        centroid, so that it is counted once and cut nowhere.
        """
        self.progress.stage("measuring")
        (self.partial / "labels.raw").unlink(missing_ok=True)
        raster = self._raster("labels.raw", self.extent, 1, np.uint32)
        map_extent = Window(0, 0, maps.width, maps.height)
        same = map_extent == self.extent
        read_maps = maps.read if same else resampled(maps.read, map_extent, self.extent)
        sums = {"count": 0, "area": 0.0, "area_squared": 0.0}
        with (
            table_writer(self.partial / "nuclei.csv", self._columns()) as add_row,
            geojson_writer(self.partial / "nuclei.geojson") as add_feature,
        ):
            for window in grid(self.extent.width, self.extent.height, NUCLEI_WINDOW):
                if self._holds_tissue(window, self.scale):
                    for row, feature in self._nuclei(window, pixels, read_maps, raster, sums):
                        add_row(row)
                        add_feature(feature)
                self.progress.advance(window.width * window.height)
        return raster, sums

    def _columns(self):
        empty = np.zeros((8, 8), np.int32)
        columns = measure(empty, np.zeros((8, 8, 3), np.uint8), empty, self.microns)
        return [name for name in columns if name != "bbox"] + ["touches_border"]

    def _nuclei(self, window, pixels, read_maps, raster, sums):
        """Yield (row of the table, GeoJSON feature) of the nuclei that belong to a window."""
        microns = self.microns or unet_microns(self.unet)
        around = expanded(window, int(np.ceil(NUCLEI_CONTEXT / microns)), self.extent)
        box = (around.x, around.y, around.width, around.height)
        maps = read_maps(*box).astype(np.float32) / 255
        labels = separate(maps[..., 0], maps[..., 1], microns, self.settings.separation)
        columns = measure(labels, pixels.read(*box), maps[..., 0], self.microns)
        boxes = columns.pop("bbox")
        columns = _shifted(columns, around, self.microns)
        x, y = columns["centroid_x_px"] - window.x, columns["centroid_y_px"] - window.y
        owned = (x >= 0) & (x < window.width) & (y >= 0) & (y < window.height)
        numbers = np.zeros(len(owned) + 1, np.uint32)
        numbers[1:][owned] = sums["count"] + 1 + np.arange(owned.sum())
        self._write_labels(raster, around, numbers[labels])
        unit = "px2" if self.microns is None else "um2"
        for index in np.flatnonzero(owned):
            top, left, bottom, right = boxes[index]
            row = {name: values[index] for name, values in columns.items()}
            row["label"] = int(numbers[index + 1])
            row["touches_border"] = int(
                left + around.x == 0
                or top + around.y == 0
                or right + around.x == self.extent.width
                or bottom + around.y == self.extent.height
            )
            sums["count"] += 1
            sums["area"] += row[f"area_{unit}"]
            sums["area_squared"] += row[f"area_{unit}"] ** 2
            mask = labels[top:bottom, left:right] == index + 1
            yield row, nucleus_feature(mask, left + around.x, top + around.y, row)

    @staticmethod
    def _write_labels(raster, around, labels):
        """Add a window's nuclei; pixels that a neighbouring window has already named stay."""
        present = raster.read(around.x, around.y, around.width, around.height)
        raster.write(around.x, around.y, np.where(present > 0, present, labels)[..., None])

    def _describe(self) -> dict:
        """Return the columns of the summary that do not depend on nuclei."""
        tissue_pixels = self.tissue.mean() * self.extent.width * self.extent.height
        return {
            "width_in": self.image.width,
            "height_in": self.image.height,
            "width_out": self.extent.width,
            "height_out": self.extent.height,
            "microns_per_pixel_out": self.microns,
            "tissue_px2": round(tissue_pixels),
            "tissue_mm2": self.microns and tissue_pixels * self.microns**2 / 1e6,
        }

    def _summarise(self, sums) -> dict:
        """Return count, density and area of the nuclei as columns of the summary."""
        count = sums["count"]
        mean = sums["area"] / count if count else None
        deviation = count and max(0.0, sums["area_squared"] / count - mean**2) ** 0.5
        tissue_mm2 = self._describe()["tissue_mm2"]
        unit = "px2" if self.microns is None else "um2"
        return {
            "nuclei": count,
            "density_per_mm2": count / tissue_mm2 if tissue_mm2 else None,
            f"mean_area_{unit}": mean,
            f"sd_area_{unit}": deviation if count else None,
        }


def _shifted(columns: dict, window: Window, microns: float | None) -> dict:
    """Return the measurements with centroids in the coordinates of the whole image."""
    for axis, start in (("x", window.x), ("y", window.y)):
        columns[f"centroid_{axis}_px"] = columns[f"centroid_{axis}_px"] + start
        if microns is not None:
            columns[f"centroid_{axis}_um"] = columns[f"centroid_{axis}_px"] * microns
    return columns


def _replace_json(path: Path, content):
    """Write a JSON file so that a crash leaves the old or the new one, never half of it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.replace(path)
