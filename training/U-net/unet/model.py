"""The U-net for nuclei and its loss (Ronneberger et al. 2015, with batch normalization).

Its encoder is the beginning of VGG19, as in TernausNet (Iglovikov & Shvets 2018), and looks at half
the resolution: a 3x3 convolution there sees four times the tissue for a quarter of the price.

Pure Keras 3, built-in layers only, so that a saved model loads with `keras.models.load_model`.
"""

import keras
from keras import layers, ops

from unet.encoder import encoder_convolutions, encoder_maps


def build_unet(
    first_filters: int = 16, depth: int = 4, vgg19_weights: str | None = None
) -> keras.Model:
    """Build a U-net that works at half the resolution of its input and finishes at the full one.

    What halving the image would hide, a stem of stride 2 brings to the last level of the decoder.

    Args:
        first_filters: a quarter of the width of the encoder's first level, which doubles downwards.
        depth: number of halvings, 2 or more; the sides of an input must be multiples of 2**depth.
        vgg19_weights: what the encoder starts from: None = random weights, "imagenet" = those of
            VGG19, which Keras downloads, or the path of a file of these. VGG19 has 16 first filters
            and fits a depth of up to 4.

    Returns:
        Model from (batch, height, width, 3) RGB in 0..255 to (batch, height, width, 2) in 0..1:
        channel 0 is the probability of being nucleus, channel 1 the distance to the nucleus'
        border relative to its largest one (0 outside and at the border, 1 in the middle).

    Raises:
        OSError, ValueError: see `unet.encoder.encoder_maps`.
    """
    inputs = keras.Input((None, None, 3), name="image")
    stem = layers.Rescaling(1 / 127.5, offset=-1.0, name="to_unit_range")(inputs)
    stem = layers.Conv2D(first_filters, 4, strides=2, padding="same", use_bias=False, name="stem")(
        stem
    )
    stem = _norm_and_relu(stem, "stem")
    skips = encoder_maps(inputs, 4 * first_filters, depth - 1, vgg19_weights)
    x = layers.MaxPooling2D(2, name="bottom_pool")(skips[-1])
    x = _double_convolution(x, first_filters * 2**depth, "bottom")
    for level in reversed(range(1, depth)):
        x = layers.UpSampling2D(2, interpolation="nearest", name=f"up{level}_enlarge")(x)
        joined = [skips[level - 1], x] if level > 1 else [skips[0], x, stem]
        x = layers.Concatenate(name=f"up{level}_skip")(joined)
        width = first_filters * (2**level if level > 1 else 3)
        x = _double_convolution(x, width, f"up{level}")
    outputs = layers.Conv2DTranspose(
        2, 2, strides=2, activation="sigmoid", name="probability_and_distance"
    )(x)
    return keras.Model(inputs, outputs, name="unet")


def first_unet(
    first_filters: int, depth: int, vgg19_weights, initial_unet, freeze_encoder: bool
) -> keras.Model:
    """Return the U-net that a training starts from.

    Args:
        first_filters, depth, vgg19_weights: of a new one, see `build_unet`.
        initial_unet: path of a trained one, or None.
        freeze_encoder: the encoder is not trained.

    Raises:
        ValueError: the trained one is no U-net of this depth.
    """
    if initial_unet:
        unet = keras.models.load_model(initial_unet, compile=False)
        poolings = sum(isinstance(layer, layers.MaxPooling2D) for layer in unet.layers)
        # The input is halved once before the first pooling.
        if unet.output_shape[-1] != 2 or 1 + poolings != depth:
            raise ValueError(
                f"INITIAL_UNET: expected a U-net of DEPTH {depth} that gives two maps, found "
                f"{unet.output_shape[-1]} maps and a depth of {1 + poolings} in {initial_unet}"
            )
    else:
        unet = build_unet(first_filters, depth, vgg19_weights)
    for layer in encoder_convolutions(unet):
        layer.trainable = not freeze_encoder
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
        x = _norm_and_relu(x, name, index)
    return x


def _norm_and_relu(x, name: str, index=""):
    x = layers.BatchNormalization(momentum=0.95, name=f"{name}_norm{index}")(x)
    return layers.ReLU(name=f"{name}_relu{index}")(x)
