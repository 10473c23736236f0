"""One image or slide from low resolution to measured nuclei, piece by piece.

Three stages, whose pieces read rectangles and write rectangles, so that memory does not grow with
the image: super-resolve strips of tiles (RGB), segment strips of tiles (the U-net's maps), examine
windows (assess the super-resolution, separate and measure nuclei). The pieces of a stage may be
done in any order and by several processes; all of a stage are done before the next one begins. At
the end the pieces become label map, table, GeoJSON and pictures. They lie in a folder `.partial`
beside the results; an interrupted image goes on from its last finished piece.
"""

import json
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from images.finding import shown_name, stamp
from images.opening import ImageFile
from networks.network import UNET_MICRONS, Network, unet_microns, unet_ratio
from nuclei.candidates.scoring import NucleusScore, shipped_score
from nuclei.tissue import Tissue, find_tissue
from outputs.files import publish
from outputs.provenance import model_hashes
from program.disk import appearing, check_room
from program.settings import RESULTS_VERSION, Settings, TileSettings
from program.terminal import Progress
from regions.areas import shares_within
from regions.finding import RegionFiles
from regions.reading import Frame, read_annotations
from stages.assembly import assemble
from stages.examining import WindowSource, separation_of, window_sides, window_stage
from stages.finished import Finished
from stages.helper_processes import ALONE, Helpers
from stages.pieces import Stage, StripRaster
from stages.predicting import MAPS, PICTURE, Prediction, View, network_stage
from stages.route import Route, SizeEstimate
from tiles.geometry import Window, resized, tile_sides
from tiles.resampling import resampled

UNET_TILE = 1536  # side of the U-net's tiles at most, in its pixels; more needs too much memory


