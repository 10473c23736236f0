"""Augmentation of the U-net's training crops, images and targets together: views, chromatin."""

import cv2
import numpy as np


def random_view(image, targets, size: int, rng: np.random.Generator):
    """Cut a randomly placed, turned, mirrored square at 0.6 to 1.6 times the magnification.

    Returns:
        image and targets, both uint8 (size, size, 3).
    """
    scale = 2 ** rng.uniform(np.log2(0.6), np.log2(1.6)) if rng.random() < 0.7 else 1.0
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else rng.integers(4) * np.pi / 2
    mirror = rng.choice([-1.0, 1.0])
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    turn = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([mirror, 1.0])
    half = np.minimum(size / scale, image.shape[1::-1]) / 2
    centre = rng.uniform(half, np.array(image.shape[1::-1]) - half + 1e-6)
    # Maps output pixels to source pixels, hence WARP_INVERSE_MAP.
    matrix = np.hstack([turn, (centre - turn @ np.full(2, size / 2))[:, None]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if scale < 0.8:  # a linear kernel would alias
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)
    return tuple(
        cv2.warpAffine(a, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        for a in (image, targets)
    )


def vary_chromatin(image, targets, white: float, rng: np.random.Generator) -> np.ndarray:
    """Give two crops in three other chromatin: vesicular or dense, smooth or granular.

    Nuclei of soft images are evenly dark; a network that saw no others takes pale nuclei with a
    dark rim for debris and coarse cytoplasm for nuclei. In optical density, relative to the
    image's own white, each nucleus fades or darkens towards its middle, and grains of random size
    are laid over nuclei and, less, over the rest.

    Args:
        image: uint8 RGB (height, width, 3).
        targets: uint8 (height, width, 3), see `unet.data.Sample`.
        white: the image's white point in grey levels.

    Returns:
        uint8 RGB.
    """
    if rng.random() < 1 / 3:
        return image
    nucleus, depth = np.moveaxis(targets[..., :2].astype(np.float32) / 255, -1, 0)
    grains = rng.standard_normal(nucleus.shape, np.float32)
    grains = cv2.GaussianBlur(grains, (0, 0), rng.uniform(0.8, 3.5))
    grains *= rng.uniform(0, 0.35) / max(float(grains.std()), 1e-6)
    fading = rng.uniform(-0.7, 0.3) * nucleus * (np.sqrt(depth) - 0.4)
    change = 1 + fading + grains * np.maximum(nucleus, rng.uniform(0, 0.7))
    light = np.clip((image.astype(np.float32) + 1) / (white + 1), 1e-3, 1)
    light = light ** np.clip(change, 0.1, 3)[..., None]
    return np.clip(light * (white + 1) - 0.5, 0, 255).astype(np.uint8)
