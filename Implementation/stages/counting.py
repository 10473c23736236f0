"""The nuclei of all windows of an image put together: label map, tables, GeoJSON, regions."""

import numpy as np

from nuclei.geojson import geojson_writer, nucleus_feature
from nuclei.neighbourhood import neighbourhood
from nuclei.population import gather
from nuclei.windows import WindowNuclei, merge, table_columns
from outputs.tables import table_writer
from regions.areas import within
from regions.table import region_columns, region_rows, regions_of
from stages.finished import Finished
from tiles.raster import Raster


def write_nuclei(finished: Finished, labels: Raster) -> dict[str, np.ndarray]:
    """Write nuclei.csv and GeoJSON and fill the label map, all zero, of the nuclei that count.

    Returns:
        What is kept of these nuclei, see `gather`, with their neighbourhood.
    """
    pieces, numbers = finished.windows.pieces, finished.windows_with("nuclei")
    columns = table_columns(finished.route.microns, finished.super_resolved)
    population = gather((pieces.path(n) for n in numbers), columns)
    centroids = population["centroid_x_px"], population["centroid_y_px"]
    counts = within(finished.annotations.counting, *centroids)
    population = {name: values[counts] for name, values in population.items()}
    centroids = population["centroid_x_px"], population["centroid_y_px"]
    microns, shares = finished.route.microns, finished.tissue_shares
    around = neighbourhood(*centroids, microns, shares, finished.field)
    more = regions_of(finished.annotations, *centroids) | around
    scale, shift = finished.geojson_frame
    name = "nuclei.geojson.gz" if finished.outputs.geojson_gzip else "nuclei.geojson"
    with (
        table_writer(finished.folder / "nuclei.csv", [*columns, *more]) as add_row,
        geojson_writer(finished.folder / name, finished.hashes) as add_feature,
    ):
        kind = finished.outputs.geojson_objects

        def add_outline(ring, row):
            add_feature(nucleus_feature(ring, row, scale, shift, kind))

        merge(_windows(finished, counts), labels, add_row, add_outline, more)
    return population | around


def write_regions(finished: Finished, population: dict[str, np.ndarray]):
    """Write regions.csv where regions are annotated; population: what `write_nuclei` returned."""
    annotations, microns = finished.annotations, finished.route.microns
    if not annotations.regions:
        return
    rows = region_rows(annotations, population, finished.tissue.mask, finished.field, microns)
    with table_writer(finished.folder / "regions.csv", region_columns(microns)) as add_row:
        for row in rows:
            add_row({"image": finished.name} | row)


def _windows(finished: Finished, counts: np.ndarray):
    """Yield the nuclei of each window that count; counts: bool, one of each nucleus."""
    begin = 0
    for number in finished.windows_with("nuclei"):
        window = WindowNuclei.load(finished.windows.pieces.path(number))
        end = begin + len(window.outlines)
        yield window.only(counts[begin:end])
        begin = end