@dataclass(frozen=True)
class Networks:
    """The networks of an image; None for what it does not need."""

    generator: Network | None
    unet: Network | None
    score: NucleusScore | None = field(default_factory=shipped_score)

    @property
    def scale(self) -> int:
        """Pixels of the result per pixel of the input, along each side."""
        return self.generator.scale if self.generator else 1

    @property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of the models, by column of the summary."""
        return model_hashes(self.generator, self.unet, self.unet and self.score)


class Analysis:
    """The stages of one image.

    `run` does everything in this process: `examine`, then `finish`. To share the work, one process
    calls `prepare`; then any that has called `resume` may do the pieces of `stages`, stage by
    stage, and one calls `finish`.

    Args:
        image: the opened input.
        folder: where its results go.
        networks: what predicts.
        settings: the user's choices.
        progress: is told of stages and pixels done.
        estimate: of its pixel size; None = there is none.
    """

    def __init__(
        self,
        image: ImageFile,
        folder: Path,
        networks: Networks,
        settings: Settings,
        progress: Progress,
        estimate: SizeEstimate | None = None,
    ):
        self.image, self.networks, self.settings = image, networks, settings
        self.progress, self.folder, self.partial = progress, folder, folder / ".partial"
        self.estimate = estimate or SizeEstimate()
        self.route = Route.of(image, networks.scale, self.estimate.used)
        given = settings.input
        self.region_files = RegionFiles(given.regions_folder, given.input_folder)
        path = self.region_files.of(image.path)
        self.annotations = read_annotations(path, _frame(image, self.route), given.regions_only)

    @property
    def counting(self) -> str | None:
        """Where nuclei count, as WKT in pixels of the result; None = everywhere."""
        area, extent = self.annotations.counting, self.annotations.extent
        return None if area.equals(extent) else area.wkt

    def run(self, helpers: Helpers = ALONE) -> dict:
        """Write all results of the image, with helper processes; return its row of the summary."""
        self.examine(helpers)
        self.progress.stage("writing")
        return self.finish()

    def examine(self, helpers: Helpers = ALONE):
        """Do all stages, with helper processes, up to what `finish` writes."""
        stages = bool(self.networks.generator) + bool(self.networks.unet) + 1
        self.progress.start(stages, self.route.extent.width * self.route.extent.height / 1e6)
        self.prepare()
        for stage in self.stages:
            self.progress.stage(stage.title)
            missing = stage.missing()
            left = sum(stage.sizes[number] for number in missing)
            self.progress.advance(sum(stage.sizes) - left)
            stage.do_missing(missing, helpers)

    def prepare(self):
        """Begin afresh, or take up what a run with the same image and choices has left."""
        made_from = self._made_from()
        if self._stored_state().get("made_from") != made_from:
            started = time.monotonic()
            self._discard_partial()
            self.partial.mkdir(parents=True)
            pixels = self.route.extent.width * self.route.extent.height
            check_room(self.partial, 3 * pixels if self.networks.generator else 0)
            microns = self.route.microns_in or UNET_MICRONS * self.route.scale
            tissue = find_tissue(self.image, microns, self.settings.nuclei.tissue_threshold)
            field = tissue.step * self.route.scale
            shares = shares_within(self.annotations.counting, tissue.mask.shape, field)
            tissue.limited(shares).save(self._tissue_file)
            state = {"made_from": made_from, "seconds": time.monotonic() - started}
            with appearing(self._state_file) as path:
                path.write_text(json.dumps(state), encoding="utf-8")
        self.resume()

    def resume(self):
        """Take up what `prepare` has begun, here or in another process.

        Raises:
            RuntimeError: nothing was begun with this image and these choices.
        """
        if self._stored_state().get("made_from") != self._made_from():
            raise RuntimeError(f"{self.image.path.name} was changed during the run; run it again")
        self.tissue = Tissue.load(self._tissue_file)
        self.stages: list[Stage] = []
        self.pixels = self._super_resolving() if self.networks.generator else self.image
        self._examining(self._segmenting() if self.networks.unet else None)

    def finish(self) -> dict:
        """Put the pieces together and write all results; return the image's row of the summary."""
        started = time.monotonic()
        seconds = self._stored_state()["seconds"] + sum(
            stage.pieces.record(number)["seconds"]
            for stage in self.stages
            for number in range(len(stage.sizes))
        )
        row = assemble(self._finished())
        row["seconds"] = round(seconds + time.monotonic() - started, 1)
        publish(self.partial, self.folder)
        self._discard_partial()
        return row

    def _finished(self) -> Finished:
        return Finished(
            name=shown_name(self.image.path, self.settings.input.input_folder),
            image=self.image,
            route=self.route,
            estimate=self.estimate.microns,
            tissue=self.tissue,
            annotations=self.annotations,
            pixels=self.pixels,
            windows=self.stages[-1],
            segmented=self.networks.unet is not None,
            hashes=self.networks.hashes,
            folder=self.partial,
            outputs=self.settings.outputs,
            maps=self.settings.maps,
        )

    @property
    def _state_file(self) -> Path:
        return self.partial / "state.json"

    @property
    def _tissue_file(self) -> Path:
        return self.partial / "tissue.npz"

    def _made_from(self) -> dict:
        """Return what the pieces depend on; those that were made from the same can be used."""
        both = self.networks.generator, self.networks.unet
        score = self.networks.unet and self.networks.score.sha256
        made_from = {
            "version": RESULTS_VERSION,
            "input": stamp(self.image.path),
            "regions": self.region_files.stamp(self.image.path),
            "limited": self.settings.input.regions_only,
            "place": [*self.image.place, self.image.downsample, self.route.microns_in],
            "settings": [asdict(self.settings.tiles), asdict(self.settings.nuclei)],
            "models": [*(n and [n.sha256, n.precision] for n in both), score],
            "windows": window_sides(self.route.extent, self.route.scale),
        }
        return json.loads(json.dumps(made_from))  # as it reads back from a file

    def _stored_state(self) -> dict:
        try:
            return json.loads(self._state_file.read_text("utf-8"))
        except (FileNotFoundError, ValueError):  # none, or one that a crash of the system damaged
            return {}

    def _discard_partial(self):
        """Delete the unfinished work; the state first, or a kill meanwhile would leave it alone."""
        self._state_file.unlink(missing_ok=True)
        if self.partial.exists():
            shutil.rmtree(self.partial)

    def _super_resolving(self) -> StripRaster:
        """Add the stage that enlarges the input; return the raster of RGB that it fills."""
        view = View(self.image.read, self.route.extent_in, 1.0)
        tiles = self._tiles(self.settings.tiles.side(self.route.scale))
        prediction = Prediction(self.networks.generator, PICTURE, view, self.tissue, tiles)
        return self._predicting("super-resolving", "pixels", prediction)

    def _tiles(self, side: int) -> TileSettings:
        """Return the tiles of a network: of so many of its own pixels per side."""
        return replace(self.settings.tiles, tile_size=side)

    def _segmenting(self) -> StripRaster:
        """Add the stage that fills the U-net's maps, in 1/255; return their raster.

        It has the U-net's own pixel size.
        """
        unet, route = self.networks.unet, self.route
        ratio = unet_ratio(unet, route.microns)
        extent = resized(route.extent, ratio)
        read = self.pixels.read
        if ratio != 1:
            read = resampled(read, route.extent, extent)
        tiles = self._tiles(min(self.settings.tiles.side(1), UNET_TILE))
        view = View(read, extent, route.scale * ratio)
        return self._predicting(
            "segmenting", "maps", Prediction(unet, MAPS, view, self.tissue, tiles)
        )

    def _predicting(self, title: str, name: str, prediction: Prediction) -> StripRaster:
        """Add a stage in which a network predicts; the bar counts pixels of the result."""
        extent = prediction.view.extent
        result = self.route.extent.width * self.route.extent.height
        per_pixel = result / (extent.width * extent.height)
        stage, raster = network_stage(
            title,
            self.partial / name,
            prediction,
            lambda pixels: self.progress.advance(pixels * per_pixel),
        )
        self.stages.append(replace(stage, sizes=[size * per_pixel for size in stage.sizes]))
        return raster

    def _examining(self, maps: StripRaster | None):
        """Add the stage that assesses the super-resolution and measures nuclei, by windows."""
        generator, unet = self.networks.generator, self.networks.unet
        sides = None
        if generator:
            side = self.settings.tiles.side(generator.scale)
            sides = tile_sides(self.route.extent_in, side, generator.pooling)
        source = WindowSource(
            self.image if generator else None,
            self.pixels,
            maps and self._maps_reader(maps),
            self.tissue,
            sides,
            self.route.scale,
            self.route.microns,
            unet_microns(unet) if unet else UNET_MICRONS,
            separation_of(self.settings.nuclei, self.networks.score),
        )
        title = "measuring" if unet else "assessing"
        folder, advance = self.partial / "windows", self.progress.advance
        self.stages.append(window_stage(title, folder, source, advance))

    def _maps_reader(self, maps: StripRaster):
        """Return the reader of the U-net's maps at the size of the result."""
        extent, result = Window(0, 0, maps.width, maps.height), self.route.extent
        return maps.read if extent == result else resampled(maps.read, extent, result)


def _frame(image: ImageFile, route: Route) -> Frame:
    """Return how the result lies in the original file."""
    left, top = (side * image.downsample for side in image.place[:2])
    size = image.downsample / route.scale
    return Frame(route.extent.width, route.extent.height, left, top, size)
