"""What a model file may hold: checked before Keras builds anything from it.

A model is data. An .h5 from elsewhere could hold Python code (Lambda layers), refer to other files
for its weights, or claim sizes that fit no memory; its tables alone are enough to refuse it.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import h5py

MOST_WEIGHTS = 100_000_000  # 400 MB in float32; the shipped networks have 2 million
LARGEST_FILE = 1_000_000_000  # bytes
LARGEST_CONFIG = 16_000_000  # characters of the description of the layers
MOST_LAYERS = 2000
LARGEST_STEP = 256  # pixels; of kernels, strides, paddings and enlargements
MODELS = ("Functional", "Sequential")
_LAYERS = """Activation Add AveragePooling2D BatchNormalization Concatenate Conv2D Conv2DTranspose
    Cropping2D DepthwiseConv2D Dropout GlobalAveragePooling2D InputLayer LeakyReLU MaxPooling2D
    Multiply PReLU ReLU Rescaling Subtract UpSampling2D ZeroPadding2D"""
LAYERS = frozenset(_LAYERS.split())
# What else may describe a layer: links, data types, initial weights, penalties.
_PARTS = """__keras_tensor__ DTypePolicy Constant GlorotNormal GlorotUniform HeNormal HeUniform
    LecunNormal LecunUniform Ones RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
    L1 L2 L1L2"""
PARTS = frozenset(_PARTS.split())
CODE = ("Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")
SPATIAL = ("kernel_size", "strides", "dilation_rate", "pool_size", "size", "padding", "cropping")


class UnsafeModelError(ValueError):
    """A file holds what no model of this project needs; the message is one line."""


def check_model_file(path: Path) -> None:
    """Check that a whole-model .h5 describes built-in layers that fit into memory.

    Raises:
        UnsafeModelError: code, foreign layers, links to other files, or absurd sizes.
        OSError, ValueError, KeyError, TypeError: not HDF5, or not laid out as Keras 3 does.
    """
    if path.stat().st_size > LARGEST_FILE:
        raise UnsafeModelError(f"larger than {LARGEST_FILE / 1e9:g} GB")
    with h5py.File(path, "r") as file:
        stored = _stored_weights(file)
        model = _model_config(file)
    if model["class_name"] not in MODELS:
        raise UnsafeModelError(f"a {model['class_name']}, expected a functional model")
    layers = model["config"]["layers"]
    if len(layers) > MOST_LAYERS:
        raise UnsafeModelError(f"{len(layers)} layers, more than {MOST_LAYERS}")
    for layer in layers:
        _check_layer(layer)
    needed = sum(_weights_of_layers(layers))
    if not needed <= stored:  # also true for nan
        raise UnsafeModelError(f"its layers take {needed} weights, it holds {stored}")


def _stored_weights(file: h5py.File) -> int:
    """Count the weights in a file; none may be stored in another file."""
    # A finding is returned, because h5py does not pass on exceptions from what it calls.
    name = file.visititems_links(lambda name, link: None if _is_hard(link) else name)
    if name is not None:
        raise UnsafeModelError(f"{name} is a link to another place or file")
    datasets = []
    file.visititems(lambda _, item: datasets.append(item) if _is_dataset(item) else None)
    for dataset in datasets:
        if dataset.external or dataset.is_virtual:
            raise UnsafeModelError(f"{dataset.name} lies in another file")
        if dataset.dtype.kind not in "fiu":
            raise UnsafeModelError(f"{dataset.name} holds {dataset.dtype}, not numbers")
    stored = sum(dataset.size or 0 for dataset in datasets)
    if stored > MOST_WEIGHTS:
        raise UnsafeModelError(f"it claims {stored} weights, more than {MOST_WEIGHTS}")
    return stored


def _is_hard(link) -> bool:
    return isinstance(link, h5py.HardLink)


def _is_dataset(item) -> bool:
    return isinstance(item, h5py.Dataset)


def _model_config(file: h5py.File) -> dict:
    if "model_config" not in file.attrs:
        raise ValueError("it describes no layers; weights alone are no model")
    size = file.attrs.get_id("model_config").get_storage_size()
    text = file.attrs["model_config"] if size <= LARGEST_CONFIG else None
    if text is None or len(text) > LARGEST_CONFIG:
        raise UnsafeModelError(f"its description is longer than {LARGEST_CONFIG} characters")
    return json.loads(text)


def _check_layer(layer: dict) -> None:
    kind, options = layer["class_name"], layer["config"]
    found = f"layer {options.get('name')} ({kind})"
    names = [kind, *(part["class_name"] for part in _parts(options))]
    if any(name in CODE for name in names):
        raise UnsafeModelError(f"{found} holds code, which is never run; use built-in layers")
    if kind in MODELS:
        raise UnsafeModelError(f"{found} is a model itself, not a layer")
    if kind not in LAYERS:
        raise UnsafeModelError(f"{found} has no known receptive field")
    for part in _parts(layer):
        if part is not layer and part["class_name"] not in PARTS:
            raise UnsafeModelError(f"{found} holds {part['class_name']}, which is no built-in part")
        module = part.get("module") or "keras"
        if module.split(".")[0] != "keras" or part.get("registered_name"):
            raise UnsafeModelError(f"{found} holds {part['class_name']} from outside Keras")
    steps = max((abs(step) for key in SPATIAL for step in _numbers(options.get(key))), default=0)
    if steps > LARGEST_STEP:
        raise UnsafeModelError(f"{found} spans {steps} pixels, more than {LARGEST_STEP}")
    if options.get("data_format") == "channels_first":
        raise UnsafeModelError(f"{found} puts channels first; save it with channels last")


def _parts(value) -> Iterator[dict]:
    """Yield everything in a description that names a class."""
    if isinstance(value, dict):
        if "class_name" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _parts(each)


def _numbers(value) -> Iterator[float]:
    if isinstance(value, list):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, int | float):
        yield value


def _weights_of_layers(layers: list[dict]) -> Iterator[int]:
    """Yield the number of weights in each convolution's kernel, as Keras would make it."""
    channels, previous = {}, None
    for layer in layers:
        kind, options = layer["class_name"], layer["config"]
        nodes = layer.get("inbound_nodes")
        sources = _sources(nodes[0]) if nodes else [previous]
        if kind == "InputLayer":
            given = options["batch_shape"][-1] or 0
        else:
            # The first use of a layer decides; its sources must have been described before.
            entering = [channels[name] for name in sources if name is not None]
            given = sum(entering) if kind == "Concatenate" else max(entering, default=0)
        if kind in ("Conv2D", "Conv2DTranspose"):
            area, filters = math.prod(options["kernel_size"]), options["filters"]
            yield abs(area * given * filters) // abs(options.get("groups") or 1)
            given = filters
        elif kind == "DepthwiseConv2D":
            given *= options.get("depth_multiplier", 1)  # what is the default is not stored
            yield abs(math.prod(options["kernel_size"]) * given)
        previous = options["name"]
        channels[previous] = given


def _sources(node) -> list[str]:
    """Return the names of the layers whose outputs one use of a layer takes."""
    tensors = [part for part in _parts(node) if part["class_name"] == "__keras_tensor__"]
    return [tensor["config"]["keras_history"][0] for tensor in tensors]
