"""QuPath's GeoJSON: annotations, detections and cells, and the regions that are labelled."""

import gzip
import json
from pathlib import Path

import numpy as np

from labels.forms.outlines import Polygon, covered, label_map
from labels.label_map import Labels

# Member of a collection whose outlines nobody has corrected; QuPath leaves it out on export.
AS_PREDICTED = "as_predicted"


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

    Every polygon is a nucleus; of a cell its nucleus counts. Annotations whose class begins with
    Region or is Labelled are no nuclei: they say where the labels are complete. Those whose class
    begins with Ignore, as QuPath's own class for that does, say where they are not.

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
    nuclei, regions, ignored, others = [], [], [], 0
    for feature in features_of(content):
        geometry = feature.get("nucleusGeometry") or feature.get("geometry") or {}
        outline = outline_of(geometry)
        if outline is None:
            others += 1
        else:
            kind = class_of(feature).casefold()
            is_region = kind.startswith("region") or kind.partition(":")[0] == "labelled"
            is_ignored = kind.startswith("ignore")
            (regions if is_region else ignored if is_ignored else nuclei).append(outline)
    if not nuclei and not regions:
        raise ValueError(
            "no outlines; where a field holds no nuclei, mark it with an annotation of class Region"
        )
    labels, remark = label_map(nuclei, shape)
    notes = ["outlines (GeoJSON)", remark]
    notes.append(f"{others} points or lines left out" if others else "")
    known = None
    if regions:
        known = _union(regions, shape)
        if not known.any():
            raise ValueError("its regions lie outside the image")
        notes.append("labelled in its regions only")
    if ignored:
        known = (True if known is None else known) & ~_union(ignored, shape)
        notes.append("ignored areas left out")
    return Labels(labels, True, ", ".join(filter(None, notes)), known)


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
        return [[np.array([p[:2] for p in ring], float) for ring in rings] for rings in polygons]
    except (TypeError, ValueError, IndexError):
        raise ValueError("a polygon whose coordinates are not pairs of numbers") from None


def class_of(feature: dict) -> str:
    """Return the class of an object, "" where it has none; of several names, `one: another`."""
    properties = feature.get("properties")
    of_class = properties.get("classification") if isinstance(properties, dict) else None
    if isinstance(of_class, dict):
        of_class = ": ".join(map(str, of_class.get("names") or [of_class.get("name") or ""]))
    return str(of_class or "")


def _union(regions: list[list[Polygon]], shape: tuple[int, int]) -> np.ndarray:
    known = np.zeros(shape, bool)
    for region in regions:
        piece = covered(region, shape)
        if piece is not None:
            window, mask = piece
            known[window] |= mask
    return known
