"""What a user chooses for a run: the constants of the script, checked, and sorted by concern.

Each field has the name of its constant and its flag. Every room gets its own part.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

RESULTS_VERSION = 9  # raised whenever the same input and choices give other results than before
RESULT_MICRONS = 0.25  # um per pixel to which every image is brought
NEAR = 0.1  # relative difference to it that is no reason to resample a slide, nor to the U-net
ESTIMATE = "estimate"  # for MICRONS_PER_PIXEL: what the tissue tells
NUCLEUS_SCORE = Path(__file__).resolve().parents[2] / "models" / "nucleus_score.h5"
SCALES = (1, 2, 4)  # pixels of the result per pixel of the input, along each side


@dataclass(frozen=True)
class InputSettings:
    """Which images are read, and what is known of their pixels."""

    input_folder: Path = Path()
    region: tuple[int, int, int, int] | None = None
    regions_folder: Path | None = None
    regions_only: bool = False
    microns_per_pixel: float | str | None = None
    microns_per_pixel_for_all: bool = False


@dataclass(frozen=True)
class ScaleSettings:
    """At what scale images are read, and how far they are enlarged."""

    enlarge: str | int = "auto"
    super_resolve: bool = True
    x2_from: float = 0.35
    x4_from: float = 0.7
    read_at_microns_per_pixel: float | None = None

    @property
    def possible(self) -> tuple[int, ...]:
        """The scales that images may get."""
        if not self.super_resolve:
            return (1,)
        return SCALES if self.enlarge == "auto" else (int(self.enlarge),)

    def scale_of(self, microns: float | None) -> int:
        """Return how far an image is enlarged that is read at so many um per pixel.

        Without a pixel size (None) it is taken for one of the coarsest, as a 10x objective gives.
        """
        if len(self.possible) == 1:
            return self.possible[0]
        if microns is None or microns >= self.x4_from:
            return 4
        return 2 if microns >= self.x2_from else 1

    def read_at(self, microns: float | None) -> float | None:
        """Return the um per pixel at which a slide is read, given its own; None = as it is.

        The result shall have `RESULT_MICRONS`. Read coarser than that needs, a slide would lose
        what it recorded; so it is read as it is where that comes near enough.
        """
        if self.read_at_microns_per_pixel or microns is None:
            return self.read_at_microns_per_pixel
        target = RESULT_MICRONS * self.scale_of(microns)
        return target if microns < (1 - NEAR) * target else None


@dataclass(frozen=True)
class ModelSettings:
    """Which networks are used, and how."""

    generator: Path = Path()
    faithful_generator: Path = Path()
    generator_x2: Path = Path()
    faithful_generator_x2: Path = Path()
    faithful_share: float = 0.0
    unet: Path = Path()
    nucleus_score: Path = NUCLEUS_SCORE
    pixel_size_model: Path | None = None
    segment: bool = True
    test_time_augmentation: bool = False
    precision: str = "float32"

    def files(self, scales: Iterable[int] = SCALES) -> dict[str, Path]:
        """Return the files of the models for images of these scales, by name of the constant."""
        names = [name for scale in sorted(scales) for name in self.generators(scale)]
        names += ["unet", "nucleus_score"] * self.segment
        names += ["pixel_size_model"] * self.tells_pixel_sizes
        return {name: getattr(self, name) for name in names}

    @property
    def tells_pixel_sizes(self) -> bool:
        """Whether pixel sizes are estimated, which needs the U-net, too."""
        return self.segment and self.pixel_size_model is not None

    def generators(self, scale: int) -> tuple[str, ...]:
        """Return the constants that name the generator of a scale, and that blended into it."""
        if scale == 1:
            return ()
        name = "generator" if scale == 4 else f"generator_x{scale}"
        return (name, f"faithful_{name}") if self.faithful_share > 0 else (name,)


@dataclass(frozen=True)
class TileSettings:
    """How an image is cut into tiles."""

    tile_size: int = 512
    batch_size: int = 1

    def side(self, scale: int) -> int:
        """Return the side of a tile, in pixels of an image that is enlarged so far.

        So tiles of all images are as large in the result, and need as much memory.
        """
        return self.tile_size * SCALES[-1] // scale


@dataclass(frozen=True)
class NucleiSettings:
    """What counts as a nucleus, and what as tissue."""

    probability_threshold: float = 0.5
    least_overlap: float = 0.15
    smallest_nucleus: float = 2.0
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
    scale: ScaleSettings = field(default_factory=ScaleSettings)
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

    def model_files(self) -> dict[str, Path]:
        """Return the files of all models that an image of the run may need."""
        return self.models.files(self.scale.possible)


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
    _check_sizes(constants)
    for name in ("map_spacing", "map_radius", "hotspot_mm2"):
        if not constants[name] > 0:
            raise _expected(name, "a positive number", constants)
    for name in ("hotspots", "smallest_nucleus"):
        if not constants[name] >= 0:
            raise _expected(name, "0 or more", constants)
    if constants["microns_per_pixel_for_all"] and constants["microns_per_pixel"] is None:
        raise ValueError("MICRONS_PER_PIXEL_FOR_ALL is on, but MICRONS_PER_PIXEL is None: give it")
    for name in ("probability_threshold", "least_overlap"):
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
    _check_enlargement(constants)


def _check_sizes(constants: Mapping[str, Any]):
    microns, read_at = constants["microns_per_pixel"], constants["read_at_microns_per_pixel"]
    if microns == ESTIMATE:
        if not constants["segment"]:
            raise ValueError(
                "MICRONS_PER_PIXEL is to be estimated, which needs the U-net, but SEGMENT is off; "
                "switch it on or give a number"
            )
        if constants["pixel_size_model"] is None:
            raise ValueError(
                "MICRONS_PER_PIXEL is to be estimated: expected a PIXEL_SIZE_MODEL, found None"
            )
    elif microns is not None and not (not isinstance(microns, str) and microns > 0):
        raise _expected("microns_per_pixel", f"a positive number, {ESTIMATE} or None", constants)
    if read_at is not None and not read_at > 0:
        raise _expected("read_at_microns_per_pixel", "a positive number or None", constants)


def _check_enlargement(constants: Mapping[str, Any]):
    if constants["enlarge"] not in ("auto", *SCALES):
        raise _expected("enlarge", "auto, 1, 2 or 4", constants)
    if not 0 < constants["x2_from"] <= constants["x4_from"]:
        limits = f"{constants['x2_from']} and {constants['x4_from']}"
        raise ValueError(f"X2_FROM, X4_FROM: expected 0 < X2_FROM <= X4_FROM, found {limits}")
    if not constants["super_resolve"] and constants["enlarge"] not in ("auto", 1):
        raise ValueError(
            f"SUPER_RESOLVE is off, which means ENLARGE = 1, but ENLARGE is {constants['enlarge']}"
        )
    if not constants["segment"] and (constants["enlarge"] == 1 or not constants["super_resolve"]):
        raise ValueError(
            "SUPER_RESOLVE and SEGMENT are both off, or ENLARGE is 1 and SEGMENT off: nothing to do"
        )


def _expected(name: str, what: str, constants: Mapping[str, Any]) -> ValueError:
    return ValueError(f"{name.upper()}: expected {what}, found {constants[name]}")
