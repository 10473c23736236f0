"""The precision of the networks: float32, or bfloat16 if the processor supports it."""

from pathlib import Path

import keras
from keras import layers

PROCESSOR = Path("/proc/cpuinfo")  # on Linux only; other systems compute in float32
NATIVE_BFLOAT16 = {"avx512_bf16", "amx_bf16"}  # flags of processors with instructions for it


def chosen_precision(wish: str = "auto") -> str:
    """Return "float32" or "bfloat16".

    Args:
        wish: one of these two, or "auto": bfloat16 if the processor has instructions for it and
            the backend is TensorFlow, which then takes half the time. Without such instructions
            bfloat16 would be slower than float32.
    """
    if wish != "auto":
        return wish
    fast = keras.backend.backend() == "tensorflow" and NATIVE_BFLOAT16 & _processor_flags()
    return "bfloat16" if fast else "float32"


def layers_in_bfloat16(model: keras.Model) -> set[str]:
    """Return the names of the layers of a functional model that may compute in bfloat16.

    These are all layers between the first and the last convolutions. Those themselves and what lies
    outside them cost little and would lose grey levels: bfloat16 has eight bits. A 1x1 convolution
    at the beginning only mixes colours, so the next one counts as the first.
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
    return isinstance(layer, layers.Conv2D | layers.Conv2DTranspose)


def _processor_flags() -> set[str]:
    try:
        lines = PROCESSOR.read_text("utf-8").splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())
