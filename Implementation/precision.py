"""In which precision the networks multiply: float32, or bfloat16 where the processor has it."""

from pathlib import Path

import keras

PROCESSOR = Path("/proc/cpuinfo")  # on Linux alone; other systems compute in float32
NATIVE_BFLOAT16 = {"avx512_bf16", "amx_bf16"}  # flags of processors with instructions for it


def chosen_precision(wish: str = "auto") -> str:
    """Return "float32" or "bfloat16".

    Args:
        wish: one of these two, or "auto": bfloat16 where the processor multiplies natively in it
            and TensorFlow computes, which then takes half the time. Without such instructions it
            would be slower than float32.
    """
    if wish != "auto":
        return wish
    fast = keras.backend.backend() == "tensorflow" and NATIVE_BFLOAT16 & _processor_flags()
    return "bfloat16" if fast else "float32"


def _processor_flags() -> set[str]:
    try:
        lines = PROCESSOR.read_text("utf-8").splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())
