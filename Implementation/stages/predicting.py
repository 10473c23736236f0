"""The stage in which a network predicts an image in strips of tiles, each strip a piece."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from networks.network import Network
from nuclei.tissue import Tissue
from pipeline.pieces import Pieces, Stage, StripRaster
from tiles.geometry import Window, tile_sides, tiles_meeting
from tiles.seamless import predict_tiles


@dataclass(frozen=True)
class Samples:
    """How predictions are stored as uint8.

    Attributes:
        channels: values per pixel.
        gain: grey levels per unit of the prediction.
        blank: grey level of what is not predicted because it holds no tissue.
    """

    channels: int
    gain: float
    blank: int

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Return predictions (height, width, channels) as uint8, rounded and cut to 0..255."""
        # OpenCV does it in one pass, but takes a factor for the first of several channels only.
        rows = np.ascontiguousarray(values).reshape(len(values), -1)
        return cv2.multiply(rows, self.gain, dtype=cv2.CV_8U).reshape(values.shape)


PICTURE = Samples(channels=3, gain=1, blank=255)  # RGB in 0..255
MAPS = Samples(channels=2, gain=255, blank=0)  # in 0..1


def network_stage(
    title: str,
    folder: Path,
    network: Network,
    samples: Samples,
    read: Callable[[int, int, int, int], np.ndarray],
    extent: Window,
    tile: int,
    batch_size: int,
    tissue: Tissue,
    ratio: float,
    advance: Callable[[float], None],
) -> tuple[Stage, StripRaster]:
    """Return the stage and the raster of uint8 that it fills.

    Args:
        title: of the stage.
        folder: of its pieces.
        network: what predicts.
        samples: what it predicts.
        read, extent: the image that the network takes.
        tile: side of a tile in pixels of that image.
        batch_size: tiles per call.
        tissue: where the tissue is.
        ratio: pixels of that image per pixel of the input.
        advance: is told of pixels of that image that are done.
    """
    scale = network.scale
    tile_width, tile_height = tile_sides(extent, tile, network.pooling)
    width, height = extent.width * scale, extent.height * scale
    pieces = Pieces(folder, ".raw")
    raster = StripRaster(pieces, width, height, samples.channels, np.uint8, tile_height * scale)

    def work(number):
        top = number * tile_height
        with raster.new_strip(number) as strip:
            row = Window(0, top, extent.width, 1)
            for w in tiles_meeting(row, extent, tile_width, tile_height):
                if not tissue.is_in(w, ratio):
                    shape = w.height * scale, w.width * scale, samples.channels
                    strip.write(w.x * scale, 0, np.full(shape, samples.blank, np.uint8))
            for window, values in predict_tiles(
                network.predict_middle,
                read,
                extent,
                tile,
                network.radius,
                network.pooling,
                scale,
                batch_size,
                lambda w: w.y == top and tissue.is_in(w, ratio),
            ):
                strip.write(window.x, 0, samples.stored(values))
                advance(window.width * window.height / scale**2)
        return {}

    sizes = [extent.width * rows / scale for rows in raster.strip_heights()]
    return Stage(title, pieces, sizes, lambda number: number, work), raster
