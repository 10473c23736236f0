"""A trained network, what tiling has to know about it, and how to predict with it."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import keras
import numpy as np

from networks.acceleration.folding import folded
from program.records import ModelError
from program.settings import NEAR, RESULT_MICRONS
from tiles.geometry import Window
from tiles.seamless import Tiling, predict_tiles

OUT_OF_MEMORY = ("ResourceExhaustedError", "OutOfMemoryError", "XlaRuntimeError", "MemoryError")

MIRRORINGS = ((), (1,), (2,), (1, 2))  # axes of a batch that are flipped

UNET_MICRONS = RESULT_MICRONS  # um per pixel if the U-net's record does not state it


@dataclass
class Network:
    """A trained network, and what tiling has to know about it.

    Attributes:
        model: maps (batch, height, width, 3) RGB in 0..255 to (batch, scale*height, ...). After the
            first prediction its weights must not change.
        scale: output pixels per input pixel.
        radius: input pixels around an output pixel on which it depends.
        pooling: sides of an input must be multiples of it.
        record: the .json beside the file, {} if there is none.
        sha256: hash of the file.
        precision: "float32" or "bfloat16", of its multiplications.
        mirrored: predictions are means over the four mirrorings of a tile.
    """

    model: keras.Model
    scale: int
    radius: int
    pooling: int
    record: dict = field(default_factory=dict)
    sha256: str = ""
    precision: str = "float32"
    mirrored: bool = False

    @property
    def margin(self) -> int:
        """Input pixels around a tile that make its prediction equal that of the whole image."""
        return -(-self.radius // self.pooling) * self.pooling

    def tiling(self, tile: int, batch_size: int = 1) -> Tiling:
        """Return how an image is cut into tiles of at most `tile` input pixels for this network."""
        return Tiling(tile, self.radius, self.pooling, self.scale, batch_size)

    @cached_property
    def folded(self) -> keras.Model:
        """The model with its layers rewritten so that it computes the same in less time."""
        return folded(self.model, 0, self.precision)

    @cached_property
    def middle(self) -> keras.Model:
        """The folded model without most of what only the margin of a tile needs."""
        return folded(self.model, self.margin, self.precision)

    def predict(self, tiles: np.ndarray) -> np.ndarray:
        """Predict a batch, (batch, height, width, 3) to (batch, scale*height, ...)."""
        return _predicted(self.folded, tiles)

    def predict_middle(self, tiles: np.ndarray) -> np.ndarray:
        """Predict a batch of tiles with margins; the results may lack part of the margin."""
        axes = MIRRORINGS if self.mirrored else MIRRORINGS[:1]
        predictions = [np.flip(_predicted(self.middle, np.flip(tiles, a)), a) for a in axes]
        return np.mean(predictions, axis=0) if self.mirrored else predictions[0]


def predict_image(network: Network, image: np.ndarray, tile: int) -> np.ndarray:
    """Predict an image that lies in memory, tile by tile.

    Args:
        network: the network.
        image: RGB (height, width, 3) in 0..255.
        tile: side of a tile in pixels, without its margin.

    Returns:
        float32 (scale*height, scale*width, channels).
    """
    height, width = image.shape[:2]
    tiles = predict_tiles(
        network.predict_middle,
        lambda x, y, w, h: image[y : y + h, x : x + w],
        Window(0, 0, width, height),
        network.tiling(tile),
    )
    whole = None
    for w, part in tiles:
        if whole is None:
            sides = network.scale * height, network.scale * width
            whole = np.empty((*sides, part.shape[-1]), np.float32)
        whole[w.y : w.y + w.height, w.x : w.x + w.width] = part
    return whole


def _predicted(model: keras.Model, tiles: np.ndarray) -> np.ndarray:
    """Predict a batch, in halves if memory runs out."""
    try:
        return np.asarray(model.predict_on_batch(tiles.astype(np.float32)))
    except Exception as error:
        # Each backend has its own class for this; none should be imported just for its name.
        if type(error).__name__ not in OUT_OF_MEMORY or len(tiles) == 1:
            raise
        half = len(tiles) // 2
        return np.concatenate([_predicted(model, tiles[:half]), _predicted(model, tiles[half:])])


def blended(network: Network, other: Network, share: float) -> Network:
    """Interpolate between the weights of two networks of one architecture (Wang et al. 2018).

    Args:
        network: counts with `1 - share`; it is changed in place and returned.
        other: counts with `share`.
        share: 0..1.

    Raises:
        ModelError: their architectures differ.
    """
    ours, theirs = network.model.get_weights(), other.model.get_weights()
    if [weight.shape for weight in ours] != [weight.shape for weight in theirs]:
        raise ModelError("the two generators differ in architecture and cannot be blended")
    pairs = zip(ours, theirs, strict=True)
    network.model.set_weights([(1 - share) * a + share * b for a, b in pairs])
    network.sha256 = f"{1 - share:g} x {network.sha256} + {share:g} x {other.sha256}"
    return network


def averaged_over_mirrorings(network: Network) -> Network:
    """Return a network whose predictions are means over the four mirrorings of each tile.

    Test-time augmentation: less random maps at four times the cost.
    """
    return replace(network, mirrored=True, sha256=f"mean over mirrorings of {network.sha256}")


def unet_microns(unet: Network) -> float:
    """Return the um per pixel at which a U-net was trained."""
    return float(unet.record.get("microns_per_pixel") or UNET_MICRONS)


def unet_ratio(unet: Network, microns: float | None) -> float:
    """Return pixels for the U-net per pixel of the image; 1 if the pixel size is close enough."""
    if microns is None:
        return 1.0
    ratio = microns / unet_microns(unet)
    return ratio if abs(ratio - 1) > NEAR else 1.0
