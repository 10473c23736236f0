"""Which parts of a network's maps the middle of a tile depends on; the rest is never computed.

Maps are cut where they are joined, and convolutions with odd square kernels cut them by using no
padding as long as there is margin left.
"""

import math
from dataclasses import dataclass

import keras
from keras import layers

# Layers whose output extends as far beyond the middle as their input, apart from their step.
CENTRED = (
    layers.InputLayer,
    layers.Conv2D,
    layers.DepthwiseConv2D,
    layers.BatchNormalization,
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.PReLU,
    layers.Rescaling,
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Concatenate,
    layers.MaxPooling2D,
    layers.AveragePooling2D,
)
POOLING = (layers.MaxPooling2D, layers.AveragePooling2D)
CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D)

MANY = 64  # margins; the size at which borders are derived


@dataclass(frozen=True)
class Cut:
    """What may be cut away; tensors of the uncut model are identified by their `id`.

    Attributes:
        margin: the outermost pixels of an input for which no output is wanted.
        needed: how far beyond the middle each tensor is needed, in its pixels; inf = all of it.
        borders: what the margin becomes in each uncut tensor whose size is proportional to the
            input's.
    """

    margin: int
    needed: dict[int, float]
    borders: dict[int, int]

    def leaves_whole(self, layer) -> bool:
        """Tell whether a layer's input and output keep their full size."""
        return not _is_centred(layer) or self.needed[id(layer.output)] == math.inf

    def needs_no_padding(self, layer, beyond: int | None) -> bool:
        """Tell whether a convolution may shrink maps that extend this far beyond the middle."""
        if self.leaves_whole(layer):
            return False
        sides = {*layer.kernel_size}
        alike = len(sides) == len({*layer.dilation_rate}) == 1 and min(sides) % 2 == 1
        return alike and beyond - reach_of(layer) >= self.needed[id(layer.output)]


def cut_to_middle(model: keras.Model, margin: int) -> Cut | None:
    """Find out what may be cut; None = nothing, or not known.

    Args:
        model: functional, one input and one output; no layer used twice.
        margin: the outermost pixels of an input, a multiple of the model's pooling, for which no
            output is wanted.
    """
    if not margin:
        return None
    needed, borders = _needed_by(model), _borders(model, margin)
    for layer in model.layers:
        whole = needed[id(layer.output)] == math.inf
        if whole and isinstance(layer, layers.UpSampling2D | layers.Concatenate):
            return None  # folding makes it a part of the next convolution, and cuts there
        if not whole and id(layer.output) not in borders:
            return None
    return Cut(margin, needed, borders)


def _needed_by(model) -> dict[int, float]:
    """Return how far beyond the middle each tensor of a model is needed, in its pixels.

    The inputs of a layer whose output is not centred on them are needed in full.
    """
    needed = {id(model.outputs[0]): 0}
    for layer in reversed(model.layers):
        if isinstance(layer, layers.InputLayer):
            continue
        reach = math.inf
        if _is_centred(layer) and needed[id(layer.output)] < math.inf:
            reach = math.ceil(needed[id(layer.output)] * step_of(layer)) + reach_of(layer)
        for source in sources_of(layer):
            needed[id(source)] = max(needed.get(id(source), 0), reach)
    return needed


def _borders(model, margin: int) -> dict[int, int]:
    """Return what a border of the input becomes in each tensor of proportional size."""
    # On many margins, because convolutions without padding leave nothing of a few.
    once, twice = (shapes_of(model, times * MANY * margin) for times in (1, 2))
    return {t: once[t][1] // MANY for t in once if twice[t][1] == 2 * once[t][1]}


def shapes_of(model, side: int) -> dict[int, tuple]:
    """Return the shape of each tensor of a functional model for a square input, by its `id`."""
    shapes = {id(model.inputs[0]): (1, side, side, model.inputs[0].shape[-1])}
    for layer in model.layers:
        if not isinstance(layer, layers.InputLayer):
            given = [shapes[id(source)] for source in sources_of(layer)]
            given = given if isinstance(layer.input, list) else given[0]
            shapes[id(layer.output)] = layer.compute_output_shape(given)
    return shapes


def reach_of(layer) -> int:
    """Return how many pixels a convolution reaches beyond an output pixel; 0 for other layers."""
    if isinstance(layer, layers.Conv2DTranspose):
        return math.ceil((max(layer.kernel_size) - layer.strides[0]) / 2 / layer.strides[0])
    if isinstance(layer, CONVOLUTIONS):
        return max(layer.kernel_size) // 2 * max(layer.dilation_rate)
    return 0


def step_of(layer) -> float:
    """Return how many input pixels along a side a layer has per output pixel."""
    if isinstance(layer, layers.Conv2DTranspose):
        return 1 / layer.strides[0]
    if isinstance(layer, (*POOLING, *CONVOLUTIONS)):
        return layer.strides[0]
    return 1 / layer.size[0] if isinstance(layer, layers.UpSampling2D) else 1


def _is_centred(layer) -> bool:
    if isinstance(layer, layers.Conv2DTranspose):
        apart = tuple(layer.kernel_size) == tuple(layer.strides)  # blocks that do not overlap
        return (layer.padding == "same" or apart) and _is_even(layer)
    if isinstance(layer, CONVOLUTIONS):
        padded = layer.padding == "same" or max(layer.kernel_size) == 1
        return padded and max(layer.strides) == 1
    if isinstance(layer, POOLING):
        return tuple(layer.pool_size) == tuple(layer.strides)
    if isinstance(layer, layers.UpSampling2D):
        return layer.interpolation == "nearest"  # all others look at neighbours
    return isinstance(layer, CENTRED)


def _is_even(layer) -> bool:
    """Tell whether a transposed convolution extends as far to the left as to the right."""
    sides = {side - step for side, step in zip(layer.kernel_size, layer.strides, strict=True)}
    plain = max(layer.dilation_rate) == 1 and not layer.output_padding
    return plain and len(sides) == 1 and min(sides) >= 0 and min(sides) % 2 == 0


def sources_of(layer) -> list:
    """Return the inputs of a layer as a list of tensors."""
    return layer.input if isinstance(layer.input, list) else [layer.input]
