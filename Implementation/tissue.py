"""Where an image shows tissue and where bare glass."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from image_files import ImageFile
from nuclei import tissue_mask
from raster import preview
from tiling import Window

THUMBNAIL_MICRONS = 8.0  # um per pixel of the thumbnail that tells tissue from glass


@dataclass(frozen=True)
class Tissue:
    """A thumbnail of the tissue.

    Attributes:
        mask: bool (height, width), True = tissue.
        step: input pixels per side of a pixel of the mask.
    """

    mask: np.ndarray
    step: int

    def save(self, path: Path):
        """Write to an .npz file."""
        np.savez_compressed(path, mask=self.mask, step=self.step)

    @classmethod
    def load(cls, path: Path) -> "Tissue":
        """Read what `save` has written."""
        with np.load(path) as file:
            return cls(file["mask"], int(file["step"]))

    def share(self) -> float:
        """Return the tissue's share of the image, 0..1."""
        return float(self.mask.mean())

    def is_in(self, window: Window, scale: float) -> bool:
        """Tell whether a window holds tissue or touches it, given its pixels per input pixel."""
        step = self.step * scale
        # One pixel more on each side: a nucleus on glass may fill too little of a thumbnail pixel
        # beside the one that shows it.
        rows = slice(
            max(0, int(window.y / step) - 1), int((window.y + window.height - 1) / step) + 2
        )
        columns = slice(
            max(0, int(window.x / step) - 1), int((window.x + window.width - 1) / step) + 2
        )
        return bool(self.mask[rows, columns].any())


def find_tissue(image: ImageFile, microns: float, threshold: float) -> Tissue:
    """Find the tissue of an image.

    Args:
        image: the input.
        microns: um per pixel.
        threshold: see `tissue_mask`.
    """
    step = max(1, round(THUMBNAIL_MICRONS / microns))
    return Tissue(tissue_mask(preview(image, step), threshold), step)
