"""Rewrite a trained network so that it computes the same with fewer operations.

It uses four identities, each exact up to rounding, in pure Keras, so that any backend runs the
result:

- a batch normalization after a convolution is a scaling of its kernel and a bias;
- a convolution of concatenated maps is the sum of convolutions of each;
- a 3x3 convolution of a map that was enlarged x2 by repetition is a 4x4 transposed convolution of
  stride 2 of the map itself, with 16 instead of 36 multiplications;
- a transposed convolution into few channels, for which CPUs have only slow kernels at some input
  shapes (20 against 350 ms per Mpx), is a convolution into all pixels of a block at once.

The enlarged and the concatenated maps are never made. If only the middle of a tile is wanted, maps
are cut to what it depends on, see tile_middle.py.
"""

import keras
import numpy as np
from keras import layers, ops

from networks.acceleration.precision import layers_in_bfloat16
from networks.acceleration.tile_middle import Cut, cut_to_middle, reach_of, sources_of, step_of

FEW_CHANNELS = 4  # at most, of a transposed convolution that is computed block by block


def folded(model: keras.Model, margin: int = 0, precision: str = "float32") -> keras.Model:
    """Return a network with the same output as a functional model, which is left unchanged.

    Args:
        model: functional, one input and one output; no layer used twice.
        margin: the outermost pixels of an input, a multiple of the model's pooling, for which no
            output is wanted. The output may then be cut by the same amount on all sides, at most to
            the middle.
        precision: "float32" or "bfloat16", of the multiplications.
    """
    return _Folding(model, cut_to_middle(model, margin), precision).result()


