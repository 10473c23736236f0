"""Rewrite a trained network so that it computes the same with fewer operations.

Four identities, each exact up to rounding, in pure Keras, so that any backend runs it: a batch
normalization after a convolution is a scaling of its kernel and a bias; a convolution of
concatenated maps is the sum of convolutions of each; a 3x3 convolution of a map that was enlarged
x2 by repetition is a 4x4 transposed convolution of stride 2 of the map itself, with 16 instead of
36 multiplications; and a transposed convolution into few channels, for which some shapes of input
have only slow kernels on CPUs (20 against 350 ms per Mpx), is a convolution into all pixels of
a block at once. The enlarged and the concatenated maps are never made.

Where only the middle of a tile is asked for, maps are cut to what it depends on: in a network that
pools, where maps are joined, since most of a wide margin serves its small maps alone; in one that
does not, by every convolution, which then pads nothing.
"""

import math

import keras
import numpy as np
from keras import layers, ops
from precision import layers_in_bfloat16

FEW_CHANNELS = 4  # of a transposed convolution that is done block by block

# Layers whose output lies as far beyond the middle as their input, but for their step.
CENTRED = (
    layers.InputLayer,
    layers.Conv2D,
    layers.BatchNormalization,
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.PReLU,
    layers.Rescaling,
    layers.Add,
    layers.Concatenate,
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.UpSampling2D,
)
POOLING = (layers.MaxPooling2D, layers.AveragePooling2D)


def folded(model: keras.Model, margin: int = 0, precision: str = "float32") -> keras.Model:
    """Return a network that gives what a functional model gives; the model stays as it is.

    Args:
        model: functional, one input and one output; no layer used twice.
        margin: the outermost pixels of an input, a multiple of the model's pooling, for which no
            output is wanted. The output may then be cut on all sides alike, to the middle at most.
        precision: "float32" or "bfloat16", of the multiplications.
    """
    needed = _needed(model)
    borders = _borders(model, margin) if margin else {}
    if not _can_be_cut(model, needed, borders):
        margin = 0
    return _Folding(model, margin, needed, borders, precision).result()


