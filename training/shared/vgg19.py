"""The first convolutions of VGG19, two in each block, as parts of other networks.

VGG19 was trained on a million photographs (Simonyan & Zisserman 2015), which vary more than any set
of tissue does, so what it sees carries over to laboratories that a network was not trained on.
"""

import h5py
import keras
import numpy as np
from keras import layers

CHANNEL_MEANS = (103.939, 116.779, 123.68)  # BGR, ImageNet, as in keras.applications.vgg19
# RGB -> BGR minus the channel means, as kernel and bias of a 1x1 convolution: preprocess_input is
# not a layer and would tie a model to keras.ops.
TO_VGG19 = [np.eye(3)[::-1].reshape(1, 1, 3, 3), -np.array(CHANNEL_MEANS)]


def downloaded_vgg19() -> keras.Model:
    """Return VGG19 without its dense layers, with the weights that Keras downloads.

    Raises:
        OSError: they cannot be downloaded.
    """
    try:
        return keras.applications.VGG19(include_top=False, input_shape=(None, None, 3))
    except Exception as error:  # what Keras raises where a download fails
        raise OSError(f"VGG19 weights cannot be downloaded: {error}") from error


def vgg19_blocks(image, width: int, blocks: int, weights: str | None) -> list:
    """Add the first blocks of VGG19 to a network under construction.

    Args:
        image: tensor (batch, height, width, 3), RGB in 0..255.
        width: of the first block, doubling from block to block; VGG19 has 64.
        blocks: 1 or more; VGG19 fits up to 3.
        weights: "imagenet" (Keras downloads them), the path of a weights file, or None = random.

    Returns:
        What each block sees, after its second convolution, the first block first: (batch, height,
        width, channels), half as high and wide in each following block.

    Raises:
        OSError, ValueError: the weights file is missing, cannot be downloaded or does not fit.
    """
    to_vgg19 = layers.Conv2D(3, 1, trainable=False, name="rgb_to_vgg19")
    x = to_vgg19(image)
    to_vgg19.set_weights(TO_VGG19)
    seen, convolutions = [], []
    for block in range(1, blocks + 1):
        if block > 1:
            x = layers.MaxPooling2D(2, name=f"block{block - 1}_pool")(x)
        for index in (1, 2):
            name, channels = f"block{block}_conv{index}", width * 2 ** (block - 1)
            options = {"padding": "same", "activation": "relu", "name": name}
            convolution = layers.Conv2D(channels, 3, **options)
            x = convolution(x)
            convolutions.append(convolution)
        seen.append(x)
    if weights:
        for convolution, values in zip(convolutions, _weights(weights, convolutions), strict=True):
            convolution.set_weights(values)
    return seen


def _weights(source: str, convolutions: list) -> list:
    """Return [kernel, bias] of each convolution."""
    names = [convolution.name for convolution in convolutions]
    if source == "imagenet":
        vgg19 = downloaded_vgg19()
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
