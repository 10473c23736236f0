"""Losses through the segmenter: what a frozen U-net sees in generated and in real tissue.

A perceptual loss of the task instead of one of photographs, as Cellpose 3 restores fluorescence
images (Stringer & Pachitariu 2025).
"""

from pathlib import Path

import keras
from keras import ops

# Nearest to 0 and 1 that a probability counts as. bfloat16 rounds what is nearer to 0 and 1
# themselves, of which there is no logarithm.
SUREST = 1 / 256
LAST_OF_LEVEL = "up{}_relu2"  # the decoder's layers of a U-net of `unet.model.build_unet`


def build_segmenter(path: Path) -> keras.Model:
    """Load a U-net and freeze it.

    Returns:
        Model from (batch, height, width, 3) RGB in 0..255 to a list: the U-net's maps (batch,
        height, width, 2) in 0..1, and the last activations of each of its decoder's levels.

    Raises:
        OSError: there is no such file.
        ValueError: it is not a U-net of this project.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no U-net at {path}: train one or set UNET (--unet) to None")
    unet = keras.models.load_model(path, compile=False)
    layers = {layer.name: layer for layer in unet.layers}
    levels = [LAST_OF_LEVEL.format(level) for level in range(1, len(layers))]
    seen = [layers[name].output for name in levels if name in layers]
    if not seen or unet.output_shape[-1] != 2:
        raise ValueError(
            f"{path}: expected a U-net of Unet_train.py, with layers named {levels[0]} and so on"
        )
    segmenter = keras.Model(unet.input, [unet.output, *seen], name="segmenter")
    segmenter.trainable = False
    return segmenter


def pooling_of(segmenter: keras.Model) -> int:
    """Return of what number the sides of an image must be multiples."""
    return 2 ** len(segmenter.outputs)


def nuclei_losses(segmenter: keras.Model, generated, real):
    """Compare what the segmenter sees in two batches of images (0..255).

    Returns:
        (maps, features), two scalars, 0 for equal images. `maps` is the cross-entropy of both maps
        less the entropy of those of the real image (a Kullback-Leibler divergence, mean over the
        pixels); `features` is the mean over the decoder's levels of the mean absolute difference
        of the activations, relative to the mean activation of the real image.
    """
    ours, *our_features = segmenter(generated, training=False)
    theirs, *their_features = segmenter(real, training=False)
    theirs = ops.clip(ops.stop_gradient(theirs), SUREST, 1 - SUREST)
    ours = ops.clip(ours, SUREST, 1 - SUREST)
    surprise = ops.binary_crossentropy(theirs, ours) - ops.binary_crossentropy(theirs, theirs)
    differences = [
        ops.mean(ops.abs(our - ops.stop_gradient(their))) / (ops.mean(ops.abs(their)) + 1e-6)
        for our, their in zip(our_features, their_features, strict=True)
    ]
    return ops.mean(surprise), sum(differences) / len(differences)
