"""One image or slide from low resolution to measured nuclei, piece by piece.

Three stages, whose pieces read rectangles and write rectangles, so that memory does not grow with
the image: super-resolve strips of tiles (RGB), segment strips of tiles (the U-net's maps), examine
windows (judge the super-resolution, separate and measure nuclei). The pieces of a stage may be
done in any order and by several processes; all of a stage are done before the next one begins. At
the end the pieces become label map, table, GeoJSON and pictures. They lie in a folder `.partial`
beside the results; an interrupted image goes on from its last finished piece.
"""

import json
import shutil
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from consistency import Tally
from evidence import domain_warning, write_evidence
from image_files import ImageFile
from judgement import JudgedWindow, Judgement
from network_stage import MAPS, PICTURE, network_stage
from networks import UNET_MICRONS, Network, unet_microns, unet_ratio
from nuclei import Separation
from nuclei_geojson import geojson_writer
from nuclei_windows import WindowNuclei, merge, table_columns
from output_folder import appearing, check_room
from outputs import table_writer
from pieces import StripRaster
from progress import Progress
from provenance import model_hashes, software_note
from raster import Raster
from result_files import publish, write_results
from tiling import Window, resampled, resized, tile_sides
from tissue import Tissue, find_tissue
from window_stage import WindowSource, judged_file, window_stage

UNET_TILE = 1536  # side of the U-net's tiles at most, in its pixels; more needs too much memory


@dataclass(frozen=True)
class Settings:
    """What a user chooses for a run; see the constants of Final_implementation.py."""

    microns_per_pixel: float | None = None
    tile_size: int = 512
    batch_size: int = 1
    separation: Separation = field(default_factory=Separation)
    tissue_threshold: float = 0.08
    jpeg_quality: int | None = 90
    geojson_frame: str = "result"
    geojson_gzip: bool = False


