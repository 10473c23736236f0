"""Super-resolve one image that lies in memory, as training and evaluation do."""

import keras
import numpy as np

from images.degradation import SCALE

PADDING = 24  # low-resolution pixels mirrored around an image before it goes through the generator


def super_resolve(generator, low: np.ndarray) -> np.ndarray:
    """Run the generator on one uint8 RGB image; return uint8 RGB, four times larger per side.

    The image is mirrored at its edges, as it is when a tile is super-resolved.
    """
    padded = np.pad(low, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)), mode="symmetric")
    # Not predict_on_batch: on JAX it consumes the arrays of the weights, which during the last
    # epoch are those of their average too.
    outputs = generator(padded[None].astype(np.float32), training=False)
    generated = keras.ops.convert_to_numpy(outputs)[0]
    inner = generated[SCALE * PADDING : -SCALE * PADDING, SCALE * PADDING : -SCALE * PADDING]
    return np.clip(np.rint(inner), 0, 255).astype(np.uint8)
