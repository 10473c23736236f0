"""Which layers of a network may multiply in bfloat16."""

import keras
from keras import layers


def layers_in_bfloat16(model: keras.Model) -> set[str]:
    """Return the names of the layers of a functional model that may compute in bfloat16.

    These are all layers between the first and the last convolutions. Those themselves and what lies
    outside them cost little and would lose grey levels: bfloat16 has eight bits. A 1x1 convolution
    at the beginning only mixes colours, so the next one counts as the first. Filters from three
    channels to three, such as interpolation, do not count as convolutions.
    """
    inner = [layer for layer in model.layers if not isinstance(layer, layers.InputLayer)]
    sources = {layer.name: [id(t) for t in keras.tree.flatten(layer.input)] for layer in inner}
    behind, before = set(), set()  # ids of tensors after, and before, a convolution
    for layer in inner:
        first = _is_convolution(layer) and max(layer.kernel_size) > 1
        if first or behind.intersection(sources[layer.name]):
            behind.add(id(layer.output))
    for layer in reversed(inner):
        if _is_convolution(layer) or id(layer.output) in before:
            before.update(sources[layer.name])
    return {
        layer.name
        for layer in inner
        if id(layer.output) in before and behind.intersection(sources[layer.name])
    }


def _is_convolution(layer) -> bool:
    if not isinstance(layer, layers.Conv2D | layers.Conv2DTranspose):
        return False
    return max(layer.filters, layer.input.shape[-1]) > 3
