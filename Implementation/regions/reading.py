"""Annotated regions from QuPath's GeoJSON, in the pixels of a result.

Whatever is wrong with a file or with one of its regions costs no image its results: it is left out
and named in a line.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon

from images.errors import one_line
from labels.forms.geojson import (
    AREAS,
    DETECTIONS,
    class_of,
    features_of,
    outline_of,
    read_json,
    type_of,
)

NOTHING = Polygon()
IGNORED = "ignore"  # begins the class of what is neither tissue nor counted: QuPath's `Ignore*`
OTHER_OBJECTS = (*DETECTIONS, *AREAS)  # what else QuPath writes, by the beginning of its type

NOTHING_TO_LIMIT = "REGIONS_ONLY: there is no region to limit the run to, so all is measured"


@dataclass(frozen=True)
class Frame:
    """How the pixels of a result lie in the original file.

    Attributes:
        width, height: of the result in its own pixels.
        left, top: its corner in full-resolution pixels of the file.
        size: full-resolution pixels per pixel of the result.
    """

    width: int
    height: int
    left: float = 0.0
    top: float = 0.0
    size: float = 1.0

    @property
    def extent(self) -> Polygon:
        """Rectangle of the result."""
        return shapely.box(0, 0, self.width, self.height)


@dataclass(frozen=True)
class Region:
    """An annotation, cut at the border of the image.

    Attributes:
        name: unlike those of the other regions.
        of_class: its class, "" where it has none.
        area: shapely (multi)polygon in pixels of the result.
    """

    name: str
    of_class: str
    area: Polygon | MultiPolygon


@dataclass(frozen=True)
class Annotations:
    """What is annotated in an image.

    Attributes:
        extent: rectangle of the image.
        regions: in the order of the file.
        ignored: what is neither tissue nor counted; empty where there is nothing of it.
        notes: a line each for what is wrong.
        limit: whether the run is limited to the regions.
    """

    extent: Polygon
    regions: tuple[Region, ...] = ()
    ignored: Polygon | MultiPolygon = NOTHING
    notes: tuple[str, ...] = ()
    limit: bool = False

    @cached_property
    def counting(self) -> Polygon | MultiPolygon:
        """Where tissue and nuclei count: the image or its regions, without what is ignored."""
        area = self.extent
        if self.limit:
            area = shapely.union_all([region.area for region in self.regions])
        return self.not_ignored(area)

    def not_ignored(self, area: Polygon | MultiPolygon) -> Polygon | MultiPolygon:
        """Return an area without what is ignored."""
        return _polygons(area if self.ignored.is_empty else shapely.difference(area, self.ignored))


def read_annotations(path: Path | None, frame: Frame, limit: bool = False) -> Annotations:
    """Read the annotations of an image; none where `path` is None. Never raises for its content.

    Args:
        path: GeoJSON file, may be compressed (.gz).
        frame: how the result lies in the original, to whose full resolution coordinates belong.
        limit: whether the regions are all that counts; not where there is none that can be used.
    """
    found = Annotations(frame.extent) if path is None else _read(path, frame)
    if limit and not found.regions:
        return replace(found, notes=(*found.notes, NOTHING_TO_LIMIT))
    return replace(found, limit=limit)


def _read(path: Path, frame: Frame) -> Annotations:
    try:
        features = features_of(read_json(path))
    except (ValueError, OSError, RecursionError) as error:
        return Annotations(frame.extent, notes=(_without(path, str(error)),))
    regions, ignored, notes = [], [], []
    for number, feature in enumerate(features, start=1):
        if type_of(feature).startswith(OTHER_OBJECTS):
            continue
        region, note = _region(feature, number, frame)
        if note:
            notes.append(f"{path.name}: {one_line(note)}")
        if region:
            (ignored if region.of_class.casefold().startswith(IGNORED) else regions).append(region)
    if not regions and not ignored and not notes:
        notes.append(_without(path, "no annotations; export them as GeoJSON in QuPath"))
    all_ignored = _polygons(shapely.union_all([region.area for region in ignored]))
    return Annotations(frame.extent, _with_own_names(regions), all_ignored, tuple(notes))


def _without(path: Path, reason: str) -> str:
    return one_line(f"{path.name}: {reason}; the image is measured without regions")


def _properties(feature: dict) -> dict:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _region(feature: dict, number: int, frame: Frame) -> tuple[Region | None, str]:
    """Return a region, None where it cannot be used, and what has to be said about it."""
    of_class = class_of(feature)
    name = str(_properties(feature).get("name") or f"{of_class or 'region'} {number}")
    try:
        outline = outline_of(feature.get("geometry") or {})
        if outline is None:
            return None, f"{name} is left out: a point or a line, expected a polygon"
        area, crossing = _area(outline, frame)
    except (ValueError, AttributeError, shapely.errors.ShapelyError) as error:
        return None, f"{name} is left out: {error}"
    if not area.area:
        return None, f"{name} is left out: it encloses nothing; draw it again"
    inside = _polygons(shapely.intersection(area, frame.extent))
    if not inside.area:
        return None, f"{name} is left out: it lies outside the image"
    note = f"the outline of {name} crosses itself; its loops were taken apart" if crossing else ""
    return Region(name, of_class, inside), note


def _area(outline: list, frame: Frame) -> tuple[Polygon | MultiPolygon, bool]:
    """Return the valid polygon of an outline in pixels of the result, and whether it was not."""
    corner = np.array([frame.left, frame.top])
    polygons, crossing = [], False
    for rings in outline:
        if any(len(ring) < 3 or ring.ndim != 2 or not np.isfinite(ring).all() for ring in rings):
            raise ValueError("expected rings of at least three points, each two finite numbers")
        shell, *holes = ((ring - corner) / frame.size for ring in rings)
        polygon = Polygon(shell, holes)
        crossing |= not polygon.is_valid
        polygons.append(shapely.make_valid(polygon))
    return _polygons(shapely.union_all(polygons)), crossing


def _polygons(geometry) -> Polygon | MultiPolygon:
    """Return the polygons alone of what an operation of shapely gives."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    parts = shapely.get_parts(geometry)
    return shapely.union_all([p for p in parts if p.geom_type.endswith("Polygon")] or [Polygon()])


def _with_own_names(regions: list[Region]) -> tuple[Region, ...]:
    """Number the regions that share a name."""
    names, own = set(), []
    for region in regions:
        name, number = region.name, 2
        while name in names:
            name, number = f"{region.name} ({number})", number + 1
        names.add(name)
        own.append(Region(name, region.of_class, region.area))
    return tuple(own)
