"""How good a super-resolved image is: PSNR, SSIM, colour fidelity; and the bicubic baseline."""

import cv2
import keras
import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from srgan_degradation import SCALE, degrade_area

LARGEST_PSNR = 100.0  # dB; stands for infinity where two images are equal
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


def bicubic(low: np.ndarray) -> np.ndarray:
    """Enlarge a uint8 image x4 by bicubic interpolation: the baseline of every figure."""
    return cv2.resize(low, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)


def fidelity(high: np.ndarray, image: np.ndarray) -> dict[str, float]:
    """Return PSNR (dB, over all RGB values, range 255) and SSIM of two uint8 RGB images.

    SSIM is `structural_similarity` of scikit-image with its default window (Wang et al. 2004), no
    border cropped.
    """
    equal = np.array_equal(high, image)  # infinite PSNR, which no mean survives
    psnr = LARGEST_PSNR if equal else peak_signal_noise_ratio(high, image, data_range=255)
    ssim = structural_similarity(high, image, channel_axis=-1, data_range=255)
    return {"psnr": float(psnr), "ssim": float(ssim)}


def colour_difference(low: np.ndarray, image: np.ndarray) -> float:
    """Mean absolute difference, in grey levels, between the input and the output's block means."""
    return float(np.mean(np.abs(degrade_area(image).astype(float) - low)))


def mean_fidelity(pairs) -> dict[str, float]:
    """Mean PSNR and SSIM over (high resolution, image) pairs of uint8 RGB images."""
    figures = [fidelity(high, image) for high, image in pairs]
    return {name: float(np.mean([figure[name] for figure in figures])) for name in figures[0]}
