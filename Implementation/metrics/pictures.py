"""How good a super-resolved image is: PSNR, SSIM, colour fidelity; and the bicubic baseline."""

import cv2
import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from images.degradation import degrade_area

LARGEST_PSNR = 100.0  # dB; stands for infinity where two images are equal


def bicubic(low: np.ndarray, scale: int = 4) -> np.ndarray:
    """Enlarge a uint8 image by bicubic interpolation: the baseline of every figure."""
    return cv2.resize(low, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def fidelity(high: np.ndarray, image: np.ndarray) -> dict[str, float]:
    """Return PSNR (dB, over all RGB values, range 255) and SSIM of two uint8 RGB images.

    SSIM is `structural_similarity` of scikit-image with its default window (Wang et al. 2004), no
    border cropped.
    """
    equal = np.array_equal(high, image)  # infinite PSNR, which no mean survives
    psnr = LARGEST_PSNR if equal else peak_signal_noise_ratio(high, image, data_range=255)
    ssim = structural_similarity(high, image, channel_axis=-1, data_range=255)
    return {"psnr": float(psnr), "ssim": float(ssim)}


def grey_level_difference(low: np.ndarray, image: np.ndarray) -> float:
    """Mean absolute difference, in grey levels, between the input and the output's block means."""
    scale = image.shape[0] // low.shape[0]
    return float(np.mean(np.abs(degrade_area(image, scale).astype(float) - low)))


def mean_fidelity(pairs) -> dict[str, float]:
    """Mean PSNR and SSIM over (high resolution, image) pairs of uint8 RGB images."""
    figures = [fidelity(high, image) for high, image in pairs]
    return {name: float(np.mean([figure[name] for figure in figures])) for name in figures[0]}
