"""Super-resolve one image that lies in memory, as training and evaluation do."""

import keras
import numpy as np

from srgan.models import scale_of

PADDING = 96  # pixels of the result that are mirrored around an image before it is super-resolved


def super_resolve(generator, low: np.ndarray) -> np.ndarray:
    """Run the generator on one uint8 RGB image; return uint8 RGB of its scale.

    The image is mirrored at its edges, as it is when a tile is super-resolved.
    """
    padding = PADDING // scale_of(generator)
    padded = np.pad(low, ((padding, padding), (padding, padding), (0, 0)), mode="symmetric")
    # Not predict_on_batch: on JAX it consumes the arrays of the weights, which during the last
    # epoch are those of their average too.
    outputs = generator(padded[None].astype(np.float32), training=False)
    generated = keras.ops.convert_to_numpy(outputs)[0]
    inner = generated[PADDING:-PADDING, PADDING:-PADDING]
    return np.clip(np.rint(inner), 0, 255).astype(np.uint8)
