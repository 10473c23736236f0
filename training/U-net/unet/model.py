"""The U-net for nuclei and its loss (Ronneberger et al. 2015, with batch normalization).

Pure Keras 3, built-in layers only, so that a saved model loads with `keras.models.load_model`.
"""

import keras
from keras import layers, ops

from unet.vgg19 import has_vgg19, take_over, vgg19_maps


def build_unet(
    first_filters: int = 16, depth: int = 4, vgg19_weights: str | None = None
) -> keras.Model:
    """Build a U-net of two 3x3 convolutions per level, widths doubling downwards.

    With VGG19's weights what a second, frozen encoder sees joins the maps of the levels below the
    first, see `vgg19_maps`.

    Args:
        first_filters: width at full resolution.
        depth: number of 2x2 poolings; the sides of an input must be multiples of 2**depth.
        vgg19_weights: None = no second encoder; "imagenet" (Keras downloads them) or the path of
            a weights file.

    Returns:
        Model from (batch, height, width, 3) RGB in 0..255 to (batch, height, width, 2) in 0..1:
        channel 0 is the probability of being nucleus, channel 1 the distance to the nucleus'
        border relative to its largest one (0 outside and at the border, 1 in the middle).
    """
    inputs = keras.Input((None, None, 3), name="image")
    seen = vgg19_maps(inputs, first_filters, depth, vgg19_weights) if vgg19_weights else {}
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="to_unit_range")(inputs)
    skips = []
    for level in range(depth):
        x = _double_convolution(x, first_filters * 2**level, f"down{level}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"down{level}_pool")(x)
        if level in seen:
            pooled = layers.MaxPooling2D(2, name=f"vgg19_level{level}_pool")(seen[level])
            x = layers.Concatenate(name=f"down{level}_join")([x, pooled])
    x = _double_convolution(x, first_filters * 2**depth, "bottom")
    for level in reversed(range(depth)):
        x = layers.UpSampling2D(2, interpolation="nearest", name=f"up{level}_enlarge")(x)
        beside = [seen[level]] if level in seen else []
        x = layers.Concatenate(name=f"up{level}_skip")([skips[level], x, *beside])
        x = _double_convolution(x, first_filters * 2**level, f"up{level}")
    outputs = layers.Conv2D(2, 1, activation="sigmoid", name="probability_and_distance")(x)
    return keras.Model(inputs, outputs, name="unet")


def first_unet(first_filters: int, depth: int, vgg19_weights, initial_unet) -> keras.Model:
    """Return the U-net that a training starts from.

    Args:
        first_filters, depth, vgg19_weights: of a new one, see `build_unet`.
        initial_unet: path of a trained one, or None. If it lacks the second encoder and
            vgg19_weights are given, that is added.
    """
    initial = keras.models.load_model(initial_unet, compile=False) if initial_unet else None
    if initial and (not vgg19_weights or has_vgg19(initial)):
        return initial
    unet = build_unet(first_filters, depth, vgg19_weights)
    if initial:
        take_over(unet, initial)
    return unet


def nuclei_loss(targets, predictions):
    """Cross-entropy of both maps plus the soft Dice loss of the probability.

    Cross-entropy judges pixels one by one, Dice the overlap whatever the share of nuclei
    (Milletari et al. 2016). Pixels whose labels are not known weigh nothing.

    Args:
        targets: (batch, height, width, 3) in 0..1: both maps as `build_unet` describes them, and
            the weight of the pixel.
        predictions: (batch, height, width, 2) in 0..1.

    Returns:
        Scalar; 0 is perfect where the targets are binary.
    """
    maps, weight = targets[..., :2], targets[..., 2:]
    cross_entropy = ops.binary_crossentropy(maps, predictions) * weight
    cross_entropy = ops.sum(cross_entropy, axis=(0, 1, 2)) / ops.maximum(ops.sum(weight), 1.0)
    truth, probability = (values[..., 0] * weight[..., 0] for values in (maps, predictions))
    overlap = 2 * ops.sum(truth * probability)
    dice = (overlap + 1) / (ops.sum(truth) + ops.sum(probability) + 1)
    return cross_entropy[0] + cross_entropy[1] + 1 - dice


def _double_convolution(x, filters: int, name: str):
    for index in (1, 2):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv{index}")(x)
        x = layers.BatchNormalization(momentum=0.95, name=f"{name}_norm{index}")(x)
        x = layers.ReLU(name=f"{name}_relu{index}")(x)
    return x
