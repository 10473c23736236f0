"""Drawn tissue and random VGG19 weights, so that training runs offline on known images."""

import contextlib

import cv2
import h5py
import keras
import numpy as np

VGG19_SHAPES = {
    "block1_conv1": (3, 3, 3, 64),
    "block1_conv2": (3, 3, 64, 64),
    "block2_conv1": (3, 3, 64, 128),
}


def draw_tissue(height, width, seed=0, nuclei=12):
    """Draw purple discs on pink: (uint8 RGB, int32 label map with 0 = background)."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.int32)
    for label in range(1, nuclei + 1):
        centre = int(rng.integers(width)), int(rng.integers(height))
        cv2.circle(labels, centre, int(rng.integers(3, 7)), label, -1)
    image = np.where(labels[..., None] > 0, (110, 60, 140), (230, 170, 205))
    image = image + rng.normal(0, 6, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), labels


def write_picture(path, image):
    """Write RGB or grey values of any depth; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if image.ndim == 3:
        image = image[..., ::-1]
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


def write_vgg19(path, layer_names=tuple(VGG19_SHAPES), seed=0):
    """Write random VGG19 weights in the layout of the files that Keras downloads; return them."""
    rng = np.random.default_rng(seed)
    weights = {}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layer_names]
        for name in layer_names:
            shape = VGG19_SHAPES[name]
            kernel = rng.normal(0, (2 / np.prod(shape[:3])) ** 0.5, shape).astype(np.float32)
            weights[name] = [kernel, rng.normal(0, 0.1, shape[-1]).astype(np.float32)]
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{part}:0".encode() for part in ("W", "b")]
            for part, values in zip(("W", "b"), weights[name], strict=True):
                group[f"{name}/{part}:0"] = values
    return weights


def saved_weights(path):
    """All weights of a saved model as one vector."""
    model = keras.models.load_model(path, compile=False)
    return np.concatenate([np.ravel(values) for values in model.get_weights()])


def assert_same_backup(first, second):
    """Compare the raw weights and the optimizer's state that two runs backed up last."""
    first, second = (_stored_values(folder / "latest.weights.h5") for folder in (first, second))
    assert first.keys() == second.keys() and len(first) > 10
    for name, values in first.items():
        np.testing.assert_allclose(values, second[name], rtol=1e-3, atol=1e-5, err_msg=name)


def _stored_values(path):
    values = {}

    def keep(name, item):
        # The generator's optimizer of phase 1 is a leftover that nothing reads in phase 2.
        if isinstance(item, h5py.Dataset) and not name.startswith("generator/optimizer"):
            values[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(keep)
    return values


@contextlib.contextmanager
def step_by_step():
    """Train uncompiled on TensorFlow, whose tracing and XLA take longer than a tiny training."""
    compile_model = keras.Model.compile

    def compile_eagerly(model, *arguments, **named):
        compile_model(model, *arguments, **named, run_eagerly=True)

    if keras.backend.backend() == "tensorflow":
        keras.Model.compile = compile_eagerly
    try:
        yield
    finally:
        keras.Model.compile = compile_model


class Interruption(keras.callbacks.Callback):
    """Stand-in for Ctrl-C: during epoch `epoch` (after its first batch), or at its very end."""

    def __init__(self, epoch, at_its_end=False):
        super().__init__()
        self.epoch = epoch
        self.at_its_end = at_its_end
        self.reached = None

    def on_epoch_begin(self, epoch, logs=None):
        self.reached = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.reached == self.epoch and not self.at_its_end:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt
