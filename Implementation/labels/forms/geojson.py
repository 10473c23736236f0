"""QuPath's GeoJSON: annotations, detections and cells, and the regions that are labelled."""

import gzip
import json
from pathlib import Path

import numpy as np
from skimage.measure import points_in_poly

from labels.forms.outlines import Polygon, label_map, united
from labels.label_map import Labels

# Member of a collection whose outlines nobody has corrected; QuPath leaves it out on export.
AS_PREDICTED = "as_predicted"
# By the beginning of an object's type; superpixels, cores of tissue arrays and the root are areas.
AREAS = ("tile", "tmacore", "root")
DETECTIONS = ("detection", "cell")
LEFT_OUT = {
    "point": "points or lines left out",
    "area": "tiles or cores left out",
    "field": "annotations that are areas left out",
}
LARGEST = 3  # times the median extent of all outlines; an annotation of more is an area, too


def read_json(path: Path):
    """Parse a JSON file, compressed or not."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as file:
            return json.load(file)
    except (EOFError, OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"truncated or not JSON ({error}); export it again") from error


def labels_of_geojson(content, shape: tuple[int, int]) -> Labels:
    """Read GeoJSON as QuPath writes it: a collection, a list or one feature.

    Every polygon is a nucleus; of a cell its nucleus counts. Tiles and cores of tissue arrays are
    none, nor, beside detections or cells, annotations around one or much larger than these; others
    are nuclei that somebody added. Annotations whose class begins with Region or is Labelled say
    where the labels are complete. Those whose class begins with Ignore, as QuPath's own class for
    that does, say where they are not.

    Args:
        content: the parsed file.
        shape: (height, width) of the image, to whose full resolution the coordinates belong.

    Raises:
        ValueError: it is no GeoJSON, holds no polygon, or nobody has corrected what it holds.
    """
    if isinstance(content, dict) and content.get(AS_PREDICTED):
        raise ValueError(
            "its outlines are still as predicted; correct them in QuPath and export them, or "
            "delete the field"
        )
    found = _by_role(features_of(content))
    added, found["field"] = _parted(found["annotation"], found["detection"])
    nuclei = found["detection"] + added
    if not nuclei and not found["region"]:
        areas = f" but {len(found['area'])} tiles or cores" if found["area"] else ""
        raise ValueError(
            f"no outlines{areas}; where a field holds no nuclei, mark it with an annotation of "
            "class Region"
        )
    labels, remark = label_map(nuclei, shape)
    counts = [f"{what}: {len(found[role])}" for role, what in LEFT_OUT.items() if found[role]]
    known, limits = _known(found["region"], found["ignored"], shape)
    notes = ["outlines (GeoJSON)", remark, *counts, *limits]
    return Labels(labels, True, ", ".join(filter(None, notes)), known)


def _known(regions, ignored, shape: tuple[int, int]) -> tuple[np.ndarray | None, list[str]]:
    """Return where labels are complete, as `Labels.known`, and notes of what limits it."""
    known, notes = None, []
    if regions:
        known = united(regions, shape)
        if not known.any():
            raise ValueError("its regions lie outside the image")
        notes.append("labelled in its regions only")
    if ignored:
        known = (True if known is None else known) & ~united(ignored, shape)
        notes.append("ignored areas left out")
    return known, notes


def _by_role(features: list[dict]) -> dict[str, list[list[Polygon] | None]]:
    """Return the outlines of objects by what they are in QuPath."""
    found = {role: [] for role in ("detection", "annotation", "region", "ignored", "area", "point")}
    for feature in features:
        outline = outline_of(feature.get("nucleusGeometry") or feature.get("geometry") or {})
        found["point" if outline is None else _role(feature)].append(outline)
    return found


def _role(feature: dict) -> str:
    """Tell what an outline is: see `labels_of_geojson`; of an unknown type, an annotation."""
    kind, of_class = type_of(feature), class_of(feature).casefold()
    if kind.startswith(AREAS):
        return "area"
    if of_class.startswith("region") or of_class.partition(":")[0] == "labelled":
        return "region"
    if of_class.startswith("ignore"):
        return "ignored"
    return "detection" if kind.startswith(DETECTIONS) else "annotation"


def _parted(annotations: list, detections: list) -> tuple[list, list]:
    """Part annotations into nuclei and areas, which detections lie in or could lie in."""
    if not annotations or not detections:
        return annotations, []
    middles = np.array([_points(each).mean(axis=0) for each in detections])
    extents = [np.ptp(_points(each), axis=0).max() for each in detections + annotations]
    largest, parts = LARGEST * np.median(extents), ([], [])
    for outline, extent in zip(annotations, extents[len(detections) :], strict=True):
        holds_one = any(points_in_poly(middles, rings[0]).any() for rings in outline)
        parts[bool(extent > largest or holds_one)].append(outline)
    return parts


def _points(outline: list[Polygon]) -> np.ndarray:
    return np.concatenate([ring for rings in outline for ring in rings])


def features_of(content) -> list[dict]:
    """Return the features of a parsed file: a collection, a list or one feature.

    Raises:
        ValueError: it is no GeoJSON.
    """
    if isinstance(content, dict):
        content = content.get("features", [content])
    if not isinstance(content, list) or any(
        not isinstance(item, dict) or "geometry" not in item for item in content
    ):
        raise ValueError("not GeoJSON: expected a collection or a list of features with a geometry")
    return content


def outline_of(geometry: dict) -> list[Polygon] | None:
    """Return the polygons of a geometry; None for points and lines.

    Raises:
        ValueError: its coordinates are not pairs of numbers.
    """
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        parts = [outline_of(part) for part in geometry.get("geometries", [])]
        return [polygon for part in parts for polygon in part or []] or None
    coordinates = geometry.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon") or not coordinates:
        return None
    polygons = [coordinates] if kind == "Polygon" else coordinates
    try:
        found = [[np.array([p[:2] for p in ring], float) for ring in rings] for rings in polygons]
        if any(ring.ndim != 2 for rings in found for ring in rings or [np.zeros(0)]):
            raise ValueError
        return found
    except (TypeError, ValueError, IndexError):
        raise ValueError("a polygon whose coordinates are not pairs of numbers") from None


def type_of(feature: dict) -> str:
    """Return what an object is in QuPath, in lower case: annotation, detection, cell, tile, ..."""
    properties = feature.get("properties")
    stated = properties.get("objectType") if isinstance(properties, dict) else None
    # Before QuPath 0.4 the id named the type: PathDetectionObject.
    return str(stated or feature.get("id") or "").removeprefix("Path").casefold()


def class_of(feature: dict) -> str:
    """Return the class of an object, "" where it has none; of several names, `one: another`."""
    properties = feature.get("properties")
    of_class = properties.get("classification") if isinstance(properties, dict) else None
    if isinstance(of_class, dict):
        of_class = ": ".join(map(str, of_class.get("names") or [of_class.get("name") or ""]))
    return str(of_class or "")
