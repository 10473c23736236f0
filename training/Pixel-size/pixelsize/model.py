"""The network that tells how large the pixels of a patch of tissue are.

What VGG19's first convolutions answer to changes with the size of what is seen, so the mean and the
mean square of each channel over the patch, as texture is described since Portilla & Simoncelli
(2000), tell the size, and a small perceptron learns to read them.

Pure Keras 3, built-in layers only, so that a saved model loads with `keras.models.load_model`.
"""

import keras
import numpy as np
from keras import layers

from shared.vgg19 import vgg19_blocks

BLOCKS = 3
VGG19_WIDTH = 64
NOISE = 0.1  # standard deviations; added to the moments in training
DROPOUT = 0.3
PENALTY = 1e-3  # on the squares of the hidden layer's weights
BATCH_SIZE = 32
PEAK_RATE = 2e-3


def build_moments(vgg19_weights: str | None, width: int = VGG19_WIDTH) -> keras.Model:
    """Build the part that describes a patch.

    Args:
        vgg19_weights: "imagenet" (Keras downloads them) or the path of a weights file; None =
            random weights.
        width: of the first block; VGG19 has 64.

    Returns:
        Model from (batch, height, width, 3) RGB in 0..255 to (batch, 1, 1, moments), not negative.

    Raises:
        OSError, ValueError: see `shared.vgg19.vgg19_blocks`.
    """
    inputs = keras.Input((None, None, 3), name="image")
    moments = []
    for index, seen in enumerate(vgg19_blocks(inputs, width, BLOCKS, vgg19_weights), start=1):
        squares = layers.Multiply(name=f"block{index}_squares")([seen, seen])
        for name, values in (("mean", seen), ("mean_square", squares)):
            pooled = layers.GlobalAveragePooling2D(keepdims=True, name=f"block{index}_{name}")
            moments.append(pooled(values))
    model = keras.Model(inputs, layers.Concatenate(name="moments")(moments), name="moments")
    model.trainable = False
    return model


class Perceptron:
    """Tells octaves from moments: one hidden layer behind m / (m + median of m).

    Args:
        moments: (patches, n) those of the training set, by whose distribution others are scaled.
        hidden: neurons.
        seed: of first weights, order and noise.
    """

    def __init__(self, moments: np.ndarray, hidden: int, seed: int):
        self.medians = np.median(moments, axis=0) + 1e-6
        bounded = self._bounded(moments)
        self.mean, self.deviation = bounded.mean(axis=0), bounded.std(axis=0) + 1e-6
        self.offset = 0.0
        keras.utils.set_random_seed(seed)
        self.network = keras.Sequential(
            [
                keras.Input((moments.shape[1],)),
                layers.GaussianNoise(NOISE),
                layers.Dense(
                    hidden, activation="relu", kernel_regularizer=keras.regularizers.L2(PENALTY)
                ),
                layers.Dropout(DROPOUT),
                layers.Dense(1),
            ]
        )

    def fit(self, moments: np.ndarray, octaves: np.ndarray, epochs: int):
        """Learn to tell the octaves (patches,) of moments (patches, n)."""
        self.offset = float(octaves.mean())
        steps = epochs * -(-len(octaves) // BATCH_SIZE)
        schedule = keras.optimizers.schedules.CosineDecay(PEAK_RATE, steps)
        self.network.compile(keras.optimizers.Adam(schedule), "huber")
        self.network.fit(
            self._standardized(moments), octaves - self.offset, BATCH_SIZE, epochs, verbose=0
        )

    def predict(self, moments: np.ndarray) -> np.ndarray:
        """Return the octaves (patches,) that it tells from moments (patches, n)."""
        return self.network.predict(self._standardized(moments), verbose=0)[:, 0] + self.offset

    def behind(self, described: keras.Model) -> keras.Model:
        """Return the whole network: a patch in, log2 of its um per pixel out, (batch, 1, 1, 1)."""
        (hidden, hidden_bias), (out, out_bias) = (
            layer.get_weights() for layer in self.network.layers if layer.weights
        )
        kernel = hidden / self.deviation[:, None]  # standardizing is part of the hidden layer
        bias = hidden_bias - self.mean @ kernel
        scale = layers.DepthwiseConv2D(1, use_bias=False, name="by_median")
        first = layers.Conv2D(len(bias), 1, activation="relu", name="hidden")
        last = layers.Conv2D(1, 1, name="octave")
        x = layers.Activation("softsign", name="bounded")(scale(described.output))
        model = keras.Model(described.input, last(first(x)), name="pixel_size")
        scale.set_weights([(1 / self.medians).reshape(1, 1, -1, 1)])
        first.set_weights([kernel[None, None], bias])
        last.set_weights([out[None, None], out_bias + self.offset])
        return model

    def _bounded(self, moments: np.ndarray) -> np.ndarray:
        return moments / (moments + self.medians)

    def _standardized(self, moments: np.ndarray) -> np.ndarray:
        return (self._bounded(moments) - self.mean) / self.deviation
