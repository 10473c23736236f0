"""High resolution -> low resolution as a worse microscope would have recorded it."""

from dataclasses import dataclass

import cv2
import numpy as np

SCALES = (2, 4)  # linear factors between high and low resolution
DOWNSAMPLING_KERNELS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


@dataclass(frozen=True)
class Degradation:
    """Ranges from which `degrade` draws; sigmas in pixels (blur) and grey levels (noise).

    Attributes:
        blur_sigma: Gaussian blur before down-sampling by 4, in high-resolution pixels; half of it
            before down-sampling by 2, so that it is as wide in pixels of the result.
        noise_sigma: Gaussian noise of the low-resolution image.
        shot_noise: signal-dependent noise, in standard deviations at white; its variance grows
            linearly with intensity, as photon noise does.
        jpeg_quality: JPEG quality.
        area_share: share of crops that get the fixed degradation `area` instead.
        scanner_share: share of crops that get the fixed degradation `scanner` instead.
    """

    blur_sigma: tuple[float, float] = (0.0, 2.5)
    noise_sigma: tuple[float, float] = (0.0, 6.0)
    shot_noise: tuple[float, float] = (0.0, 5.0)
    jpeg_quality: tuple[int, int] = (50, 98)
    area_share: float = 0.35
    scanner_share: float = 0.2


def degrade(
    image: np.ndarray,
    rng: np.random.Generator,
    degradation: Degradation = Degradation(),
    scale: int = 4,
) -> np.ndarray:
    """Turn a high-resolution image into what a worse microscope would have recorded.

    Blur (isotropic or not, at any angle), down-sampling with a random kernel, Gaussian and
    signal-dependent noise, JPEG: the order in which optics, sensor and file format act. Some
    crops get one of the two fixed degradations of the reported figures instead.

    Args:
        image: uint8 RGB (height, width, 3), height and width multiples of `scale`.
        rng: source of all random draws.
        degradation: ranges of the draws.
        scale: how many times smaller the result is per side, 2 or 4.

    Returns:
        uint8 RGB (height/scale, width/scale, 3).

    Raises:
        ValueError: a side is no multiple of `scale`.
    """
    kind = rng.random()
    if kind < degradation.area_share:
        return degrade_area(image, scale)
    if kind < degradation.area_share + degradation.scanner_share:
        return degrade_scanner(image, rng, scale)
    blur_range = tuple(sigma * scale / 4 for sigma in degradation.blur_sigma)
    image = _random_blur(image, rng, blur_range)
    kernel = DOWNSAMPLING_KERNELS[rng.integers(len(DOWNSAMPLING_KERNELS))]
    low = _down_sample(image, kernel, scale).astype(np.float32)
    noise = rng.uniform(*degradation.noise_sigma) * (rng.random() < 0.7)
    shot = rng.uniform(*degradation.shot_noise) * (rng.random() < 0.5)
    deviation = np.sqrt(noise**2 + shot**2 * low / 255)
    low = _to_uint8(low + deviation * rng.standard_normal(low.shape, np.float32))
    if rng.random() < 0.7:
        low = _jpeg(low, int(rng.integers(*degradation.jpeg_quality, endpoint=True)))
    return low


def degrade_area(image: np.ndarray, scale: int = 4) -> np.ndarray:
    """Fixed degradation `area`: the mean over each block (4x4 or 2x2) of a uint8 RGB image."""
    return _down_sample(image, cv2.INTER_AREA, scale)


def degrade_scanner(image: np.ndarray, rng: np.random.Generator, scale: int = 4) -> np.ndarray:
    """Fixed degradation `scanner`: blur, block means, noise (sigma 4 grey levels), JPEG 80.

    The blur is as wide in pixels of the result for each scale: sigma 1.5 (x4) or 0.75 (x2) pixels
    of the high resolution.
    """
    low = degrade_area(cv2.GaussianBlur(image, (0, 0), 0.375 * scale), scale)
    noise = 4 * rng.standard_normal(low.shape, np.float32)
    return _jpeg(_to_uint8(low + noise), 80)


def _random_blur(image, rng, sigma_range):
    sigma_x = rng.uniform(*sigma_range)
    sigma_y = sigma_x if rng.random() < 0.5 else rng.uniform(*sigma_range)
    if max(sigma_x, sigma_y) < 0.2:  # below that the kernel is a single pixel
        return image
    radius = int(np.ceil(3 * max(sigma_x, sigma_y)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    angle = rng.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-0.5 * ((along / max(sigma_x, 0.2)) ** 2 + (across / max(sigma_y, 0.2)) ** 2))
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


def _down_sample(image, kernel, scale):
    height, width = image.shape[:2]
    if height % scale or width % scale:
        raise ValueError(f"expected sides that are multiples of {scale}, found {width}x{height}")
    return cv2.resize(image, (width // scale, height // scale), interpolation=kernel)


def _to_uint8(image):
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _jpeg(image, quality):
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