class Analysis:
    """The stages of one image.

    `run` does everything in this process. To share the work, one process calls `prepare`; then any
    that has called `resume` may do the pieces of `stages`, stage by stage, and one calls `finish`.

    Args:
        image: the opened input.
        folder: where its results go.
        generator: super-resolution network, or None to take the image as it is.
        unet: nucleus network, or None to stop after super-resolution.
        settings: the user's choices.
        progress: is told of stages and pixels done.
        processes: helper processes that examine the windows of a large image; 1 = none.
    """

    def __init__(
        self,
        image: ImageFile,
        folder: Path,
        generator: Network | None,
        unet: Network | None,
        settings: Settings,
        progress: Progress,
        processes: int = 1,
    ):
        self.image, self.folder = image, folder
        self.generator, self.unet = generator, unet
        self.settings, self.progress, self.processes = settings, progress, processes
        self.scale = generator.scale if generator else 1
        self.input_microns = settings.microns_per_pixel or image.microns_per_pixel
        self.microns = self.input_microns and self.input_microns / self.scale
        self.input_extent = Window(0, 0, image.width, image.height)
        self.extent = Window(0, 0, image.width * self.scale, image.height * self.scale)
        self.partial = folder / ".partial"
        self.state_file = self.partial / "state.json"
        self.tissue_file = self.partial / "tissue.npz"
        self.hashes = model_hashes(generator, unet)

    def run(self) -> dict:
        """Write all results of the image; return its row of the summary."""
        stages = bool(self.generator) + bool(self.unet) + 1
        self.progress.start(stages, self.extent.width * self.extent.height / 1e6)
        self.prepare()
        for stage in self.stages:
            self.progress.stage(stage.title)
            missing = sum(stage.sizes[number] for number in stage.missing())
            self.progress.advance(sum(stage.sizes) - missing)
            stage.do_missing(self.processes)
        self.progress.stage("writing")
        return self.finish()

    def prepare(self):
        """Begin afresh, or take up what a run with the same image and choices has left."""
        made_from = self._made_from()
        if self._stored_state().get("made_from") != made_from:
            started = time.monotonic()
            self._discard_partial()
            self.partial.mkdir(parents=True)
            pixels = self.extent.width * self.extent.height
            check_room(self.partial, 3 * pixels if self.generator else 0)
            microns = self.input_microns or UNET_MICRONS * self.scale
            tissue = find_tissue(self.image, microns, self.settings.tissue_threshold)
            tissue.save(self.tissue_file)
            state = {"made_from": made_from, "seconds": time.monotonic() - started}
            with appearing(self.state_file) as path:
                path.write_text(json.dumps(state), encoding="utf-8")
        self.resume()

    def resume(self):
        """Take up what `prepare` has begun, here or in another process.

        Raises:
            RuntimeError: nothing was begun with this image and these choices.
        """
        state = self._stored_state()
        if state.get("made_from") != self._made_from():
            raise RuntimeError(f"{self.image.path.name} was changed during the run; run it again")
        self.seconds = state["seconds"]
        self.tissue = Tissue.load(self.tissue_file)
        self.stages = []
        self.pixels = self._super_resolving() if self.generator else self.image
        self._examining(self._segmenting() if self.unet else None)

    def finish(self) -> dict:
        """Put the pieces together and write all results; return the image's row of the summary."""
        started = time.monotonic()
        seconds = self.seconds + sum(
            stage.pieces.record(number)["seconds"]
            for stage in self.stages
            for number in range(len(stage.sizes))
        )
        row = self._describe()
        row["warning"] = domain_warning(
            self.image, self.tissue.mask, self.input_microns, self.scale
        )
        note = software_note(self.hashes)
        with ExitStack() as files:  # closed before they are deleted
            labels = None
            if self.generator:
                errors = self._fresh_raster(files, "errors.raw", self.input_extent, np.uint8)
                judgement = self._judgement(errors)
                row |= judgement.columns()
                write_evidence(self.partial, judgement, errors, self.input_microns, note)
            if self.unet:
                labels = self._fresh_raster(files, "labels.raw", self.extent, np.uint32)
                row |= self._summarise(self._merge(labels))
            write_results(
                self.partial,
                self.image,
                self.scale,
                self.pixels,
                labels,
                self.microns,
                self.settings.jpeg_quality,
                note,
                row["warning"],
            )
        row |= self.hashes
        row["seconds"] = round(seconds + time.monotonic() - started, 1)
        publish(self.partial, self.folder)
        self._discard_partial()
        return row

    def _made_from(self) -> dict:
        """Return what the pieces depend on; those that were made from the same can be used."""
        file = self.image.path.stat()
        made_from = {
            "input": [file.st_size, file.st_mtime_ns],
            "place": [*self.image.place, self.image.downsample],
            "settings": asdict(self.settings),
            "models": [n and [n.sha256, n.precision] for n in (self.generator, self.unet)],
        }
        return json.loads(json.dumps(made_from))  # as it reads back from a file

    def _stored_state(self) -> dict:
        try:
            return json.loads(self.state_file.read_text("utf-8"))
        except (FileNotFoundError, ValueError):  # none, or one that a crash of the system damaged
            return {}

    def _discard_partial(self):
        """Delete the unfinished work; the state first, or a kill meanwhile would leave it alone."""
        self.state_file.unlink(missing_ok=True)
        if self.partial.exists():
            shutil.rmtree(self.partial)

    def _super_resolving(self) -> StripRaster:
        """Add the stage that enlarges the input; return the raster of RGB that it fills."""
        return self._predicting(
            "super-resolving",
            "pixels",
            self.generator,
            PICTURE,
            self.image.read,
            self.input_extent,
            1.0,
            self.settings.tile_size,
        )

    def _judgement(self, errors: Raster) -> Judgement:
        """Put the judged windows together; fill the raster of expected errors."""
        sizes = self.image.width, self.image.height
        judgement = Judgement(Tally(*sizes), Tally(*sizes))
        pieces = self.stages[-1].pieces
        for number in self._examined("judged"):
            judged = JudgedWindow.load(judged_file(pieces, number))
            judgement.add(judged)
            errors.write(judged.window.x, judged.window.y, judged.error[..., None])
        return judgement

    def _examined(self, what: str) -> list[int]:
        """Return the numbers of the windows in which there is some of it, "nuclei" or "judged"."""
        stage = self.stages[-1]
        return [n for n in range(len(stage.sizes)) if stage.pieces.record(n)[what]]

    def _fresh_raster(self, files: ExitStack, name: str, extent: Window, dtype) -> Raster:
        """Open a raster of one channel, all zero, until `files` are closed."""
        path = self.partial / name
        path.unlink(missing_ok=True)
        return files.enter_context(Raster(path, extent.width, extent.height, 1, dtype))

    def _segmenting(self) -> StripRaster:
        """Add the stage that fills the U-net's maps, in 1/255; return their raster.

        It has the U-net's own pixel size.
        """
        ratio = unet_ratio(self.unet, self.microns)
        extent = resized(self.extent, ratio)
        read = self.pixels.read
        if ratio != 1:
            read = resampled(read, self.extent, extent)
        tile = min(self.settings.tile_size * self.scale, UNET_TILE)
        return self._predicting(
            "segmenting", "maps", self.unet, MAPS, read, extent, self.scale * ratio, tile
        )

    def _predicting(self, title, name, network, samples, read, extent, ratio, tile) -> StripRaster:
        """Add a stage in which a network predicts the image that is read in `extent`.

        It has `ratio` pixels for each of the input.
        """
        output_pixels = self.extent.width * self.extent.height / (extent.width * extent.height)
        stage, raster = network_stage(
            title,
            self.partial / name,
            network,
            samples,
            read,
            extent,
            tile,
            self.settings.batch_size,
            self.tissue,
            ratio,
            lambda pixels: self.progress.advance(pixels * output_pixels),
        )
        sizes = [size * output_pixels for size in stage.sizes]
        self.stages.append(replace(stage, sizes=sizes))
        return raster

    def _examining(self, maps: StripRaster | None):
        """Add the stage that judges the super-resolution and measures nuclei, window by window."""
        sides = None
        if self.generator:
            tile = self.settings.tile_size, self.generator.pooling
            sides = tile_sides(self.input_extent, *tile)
        source = WindowSource(
            self.image if self.generator else None,
            self.pixels,
            maps and self._maps_reader(maps),
            self.tissue,
            sides,
            self.scale,
            self.microns,
            unet_microns(self.unet) if self.unet else UNET_MICRONS,
            self.settings.separation,
        )
        title = "measuring" if self.unet else "judging"
        folder, advance = self.partial / "windows", self.progress.advance
        self.stages.append(window_stage(title, folder, source, advance))

    def _maps_reader(self, maps: StripRaster):
        """Return the reader of the U-net's maps at the size of the result."""
        extent = Window(0, 0, maps.width, maps.height)
        return maps.read if extent == self.extent else resampled(maps.read, extent, self.extent)

    def _merge(self, labels: Raster) -> dict:
        """Fill label map, table and GeoJSON from the windows; return sums for the summary."""
        pieces = self.stages[-1].pieces
        windows = (WindowNuclei.load(pieces.path(n)) for n in self._examined("nuclei"))
        scale, shift = self._geojson_frame()
        name = "nuclei.geojson.gz" if self.settings.geojson_gzip else "nuclei.geojson"
        with (
            table_writer(self.partial / "nuclei.csv", self._table_columns()) as add_row,
            geojson_writer(self.partial / name, self.hashes) as add_feature,
        ):
            return merge(windows, labels, add_row, add_feature, scale, shift)

    def _table_columns(self) -> list[str]:
        return table_columns(self.microns, super_resolved=self.generator is not None)

    def _geojson_frame(self) -> tuple[float, tuple[float, float]]:
        """Return scale and shift from result pixels to the pixels that the GeoJSON is written in.

        These are the result's own, or those of the original's full resolution.
        """
        if self.settings.geojson_frame == "result":
            return 1.0, (0.0, 0.0)
        left, top, _, _ = self.image.place
        downsample = self.image.downsample
        return downsample / self.scale, (left * downsample, top * downsample)

    def _describe(self) -> dict:
        """Return the columns of the summary that do not depend on nuclei."""
        tissue_pixels = self.tissue.share() * self.extent.width * self.extent.height
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
