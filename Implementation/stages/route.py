"""How an image gets from its own pixels to those of the result: sizes and scales of both."""

from dataclasses import dataclass

from images.objectives import objective, objective_microns
from images.opening import ImageFile
from nuclei.pixel_size import is_doubted
from program.settings import RESULT_MICRONS
from tiles.geometry import Window


@dataclass(frozen=True)
class SizeEstimate:
    """What the tissue of an image tells of its pixel size.

    Attributes:
        microns: um per pixel of the file at full resolution; None = it tells nothing.
        agreed: see `nuclei.pixel_size.Estimate`.
        used: whether the image is taken to have this size.
    """

    microns: float | None = None
    agreed: bool = False
    used: bool = False

    def note(self, image: ImageFile, scale: int) -> tuple[str, ...]:
        """Return a line where this is far from the size by which an opened image is enlarged."""
        if self.used and not self.agreed:
            return ("its pixel size is an estimate on which its patches do not agree: check it",)
        stated = image.full_microns_per_pixel
        assumed = stated or scale * RESULT_MICRONS
        if not self.microns or not is_doubted(self.microns / assumed, self.agreed):
            return ()
        likely = objective_microns(self.microns)
        looks = (
            f"the tissue looks as if a pixel were about {self.microns:.2g} um ({objective(likely)})"
        )
        believed = f"{assumed:.3g} um as {'stated' if stated else 'assumed'}"
        command = f"--microns-per-pixel {likely:g}" + " --microns-per-pixel-for-all" * bool(stated)
        return (f"{looks}, not {believed}; if so, run it with {command}",)


@dataclass(frozen=True)
class Route:
    """Sizes and scales of an image before and after super-resolution.

    Attributes:
        scale: pixels of the result per pixel of the input, along each side.
        extent_in, extent: of the input and of the result, in their own pixels.
        microns_in, microns: um per pixel of the input and of the result, None where unknown.
        microns_full: um per pixel of the file at full resolution.
        estimated: whether this size is an estimate.
    """

    scale: int
    extent_in: Window
    microns_in: float | None
    microns_full: float | None
    estimated: bool = False

    @classmethod
    def of(cls, image: ImageFile, scale: int, estimated: bool) -> "Route":
        """Return the route of an opened image; estimated: whether its pixel size is."""
        extent = Window(0, 0, image.width, image.height)
        return cls(scale, extent, image.microns_per_pixel, image.full_microns_per_pixel, estimated)

    @property
    def extent(self) -> Window:
        """Extent of the result."""
        return Window(*(self.scale * side for side in vars(self.extent_in).values()))

    @property
    def microns(self) -> float | None:
        """Micrometres per pixel of the result."""
        return self.microns_in and self.microns_in / self.scale

    def __str__(self) -> str:
        """Say it in a few words: "20x, 0.50 um, enlarged x2"."""
        steps = ["pixel size unknown"]
        if self.microns_full:
            size = f"{self.microns_full:.2f} um" + " by estimate" * self.estimated
            steps = [objective(self.microns_full), size]
        if self.microns_in != self.microns_full:
            steps.append(f"read at {self.microns_in:.2f} um")
        steps.append(f"enlarged x{self.scale}" if self.scale > 1 else "not enlarged")
        return ", ".join(steps)
