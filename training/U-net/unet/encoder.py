"""The U-net's encoder: the first convolutions of VGG19, at half the resolution."""

import re

import keras
from keras import layers

from shared.vgg19 import vgg19_blocks


def encoder_maps(image, width: int, levels: int, weights: str | None) -> list:
    """Add the encoder to a network under construction.

    Args:
        image: tensor (batch, height, width, 3), RGB in 0..255.
        width: of the first level, doubling from level to level; VGG19 has 64.
        levels: 1 or more; VGG19 fits up to 3.
        weights: see `shared.vgg19.vgg19_blocks`.

    Returns:
        What each level sees, normalized, by level from 1 on: (batch, height / 2**level,
        width / 2**level, channels).

    Raises:
        OSError, ValueError: see `shared.vgg19.vgg19_blocks`.
    """
    half = layers.AveragePooling2D(2, name="half")(image)
    return [
        layers.BatchNormalization(momentum=0.95, name=f"block{level}_norm")(seen)
        for level, seen in enumerate(vgg19_blocks(half, width, levels, weights), start=1)
    ]


def encoder_convolutions(unet: keras.Model) -> list:
    """Return those layers of a U-net that come from VGG19."""
    return [layer for layer in unet.layers if re.fullmatch(r"block\d+_conv\d+", layer.name)]
