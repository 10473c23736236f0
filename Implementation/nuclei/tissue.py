"""Where an image shows tissue and where bare glass."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from images.opening import ImageFile
from nuclei.separation import without_holes
from tiles.geometry import Window
from tiles.raster import preview

THUMBNAIL_MICRONS = 8.0  # um per pixel of the thumbnail that tells tissue from glass

LARGEST_TISSUE_HOLE = 64  # pixels of the thumbnail; a larger gap in the tissue is glass


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


def tissue_mask(thumbnail: np.ndarray, threshold: float) -> np.ndarray:
    """Tell tissue from glass in a thumbnail (about 8 um per pixel).

    Glass is bright and colourless. White is taken from the thumbnail's brightest pixels but never
    below grey level 180, so that an image without glass is all tissue.

    Args:
        thumbnail: uint8 RGB (height, width, 3).
        threshold: decadic optical density of the mean colour, or saturation, above which a pixel
            is tissue.

    Returns:
        bool (height, width).
    """
    colour = thumbnail.astype(np.float32)
    brightest = colour.max(axis=-1)
    white = max(180.0, float(np.percentile(brightest, 99)))
    density = -np.log10(np.clip(colour.mean(axis=-1) / white, 1e-3, 1))
    saturation = (brightest - colour.min(axis=-1)) / np.maximum(brightest, 1)
    tissue = (density > threshold) | (saturation > threshold)
    return without_holes(tissue, LARGEST_TISSUE_HOLE)