class _Folding:
    """Builds each tensor of the new network from the output backwards, and each once."""

    def __init__(self, model: keras.Model, margin: int, needed: dict, borders: dict, precision):
        self.model, self.cutting = model, margin > 0
        self.in_bfloat16 = layers_in_bfloat16(model) if precision == "bfloat16" else set()
        self.inputs = keras.Input(model.input_shape[1:])
        self.built = {id(model.inputs[0]): self.inputs}
        # Pixels of a map beyond the middle: that are needed, that it had uncut, and that it has.
        self.needed, self.borders = needed, borders
        self.beyond = {id(model.inputs[0]): margin}
        # A pooling could not take the odd sides that convolutions without padding give.
        self.unpadded = self.cutting and all(_step(x) <= 1 for x in model.layers)
        self.makers = {id(layer.output): layer for layer in model.layers}
        self.uses = {}
        for layer in model.layers:
            for tensor in [] if isinstance(layer, layers.InputLayer) else _sources(layer):
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
        """Return the new output of a layer, and how far it lies beyond the middle."""
        if isinstance(layer, layers.BatchNormalization):
            source = _sources(layer)[0]
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
        """Return what a layer takes, cut to one size, and how far its output lies beyond."""
        tensors, step = _sources(layer), _step(layer)
        new = [self._new(tensor) for tensor in tensors]
        if not self.cutting:
            return new, 0
        if not _is_centred(layer) or self.needed[id(layer.output)] == math.inf:
            return new, self.borders.get(id(layer.output))
        least = min(self.beyond[id(tensor)] for tensor in tensors)
        least = least if step <= 1 else int(least // step * step)  # a pooling needs whole steps
        return [self._cut(tensor, least) for tensor in tensors], round(least / step)

    def _cut(self, tensor, beyond):
        new = self._new(tensor)
        superfluous = self.beyond[id(tensor)] - beyond
        return layers.Cropping2D(superfluous, dtype=new.dtype)(new) if superfluous else new

    def _convolution(self, layer, kernel, bias):
        """Build a convolution with another kernel and bias, without enlarging its input first."""
        source = _sources(layer)[0]
        pieces = (
            _sources(self._maker(source)) if _is_concatenation(self._maker(source)) else [source]
        )
        if not (_is_simple(layer) and any(self._is_enlarged(piece) for piece in pieces)):
            (new,), beyond = self._aligned(layer)
            reach = _reach(layer)
            cut = self.unpadded and beyond is not None
            cut = cut and beyond - reach >= self.needed[id(layer.output)]
            options = {"activation": layer.activation, "padding": "valid" if cut else layer.padding}
            result = self._plain(layer, source, new, kernel, bias, **options)
            return result, beyond - reach if cut else beyond
        beyond = self._beyond_join(source, pieces)
        ends = np.cumsum([piece.shape[-1] for piece in pieces])[:-1]
        parts = []
        for piece, part in zip(pieces, np.split(kernel, ends, axis=2), strict=True):
            weights = part, None if parts else bias
            if self._is_enlarged(piece):
                small = self._cut(_sources(self._maker(piece))[0], beyond // 2)
                parts.append(self._enlarging(layer, piece, small, *weights))
            else:
                parts.append(self._plain(layer, piece, self._cut(piece, beyond), *weights))
        dtype = self._policy(layer)
        total = layers.Add(name=layer.name, dtype=dtype)(parts) if len(parts) > 1 else parts[0]
        if not _is_linear(layer):
            total = layers.Activation(layer.activation, dtype=dtype)(total)
        return total, beyond

    def _beyond_join(self, source, pieces) -> int:
        """Decide how far the maps that a convolution joins shall reach beyond the middle."""
        reach = []
        for piece in pieces:
            enlarged = self._is_enlarged(piece)
            made = _sources(self._maker(piece))[0] if enlarged else piece
            self._new(made)
            reach.append(self.beyond[id(made)] * (2 if enlarged else 1))
        least = min(reach) // 2 * 2
        needed = self.needed[id(source)]
        return min(least, -(-needed // 2) * 2) if self.cutting else least

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
        # A tap of the transposed kernel gathers the taps that meet the same small pixel.
        gather = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)
        transposed = np.einsum("ik,jl,klab->ijba", gather, gather, kernel)
        new = layers.Conv2DTranspose(layer.filters, 4, strides=2, **options)
        return _applied(new, small, transposed, bias)


class _BlocksOfPixels(layers.Layer):
    """Lays the channels of each pixel out as a block of pixels (sub-pixel convolution)."""

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
    plain = layer.padding == "valid" and max(layer.dilation_rate) == 1 and not layer.output_padding
    return layer.filters <= FEW_CHANNELS and whole and plain and layer.strides[1] == step


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
    return _BlocksOfPixels(step, policy)(_applied(convolution, padded, kernel, bias))


def _applied(new, source, kernel, bias):
    result = new(source)
    new.set_weights([kernel] if bias is None else [kernel, bias])
    return result


def _needed(model) -> dict[int, float]:
    """Return how far beyond the middle each tensor of a model is needed, in its pixels.

    What a layer depends on whose output does not lie around its input's middle is needed whole.
    """
    needed = {id(model.outputs[0]): 0}
    for layer in reversed(model.layers):
        if isinstance(layer, layers.InputLayer):
            continue
        reach = math.inf
        if _is_centred(layer) and needed[id(layer.output)] < math.inf:
            reach = math.ceil(needed[id(layer.output)] * _step(layer)) + _reach(layer)
        for source in _sources(layer):
            needed[id(source)] = max(needed.get(id(source), 0), reach)
    return needed


def _borders(model, margin: int) -> dict[int, int]:
    """Return what a border of the input becomes in each uncut tensor whose size is proportional."""
    once, twice = _sides(model, margin), _sides(model, 2 * margin)
    return {tensor: side for tensor, side in once.items() if twice[tensor] == 2 * side}


def _sides(model, side: int) -> dict[int, int]:
    """Return the height of each tensor of a model for an input of that height."""
    shapes = {id(model.inputs[0]): (1, side, side, model.inputs[0].shape[-1])}
    for layer in model.layers:
        if not isinstance(layer, layers.InputLayer):
            given = [shapes[id(source)] for source in _sources(layer)]
            given = given if isinstance(layer.input, list) else given[0]
            shapes[id(layer.output)] = layer.compute_output_shape(given)
    return {tensor: shape[1] for tensor, shape in shapes.items()}


def _can_be_cut(model, needed: dict, borders: dict) -> bool:
    """Tell whether it is known what to cut away: only of tensors of proportional size is it."""
    for layer in model.layers:
        whole = needed[id(layer.output)] == math.inf
        if whole and isinstance(layer, layers.UpSampling2D | layers.Concatenate):
            return False  # what is folded into the next convolution is cut there
        if not whole and id(layer.output) not in borders:
            return False
    return True


def _reach(layer) -> int:
    """Return the pixels beyond one of its output that a convolution takes in, else 0."""
    if not isinstance(layer, layers.Conv2D):
        return 0
    return max(layer.kernel_size) // 2 * max(layer.dilation_rate)


def _step(layer) -> float:
    """Return the pixels that a layer takes along a side for each that it gives."""
    if isinstance(layer, (*POOLING, layers.Conv2D)):
        return layer.strides[0]
    return 1 / layer.size[0] if isinstance(layer, layers.UpSampling2D) else 1


def _is_centred(layer) -> bool:
    if isinstance(layer, layers.Conv2D):
        padded = layer.padding == "same" or max(layer.kernel_size) == 1
        return padded and max(layer.strides) == 1
    if isinstance(layer, POOLING):
        return tuple(layer.pool_size) == tuple(layer.strides)
    return isinstance(layer, CENTRED)


def _sources(layer) -> list:
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _copied(layer, policy: str):
    """Return a layer of its own with the same weights."""
    copy = type(layer).from_config(layer.get_config() | {"dtype": policy})
    if layer.weights:
        copy.build(_sources(layer)[0].shape)
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
    """Return kernel and bias of a convolution with the normalization behind it."""
    kernel, bias = _weights(convolution)
    mean, variance = (ops.convert_to_numpy(w) for w in (norm.moving_mean, norm.moving_variance))
    factor = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        factor = factor * ops.convert_to_numpy(norm.gamma)
    shift = ops.convert_to_numpy(norm.beta) if norm.center else np.zeros_like(mean)
    return kernel * factor, shift + ((0 if bias is None else bias) - mean) * factor
