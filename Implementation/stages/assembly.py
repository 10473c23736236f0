"""The finished pieces of an image put together: maps, pictures, tables, its row of the summary."""

from contextlib import ExitStack

import numpy as np

from nuclei.population import area_statistics, area_unit, whole
from outputs.evidence import domain_warning, write_evidence
from outputs.files import FIGURE_SIDE, Shown, is_large, shrinking, write_results
from outputs.maps import write_density_tiff, write_hotspots, write_maps
from outputs.png import written_beside
from outputs.provenance import software_note
from regions.maps import Nuclei, draw_maps, find_hotspots
from stages.counting import write_nuclei, write_regions
from stages.examining import judged_file
from stages.finished import Finished
from tiles.raster import Raster, preview
from trust.consistency import Tally
from trust.judgement import JudgedWindow, Judgement


def assemble(finished: Finished) -> dict:
    """Write all results of an image into its folder of unfinished work; return its row."""
    route, outputs = finished.route, finished.outputs
    row = _describe(finished) | finished.hashes
    row["warning"] = _warning(finished)
    note = software_note(finished.hashes)
    with ExitStack() as files:  # closed before they are deleted
        write, labels = files.enter_context(written_beside(note)), None
        if finished.super_resolved:
            errors = finished.fresh_raster(files, "errors.raw", route.extent_in, np.uint8)
            judgement = _judgement(finished, errors)
            row |= judgement.columns()
            write_evidence(finished.folder, judgement, errors, route.microns_in, note, write)
        if finished.segmented:
            labels = finished.fresh_raster(files, "labels.raw", route.extent, np.uint32)
            population = write_nuclei(finished, labels)
            row |= _summarise(row, population)
            write_regions(finished, population)
            _draw_maps(finished, population, note, write)
        shown = Shown(finished.image, route.scale, finished.pixels, labels, route.microns)
        write_results(finished.folder, shown, outputs.jpeg_quality, note, row["warning"], write)
    return row


def _warning(finished: Finished) -> str:
    """Say what was assumed of the image, and what makes it unlike the training data."""
    route, mask = finished.route, finished.tissue.mask
    counting = float(finished.counting_shares.mean())
    unlike = domain_warning(finished.image, mask, counting, route.microns_in, route.scale)
    notes = *finished.image.notes, *finished.annotations.notes
    return "; ".join(filter(None, [*notes, unlike]))


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


def _draw_maps(finished: Finished, population: dict[str, np.ndarray], note: str, write):
    """Write the maps and the densest fields, which need a pixel size; population: the nuclei."""
    route, chosen, folder = finished.route, finished.maps, finished.folder
    microns, pixels = route.microns, finished.pixels
    if microns is None:
        return
    sides = route.extent.width * microns, route.extent.height * microns
    field = finished.field * microns
    nuclei = Nuclei(population, finished.tissue_shares, field, microns, *sides)
    maps = draw_maps(nuclei, chosen.map_spacing, chosen.map_radius)
    step = shrinking(pixels.width, pixels.height, FIGURE_SIDE)
    shrunk = preview(pixels, step)
    write_maps(folder, maps, shrunk, microns * step, chosen.map_radius, write)
    if is_large(finished.image, pixels):
        write_density_tiff(folder / "density.ome.tif", maps, note)
    spots = find_hotspots(nuclei, chosen.map_spacing, chosen.hotspots, chosen.hotspot_mm2)
    write_hotspots(folder, spots, microns, *finished.geojson_frame, finished.hashes)


def _describe(finished: Finished) -> dict:
    """Return the columns of the summary that do not depend on nuclei."""
    tissue_pixels = float(finished.tissue_shares.sum(dtype=float)) * finished.field**2
    return {
        "width_in": finished.image.width,
        "height_in": finished.image.height,
        "width_out": finished.route.extent.width,
        "height_out": finished.route.extent.height,
        "route": str(finished.route),
        "estimated_microns_per_pixel": finished.estimate,
        "microns_per_pixel_out": finished.route.microns,
        "tissue_px2": round(tissue_pixels),
        "tissue_mm2": finished.route.microns and tissue_pixels * finished.route.microns**2 / 1e6,
        "white_rgb": " ".join(f"{value:.0f}" for value in finished.tissue.white.rgb),
        "white_measured": int(finished.tissue.white.measured),
    }


def _summarise(row: dict, population: dict[str, np.ndarray]) -> dict:
    """Return count, density and area of the nuclei as columns of the summary.

    All nuclei count; the statistics of their areas leave out those that the image's border cuts.

    Args:
        row: what `_describe` returned.
        population: see `write_nuclei`.
    """
    areas = population[f"area_{area_unit(population)}"]
    tissue_mm2 = row["tissue_mm2"]
    return {
        "nuclei": len(areas),
        "density_per_mm2": len(areas) / tissue_mm2 if tissue_mm2 else None,
        **area_statistics(areas[whole(population)], area_unit(population)),
    }
