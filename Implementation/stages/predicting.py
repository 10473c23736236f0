"""The stage in which a network predicts an image in strips of tiles, each strip a piece."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from networks.network import Network
from nuclei.tissue import Tissue
from program.settings import TileSettings
from stages.pieces import Pieces, Stage, StripRaster
from tiles.geometry import Reader, Window, tile_sides, tiles_meeting
from tiles.seamless import predict_tiles, read_padded

BICUBIC_REACH = 4  # pixels around a rectangle on which its bicubic enlargement depends, and more


@dataclass(frozen=True)
class View:
    """The image that a network takes.

    Attributes:
        read: returns a rectangle of it.
        extent: its size.
        ratio: its pixels per pixel of the input, along each side.
    """

    read: Reader
    extent: Window
    ratio: float


@dataclass(frozen=True)
class Samples:
    """How predictions are stored as uint8.

    Attributes:
        channels: values per pixel.
        gain: grey levels per unit of the prediction.
        glass: what stands for a prediction where there is no tissue: a function of the view, the
            window in it and the network's scale.
    """

    channels: int
    gain: float
    glass: Callable[[View, Window, int], np.ndarray]

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Return predictions (height, width, channels) as uint8, rounded and cut to 0..255."""
        # OpenCV does it in one pass, but takes a factor for the first of several channels only.
        rows = np.ascontiguousarray(values).reshape(len(values), -1)
        return cv2.multiply(rows, self.gain, dtype=cv2.CV_8U).reshape(values.shape)


def enlarged(view: View, window: Window, scale: int) -> np.ndarray:
    """Return a window of an image enlarged by bicubic interpolation, uint8 RGB."""
    by = BICUBIC_REACH
    around = Window(window.x - by, window.y - by, window.width + 2 * by, window.height + 2 * by)
    pixels = read_padded(view.read, view.extent, around)
    large = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return large[scale * by : -scale * by, scale * by : -scale * by]


def no_nuclei(view: View, window: Window, scale: int) -> np.ndarray:
    """Return the maps of a window in which there is no nucleus."""
    return np.zeros((scale * window.height, scale * window.width, MAPS.channels), np.uint8)


PICTURE = Samples(channels=3, gain=1, glass=enlarged)  # RGB in 0..255
MAPS = Samples(channels=2, gain=255, glass=no_nuclei)  # in 0..1


@dataclass(frozen=True)
class Prediction:
    """What is predicted: by which network, of which image, where, and how it is stored.

    Attributes:
        network: what predicts.
        samples: how its predictions are stored.
        view: the image that it takes.
        tissue: where the tissue is.
        tiles: sides of the tiles in pixels of the view, and tiles per call.
    """

    network: Network
    samples: Samples
    view: View
    tissue: Tissue
    tiles: TileSettings

    def has_tissue(self, window: Window) -> bool:
        """Tell whether a window of the view is worth predicting."""
        return self.tissue.is_in(window, self.view.ratio)

    def sides(self) -> tuple[int, int]:
        """Return width and height of the tiles."""
        return tile_sides(self.view.extent, self.tiles.tile_size, self.network.pooling)


def network_stage(
    title: str, folder: Path, prediction: Prediction, advance: Callable[[float], None]
) -> tuple[Stage, StripRaster]:
    """Return the stage and the raster of uint8 that it fills.

    Args:
        title: of the stage.
        folder: of its pieces.
        prediction: what is predicted.
        advance: is told of pixels of the view that are done.
    """
    network, samples, extent = prediction.network, prediction.samples, prediction.view.extent
    scale, strip_height = network.scale, prediction.sides()[1] * network.scale
    pieces = Pieces(folder, ".raw")
    size = extent.width * scale, extent.height * scale
    raster = StripRaster(pieces, *size, samples.channels, np.uint8, strip_height)

    def work(number):
        with raster.new_strip(number) as strip:
            for window, values in _strip(prediction, number):
                strip.write(window.x * scale, 0, values)
                if prediction.has_tissue(window):
                    advance(window.width * window.height)
        return {}

    sizes = [extent.width * rows / scale for rows in raster.strip_heights()]
    return Stage(title, pieces, sizes, lambda number: number, work), raster


def _strip(prediction: Prediction, number: int):
    """Yield (window of the view, uint8 values) of all tiles of a strip."""
    network, view, sides = prediction.network, prediction.view, prediction.sides()
    top = number * sides[1]
    for window in tiles_meeting(Window(0, top, view.extent.width, 1), view.extent, *sides):
        if not prediction.has_tissue(window):
            yield window, prediction.samples.glass(view, window, network.scale)
    for output, values in predict_tiles(
        network.predict_middle,
        view.read,
        view.extent,
        network.tiling(prediction.tiles.tile_size, prediction.tiles.batch_size),
        lambda window: window.y == top and prediction.has_tissue(window),
    ):
        window = Window(*(side // network.scale for side in vars(output).values()))
        yield window, prediction.samples.stored(values)
