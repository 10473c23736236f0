"""Fixed filters as built-in layers: bicubic enlargement and Gaussian blur.

Their weights are set once (`set_fixed_weights`) and never trained. Layers with fixed weights load
on every backend; functions of `keras.ops` inside a model do not.
"""

import keras
import numpy as np
from keras import layers

BICUBIC_A = -0.75  # Keys' parameter as OpenCV's INTER_CUBIC has it
BLURS = {"blur1": (1.0, 3), "blur2": (2.0, 5)}  # name: sigma and radius in pixels


def bicubic_enlargement(image, scale: int):
    """Bicubic interpolation with replicated borders, as `cv2.resize` with INTER_CUBIC does.

    Interpolation by a constant factor is a transposed convolution with a fixed kernel, which is a
    built-in layer on every backend.
    """
    padded = _replicate_border(_replicate_border(image, "bicubic_border1"), "bicubic_border2")
    enlarged = layers.Conv2DTranspose(
        3, 4 * scale, strides=scale, use_bias=False, trainable=False, name="bicubic"
    )(padded)
    # 2 border pixels of the input, and the half kernel by which a "valid" transposed convolution
    # extends beyond the first pixel's own output block.
    crop = 2 * scale + (4 * scale - scale) // 2
    return layers.Cropping2D(crop, name="bicubic_crop")(enlarged)


def bicubic_of_difference(image, scale: int, name: str):
    """Bicubic interpolation of a map of any sign, with zeros beyond its border."""
    return layers.Conv2DTranspose(
        3, 4 * scale, scale, padding="same", use_bias=False, trainable=False, name=name
    )(image)


def blurred(image, name: str):
    """Gaussian blur of three channels; `name` is one of BLURS. Zeros lie beyond the border."""
    side = 2 * BLURS[name][1] + 1
    return layers.DepthwiseConv2D(side, padding="same", use_bias=False, trainable=False, name=name)(
        image
    )


def set_fixed_weights(model: keras.Model, scale: int):
    """Give all fixed layers of this file that a model has their kernels."""
    for layer in model.layers:
        if layer.name in BLURS:
            layer.set_weights([_gaussian_kernel(*BLURS[layer.name])])
        elif isinstance(layer, layers.Conv2DTranspose):
            layer.set_weights([_bicubic_kernel(scale)])


def _replicate_border(image, name: str):
    """Pad by one pixel that repeats the border: Keras' padding layer can only write zeros.

    The running maximum of a zero-padded non-negative image along one axis is, in the padding, the
    pixel beside it. Rows first, then columns, which also fills the corners.
    """
    for axis, (padding, window) in {"y": ((1, 0), (3, 1)), "x": ((0, 1), (1, 3))}.items():
        ones = layers.Rescaling(0.0, offset=1.0, name=f"{name}{axis}_ones")(image)
        padded = layers.ZeroPadding2D(padding, name=f"{name}{axis}_pad")(image)
        inside = layers.ZeroPadding2D(padding, name=f"{name}{axis}_inside")(ones)
        outside = layers.Rescaling(-1.0, offset=1.0, name=f"{name}{axis}_outside")(inside)
        beside = layers.MaxPooling2D(window, 1, "same", name=f"{name}{axis}_beside")(padded)
        border = layers.Multiply(name=f"{name}{axis}_border")([outside, beside])
        image = layers.Add(name=f"{name}{axis}")([padded, border])
    return image


def _bicubic_kernel(scale: int) -> np.ndarray:
    """Keys' cubic kernel (1981), shape (4*scale, 4*scale, 3, 3), one channel to itself."""
    distance = np.abs((np.arange(4 * scale) + 0.5) / scale - 2)
    near = (BICUBIC_A + 2) * distance**3 - (BICUBIC_A + 3) * distance**2 + 1
    far = BICUBIC_A * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    weights = np.where(distance <= 1, near, far)
    kernel = np.outer(weights, weights)[:, :, None, None] * np.eye(3)
    return kernel.astype(np.float32)


def _gaussian_kernel(sigma: float, radius: int) -> np.ndarray:
    """Kernel of a depthwise convolution of three channels, shape (side, side, 3, 1), sum 1."""
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    kernel = np.repeat(np.outer(weights, weights)[:, :, None, None], 3, axis=2)
    return kernel.astype(np.float32)
