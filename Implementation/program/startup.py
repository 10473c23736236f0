"""The start of a script: Keras without the notes of its backend, and names that can be printed."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module

from program.processor import backend_name

PACKAGES = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}  # that a backend needs


def print_any_name():
    """Let signs be printed as ? for which the output has no code.

    On Windows, output that goes to a file or another program has but the signs of one language.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has not
            stream.reconfigure(errors="replace")


def start_keras():
    """Import Keras and its backend; call it before any module that imports them.

    Raises:
        ValueError: KERAS_BACKEND names a backend that is unknown or not installed.
    """
    print_any_name()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend = backend_name()
    if backend not in PACKAGES:
        raise ValueError(
            f"KERAS_BACKEND: expected tensorflow, jax or torch, found {backend}; set the variable "
            "to one of them or remove it"
        )
    try:
        with _standard_error_held_back():
            import_module("keras")
    except ImportError as error:
        raise ValueError(
            f"KERAS_BACKEND is {backend}, but Keras cannot import it ({error}); install "
            f"{PACKAGES[backend]}, or set the variable to a backend that is installed"
        ) from error


@contextlib.contextmanager
def _standard_error_held_back() -> Iterator[None]:
    """Hold back what is written to standard error; show it where something else ends it.

    TensorFlow's C++ runtime writes its first notes straight to the file descriptor, before it reads
    TF_CPP_MIN_LOG_LEVEL.
    """
    sys.stderr.flush()
    real, unexpected = os.dup(2), False
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception as error:
            unexpected = not isinstance(error, ImportError)  # which the caller puts into words
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)
            if unexpected:
                held.seek(0)
                os.write(2, held.read())
