"""The U-net's encoder: the first convolutions of VGG19, two in each of three blocks.

VGG19 was trained on a million photographs (Simonyan & Zisserman 2015), which vary more than any set
of nuclei does, so what it sees carries over to laboratories that the U-net was not trained on.
"""

import re

import h5py
import keras
import numpy as np
from keras import layers

CHANNEL_MEANS = (103.939, 116.779, 123.68)  # BGR, ImageNet, as in keras.applications.vgg19


def encoder_maps(image, width: int, levels: int, weights: str | None) -> list:
    """Add the encoder to a network under construction.

    Args:
        image: tensor (batch, height, width, 3), RGB in 0..255.
        width: of the first level, doubling from level to level; VGG19 has 64.
        levels: 1 or more; VGG19 fits up to 3.
        weights: "imagenet" (Keras downloads them), the path of a weights file, or None = random.

    Returns:
        What each level sees, normalized, by level from 1 on: (batch, height / 2**level,
        width / 2**level, channels).

    Raises:
        OSError, ValueError: the weights file is missing, cannot be downloaded or does not fit.
    """
    to_vgg19 = layers.Conv2D(3, 1, trainable=False, name="rgb_to_vgg19")
    x = to_vgg19(layers.AveragePooling2D(2, name="half")(image))
    to_vgg19.set_weights([np.eye(3)[::-1].reshape(1, 1, 3, 3), -np.array(CHANNEL_MEANS)])
    maps, convolutions = [], []
    for level in range(1, levels + 1):
        if level > 1:
            x = layers.MaxPooling2D(2, name=f"block{level - 1}_pool")(x)
        for index in (1, 2):
            name, channels = f"block{level}_conv{index}", width * 2 ** (level - 1)
            options = {"padding": "same", "activation": "relu", "name": name}
            convolution = layers.Conv2D(channels, 3, **options)
            x = convolution(x)
            convolutions.append(convolution)
        maps.append(layers.BatchNormalization(momentum=0.95, name=f"block{level}_norm")(x))
    if weights:
        for convolution, values in zip(convolutions, _weights(weights, convolutions), strict=True):
            convolution.set_weights(values)
    return maps


def encoder_convolutions(unet: keras.Model) -> list:
    """Return those layers of a U-net that come from VGG19."""
    return [layer for layer in unet.layers if re.fullmatch(r"block\d+_conv\d+", layer.name)]


def _weights(source: str, convolutions: list) -> list:
    """Return [kernel, bias] of each convolution."""
    names = [convolution.name for convolution in convolutions]
    if source == "imagenet":
        try:
            vgg19 = keras.applications.VGG19(include_top=False, input_shape=(None, None, 3))
        except Exception as error:  # what Keras raises where a download fails
            raise OSError(f"VGG19 weights cannot be downloaded: {error}") from error
        return [vgg19.get_layer(name).get_weights() for name in names]
    try:
        with h5py.File(source) as file:
            groups = [file[name] for name in names]
            return [[group[n][()] for n in group.attrs["weight_names"]] for group in groups]
    except (OSError, KeyError) as error:
        raise OSError(
            f"VGG19 weights in {source}: expected a file as keras.applications downloads it, with "
            f"{names[0]} to {names[-1]}: {error}"
        ) from error
