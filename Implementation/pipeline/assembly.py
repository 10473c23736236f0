"""The finished pieces of an image put together: its maps, pictures, tables and row of the summary.

`analysis` is everywhere the `Analysis` of image_analysis.py whose stages are done.
"""

from contextlib import ExitStack

import numpy as np

from nuclei.geojson import geojson_writer
from nuclei.windows import WindowNuclei, merge, table_columns
from outputs.evidence import domain_warning, write_evidence
from outputs.files import write_results
from outputs.tables import table_writer
from pipeline.provenance import software_note
from pipeline.window_stage import judged_file
from tiles.geometry import Window
from tiles.raster import Raster
from trust.consistency import Tally
from trust.judgement import JudgedWindow, Judgement


def assemble(analysis) -> dict:
    """Write all results of an image into its folder of unfinished work; return its row."""
    row = _describe(analysis)
    row["warning"] = domain_warning(
        analysis.image, analysis.tissue.mask, analysis.input_microns, analysis.scale
    )
    note = software_note(analysis.hashes)
    with ExitStack() as files:  # closed before they are deleted
        labels = None
        if analysis.generator:
            errors = _fresh_raster(analysis, files, "errors.raw", analysis.input_extent, np.uint8)
            judgement = _judgement(analysis, errors)
            row |= judgement.columns()
            write_evidence(analysis.partial, judgement, errors, analysis.input_microns, note)
        if analysis.unet:
            labels = _fresh_raster(analysis, files, "labels.raw", analysis.extent, np.uint32)
            row |= _summarise(analysis, _merge(analysis, labels))
        write_results(
            analysis.partial,
            analysis.image,
            analysis.scale,
            analysis.pixels,
            labels,
            analysis.microns,
            analysis.settings.jpeg_quality,
            note,
            row["warning"],
        )
    return row


def _judgement(analysis, errors: Raster) -> Judgement:
    """Put the judged windows together; fill the raster of expected errors."""
    sizes = analysis.image.width, analysis.image.height
    judgement = Judgement(Tally(*sizes), Tally(*sizes))
    pieces = analysis.stages[-1].pieces
    for number in _examined(analysis, "judged"):
        judged = JudgedWindow.load(judged_file(pieces, number))
        judgement.add(judged)
        errors.write(judged.window.x, judged.window.y, judged.error[..., None])
    return judgement


def _examined(analysis, what: str) -> list[int]:
    """Return the numbers of the windows in which there is some of it, "nuclei" or "judged"."""
    stage = analysis.stages[-1]
    return [n for n in range(len(stage.sizes)) if stage.pieces.record(n)[what]]


def _fresh_raster(analysis, files: ExitStack, name: str, extent: Window, dtype) -> Raster:
    """Open a raster of one channel, all zero, until `files` are closed."""
    path = analysis.partial / name
    path.unlink(missing_ok=True)
    return files.enter_context(Raster(path, extent.width, extent.height, 1, dtype))


def _merge(analysis, labels: Raster) -> dict:
    """Fill label map, table and GeoJSON from the windows; return sums for the summary."""
    pieces = analysis.stages[-1].pieces
    windows = (WindowNuclei.load(pieces.path(n)) for n in _examined(analysis, "nuclei"))
    scale, shift = _geojson_frame(analysis)
    columns = table_columns(analysis.microns, super_resolved=analysis.generator is not None)
    name = "nuclei.geojson.gz" if analysis.settings.geojson_gzip else "nuclei.geojson"
    with (
        table_writer(analysis.partial / "nuclei.csv", columns) as add_row,
        geojson_writer(analysis.partial / name, analysis.hashes) as add_feature,
    ):
        return merge(windows, labels, add_row, add_feature, scale, shift)


def _geojson_frame(analysis) -> tuple[float, tuple[float, float]]:
    """Return scale and shift from result pixels to the pixels that the GeoJSON is written in.

    These are the result's own, or those of the original's full resolution.
    """
    if analysis.settings.geojson_frame == "result":
        return 1.0, (0.0, 0.0)
    left, top, _, _ = analysis.image.place
    downsample = analysis.image.downsample
    return downsample / analysis.scale, (left * downsample, top * downsample)


def _describe(analysis) -> dict:
    """Return the columns of the summary that do not depend on nuclei."""
    tissue_pixels = analysis.tissue.share() * analysis.extent.width * analysis.extent.height
    return {
        "width_in": analysis.image.width,
        "height_in": analysis.image.height,
        "width_out": analysis.extent.width,
        "height_out": analysis.extent.height,
        "microns_per_pixel_out": analysis.microns,
        "tissue_px2": round(tissue_pixels),
        "tissue_mm2": analysis.microns and tissue_pixels * analysis.microns**2 / 1e6,
    }


def _summarise(analysis, sums) -> dict:
    """Return count, density and area of the nuclei as columns of the summary.

    All nuclei count; mean and standard deviation (of the sample, n - 1) of their area leave out
    those that the image's border cuts.
    """
    count, whole = sums["count"], sums["whole"]
    tissue_mm2 = _describe(analysis)["tissue_mm2"]
    unit = "px2" if analysis.microns is None else "um2"
    return {
        "nuclei": count,
        "density_per_mm2": count / tissue_mm2 if tissue_mm2 else None,
        f"mean_area_{unit}": sums["area"] / whole if whole else None,
        f"sd_area_{unit}": (sums["squares"] / (whole - 1)) ** 0.5 if whole > 1 else None,
    }
