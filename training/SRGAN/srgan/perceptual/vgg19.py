"""VGG19 as losses and figures use it: frozen, cut behind some of its convolutions."""

import h5py
import keras
from keras import layers

from shared.vgg19 import TO_VGG19, downloaded_vgg19


def build_vgg19_features(weights: str, *chosen: str) -> keras.Model:
    """Build the frozen VGG19 feature extractor of the content loss (Simonyan & Zisserman 2015).

    Args:
        weights: "imagenet" (Keras downloads them) or the path of a weights file that reaches
            the last of `chosen`.
        chosen: names of the VGG19 convolutions whose activations are compared.

    Returns:
        Model from (batch, height, width, 3) RGB in 0..255 to the activations of the chosen
        convolution, or to a list of them where several are chosen.

    Raises:
        ValueError: one is not a VGG19 convolution, or the weights do not fit.
        OSError: the weights file is missing or cannot be downloaded.
    """
    vgg19 = keras.applications.VGG19(include_top=False, weights=None, input_shape=(None, None, 3))
    names = [candidate.name for candidate in vgg19.layers if "conv" in candidate.name]
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise ValueError(f"expected one of {', '.join(names)} as VGG19 layer, found {unknown[0]!r}")
    if weights == "imagenet":
        vgg19 = downloaded_vgg19()
    outputs = [vgg19.get_layer(name).output for name in chosen]
    features = keras.Model(vgg19.input, outputs if len(outputs) > 1 else outputs[0])
    if weights != "imagenet":
        _load_vgg19_file(features, weights)

    inputs = keras.Input((None, None, 3), name="rgb")
    to_vgg = layers.Conv2D(3, 1, name="rgb_to_vgg19")
    model = keras.Model(inputs, features(to_vgg(inputs)), name="vgg19_features")
    to_vgg.set_weights(TO_VGG19)
    model.trainable = False
    return model


def _load_vgg19_file(features: keras.Model, path: str):
    """Load layers by name after checking that all are there: Keras skips missing ones silently."""
    try:
        with h5py.File(path) as file:
            stored = {n if isinstance(n, str) else n.decode() for n in file.attrs["layer_names"]}
    except (OSError, KeyError) as error:
        raise OSError(
            f"VGG19 weights in {path}: expected a file as keras.applications downloads it: {error}"
        ) from error
    missing = [
        layer.name for layer in features.layers if layer.weights and layer.name not in stored
    ]
    if missing:
        raise ValueError(
            f"VGG19 weights in {path} lack {', '.join(missing)}: choose a lower layer or a file "
            "that reaches further"
        )
    features.load_weights(path, by_name=True)
