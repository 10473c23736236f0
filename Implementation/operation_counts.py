"""Count the floating-point operations of a network from its layers."""

import keras
import numpy as np
from keras import layers
from networks import Network
from tile_middle import shapes_of


def operations_per_pixel(network: Network) -> float:
    """Count the floating-point operations (2 per multiply-add) per output pixel, as predicted.

    Convolutions only: all other layers together cost a few per cent of them.
    """
    side = 64 * network.pooling
    return operations(network.folded, side) / (side * network.scale) ** 2


def operations(model: keras.Model, side: int) -> float:
    """Count the operations of all convolutions of a functional model for a square input."""
    return sum(count for _, _, count in convolutions(model, side))


def convolutions(model: keras.Model, side: int) -> list[tuple]:
    """List the convolutions for a square input as (layer, shape of its input, operations)."""
    found, shapes = [], shapes_of(model, side)
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.Conv2DTranspose):
            given, made = shapes[id(layer.input)], shapes[id(layer.output)]
            # A transposed convolution works once on each pixel that it takes, not that it gives.
            height, width = (given if isinstance(layer, layers.Conv2DTranspose) else made)[1:3]
            found.append((layer, given, 2.0 * height * width * float(np.prod(layer.kernel.shape))))
    return found
