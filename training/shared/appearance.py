"""How another laboratory's images of the same tissue would look: views, stain, light and optics."""

import cv2
import numpy as np

# Optical density vectors of hematoxylin, eosin and DAB (Ruifrok & Johnston 2001).
STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])


def white_point(image: np.ndarray) -> float:
    """Return the grey level of the brightest pixels of a uint8 RGB image, at least 1."""
    return max(float(np.percentile(image.max(axis=-1), 99)), 1.0)


def flip(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply one of the eight flips and quarter turns of a square."""
    image = np.rot90(image, rng.integers(4))
    image = image[:, ::-1] if rng.random() < 0.5 else image
    return np.ascontiguousarray(image)  # OpenCV takes no negative strides


def vary_stain_and_light(image, white: float, rng: np.random.Generator) -> np.ndarray:
    """Give a crop another laboratory's stain and another microscope's light.

    In optical density, relative to the image's own white: the stain vectors are tilted, their
    concentrations scaled and shifted (Tellez et al. 2018); in one crop of eight eosin becomes
    DAB, the brown of immunohistochemistry. Then the light: a new white point, a tint, a gamma.

    Args:
        image: uint8 RGB.
        white: the image's white point in grey levels.

    Returns:
        uint8 RGB.
    """
    density = -np.log(np.clip((image.astype(np.float32) + 1) / (white + 1), 1e-3, None))
    if rng.random() < 0.85:
        new_stains = STAINS + rng.normal(0, 0.12, STAINS.shape)
        new_stains /= np.linalg.norm(new_stains, axis=1, keepdims=True)
        strength = np.diag(2 ** rng.uniform(-0.9, 0.7, 3))
        if rng.random() < 1 / 8:
            new_stains[1] = new_stains[2]
            strength[1] *= rng.uniform(1, 3)
        density = density @ (np.linalg.inv(STAINS) @ strength @ new_stains).astype(np.float32)
        density += rng.normal(0, 0.03, 3).astype(np.float32)
    light = np.exp(-np.clip(density, -0.2, 6)) ** rng.uniform(0.75, 1.35)
    # Most scanners put white near 240; some microscopes half as high.
    new_white = rng.uniform(200, 255) if rng.random() < 0.7 else rng.uniform(100, 200)
    light *= new_white * rng.uniform(0.92, 1.06, 3).astype(np.float32)
    if rng.random() < 0.05:
        light[:] = light.mean(axis=-1, keepdims=True)
    return np.clip(light + 0.5, 0, 255).astype(np.uint8)


def vary_optics(image, rng: np.random.Generator) -> np.ndarray:
    """Blur, under-sample, sharpen, add noise and compress at random: uint8 RGB to uint8 RGB."""
    kind = rng.random()
    if kind < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 2.0))
    elif kind < 0.35:
        size = image.shape[1::-1]
        factor = rng.uniform(1.5, 4.5)
        small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)
    elif kind < 0.55:
        soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2.0))
        amount = rng.uniform(0.3, 2.0)
        image = cv2.addWeighted(image, 1 + amount, soft, -amount, 0)
    if rng.random() < 0.35:
        noise = rng.uniform(1, 10) * rng.standard_normal(image.shape, np.float32)
        image = np.clip(image + noise + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.35:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 96))]
        image = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
    return image
