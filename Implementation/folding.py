"""Rewrite a trained network so that it computes the same with fewer operations.

Three identities, each exact up to rounding, on built-in layers only, so that any backend runs it:
a batch normalization after a convolution is a scaling of its kernel and a bias; a convolution of
concatenated maps is the sum of convolutions of each; and a 3x3 convolution of a map that was
enlarged x2 by repetition is a 4x4 transposed convolution of stride 2 of the map itself, with 16
instead of 36 multiplications. The enlarged and the concatenated maps are never made.
"""

import keras
import numpy as np
from keras import layers, ops


def folded(model: keras.Model) -> keras.Model:
    """Return a network that gives what a functional model gives; the model stays as it is.

    Args:
        model: functional, one input and one output; no layer used twice.
    """
    return _Folding(model).result()


class _Folding:
    """Builds each tensor of the new network from the output backwards, and each once."""

    def __init__(self, model: keras.Model):
        self.model = model
        self.inputs = keras.Input(model.input_shape[1:])
        self.built = {id(model.inputs[0]): self.inputs}
        self.uses = {}
        for layer in model.layers:
            for tensor in [] if isinstance(layer, layers.InputLayer) else _sources(layer):
                self.uses[id(tensor)] = self.uses.get(id(tensor), 0) + 1

    def result(self) -> keras.Model:
        return keras.Model(self.inputs, self._new(self.model.outputs[0]), name=self.model.name)

    def _new(self, tensor):
        if id(tensor) not in self.built:
            self.built[id(tensor)] = self._build(_maker(tensor))
        return self.built[id(tensor)]

    def _build(self, layer):
        if isinstance(layer, layers.BatchNormalization):
            source = _sources(layer)[0]
            convolution = _maker(source)
            plain = type(convolution) is layers.Conv2D and _is_linear(convolution)
            if plain and self.uses[id(source)] == 1 and layer.axis in (-1, 3):
                return self._convolution(convolution, *_normalized(convolution, layer))
        if type(layer) is layers.Conv2D:
            return self._convolution(layer, *_weights(layer))
        sources = [self._new(source) for source in _sources(layer)]
        return _copied(layer)(sources if len(sources) > 1 else sources[0])

    def _convolution(self, layer, kernel, bias):
        """Build a convolution with another kernel and bias, without enlarging its input first."""
        source = _sources(layer)[0]
        pieces = _sources(_maker(source)) if _is_concatenation(_maker(source)) else [source]
        if not (_is_simple(layer) and any(_is_enlarged(piece) for piece in pieces)):
            return self._plain(layer, source, kernel, bias, layer.activation)
        ends = np.cumsum([piece.shape[-1] for piece in pieces])[:-1]
        parts = []
        for piece, part in zip(pieces, np.split(kernel, ends, axis=2), strict=True):
            build = self._enlarging if _is_enlarged(piece) else self._plain
            parts.append(build(layer, piece, part, None if parts else bias, None))
        total = layers.Add(name=layer.name)(parts) if len(parts) > 1 else parts[0]
        return total if _is_linear(layer) else layers.Activation(layer.activation)(total)

    def _plain(self, layer, source, kernel, bias, activation):
        name = f"{layer.name}_{_maker(source).name}"
        config = {"use_bias": bias is not None, "activation": activation, "name": name}
        new = layers.Conv2D.from_config(layer.get_config() | config)
        return self._applied(new, source, kernel, bias)

    def _enlarging(self, layer, source, kernel, bias, activation):
        """Build the convolution of an enlarged map from the map itself."""
        name = f"{layer.name}_{_maker(source).name}"
        options = {"use_bias": bias is not None, "activation": activation, "name": name}
        new = layers.Conv2DTranspose(layer.filters, 4, strides=2, padding="same", **options)
        small = _sources(_maker(source))[0]
        # A tap of the transposed kernel gathers the taps that meet the same small pixel.
        gather = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)
        transposed = np.einsum("ik,jl,klab->ijba", gather, gather, kernel)
        return self._applied(new, small, transposed, bias)

    def _applied(self, new, source, kernel, bias):
        result = new(self._new(source))
        new.set_weights([kernel] if bias is None else [kernel, bias])
        return result


def _maker(tensor):
    """Return the layer that gives a tensor."""
    return tensor._keras_history.operation


def _sources(layer) -> list:
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _copied(layer):
    """Return a layer of its own with the same weights."""
    copy = type(layer).from_config(layer.get_config())
    if layer.weights:
        copy.build(_sources(layer)[0].shape)
        copy.set_weights(layer.get_weights())
    return copy


def _is_linear(layer) -> bool:
    return layer.activation is keras.activations.linear


def _is_concatenation(layer) -> bool:
    return isinstance(layer, layers.Concatenate) and layer.axis in (-1, 3)


def _is_enlarged(tensor) -> bool:
    layer = _maker(tensor)
    repeats = isinstance(layer, layers.UpSampling2D) and layer.interpolation == "nearest"
    return repeats and tuple(layer.size) == (2, 2)


def _is_simple(layer) -> bool:
    """Tell whether a convolution is 3x3, padded, of stride 1, neither dilated nor grouped."""
    shape = (*layer.kernel_size, *layer.strides, *layer.dilation_rate, layer.groups)
    return shape == (3, 3, 1, 1, 1, 1, 1) and layer.padding == "same"


def _weights(layer):
    kernel, *bias = layer.get_weights()
    return kernel, bias[0] if bias else None


def _normalized(convolution, norm):
    """Return kernel and bias of a convolution with the normalization behind it."""
    kernel, bias = _weights(convolution)
    mean, variance = (ops.convert_to_numpy(w) for w in (norm.moving_mean, norm.moving_variance))
    factor = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        factor = factor * ops.convert_to_numpy(norm.gamma)
    shift = ops.convert_to_numpy(norm.beta) if norm.center else np.zeros_like(mean)
    return kernel * factor, shift + ((0 if bias is None else bias) - mean) * factor
