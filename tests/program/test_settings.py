"""Typed settings: the script's constants, each in its part, and refused where they cannot work."""

import inspect
from dataclasses import asdict, replace
from pathlib import Path

import Final_implementation
import pytest

from program.settings import ModelSettings, ScaleSettings, Settings

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


@pytest.mark.parametrize("part", ["scale", "tiles", "nuclei", "maps", "comparison"])
def test_defaults_are_those_of_the_script(part):
    assert getattr(Settings(), part) == getattr(Settings.from_constants(CONSTANTS), part)


def test_only_models_that_a_run_needs_are_asked_for():
    nuclei = {"unet": Path("u"), "nucleus_score": Path("s")}
    models = ModelSettings(Path("g"), Path("f"), Path("g2"), **nuclei)
    assert models.files([4]) == {"generator": Path("g")} | nuclei
    assert models.files([2]) == {"generator_x2": Path("g2")} | nuclei
    assert models.files([1]) == nuclei
    assert list(models.files()) == ["generator_x2", "generator", *nuclei]
    checked = replace(models, pixel_size_model=Path("p"))
    assert checked.files([1]) == nuclei | {"pixel_size_model": Path("p")}
    assert list(replace(checked, segment=False).files([1])) == []
    blend = ModelSettings(faithful_share=0.5, segment=False)
    assert list(blend.files([1, 4])) == ["generator", "faithful_generator"]
    assert list(blend.files([2])) == ["generator_x2", "faithful_generator_x2"]


@pytest.mark.parametrize(
    ("microns", "scale", "read_at"),
    [  # of a slide; None = it is read as it is
        (0.06, 1, 0.25),
        (0.125, 1, 0.25),
        (0.22, 1, 0.25),
        (0.23, 1, None),
        (0.25, 1, None),
        (0.34, 1, None),
        (0.35, 2, 0.5),
        (0.44, 2, 0.5),
        (0.46, 2, None),
        (0.5, 2, None),
        (0.69, 2, None),
        (0.7, 4, 1.0),
        (0.93, 4, None),
        (1.0, 4, None),
        (2.0, 4, None),
        (None, 4, None),
    ],
)
def test_the_route_follows_from_the_pixel_size(microns, scale, read_at):
    choice = ScaleSettings()
    assert (choice.scale_of(microns), choice.read_at(microns)) == (scale, read_at)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_chosen_enlargement_is_that_of_all_images(scale):
    choice = ScaleSettings(enlarge=scale)
    assert {choice.scale_of(microns) for microns in (0.1, 0.25, 0.5, 1.0, None)} == {scale}
    assert choice.read_at(0.1) == 0.25 * scale and choice.read_at(0.25 * scale) is None
    assert choice.possible == (scale,)


def test_without_super_resolution_images_stay_as_they_are():
    choice = ScaleSettings(super_resolve=False)
    assert choice.possible == (1,) and choice.scale_of(None) == choice.scale_of(1.0) == 1
    assert choice.read_at(0.5) is None


def test_limits_and_scale_of_reading_can_be_chosen():
    assert ScaleSettings(x2_from=0.2, x4_from=0.4).scale_of(0.25) == 2
    assert ScaleSettings(x2_from=0.2, x4_from=0.4).scale_of(0.4) == 4
    assert ScaleSettings(read_at_microns_per_pixel=0.8).read_at(0.25) == 0.8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tile_size", 100),
        ("least_overlap", 1.0),
        ("map_radius", 0.0),
        ("hotspots", -1),
        ("smallest_nucleus", -4.0),
        ("region", (0, 0, 0, 1)),
        ("microns_per_pixel_for_all", True),
        ("geojson_objects", "cell"),
        ("enlarge", 3),
        ("x2_from", 0.8),
    ],
)
def test_what_cannot_work_is_named(name, value):
    with pytest.raises(ValueError, match=name.upper()):
        Settings.from_constants(CONSTANTS | {name: value})
