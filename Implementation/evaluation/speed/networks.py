"""Speed of the machine and of the bare networks, held against the operations of their layers."""

import time
from dataclasses import replace
from statistics import median

import keras
import numpy as np
from keras import layers

from networks.acceleration.tile_middle import shapes_of
from networks.network import Network
from program.settings import TileSettings
from stages.analysis import UNET_TILE

MATRIX_SIDE = 3000
NETWORK_PIXELS = 2_000_000  # output pixels of one timing of a bare network, at least
BATCH_PIXELS = 6_000_000  # output pixels of a batch of several tiles, at most
SLOWEST_LAYERS = 3  # that are named


def multiplication_rate(repeats: int, precision: str) -> float:
    """Rate of matrix multiplication through the networks' own backend, in GFLOP/s."""
    matrix = keras.random.normal((MATRIX_SIDE, MATRIX_SIDE), dtype=precision)
    seconds = median_time(
        lambda: keras.ops.convert_to_numpy(keras.ops.matmul(matrix, matrix)[:1, :1]), repeats
    )
    return 2 * MATRIX_SIDE**3 / seconds / 1e9


def network_rows(name, network: Network, tile_sizes, batch_sizes, repeats, rate) -> list[dict]:
    """Time a bare network for each tile (in pixels of a 10x image) and batch size.

    `Mpx/s` counts the pixels that the operations in the margin would make, too; `tiled Mpx/s` does
    not. Batches that would not fit into the memory of a small machine are left out.
    """
    bare = operations_per_pixel(network)
    rows = []
    for tile in tile_sizes:
        inner = TileSettings(tile).side(network.scale)
        side, pixels = inner + 2 * network.margin, (inner * network.scale) ** 2
        done = operations(network.middle, side)
        for batch in batch_sizes:
            if batch > 1 and batch * pixels > BATCH_PIXELS:
                continue
            tiles = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
            calls = max(1, round(NETWORK_PIXELS / pixels / batch))
            seconds = median_time(lambda t=tiles, c=calls: _call(network, t, c), repeats)
            seconds /= calls * batch
            rows.append(
                {
                    "network": name,
                    "tile": tile,
                    "batch": batch,
                    "kFLOP/px": bare / 1e3,
                    "Mpx/s": done / bare / seconds / 1e6,
                    "share of rate": done / seconds / 1e9 / rate,
                    "margin cost": 1 - pixels * bare / done,
                    "tiled Mpx/s": pixels / seconds / 1e6,
                }
            )
    return rows


def layer_rows(name, network: Network, repeats, rates) -> list[dict]:
    """Time each convolution of a network by itself; return those that lose most to the rate.

    rates: of matrix multiplication in each precision; a layer is held against that of its own.
    """
    side = 64 * network.pooling if network.scale == 1 else 256
    megapixels = (side * network.scale) ** 2 / 1e6
    rows = []
    for layer, shape, count in convolutions(network.folded, side):
        inputs = keras.Input(shape[1:])
        alone = keras.Model(inputs, type(layer).from_config(layer.get_config())(inputs))
        values = keras.random.normal(shape, dtype=layer.compute_dtype)
        rate = rates[layer.compute_dtype]
        seconds = median_time(lambda m=alone, v=values: m.predict_on_batch(v), repeats)
        rows.append(
            {
                "network": name,
                "layer": layer.name,
                "share of operations": count / megapixels / 1e6 / operations_per_pixel(network),
                "share of rate": count / seconds / 1e9 / rate,
                "ms/Mpx": seconds * 1e3 / megapixels,
                "ms/Mpx over the rate": (seconds - count / 1e9 / rate) * 1e3 / megapixels,
            }
        )
    return sorted(rows, key=lambda row: -row["ms/Mpx over the rate"])[:SLOWEST_LAYERS]


def rewriting_row(name, network: Network, repeats: int) -> dict:
    """Time a network as trained, folded, and cut to what the middle of a usual tile needs.

    All in float32, in which the network was trained; times are relative to the network as trained.
    """
    network = replace(network, precision="float32")
    side = min(TileSettings().side(network.scale), UNET_TILE) + 2 * network.margin
    tile = keras.random.uniform((1, side, side, 3), 0, 255)
    models = {"as trained": network.model, "folded": network.folded, "cut": network.middle}
    seconds = {
        kind: median_time(lambda m=model: m.predict_on_batch(tile), repeats)
        for kind, model in models.items()
    }
    times = {kind: each / seconds["as trained"] for kind, each in seconds.items()}
    return {"network": name, "tile": side, "seconds": seconds["as trained"]} | times


def _call(network, tiles, calls):
    for _ in range(calls):
        network.predict_middle(tiles)


def median_time(work, repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


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