class _Folding:
    """Builds each tensor of the new network once, from the output backwards."""

    def __init__(self, model: keras.Model, cut: Cut | None, precision: str):
        self.model, self.cut = model, cut
        self.in_bfloat16 = layers_in_bfloat16(model) if precision == "bfloat16" else set()
        self.inputs = keras.Input(model.input_shape[1:])
        self.built = {id(model.inputs[0]): self.inputs}
        # By how many pixels a map of the new network extends beyond the middle.
        self.beyond = {id(model.inputs[0]): cut.margin if cut else 0}
        self.makers = {id(layer.output): layer for layer in model.layers}
        self.uses = {}
        for layer in model.layers:
            for tensor in [] if isinstance(layer, layers.InputLayer) else sources_of(layer):
                self.uses[id(tensor)] = self.uses.get(id(tensor), 0) + 1

    def _maker(self, tensor):
        return self.makers[id(tensor)]

    def _is_enlarged(self, tensor) -> bool:
        layer = self._maker(tensor)
        repeats = isinstance(layer, layers.UpSampling2D) and layer.interpolation == "nearest"
        return repeats and tuple(layer.size) == (2, 2)

    def result(self) -> keras.Model:
        return keras.Model(self.inputs, self._new(self.model.outputs[0]), name=self.model.name)

    def _new(self, tensor):
        if id(tensor) not in self.built:
            self.built[id(tensor)], self.beyond[id(tensor)] = self._build(self._maker(tensor))
        return self.built[id(tensor)]

    def _build(self, layer):
        """Return the new output of a layer, and how far it extends beyond the middle."""
        if isinstance(layer, layers.BatchNormalization):
            source = sources_of(layer)[0]
            convolution = self._maker(source)
            plain = type(convolution) is layers.Conv2D and _is_linear(convolution)
            if plain and self.uses[id(source)] == 1 and layer.axis in (-1, 3):
                return self._convolution(convolution, *_normalized(convolution, layer))
        if type(layer) is layers.Conv2D:
            return self._convolution(layer, *_weights(layer))
        sources, beyond = self._aligned(layer)
        if type(layer) is layers.Conv2DTranspose and _is_blockwise(layer):
            return _by_blocks(layer, sources[0], self._policy(layer)), beyond
        copy = _copied(layer, self._policy(layer))
        return copy(sources if len(sources) > 1 else sources[0]), beyond

    def _policy(self, layer) -> str:
        return "mixed_bfloat16" if layer.name in self.in_bfloat16 else "float32"

    def _aligned(self, layer):
        """Return a layer's inputs, cut to one size, and how far its output extends beyond."""
        tensors, step = sources_of(layer), step_of(layer)
        new = [self._new(tensor) for tensor in tensors]
        if self.cut is None:
            return new, 0
        if self.cut.leaves_whole(layer):
            return new, self.cut.borders.get(id(layer.output))
        least = min(self.beyond[id(tensor)] for tensor in tensors)
        if len(tensors) > 1:
            least = min(least, self.cut.needed[id(layer.output)])
        least = least if step <= 1 else int(least // step * step)  # a pooling needs whole steps
        return [self._cut(tensor, least) for tensor in tensors], round(least / step)

    def _cut(self, tensor, beyond):
        new = self._new(tensor)
        superfluous = self.beyond[id(tensor)] - beyond
        return layers.Cropping2D(superfluous, dtype=new.dtype)(new) if superfluous else new

    def _convolution(self, layer, kernel, bias):
        """Build a convolution with another kernel and bias, without enlarging its input first."""
        source = sources_of(layer)[0]
        pieces = (
            sources_of(self._maker(source)) if _is_concatenation(self._maker(source)) else [source]
        )
        if not (_is_simple(layer) and any(self._is_enlarged(piece) for piece in pieces)):
            (new,), beyond = self._aligned(layer)
            padding = layer.padding
            if self.cut and self.cut.needs_no_padding(layer, beyond):
                padding, beyond = "valid", beyond - reach_of(layer)
            weights = kernel, bias, layer.activation
            return self._plain(layer, source, new, *weights, padding), beyond
        beyond = self._beyond_join(source, pieces)
        ends = np.cumsum([piece.shape[-1] for piece in pieces])[:-1]
        parts = []
        for piece, part in zip(pieces, np.split(kernel, ends, axis=2), strict=True):
            weights = part, None if parts else bias
            if self._is_enlarged(piece):
                small = self._cut(sources_of(self._maker(piece))[0], beyond // 2)
                parts.append(self._enlarging(layer, piece, small, *weights))
            else:
                parts.append(self._plain(layer, piece, self._cut(piece, beyond), *weights))
        dtype = self._policy(layer)
        total = layers.Add(name=layer.name, dtype=dtype)(parts) if len(parts) > 1 else parts[0]
        if not _is_linear(layer):
            total = layers.Activation(layer.activation, dtype=dtype)(total)
        return total, beyond

    def _beyond_join(self, source, pieces) -> int:
        """Decide how far the maps that a convolution joins should extend beyond the middle."""
        borders = []
        for piece in pieces:
            enlarged = self._is_enlarged(piece)
            made = sources_of(self._maker(piece))[0] if enlarged else piece
            self._new(made)
            borders.append(self.beyond[id(made)] * (2 if enlarged else 1))
        least = min(borders) // 2 * 2
        return min(least, -(-self.cut.needed[id(source)] // 2) * 2) if self.cut else least

    def _plain(self, layer, source, new, kernel, bias, activation=None, padding="same"):
        name = f"{layer.name}_{self._maker(source).name}"
        config = {"use_bias": bias is not None, "activation": activation, "name": name}
        config |= {"padding": padding, "dtype": self._policy(layer)}
        return _applied(layers.Conv2D.from_config(layer.get_config() | config), new, kernel, bias)

    def _enlarging(self, layer, source, small, kernel, bias):
        """Build the convolution of an enlarged map from the map itself."""
        name = f"{layer.name}_{self._maker(source).name}"
        options = {"use_bias": bias is not None, "padding": "same", "name": name}
        options["dtype"] = self._policy(layer)
        # A tap of the transposed kernel gathers the taps that fall on the same small pixel.
        gather = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)
        transposed = np.einsum("ik,jl,klab->ijba", gather, gather, kernel)
        new = layers.Conv2DTranspose(layer.filters, 4, strides=2, **options)
        return _applied(new, small, transposed, bias)


class _BlocksOfPixels(layers.Layer):
    """Arranges the channels of each pixel as a block of pixels (sub-pixel convolution)."""

    def __init__(self, side: int, dtype: str):
        super().__init__(dtype=dtype)
        self.side = side

    def compute_output_shape(self, shape):
        height, width = (n and n * self.side for n in shape[1:3])
        return shape[0], height, width, shape[3] // self.side**2

    def call(self, maps):
        batch, height, width, channels = ops.shape(maps)
        channels //= self.side**2
        maps = ops.reshape(maps, (batch, height, width, self.side, self.side, channels))
        maps = ops.transpose(maps, (0, 1, 3, 2, 4, 5))
        return ops.reshape(maps, (batch, height * self.side, width * self.side, channels))


def _is_blockwise(layer) -> bool:
    """Tell whether a transposed convolution has few channels and a kernel of whole steps."""
    step = layer.strides[0]
    whole = all(side % step == 0 for side in layer.kernel_size)
    even = layer.padding == "valid" or all((n - step) % 2 == 0 for n in layer.kernel_size)
    plain = max(layer.dilation_rate) == 1 and not layer.output_padding and layer.strides[1] == step
    return layer.filters <= FEW_CHANNELS and whole and even and plain


def _by_blocks(layer, source, policy: str):
    """Build a transposed convolution: a convolution gives the pixels of a block as channels.

    Output pixel q*step + r gathers from input pixels q - j the kernel's taps j*step + r.
    """
    step, (kernel, bias) = layer.strides[0], _weights(layer)
    taps = [side // step for side in layer.kernel_size]
    kernel = kernel.reshape(taps[0], step, taps[1], step, layer.filters, -1)[::-1, :, ::-1]
    kernel = kernel.transpose(0, 2, 5, 1, 3, 4).reshape(*taps, -1, step**2 * layer.filters)
    bias = None if bias is None else np.tile(bias, step**2)
    padded = layers.ZeroPadding2D([(tap - 1, tap - 1) for tap in taps], dtype=policy)(source)
    options = {"use_bias": bias is not None, "activation": layer.activation, "name": layer.name}
    convolution = layers.Conv2D(step**2 * layer.filters, taps, dtype=policy, **options)
    result = _BlocksOfPixels(step, policy)(_applied(convolution, padded, kernel, bias))
    if layer.padding == "valid":
        return result
    superfluous = [(side - step) // 2 for side in layer.kernel_size]
    return layers.Cropping2D(superfluous, dtype=policy)(result)


def _applied(new, source, kernel, bias):
    result = new(source)
    new.set_weights([kernel] if bias is None else [kernel, bias])
    return result


def _copied(layer, policy: str):
    """Return a new layer with the same weights."""
    copy = type(layer).from_config(layer.get_config() | {"dtype": policy})
    if layer.weights:
        copy.build(sources_of(layer)[0].shape)
        copy.set_weights(layer.get_weights())
    return copy


def _is_linear(layer) -> bool:
    return layer.activation is keras.activations.linear


def _is_concatenation(layer) -> bool:
    return isinstance(layer, layers.Concatenate) and layer.axis in (-1, 3)


def _is_simple(layer) -> bool:
    """Tell whether a convolution is 3x3, padded, of stride 1, neither dilated nor grouped."""
    shape = (*layer.kernel_size, *layer.strides, *layer.dilation_rate, layer.groups)
    return shape == (3, 3, 1, 1, 1, 1, 1) and layer.padding == "same"


def _weights(layer):
    kernel, *bias = layer.get_weights()
    return kernel, bias[0] if bias else None


def _normalized(convolution, norm):
    """Return kernel and bias of a convolution combined with the normalization after it."""
    kernel, bias = _weights(convolution)
    mean, variance = (ops.convert_to_numpy(w) for w in (norm.moving_mean, norm.moving_variance))
    factor = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        factor = factor * ops.convert_to_numpy(norm.gamma)
    shift = ops.convert_to_numpy(norm.beta) if norm.center else np.zeros_like(mean)
    return kernel * factor, shift + ((0 if bias is None else bias) - mean) * factor
