"""What a user chooses for a run: the constants of the script, checked, and sorted by concern.

Each field has the name of its constant and its flag. Every room gets its own part.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

RESULTS_VERSION = 3  # raised whenever the same input and choices give other results than before
SUPER_RESOLVED_FROM = 1.0  # um per pixel at which a slide is read for the generator
SEGMENTED_AT = 0.25  # um per pixel at which a slide is read for the U-net alone


@dataclass(frozen=True)
class InputSettings:
    """Which images are read, and at what scale."""

    input_folder: Path = Path()
    region: tuple[int, int, int, int] | None = None
    regions_folder: Path | None = None
    regions_only: bool = False
    microns_per_pixel: float | None = None
    microns_per_pixel_for_all: bool = False
    read_at_microns_per_pixel: float | None = None


@dataclass(frozen=True)
class ModelSettings:
    """Which networks are used, and how."""

    generator: Path = Path()
    faithful_generator: Path = Path()
    faithful_share: float = 0.0
    unet: Path = Path()
    super_resolve: bool = True
    segment: bool = True
    test_time_augmentation: bool = False
    precision: str = "float32"

    def files(self) -> dict[str, Path]:
        """Return the files of the models that the run needs, by the name of their constant."""
        wanted = {
            "generator": self.super_resolve,
            "faithful_generator": self.super_resolve and self.faithful_share > 0,
            "unet": self.segment,
        }
        return {name: getattr(self, name) for name, needed in wanted.items() if needed}


@dataclass(frozen=True)
class TileSettings:
    """How an image is cut into tiles."""

    tile_size: int = 512
    batch_size: int = 1


@dataclass(frozen=True)
class NucleiSettings:
    """What counts as a nucleus, and what as tissue."""

    probability_threshold: float = 0.55
    seed_rise: float = 0.1
    smallest_nucleus: float = 4.0
    tissue_threshold: float = 0.08


@dataclass(frozen=True)
class OutputSettings:
    """What is written, and where."""

    output_folder: Path = Path()
    overwrite: bool = False
    geojson_frame: str = "result"
    geojson_gzip: bool = False
    geojson_objects: str = "detection"
    jpeg_quality: int = 90


@dataclass(frozen=True)
class MapSettings:
    """How the maps of an image are drawn, and which fields are its densest."""

    map_spacing: float = 50.0
    map_radius: float = 100.0
    hotspots: int = 5
    hotspot_mm2: float = 0.2


@dataclass(frozen=True)
class ComparisonSettings:
    """Which images are compared with which; this changes the results of none."""

    groups: str | None = None


@dataclass(frozen=True)
class MachineSettings:
    """Who does the work."""

    scheduler: str | None = None
    measuring_processes: int = 1


@dataclass(frozen=True)
class Settings:
    """All choices of a run, a part for each concern."""

    input: InputSettings = field(default_factory=InputSettings)
    models: ModelSettings = field(default_factory=ModelSettings)
    tiles: TileSettings = field(default_factory=TileSettings)
    nuclei: NucleiSettings = field(default_factory=NucleiSettings)
    outputs: OutputSettings = field(default_factory=OutputSettings)
    maps: MapSettings = field(default_factory=MapSettings)
    comparison: ComparisonSettings = field(default_factory=ComparisonSettings)
    machines: MachineSettings = field(default_factory=MachineSettings)
    debug: bool = False

    @classmethod
    def from_constants(cls, constants: Mapping[str, Any]) -> "Settings":
        """Sort the constants of the script, by flag name, into their parts.

        Raises:
            ValueError: one of them cannot work; one line that names it.
        """
        _check(constants)
        parts = {part.name: _part(part.default_factory, constants) for part in fields(cls)[:-1]}
        return cls(**parts, debug=constants["debug"])

    @property
    def read_at(self) -> float:
        """Micrometres per pixel at which slides are read."""
        default = SUPER_RESOLVED_FROM if self.models.super_resolve else SEGMENTED_AT
        return self.input.read_at_microns_per_pixel or default


def _part(kind, constants: Mapping[str, Any]):
    values = {each.name: constants[each.name] for each in fields(kind)}
    return kind(**values)


def _check(constants: Mapping[str, Any]):
    """Raise ValueError for the first constant that cannot work, before anything heavy is loaded."""
    if constants["tile_size"] < 16 or constants["tile_size"] % 16:
        raise _expected("tile_size", "a positive multiple of 16", constants)
    for name in ("batch_size", "measuring_processes"):
        if constants[name] < 1:
            raise _expected(name, "at least 1", constants)
    for name in ("microns_per_pixel", "read_at_microns_per_pixel"):
        if constants[name] is not None and not constants[name] > 0:
            raise _expected(name, "a positive number or None", constants)
    for name in ("map_spacing", "map_radius", "hotspot_mm2"):
        if not constants[name] > 0:
            raise _expected(name, "a positive number", constants)
    if constants["hotspots"] < 0:
        raise _expected("hotspots", "0 or more", constants)
    if constants["microns_per_pixel_for_all"] and constants["microns_per_pixel"] is None:
        raise ValueError("MICRONS_PER_PIXEL_FOR_ALL is on, but MICRONS_PER_PIXEL is None: give it")
    for name in ("probability_threshold", "seed_rise"):
        if not 0 < constants[name] < 1:
            raise _expected(name, "a number between 0 and 1", constants)
    if not 0 <= constants["faithful_share"] <= 1:
        raise _expected("faithful_share", "0 to 1", constants)
    if not 0 <= constants["jpeg_quality"] <= 100:
        raise _expected("jpeg_quality", "0 to 100", constants)
    region = constants["region"]
    if region is not None and (len(region) != 4 or min(region[2:]) < 1):
        raise _expected("region", "x, y, width, height in pixels", constants)
    if constants["precision"] not in ("auto", "float32", "bfloat16"):
        raise _expected("precision", "auto, float32 or bfloat16", constants)
    if constants["geojson_frame"] not in ("result", "slide"):
        raise _expected("geojson_frame", "result or slide", constants)
    if constants["geojson_objects"] not in ("detection", "annotation"):
        raise _expected("geojson_objects", "detection or annotation", constants)
    if not (constants["super_resolve"] or constants["segment"]):
        raise ValueError("SUPER_RESOLVE and SEGMENT are both off: nothing to do")


def _expected(name: str, what: str, constants: Mapping[str, Any]) -> ValueError:
    return ValueError(f"{name.upper()}: expected {what}, found {constants[name]}")
