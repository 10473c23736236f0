"""The folder in which fields are corrected: pictures, outlines, QuPath scripts and a page."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import shapely
import tifffile
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evaluation.picking import Field
from images.finding import stamp
from images.formats.tiff import decode_segment
from images.objectives import objective_microns
from images.opening import open_image
from images.sizes import StatedSize
from labels.forms.geojson import AS_PREDICTED
from nuclei.geojson import geojson_writer, nucleus_feature
from nuclei.outlines import find_outlines, thinned
from outputs.png import dots_per_inch, write_image
from outputs.tiff import write_pyramid
from pipeline.job import read_manifest
from pipeline.repetition import read_run
from program.settings import ESTIMATE, ScaleSettings
from tiles.geometry import Window, intersection
from tiles.raster import InMemory

TEMPLATE = Path(__file__).with_name("correction_page.html")
CHANGED = "it has changed since the run; run Final_implementation.py again"
SMALLEST_PART = 10  # pixels; less of a nucleus that the border of a field cuts is left out
_OUTLINES_OF_IMAGE = """\
def image = GeneralTools.toPath(getCurrentServer().getURIs().iterator().next()).toFile()
def name = image.getName().replaceFirst(/(\\.ome)?\\.[^.]+$/, "")
def outlines = new File(image.getParentFile(), name + ".geojson")
"""
QUPATH_SCRIPTS = {
    "qupath_import.groovy": f"""\
// Adds the predicted outlines to fields that have none yet. Run > Run for project.
{_OUTLINES_OF_IMAGE}if (getAnnotationObjects().isEmpty()) {{
    importObjectsFromFile(outlines.getAbsolutePath())
    fireHierarchyUpdate()
}}
""",
    "qupath_export.groovy": f"""\
