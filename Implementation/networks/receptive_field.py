"""How far a network sees, derived from its layers: radius, pooling and scale."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from program.records import ModelError

# Layers that work on one pixel at a time.
POINTWISE = (
    layers.Rescaling,
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.PReLU,
    layers.BatchNormalization,
    layers.Dropout,
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Concatenate,
)


@dataclass(frozen=True)
class Interval:
    """Along one side, pixel o of a tensor depends on inputs from o*step-before to o*step+after.

    Attributes:
        before, after, step: in input pixels.
        pooling: largest step so far; tiles must start at its multiples.
    """

    before: float
    after: float
    step: float
    pooling: int

    def spread(self, before, after, step_factor=1.0):
        """Return the interval after a layer that reaches this many of its own pixels further."""
        step = self.step * step_factor
        return Interval(
            self.before + before * self.step,
            self.after + after * self.step,
            step,
            max(self.pooling, int(np.ceil(step))),
        )


def receptive_interval(model: keras.Model) -> Interval:
    """Derive the receptive field of a functional model from its layers; see `layer_intervals`."""
    return _interval_of(model.outputs[0], layer_intervals(model))


def layer_intervals(model: keras.Model) -> dict[int, Interval]:
    """Derive what each tensor of a functional model depends on, by the tensor's `id`.

    Raises:
        ModelError: a layer is not known to be local, so that no margin would make tiles seamless,
            or is used more than once.
    """
    intervals = {id(tensor): Interval(0.0, 0.0, 1.0, 1) for tensor in model.inputs}
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        sources = [_interval_of(tensor, intervals) for tensor in inputs]
        merged = Interval(
            max(s.before for s in sources),
            max(s.after for s in sources),
            max(s.step for s in sources),
            max(s.pooling for s in sources),
        )
        intervals[id(layer.output)] = _through(layer, merged)
    return intervals


def _interval_of(tensor, intervals: dict) -> Interval:
    """Look up a tensor; those of a layer's second use, or inside a nested model, are missing."""
    if id(tensor) not in intervals:
        raise ModelError("a layer is used more than once or is a model itself")
    return intervals[id(tensor)]


def _through(layer, interval: Interval) -> Interval:
    """Extend an interval by what one layer adds; by the larger side if its sides differ."""
    if isinstance(layer, POINTWISE):
        return interval
    if isinstance(layer, layers.Conv2DTranspose):
        kernel, stride = max(layer.kernel_size), layer.strides[0]
        return interval.spread((kernel - 1) / stride, 0, 1 / stride)
    if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
        reach = max(layer.kernel_size) // 2 * layer.dilation_rate[0]
        return interval.spread(reach, reach + layer.strides[0] - 1, layer.strides[0])
    if isinstance(layer, layers.MaxPooling2D | layers.AveragePooling2D):
        size, stride = max(layer.pool_size), layer.strides[0]
        before = (size - 1) // 2 if layer.padding == "same" else 0
        return interval.spread(before, size - 1 - before, stride)
    if isinstance(layer, layers.UpSampling2D):
        return interval.spread(1 - 1 / layer.size[0], 0, 1 / layer.size[0])
    if isinstance(layer, layers.Cropping2D):
        crop = layer.cropping[0][0]
        return interval.spread(-crop, crop)
    if isinstance(layer, layers.ZeroPadding2D):
        padding = max(layer.padding[0][0], layer.padding[1][0])
        return interval.spread(padding, 0)
    raise ModelError(f"layer {layer.name} ({type(layer).__name__}) has no known receptive field")
