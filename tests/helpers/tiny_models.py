"""Networks of the real architectures, small enough that a test takes a second."""

import functools
import json

import keras
import numpy as np
from keras import layers

from networks.loading import load_network
from srgan.models import build_generator
from stages.analysis import Networks
from unet.model import build_unet

UNET_MICRONS = 0.25  # um per pixel in the record of the tiny U-net

load_once = functools.lru_cache(load_network)  # so that each is traced once


def random_generator(seed=0, filters=4, scale=4):
    """A generator whose every weight counts, the zero-initialised last layer's too."""
    keras.utils.set_random_seed(seed)
    generator = build_generator(filters, 1, scale)
    residual = generator.get_layer("residual")
    random = np.random.default_rng(seed)
    residual.set_weights([random.normal(0, 0.2, w.shape) for w in residual.get_weights()])
    return generator


def bicubic_generator(scale=4):
    """A generator as training finds it, before back-projection: bicubic interpolation."""
    keras.utils.set_random_seed(0)
    generator = build_generator(filters=2, residual_blocks=1, scale=scale)
    image = generator.get_layer("bicubic_plus_residual").output
    image = layers.Rescaling(255.0, name="to_grey_levels")(image)
    image = layers.ReLU(max_value=255.0, name="super_resolved")(image)
    return keras.Model(generator.input, image, name="generator")


def random_unet(seed=0, depth=2):
    """A U-net with random weights and normalizations."""
    keras.utils.set_random_seed(seed)
    unet = build_unet(first_filters=3, depth=depth)
    for layer in unet.layers:
        if isinstance(layer, layers.BatchNormalization):
            # Moving variances among them must be positive.
            random = np.random.default_rng(seed)
            layer.set_weights([random.uniform(0.05, 0.3, w.shape) for w in layer.get_weights()])
    return unet


def darkness_unet(darker_than=150, steepness=60.0):
    """A U-net of one pooling to which a dark pixel is nucleus, and dark surroundings its middle.

    Probability is 1 below grey level `darker_than`; distance rises where a surrounding of about
    9 x 9 pixels is dark, so each dark blob of about 10 pixels or more has one seed.
    """
    unet = _full_resolution_unet()
    for layer in unet.layers:
        if layer.name.endswith(("conv1", "conv2")):
            layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    box = np.full((3, 3), 1 / 9)
    # darkness = 1 - mean colour, from 0 (white) to 2 (black)
    _connect(unet, "down_conv1", [(c, 0, -1 / 3) for c in range(3)])
    scale, _, mean, variance = unet.get_layer("down_norm1").get_weights()
    shifted = np.array([1.0, 0.0], np.float32)
    unet.get_layer("down_norm1").set_weights([scale, shifted, mean, variance])
    _connect(unet, "down_conv2", [(0, 0, 1.0), (0, 1, box)])
    _connect(unet, "bottom_conv1", [(1, 0, box)])
    _connect(unet, "bottom_conv2", [(0, 0, box)])
    _connect(unet, "up_conv1", [(0, 0, 1.0), (2, 1, box)])  # 0, 1: skip; 2 to 5: from below
    _connect(unet, "up_conv2", [(0, 0, 1.0), (1, 1, box)])
    threshold = 2 - darker_than / 127.5
    kernel = np.diag([steepness, steepness / 6]).reshape(1, 1, 2, 2)
    bias = np.array([-steepness * threshold, -steepness / 6 * 1.1 * threshold])
    unet.get_layer("probability_and_distance").set_weights([kernel, bias])
    return unet


def constant_pixel_size(octave):
    """A network by which any patch has pixels of 2**octave um.

    It does not see that one is enlarged, for which `PixelSizeNetwork.octaves` adds half an octave.
    """
    inputs = keras.Input((None, None, 3), name="image")
    octaves = layers.Conv2D(1, 1, name="octave")
    model = keras.Model(inputs, octaves(layers.GlobalAveragePooling2D(keepdims=True)(inputs)))
    octaves.set_weights([np.zeros((1, 1, 3, 1)), np.array([octave - 0.5])])
    return model


def _full_resolution_unet():
    """A U-net of one pooling whose first and last convolutions work at full resolution."""
    inputs = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    skip = _double_convolution(x, 2, "down")
    x = _double_convolution(layers.MaxPooling2D(2)(skip), 4, "bottom")
    x = layers.UpSampling2D(2, interpolation="nearest")(x)
    x = _double_convolution(layers.Concatenate()([skip, x]), 2, "up")
    x = layers.Conv2D(2, 1, activation="sigmoid", name="probability_and_distance")(x)
    return keras.Model(inputs, x, name="unet")


def _double_convolution(x, filters, name):
    for index in (1, 2):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv{index}")(x)
        x = layers.BatchNormalization(name=f"{name}_norm{index}")(x)
        x = layers.ReLU()(x)
    return x


def save(model, path, microns_per_pixel=None):
    """Save a whole model, with a record beside it where a pixel size is given; return the path."""
    model.save(path)
    if microns_per_pixel is not None:
        record = {"microns_per_pixel": microns_per_pixel}
        path.with_suffix(".json").write_text(json.dumps(record), encoding="utf-8")
    return path


def loaded_networks(folder):
    """Save a bicubic generator and a darkness U-net; return both as the pipeline loads them."""
    generator = save(bicubic_generator(), folder / "generator.h5")
    unet = save(darkness_unet(), folder / "Unet.h5", UNET_MICRONS)
    return Networks(
        load_network(generator, "generator", scale=4, channels=3),
        load_network(unet, "U-net", scale=1, channels=2),
    )


def _connect(model, name, taps):
    """Set taps (input channel, output channel, centre weight or 3x3 kernel) of a convolution."""
    layer = model.get_layer(name)
    kernel = np.zeros(layer.kernel.shape, np.float32)
    for source, target, weight in taps:
        if np.ndim(weight):
            kernel[..., source, target] = weight
        else:
            kernel[1, 1, source, target] = weight
    layer.set_weights([kernel])
