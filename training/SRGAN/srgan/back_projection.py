"""Consistency by construction: the output, brought back down, is the input.

Back-projection (Irani & Peleg 1991): what the block means of the enlarged image lack of the input
is enlarged and added to it. An input with noise should not be met to the last grey level, or the
noise would come back. So the lack is parted into three bands: the coarse one is always corrected,
which keeps the colours of any stain, and how much of the two finer ones is corrected the network
decides from its own features, pixel by pixel.
"""

import math

import keras
from keras import layers

from srgan.interpolation import bicubic_of_difference, blurred

STRONGEST = 2.0  # enlargement blurs what it adds, so a share above 1 may meet the input best
FIRST_SHARE = 0.25  # of an untrained network


def back_projected(enlarged, image, features, scale: int, stride: int):
    """Add what the block means of an enlarged image lack of its input.

    Args:
        enlarged: (batch, scale*height, scale*width, 3).
        image: the input (batch, height, width, 3), in the same range.
        features: maps of the network (batch, height/stride, width/stride, filters).
        scale: linear enlargement.
        stride: input pixels per pixel of the features along a side.

    Returns:
        Tensor like `enlarged`, not clipped.
    """
    means = layers.AveragePooling2D(scale, name="block_means")(enlarged)
    lack = layers.Subtract(name="lack")([image, means])
    without_fine = blurred(lack, "blur1")
    coarse = blurred(lack, "blur2")
    bands = {
        "middle": layers.Subtract(name="middle_band")([without_fine, coarse]),
        "fine": layers.Subtract(name="fine_band")([lack, without_fine]),
    }
    corrected = [coarse]
    for name, band in bands.items():
        share = _share(features, stride, name)
        corrected.append(layers.Multiply(name=f"{name}_correction")([share, band]))
    correction = layers.Add(name="correction")(corrected)
    correction = bicubic_of_difference(correction, scale, "enlarged_correction")
    return layers.Add(name="consistent")([enlarged, correction])


def _share(features, stride: int, name: str):
    """Predict for each pixel and colour how much of a band is corrected, 0..STRONGEST."""
    first = FIRST_SHARE / STRONGEST
    share = layers.Conv2D(
        3,
        3,
        padding="same",
        activation="sigmoid",
        kernel_initializer="zeros",
        bias_initializer=keras.initializers.Constant(math.log(first / (1 - first))),
        name=f"{name}_gate",
    )(features)
    share = layers.Rescaling(STRONGEST, name=f"{name}_share")(share)
    if stride > 1:
        share = layers.UpSampling2D(stride, interpolation="nearest", name=f"{name}_shares")(share)
    return share