// Writes the outlines of corrected fields beside their pictures. Run > Run for project.
{_OUTLINES_OF_IMAGE}\
exportAllObjectsToGeoJson(outlines.getAbsolutePath(), "FEATURE_COLLECTION", "EXCLUDE_MEASUREMENTS")
println("Written: " + outlines)
""",
}


def write_fields(fields: list[Field], results: Path, folder: Path, suffix: str) -> Path:
    """Write fields with their predicted outlines, and the page that says what to do with them.

    Args:
        fields: of one run.
        results: output folder of the run.
        folder: to write to; `<field>.png` or `.ome.tif` with `<field>.geojson` beside it, whose
            annotations are in pixels of the field.
        suffix: "png" or "ome.tif".

    Returns:
        The page, README.html.

    Raises:
        OSError, ValueError: the folder already holds fields, or an image of the run is gone.
    """
    if any(folder.glob("*.geojson")):
        raise ValueError(
            f"OUTPUT_FOLDER {folder} already holds fields, perhaps corrected ones; name another "
            "folder (--output-folder)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    shown = []
    for source in dict.fromkeys(field.folder for field in fields):
        manifest = read_manifest(source / "manifest.json")
        microns = manifest["summary"]["microns_per_pixel_out"]
        with _picture_of(source, manifest, results) as read:
            for field in fields:
                if field.folder == source:
                    picture = folder / f"{field.name}.{suffix}"
                    _write_picture(picture, read(*vars(field.window).values()), microns)
                    labels = read_label_map(source / "nuclei_labels.tif", field.window)
                    part = counting_part(manifest.get("counting"), field.window)
                    _write_outlines(folder / f"{field.name}.geojson", labels, part)
                    shown.append((picture.name, manifest["image"], microns, field))
    for name, text in QUPATH_SCRIPTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return _write_page(folder, shown)


def read_label_map(path: Path, window: Window) -> np.ndarray:
    """Read a part of a tiled label map: int32 (height, width), numbered anew from 1."""
    part = np.zeros((window.height, window.width), np.uint32)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        side, across = page.tilewidth, -(-page.imagewidth // page.tilewidth)
        for index in range(len(page.dataoffsets)):
            tile = Window(index % across * side, index // across * side, side, side)
            if common := intersection(tile, window):
                pixels = decode_segment(page, index)[..., 0]
                part[_slices(common, window)] = pixels[_slices(common, tile)]
    numbers, labels = np.unique(part, return_inverse=True)
    return (labels.reshape(part.shape) + (numbers[0] > 0)).astype(np.int32)


def counting_part(counting: str | None, window: Window):
    """Return where nuclei count in a field, a shapely (multi)polygon in its pixels.

    None where they count everywhere; counting: of the manifest, see `Analysis.counting`.
    """
    if counting is None:
        return None
    x, y = window.x, window.y
    field = shapely.box(x, y, x + window.width, y + window.height)
    area = shapely.intersection(shapely.from_wkt(counting), field)
    if area.equals(field):
        return None
    polygons = [part for part in shapely.get_parts(area) if part.geom_type == "Polygon"]
    return shapely.transform(shapely.union_all(polygons), lambda points: points - (x, y))


def _slices(part: Window, whole: Window) -> tuple[slice, slice]:
    x, y = part.x - whole.x, part.y - whole.y
    return np.s_[y : y + part.height, x : x + part.width]


@contextmanager
def _picture_of(source: Path, manifest: dict, results: Path) -> Iterator[Callable]:
    """Open the picture in which the nuclei of an image were found; yield what reads it.

    That is the super-resolved image or, where there is none, the input itself.
    """
    enlarged = [source / f"super_resolved.{end}" for end in ("png", "ome.tif")]
    path = next((each for each in enlarged if each.is_file()), None)
    options = ()
    if path is None:
        choices = manifest["made_from"]["choices"]
        folder = Path(read_run(results / "run.json")["constants"]["input_folder"])
        path = folder / manifest["image"]
        if not path.exists() and folder.name == manifest["image"]:
            path = folder  # which is a DICOM slide
        if path.exists() and stamp(path) != manifest["made_from"]["input"]:
            raise ValueError(f"{path}: {CHANGED}")
        microns = choices["microns_per_pixel"]
        if microns == ESTIMATE:
            estimate = manifest["summary"]["estimated_microns_per_pixel"]
            microns = estimate and objective_microns(estimate)
        stated = StatedSize(microns, choices["microns_per_pixel_for_all"])
        known = {
            f.name: choices[f.name] for f in dataclasses.fields(ScaleSettings) if f.name in choices
        }
        options = ScaleSettings(**known).read_at, choices["region"], stated
    with open_image(path, *options) as image:
        size = manifest["summary"]["width_out"], manifest["summary"]["height_out"]
        if (image.width, image.height) != size:
            raise ValueError(
                f"{path}: {image.width} x {image.height} pixels, the run read {size[0]} x "
                f"{size[1]}; {CHANGED}"
            )
        yield image.read


def _write_picture(path: Path, pixels: np.ndarray, microns: float | None):
    if path.suffix == ".png":
        write_image(path, pixels, dots_per_inch=dots_per_inch(microns))
    else:
        write_pyramid(path, InMemory(pixels), microns, jpeg_quality=None)


def _write_outlines(path: Path, labels: np.ndarray, part):
    """Write the nuclei of a field and, where they count in a part of it alone, that part.

    Else what the run did not measure would be taken for background.
    """
    found = find_outlines(labels)
    with geojson_writer(path, {AS_PREDICTED: True}) as add:
        if part is not None:
            add(_part_feature(part))
        for label, box, ring in zip(found.labels, found.boxes, found.rings, strict=True):
            if np.count_nonzero(labels == label) >= SMALLEST_PART:
                ring = thinned(ring, box[1], box[0])
                add(nucleus_feature(ring, {"label": label}, kind="annotation"))


def _part_feature(part) -> dict:
    """Return a part of a field as the annotation outside which nothing is taken for labelled."""
    return {
        "type": "Feature",
        "geometry": shapely.geometry.mapping(part),
        "properties": {
            "objectType": "annotation",
            "name": "measured",
            "classification": {"name": "Region*", "color": [80, 120, 255]},
        },
    }


def _write_page(folder: Path, shown: list[tuple]) -> Path:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    page = folder / "README.html"
    text = environment.get_template(TEMPLATE.name).render(fields=shown, folder=folder.resolve())
    page.write_text(text, encoding="utf-8")
    return page
