"""Typed settings: the script's constants, each in its part, and refused where they cannot work."""

import inspect
from dataclasses import asdict
from pathlib import Path

import Final_implementation
import pytest

from program.settings import ModelSettings, Settings

CONSTANTS = {
    name: parameter.default
    for name, parameter in inspect.signature(Final_implementation.main).parameters.items()
    if name != "from_run"
}


def test_every_constant_has_one_place():
    settings = Settings.from_constants(CONSTANTS)
    parts = asdict(settings)
    debug = parts.pop("debug")
    flat = {name: value for part in parts.values() for name, value in part.items()}
    assert flat | {"debug": debug} == CONSTANTS
    assert sum(map(len, parts.values())) == len(flat)


@pytest.mark.parametrize("part", ["tiles", "nuclei", "maps", "comparison"])
def test_defaults_are_those_of_the_script(part):
    assert getattr(Settings(), part) == getattr(Settings.from_constants(CONSTANTS), part)


def test_only_models_that_a_run_needs_are_asked_for():
    models = ModelSettings(Path("g"), Path("f"), unet=Path("u"))
    assert models.files() == {"generator": Path("g"), "unet": Path("u")}
    blend = ModelSettings(Path("g"), Path("f"), 0.5, Path("u"), segment=False)
    assert list(blend.files()) == ["generator", "faithful_generator"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tile_size", 100),
        ("seed_rise", 1.0),
        ("map_radius", 0.0),
        ("hotspots", -1),
        ("region", (0, 0, 0, 1)),
        ("microns_per_pixel_for_all", True),
        ("geojson_objects", "cell"),
    ],
)
def test_what_cannot_work_is_named(name, value):
    with pytest.raises(ValueError, match=name.upper()):
        Settings.from_constants(CONSTANTS | {name: value})
