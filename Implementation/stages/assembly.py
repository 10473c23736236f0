"""The finished pieces of an image put together: maps, pictures, tables, its row of the summary."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from images.opening import ImageFile
from nuclei.geojson import geojson_writer
from nuclei.neighbourhood import neighbourhood, shares_of_tissue
from nuclei.population import area_statistics, area_unit, gather, whole
from nuclei.tissue import Tissue
from nuclei.windows import WindowNuclei, merge, table_columns
from outputs.evidence import domain_warning, write_evidence
from outputs.files import Shown, write_results
from outputs.provenance import software_note
from outputs.tables import table_writer
from program.settings import OutputSettings
from stages.examining import judged_file
from stages.pieces import Stage
from stages.route import Route
from tiles.geometry import Window
from tiles.raster import Raster
from trust.consistency import Tally
from trust.judgement import JudgedWindow, Judgement


@dataclass(frozen=True)
class Finished:
    """An image whose stages are done: what its results are put together from.

    Attributes:
        image: the input.
        route: sizes and scales.
        tissue: where the tissue is.
        pixels: the result in RGB, read by rectangle.
        windows: the stage that examined it.
        segmented: whether nuclei were looked for.
        hashes: SHA-256 of the models, as columns of the summary.
        folder: where the results go, still unfinished work.
        outputs: what is written.
    """

    image: ImageFile
    route: Route
    tissue: Tissue
    pixels: Any
    windows: Stage
    segmented: bool
    hashes: dict[str, str]
    folder: Path
    outputs: OutputSettings

    @property
    def super_resolved(self) -> bool:
        """Whether the image was enlarged."""
        return self.route.scale > 1

    def windows_with(self, what: str) -> list[int]:
        """Return the numbers of the windows in which there is some of it, "nuclei" or "judged"."""
        stage = self.windows
        return [n for n in range(len(stage.sizes)) if stage.pieces.record(n)[what]]


def assemble(finished: Finished) -> dict:
    """Write all results of an image into its folder of unfinished work; return its row."""
    route, outputs = finished.route, finished.outputs
    row = _describe(finished) | finished.hashes
    row["warning"] = _warning(finished)
    note = software_note(finished.hashes)
    with ExitStack() as files:  # closed before they are deleted
        labels = None
        if finished.super_resolved:
            errors = _fresh_raster(finished, files, "errors.raw", route.extent_in, np.uint8)
            judgement = _judgement(finished, errors)
            row |= judgement.columns()
            write_evidence(finished.folder, judgement, errors, route.microns_in, note)
        if finished.segmented:
            labels = _fresh_raster(finished, files, "labels.raw", route.extent, np.uint32)
            population = _population(finished)
            _merge(finished, labels, _neighbourhood(finished, population))
            row |= _summarise(row, population)
        shown = Shown(finished.image, route.scale, finished.pixels, labels, route.microns)
        write_results(finished.folder, shown, outputs.jpeg_quality, note, row["warning"])
    return row


def _warning(finished: Finished) -> str:
    """Say what was assumed of the image, and what makes it unlike the training data."""
    unlike = domain_warning(
        finished.image, finished.tissue.mask, finished.route.microns_in, finished.route.scale
    )
    return "; ".join(filter(None, [*finished.image.notes, unlike]))


def _judgement(finished: Finished, errors: Raster) -> Judgement:
    """Put the judged windows together; fill the raster of expected errors."""
    sizes = finished.image.width, finished.image.height
    judgement = Judgement(Tally(*sizes), Tally(*sizes))
    pieces = finished.windows.pieces
    for number in finished.windows_with("judged"):
        judged = JudgedWindow.load(judged_file(pieces, number))
        judgement.add(judged)
        errors.write(judged.window.x, judged.window.y, judged.error[..., None])
    return judgement


def _fresh_raster(finished: Finished, files: ExitStack, name: str, extent: Window, dtype) -> Raster:
    """Open a raster of one channel, all zero, until `files` are closed."""
    path = finished.folder / name
    path.unlink(missing_ok=True)
    return files.enter_context(Raster(path, extent.width, extent.height, 1, dtype))


def _population(finished: Finished) -> dict[str, np.ndarray]:
    """Return what is kept of all nuclei, see `gather`."""
    paths = (finished.windows.pieces.path(n) for n in finished.windows_with("nuclei"))
    return gather(paths, table_columns(finished.route.microns, finished.super_resolved))


def _neighbourhood(finished: Finished, population: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the columns of the nuclei table that need all centroids of the image."""
    tissue, image = finished.tissue, finished.image
    shares = shares_of_tissue(tissue.mask, image.width / tissue.step, image.height / tissue.step)
    x, y = population["centroid_x_px"], population["centroid_y_px"]
    step = tissue.step * finished.route.scale
    return neighbourhood(x, y, finished.route.microns, shares, step)


def _merge(finished: Finished, labels: Raster, more: dict[str, np.ndarray]):
    """Fill label map, table and GeoJSON from the windows; `more`: see `merge`."""
    pieces = finished.windows.pieces
    windows = (WindowNuclei.load(pieces.path(n)) for n in finished.windows_with("nuclei"))
    scale, shift = _geojson_frame(finished)
    columns = [*table_columns(finished.route.microns, finished.super_resolved), *more]
    name = "nuclei.geojson.gz" if finished.outputs.geojson_gzip else "nuclei.geojson"
    with (
        table_writer(finished.folder / "nuclei.csv", columns) as add_row,
        geojson_writer(finished.folder / name, finished.hashes) as add_feature,
    ):
        merge(windows, labels, add_row, add_feature, scale, shift, more)


def _geojson_frame(finished: Finished) -> tuple[float, tuple[float, float]]:
    """Return scale and shift from result pixels to the pixels that the GeoJSON is written in.

    These are the result's own, or those of the original's full resolution.
    """
    if finished.outputs.geojson_frame == "result":
        return 1.0, (0.0, 0.0)
    left, top, _, _ = finished.image.place
    downsample = finished.image.downsample
    return downsample / finished.route.scale, (left * downsample, top * downsample)


def _describe(finished: Finished) -> dict:
    """Return the columns of the summary that do not depend on nuclei."""
    tissue_pixels = (
        finished.tissue.share() * finished.route.extent.width * finished.route.extent.height
    )
    return {
        "width_in": finished.image.width,
        "height_in": finished.image.height,
        "width_out": finished.route.extent.width,
        "height_out": finished.route.extent.height,
        "microns_per_pixel_out": finished.route.microns,
        "tissue_px2": round(tissue_pixels),
        "tissue_mm2": finished.route.microns and tissue_pixels * finished.route.microns**2 / 1e6,
    }


def _summarise(row: dict, population: dict[str, np.ndarray]) -> dict:
    """Return count, density and area of the nuclei as columns of the summary.

    All nuclei count; the statistics of their areas leave out those that the image's border cuts.

    Args:
        row: what `_describe` returned.
        population: see `gather`.
    """
    areas = population[f"area_{area_unit(population)}"]
    tissue_mm2 = row["tissue_mm2"]
    return {
        "nuclei": len(areas),
        "density_per_mm2": len(areas) / tissue_mm2 if tissue_mm2 else None,
        **area_statistics(areas[whole(population)], area_unit(population)),
    }
