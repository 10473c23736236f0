"""Load a trained network from its file and check that it fits its purpose."""

import hashlib
from pathlib import Path

import keras
import numpy as np

from images.errors import one_line
from networks.model_files import UnsafeModelError, check_model_file
from networks.network import Network
from networks.pixel_size import PixelSizeNetwork
from networks.receptive_field import receptive_interval
from program.records import ModelError, read_record


def load_network(
    path: Path, kind: str, scale: int, channels: int, precision: str = "float32"
) -> Network:
    """Load a whole-model .h5 and check that it does what the program needs.

    Args:
        path: the .h5 file; a record is read from the .json of the same name.
        kind: its name in messages, e.g. "generator".
        scale: output pixels per input pixel that are expected.
        channels: number of output channels that are expected.
        precision: "float32" or "bfloat16", of its multiplications.

    Raises:
        ModelError: missing file, weights only, unknown layers, unexpected inputs or outputs.
    """
    path = Path(path)
    model = _opened(path, kind)
    try:
        interval = receptive_interval(model)
        side = 16 * interval.pooling
        shape = model.compute_output_shape((1, side, side, 3))
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{kind}: {path} cannot be tiled: {reason}") from error
    found = (round(1 / interval.step), model.output_shape[-1])
    if found != (scale, channels):
        raise ModelError(
            f"{kind}: {path} enlarges x{found[0]} into {found[1]} channels, expected x{scale} "
            f"into {channels}"
        )
    if tuple(shape[1:3]) != (scale * side, scale * side):
        raise ModelError(
            f"{kind}: {path} turns {side}x{side} pixels into {shape[2]}x{shape[1]}, expected "
            f"{scale * side}x{scale * side}: its convolutions must be padded"
        )
    record = read_record(path.with_suffix(".json"), kind)
    radius = int(np.ceil(max(interval.before, interval.after)))
    return Network(model, scale, radius, interval.pooling, record, _sha256(path), precision)


def load_pixel_size_network(path: Path) -> PixelSizeNetwork:
    """Load the network that tells pixel sizes; see `load_network`.

    Raises:
        ModelError: missing file, weights only, unknown layers, unexpected inputs or outputs.
    """
    path, kind = Path(path), "pixel-size network"
    if not path.is_file():
        raise ModelError(
            f"{kind}: no file {path}; train one, restore the one that ships, or set "
            "PIXEL_SIZE_MODEL to None, then pixel sizes are not checked"
        )
    model = _opened(path, kind)
    if tuple(model.output_shape)[1:] != (1, 1, 1):
        raise ModelError(f"{kind}: {path} gives {model.output_shape}, expected (None, 1, 1, 1)")
    record = read_record(path.with_suffix(".json"), kind)
    return PixelSizeNetwork(model, record, _sha256(path))


def _opened(path: Path, kind: str) -> keras.Model:
    """Load a whole-model .h5 that takes RGB images of any size."""
    if not path.is_file():
        raise ModelError(f"{kind}: no file {path}; train one or restore the one that ships")
    try:
        check_model_file(path)
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except UnsafeModelError as error:
        raise ModelError(f"{kind}: {path} is refused: {one_line(str(error))}") from error
    except Exception as error:  # h5py and Keras raise a dozen types that mean the same here
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"{kind}: {path} is not a whole Keras model saved by this project ({reason[0]})"
        ) from error
    if tuple(model.input_shape)[1:] != (None, None, 3):
        raise ModelError(
            f"{kind}: {path} takes {model.input_shape}, expected (None, None, None, 3)"
        )
    return model


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
