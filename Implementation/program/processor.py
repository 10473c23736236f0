"""Which precision suits the processor: float32, or bfloat16 where it multiplies natively in it."""

import json
import os
from pathlib import Path

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
    return "bfloat16" if has_bfloat16() and backend_name() == "tensorflow" else "float32"


def has_bfloat16() -> bool:
    """Tell whether the processor has instructions for bfloat16."""
    return bool(NATIVE_BFLOAT16 & _processor_flags())


def backend_name() -> str:
    """Return the backend that Keras will take, without the seconds that importing Keras costs.

    As Keras decides: the variable KERAS_BACKEND, else keras.json in its folder, else TensorFlow.
    """
    if chosen := os.environ.get("KERAS_BACKEND"):
        return chosen
    folder = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    try:
        return json.loads((folder / "keras.json").read_text("utf-8"))["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def _processor_flags() -> set[str]:
    try:
        lines = PROCESSOR.read_text("utf-8").splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())
