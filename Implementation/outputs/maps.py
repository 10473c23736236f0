"""The maps of an image as figures and TIFF, and its densest fields as table and GeoJSON."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import tifffile
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from nuclei.geojson import geojson_writer
from outputs.canvas import (
    colour_bar,
    fit,
    map_figure,
    place,
    save_figure,
    scale_bar,
    scaled,
    title_above,
)
from outputs.figures import DOTS_PER_INCH
from outputs.png import write_image
from outputs.tables import table_writer
from regions.maps import Hotspot, Maps

MAP_FILES = (
    *("density.png", "nuclear_area.png", "hematoxylin.png", "density.ome.tif"),
    *("hotspots.csv", "hotspots.geojson"),
)
COLOURS = "viridis"  # evenly graded to the eye, also of colour-blind readers
OPACITY = 0.6  # of the colours over the tissue
DARKEST = -150  # grey level drawn as black: pale tissue leaves the colours those of the bar
LARGEST_SIDE = 3.5  # inches of the picture: one column of a journal page
HOTSPOT_COLUMNS = (
    *("hotspot", "centre_x_px", "centre_y_px", "centre_x_um", "centre_y_um", "radius_um"),
    *("tissue_mm2", "nuclei", "density_per_mm2"),
)
CORNERS = 72  # of a circle in GeoJSON


def write_maps(
    folder: Path,
    maps: Maps,
    tissue: np.ndarray,
    microns: float,
    radius: float,
    write=write_image,
):
    """Write density.png, nuclear_area.png and hematoxylin.png.

    Args:
        folder: folder to write to.
        maps: of the image.
        tissue: uint8 RGB, the image at any size.
        microns: um per pixel of `tissue`.
        radius: of the circles of the maps in um, for the title.
        write: writes a picture, as `write_image` does.
    """
    grey = cv2.cvtColor(tissue, cv2.COLOR_RGB2GRAY)
    circles = f"in circles of {radius:g} µm radius"
    for name, values, title, unit, lowest in (
        ("density", maps.density, f"Nuclei {circles}", "nuclei per mm² of tissue", 0.0),
        ("nuclear_area", maps.area, f"Median nuclear area {circles}", "µm²", None),
        ("hematoxylin", maps.hematoxylin, f"Mean hematoxylin {circles}", "optical density", None),
    ):
        _write_map(folder / f"{name}.png", values, grey, microns, (title, unit, lowest), write)


def write_density_tiff(path: Path, maps: Maps, note: str | None = None):
    """Write the density map as float32 OME-TIFF with the size of its pixels; nan = no tissue."""
    metadata = {"axes": "YX"}
    for axis, size in zip("XY", maps.spacing, strict=True):
        metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    tifffile.imwrite(
        path,
        maps.density.astype(np.float32),
        ome=True,
        photometric="minisblack",
        compression="zlib",
        metadata=metadata,
        software=note and note.encode("ascii", "replace").decode(),
    )


def write_hotspots(
    folder: Path,
    hotspots: Iterable[Hotspot],
    microns: float,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    members: dict[str, str] | None = None,
):
    """Write hotspots.csv and, as annotations for QuPath, hotspots.geojson.

    Args:
        folder: folder to write to.
        hotspots: the densest first.
        microns: um per pixel of the result.
        scale, shift: from pixels of the result to the coordinates of the GeoJSON.
        members: of the GeoJSON, such as the models' hashes.
    """
    with (
        table_writer(folder / "hotspots.csv", HOTSPOT_COLUMNS) as add_row,
        geojson_writer(folder / "hotspots.geojson", members) as add_feature,
    ):
        for number, spot in enumerate(hotspots, start=1):
            add_row(
                {
                    "hotspot": number,
                    "centre_x_px": spot.x / microns,
                    "centre_y_px": spot.y / microns,
                    "centre_x_um": spot.x,
                    "centre_y_um": spot.y,
                    "radius_um": spot.radius,
                    "tissue_mm2": spot.tissue_mm2,
                    "nuclei": spot.nuclei,
                    "density_per_mm2": spot.nuclei / spot.tissue_mm2,
                }
            )
            add_feature(_hotspot_feature(number, spot, scale / microns, shift))


def _hotspot_feature(number: int, spot: Hotspot, scale: float, shift: tuple[float, float]) -> dict:
    turn = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    ring = np.column_stack(
        [spot.x + spot.radius * np.cos(turn), spot.y + spot.radius * np.sin(turn)]
    )
    points = (ring * scale + shift).round(2).tolist()
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*points, points[0]]]},
        "properties": {
            "objectType": "annotation",
            "name": f"Hotspot {number}",
            "classification": {"name": "Hotspot", "color": [230, 120, 0]},
            "measurements": {"Nuclei": spot.nuclei, "Tissue mm^2": round(spot.tissue_mm2, 6)},
        },
    }


def _write_map(path: Path, values: np.ndarray, grey: np.ndarray, microns: float, words, write):
    """Draw one map over the tissue; words: title, unit, lowest value (None = from the map)."""
    title, unit, lowest = words
    height, width = grey.shape
    known = values[np.isfinite(values)]
    low, high = (known.min(), known.max()) if len(known) else (0, 1)
    low = low if lowest is None else lowest
    limits = Normalize(low, high if high > low else low + 1)
    colours = ScalarMappable(limits, COLOURS)
    figure, axis, bar_axis = map_figure(height / width, LARGEST_SIDE, DOTS_PER_INCH)
    place(axis, _over_tissue(values, grey, colours, fit(axis, width, height)))
    title_above(axis, title if len(known) else f"{title}: nowhere enough to tell")
    scale_bar(axis, width, microns)
    colour_bar(bar_axis, colours, unit, alpha=OPACITY)
    save_figure(figure, path, write)


def _over_tissue(values, grey, colours: ScalarMappable, size: tuple[int, int]) -> np.ndarray:
    """Return a map in colours over the tissue, uint8 RGB; where it is nan the tissue alone."""
    levels = np.rint(255 * (np.arange(256) - DARKEST) / (255 - DARKEST)).astype(np.uint8)
    tissue = cv2.cvtColor(scaled(levels[grey], size), cv2.COLOR_GRAY2RGB)
    painted = colours.cmap(colours.norm(values), bytes=True)[..., :3]
    painted, known = (
        scaled(array, size, cv2.INTER_NEAREST)
        for array in (painted, np.isfinite(values).astype(np.uint8))
    )
    blended = cv2.addWeighted(painted, OPACITY, tissue, 1 - OPACITY, 0)
    return cv2.copyTo(blended, known, tissue)
