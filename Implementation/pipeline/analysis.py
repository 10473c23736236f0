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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from images.finding import stamp
from images.opening import ImageFile
from networks.network import UNET_MICRONS, Network, unet_microns, unet_ratio
from nuclei.separation import Separation
from nuclei.tissue import Tissue, find_tissue
from outputs.files import publish
from outputs.terminal import Progress
from pipeline.assembly import assemble
from pipeline.network_stage import MAPS, PICTURE, network_stage
from pipeline.output_folder import appearing, check_room
from pipeline.pieces import StripRaster
from pipeline.provenance import model_hashes
from pipeline.window_stage import WindowSource, window_sides, window_stage
from tiles.geometry import Window, resized, tile_sides
from tiles.resampling import resampled

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
        row = assemble(self) | self.hashes
        row["seconds"] = round(seconds + time.monotonic() - started, 1)
        publish(self.partial, self.folder)
        self._discard_partial()
        return row

    def _made_from(self) -> dict:
        """Return what the pieces depend on; those that were made from the same can be used."""
        made_from = {
            "input": stamp(self.image.path),
            "place": [*self.image.place, self.image.downsample],
            "settings": asdict(self.settings),
            "models": [n and [n.sha256, n.precision] for n in (self.generator, self.unet)],
            "windows": window_sides(self.extent, self.scale),
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
