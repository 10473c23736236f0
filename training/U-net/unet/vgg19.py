"""A second, frozen encoder for the U-net: the first convolutions of VGG19, up to six.

They were trained on a million photographs (Simonyan & Zisserman 2015), which vary more than any
set of nuclei does, so what they see carries over to laboratories that the U-net was not trained
on. They look at the image at half its resolution, where they cost a quarter.
"""

import h5py
import keras
import numpy as np
from keras import layers

CHANNEL_MEANS = (103.939, 116.779, 123.68)  # BGR, ImageNet, as in keras.applications.vgg19
WIDTHS = (64, 128, 256)  # of its first three blocks


def vgg19_maps(image, first_filters: int, depth: int, weights: str) -> dict:
    """Add the encoder to a network under construction.

    Args:
        image: tensor (batch, height, width, 3), RGB in 0..255.
        first_filters, depth: of the U-net.
        weights: "imagenet" (Keras downloads them) or the path of a weights file.

    Returns:
        By level of the U-net, from 1 on: what VGG19 sees, brought to half as many channels as the
        U-net itself has there, (batch, height / 2**level, width / 2**level, channels).

    Raises:
        OSError, ValueError: the weights file is missing, cannot be downloaded or does not fit.
    """
    to_vgg19 = layers.Conv2D(3, 1, trainable=False, name="rgb_to_vgg19")
    x = to_vgg19(layers.AveragePooling2D(2, name="vgg19_half")(image))
    to_vgg19.set_weights([np.eye(3)[::-1].reshape(1, 1, 3, 3), -np.array(CHANNEL_MEANS)])
    maps, convolutions = {}, []
    for level, width in zip(range(1, depth), WIDTHS, strict=False):
        if level > 1:
            x = layers.MaxPooling2D(2, name=f"block{level - 1}_pool")(x)
        for index in (1, 2):
            name, options = f"block{level}_conv{index}", {"padding": "same", "activation": "relu"}
            convolution = layers.Conv2D(width, 3, trainable=False, name=name, **options)
            x = convolution(x)
            convolutions.append(convolution)
        name, channels = f"vgg19_level{level}", first_filters * 2 ** (level - 1)
        few = layers.Conv2D(channels, 1, use_bias=False, name=name)(x)
        few = layers.BatchNormalization(momentum=0.95, name=f"{name}_norm")(few)
        maps[level] = layers.ReLU(name=f"{name}_relu")(few)
    for convolution, values in zip(convolutions, _weights(weights, convolutions), strict=True):
        convolution.set_weights(values)
    return maps


def has_vgg19(unet: keras.Model) -> bool:
    """Tell whether a U-net has this encoder."""
    return any(layer.name == "rgb_to_vgg19" for layer in unet.layers)


def take_over(unet: keras.Model, trained: keras.Model):
    """Give a U-net with this encoder the weights of one without it; both then predict the same.

    Where a convolution of the new one sees more channels, these count for nothing at first.

    Raises:
        ValueError: the two differ in more than this encoder.
    """
    for layer in trained.layers:
        if layer.weights:
            new = unet.get_layer(layer.name)
            given = zip(layer.get_weights(), new.weights, strict=True)
            new.set_weights([_with_zeros(values, weight.shape) for values, weight in given])


def _with_zeros(values, shape):
    """Return a kernel with input channels of zeros behind its own; other weights as they are."""
    if values.ndim < 4:
        return values
    return np.pad(values, [(0, 0), (0, 0), (0, max(0, shape[2] - values.shape[2])), (0, 0)])


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
