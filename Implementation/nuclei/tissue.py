"""Where an image shows tissue and where bare glass, and how bright and tinted the glass is."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from images.opening import ImageFile
from nuclei.separation import without_holes
from tiles.geometry import Window
from tiles.raster import preview

THUMBNAIL_MICRONS = 8.0  # um per pixel of the thumbnail that tells tissue from glass

LARGEST_TISSUE_HOLE = 64  # pixels of the thumbnail; a larger gap in the tissue is glass
DARKEST_GLASS = 110.0  # grey levels; a brightest colour below this is tissue
DARKEST_WHITE = 180.0  # grey levels; white of an image without glass is at least so bright
LARGEST_TINT = 0.05  # saturation of glass
LARGEST_EVEN_TINT = 0.4  # the same where much of the image is even and has this very colour
SMALLEST_EVEN_SHARE = 0.1  # of the thumbnail
EVEN = 0.03  # of white; even glass differs from it by less
LARGEST_MAGENTA = 0.02  # by which green may lie below red and blue; both stains take green first


@dataclass(frozen=True)
class White:
    """The light, from which optical density counts.

    Attributes:
        rgb: R, G, B in grey levels.
        measured: whether bare glass shows it; without glass it is assumed.
    """

    rgb: tuple[float, float, float]
    measured: bool


@dataclass(frozen=True)
class Tissue:
    """A thumbnail of the tissue.

    Attributes:
        mask: bool (height, width), True = tissue.
        step: input pixels per side of a pixel of the mask.
        white: of bare glass.
    """

    mask: np.ndarray
    step: int
    white: White

    def save(self, path: Path):
        """Write to an .npz file."""
        white = {"white": self.white.rgb, "measured": self.white.measured}
        np.savez_compressed(path, mask=self.mask, step=self.step, **white)

    @classmethod
    def load(cls, path: Path) -> "Tissue":
        """Read what `save` has written."""
        with np.load(path) as file:
            white = White(tuple(file["white"].tolist()), bool(file["measured"]))
            return cls(file["mask"], int(file["step"]), white)

    def limited(self, shares: np.ndarray) -> "Tissue":
        """Return the tissue without the fields of which no share counts."""
        return replace(self, mask=self.mask & (shares > 0))

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
    thumbnail = preview(image, step)
    return Tissue(tissue_mask(thumbnail, threshold), step, white_of(thumbnail))


def tissue_mask(thumbnail: np.ndarray, threshold: float) -> np.ndarray:
    """Tell tissue from glass in a thumbnail (about 8 um per pixel).

    Glass is as bright as the light and has its colour, see `white_of`. An image without glass is
    all tissue, but for what is bright and colourless. Glass that vignetting darkens by more than
    the threshold (.08: 17 %) counts as tissue. What is wholly white is none, whatever the glass:
    nothing was recorded there (between the fields of a mosaic) or it was too bright to record.

    Args:
        thumbnail: uint8 RGB (height, width, 3).
        threshold: decadic optical density of the mean colour, or saturation, above which a pixel
            is tissue.

    Returns:
        bool (height, width).
    """
    colour = thumbnail.astype(np.float32) / np.float32(white_of(thumbnail).rgb)
    brightest = colour.max(axis=-1)
    density = -np.log10(np.clip(colour.mean(axis=-1), 1e-3, 1))
    saturation = (brightest - colour.min(axis=-1)) / np.maximum(brightest, 1 / 255)
    tissue = ((density > threshold) | (saturation > threshold)) & ~_is_blank(thumbnail)
    return without_holes(tissue, LARGEST_TISSUE_HOLE)


def white_of(thumbnail: np.ndarray) -> White:
    """Return the light, from which optical density counts.

    It is that of the glass: the 99th percentile of each channel, because tissue can only darken,
    unless these do not look like glass. Glass is not darker than 110, not magenta as stained tissue
    is, and not more saturated than .05 (.4 where a tenth of the image is even and has this very
    colour). Without glass the colour of the light is unknown: white is then grey, as bright as the
    99th percentile of the brightest channels and at least 180. Each channel by itself would take
    the stain for the light.

    Pixels that are wholly white count only where the others show no glass: they fill what was not
    recorded, and glass beside them is darker.

    Args:
        thumbnail: uint8 RGB (height, width, 3).
    """
    recorded = thumbnail[~_is_blank(thumbnail)]
    for pixels in (recorded, thumbnail.reshape(-1, 3)):
        if len(pixels):
            white = np.percentile(pixels, 99, axis=0)
            if _is_glass(white, pixels):
                return White(tuple(white.tolist()), measured=True)
    assumed = max(DARKEST_WHITE, float(np.percentile(pixels.max(axis=-1), 99)))
    return White((assumed,) * 3, measured=False)


def _is_blank(thumbnail: np.ndarray) -> np.ndarray:
    """Tell which pixels are wholly white."""
    return (thumbnail == 255).all(axis=-1)


def _is_glass(white: np.ndarray, pixels: np.ndarray) -> bool:
    """Tell whether a colour can be that of the glass among pixels (n, 3)."""
    red, green, blue = white
    if white.max() < DARKEST_GLASS or green < (1 - LARGEST_MAGENTA) * (red + blue) / 2:
        return False
    tint = 1 - white.min() / white.max()
    even = (np.abs(pixels / white - 1) < EVEN).all(axis=-1).mean() >= SMALLEST_EVEN_SHARE
    return tint <= (LARGEST_EVEN_TINT if even else LARGEST_TINT)
