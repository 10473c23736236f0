"""How an image gets from its own pixels to those of the result: sizes and scales of both."""

from dataclasses import dataclass

from images.opening import ImageFile
from tiles.geometry import Window


@dataclass(frozen=True)
class Route:
    """Sizes and scales of an image before and after super-resolution.

    Attributes:
        scale: pixels of the result per pixel of the input, along each side.
        extent_in, extent: of the input and of the result, in their own pixels.
        microns_in, microns: um per pixel of the input and of the result, None where unknown.
    """

    scale: int
    extent_in: Window
    microns_in: float | None

    @classmethod
    def of(cls, image: ImageFile, scale: int) -> "Route":
        """Return the route of an opened image."""
        return cls(scale, Window(0, 0, image.width, image.height), image.microns_per_pixel)

    @property
    def extent(self) -> Window:
        """Extent of the result."""
        return Window(*(self.scale * side for side in vars(self.extent_in).values()))

    @property
    def microns(self) -> float | None:
        """Micrometres per pixel of the result."""
        return self.microns_in and self.microns_in / self.scale
