"""How good a nucleus each candidate is, by a small network."""

import json
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np

from nuclei.candidates.regions import FEATURES
from program.records import ModelError, read_record
from program.settings import NUCLEUS_SCORE

KIND = "nucleus score"


@dataclass(frozen=True, eq=False)
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


@lru_cache
def shipped_score() -> NucleusScore:
    """Return the network that ships; see `load_score`."""
    return load_score(NUCLEUS_SCORE)


def load_score(path: Path) -> NucleusScore:
    """Read a network that scores candidates.

    Raises:
        ModelError: no file, one that is not made of the layers that are expected, or one that was
            trained on other features.
    """
    if not path.is_file():
        raise ModelError(f"{KIND}: no file {path}; train one or restore the one that ships")
    content = path.read_bytes()
    try:
        with h5py.File(BytesIO(content)) as file:
            names = _dense_layers(json.loads(file.attrs["model_config"]))
            layers = tuple(_weights(file["model_weights"][name]) for name in names)
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{KIND}: {path} is not a Keras model of Dense layers, all but the last with a ReLU, "
            "the last with a sigmoid"
        ) from error
    sizes = [kernel.shape for kernel, _ in layers]
    if [len(FEATURES), *(size[1] for size in sizes)] != [*(size[0] for size in sizes), 1]:
        found = ", ".join("x".join(map(str, size)) for size in sizes) or "none"
        raise ModelError(
            f"{KIND}: {path} has Dense layers of {found}, expected some from {len(FEATURES)} "
            "features to 1 score"
        )
    record = read_record(path.with_suffix(".json"), KIND)
    if record.get("features", list(FEATURES)) != list(FEATURES):
        raise ModelError(f"{KIND}: {path} was trained on other features of regions; train it anew")
    return NucleusScore(layers, record, sha256(content).hexdigest())


def _dense_layers(model: dict) -> list[str]:
    """Return the names of the layers of a model, in order.

    Raises ValueError where it is more than Dense layers, one behind the other.
    """
    layers = [each for each in model["config"]["layers"] if each["class_name"] != "InputLayer"]
    kinds = [(each["class_name"], each["config"]["activation"]) for each in layers]
    expected = [("Dense", "relu")] * (len(layers) - 1) + [("Dense", "sigmoid")]
    if model["class_name"] != "Sequential" or kinds != expected:
        raise ValueError(f"a {model['class_name']} of {kinds}")
    return [each["config"]["name"] for each in layers]


def _weights(layer: h5py.Group) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias of a Dense layer; raise ValueError where they are none."""
    kernel, bias = (layer[name][()].astype(np.float64) for name in layer.attrs["weight_names"])
    if kernel.ndim != 2 or bias.shape != kernel.shape[1:]:
        raise ValueError(f"weights of {kernel.shape} and {bias.shape}")
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        raise ValueError("weights that are no numbers")
    return kernel, bias
