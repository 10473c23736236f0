"""How good a nucleus each candidate is, by a small network."""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np

from nuclei.candidates.regions import FEATURES
from program.records import ModelError, read_record

KIND = "nucleus score"


@dataclass(frozen=True)
class NucleusScore:
    """A perceptron: features of a region -> its expected overlap with a true nucleus.

    Read from a Keras model of Dense layers, but run by NumPy: helper processes need no TensorFlow.

    Attributes:
        layers: (kernel, bias) of each layer; all but the last are followed by a ReLU, the last by
            a sigmoid.
        record: the .json beside the file, {} if there is none.
        sha256: hash of the file.
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    record: dict
    sha256: str

    def of(self, features: np.ndarray) -> np.ndarray:
        """Return the score of each region, 0..1; features: (N, 16), see `regions.FEATURES`."""
        values = features
        for kernel, bias in self.layers[:-1]:
            values = np.maximum(values @ kernel + bias, 0)
        kernel, bias = self.layers[-1]
        return 1 / (1 + np.exp(-(values @ kernel + bias)[:, 0]))


def load_score(path: Path) -> NucleusScore:
    """Read a network that scores candidates; the same file is read once.

    Raises:
        ModelError: no file, or one without the layers that are expected.
    """
    if not path.is_file():
        raise ModelError(f"{KIND}: no file {path}; train one or restore the one that ships")
    return _read(path, path.stat().st_mtime_ns)


@lru_cache
def _read(path: Path, changed: int) -> NucleusScore:
    """Read a network; `changed` tells a file that was replaced meanwhile from the one before."""
    content = path.read_bytes()
    try:
        with h5py.File(BytesIO(content)) as file:
            layers = tuple(_dense_layers(file["model_weights"]))
        sizes = [kernel.shape for kernel, _ in layers]
        fits = [len(FEATURES), *(shape[1] for shape in sizes)] == [*(s[0] for s in sizes), 1]
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise ModelError(f"{KIND}: {path} is not a Keras model of Dense layers") from error
    if not fits:
        found = ", ".join("x".join(map(str, shape)) for shape in sizes) or "none"
        raise ModelError(
            f"{KIND}: {path} has Dense layers of {found}, expected some from {len(FEATURES)} "
            "features to 1 score"
        )
    record = read_record(path.with_suffix(".json"), KIND)
    return NucleusScore(layers, record, sha256(content).hexdigest())


def _dense_layers(weights: h5py.Group):
    """Yield kernel and bias of each layer that has weights, in order."""
    for name in weights.attrs["layer_names"]:
        layer = weights[name]
        values = [layer[path][()].astype(np.float64) for path in layer.attrs["weight_names"]]
        if values:
            kernel, bias = values
            yield kernel, bias
