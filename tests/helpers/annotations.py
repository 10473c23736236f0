"""Annotations as QuPath exports them."""

import json


def rectangle(x, y, width, height):
    """A closed ring."""
    right, bottom = x + width, y + height
    return [[x, y], [right, y], [right, bottom], [x, bottom], [x, y]]


def annotation(rings, name=None, of_class=None, kind="annotation", shape="Polygon"):
    properties = {"objectType": kind}
    if name:
        properties["name"] = name
    if of_class:
        properties["classification"] = {"name": of_class, "color": [200, 0, 0]}
    geometry = {"type": shape, "coordinates": rings}
    return {"type": "Feature", "id": "8a7b", "geometry": geometry, "properties": properties}


def write_annotations(path, features):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path
