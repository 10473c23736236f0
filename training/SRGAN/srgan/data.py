"""High-resolution images -> augmented, degraded (low resolution, high resolution) batches.

Every image lies in memory as uint8. A crop is cut first and only then transformed, so the cost of
a batch does not depend on the size of the images.
"""

import cv2
import numpy as np

from images.degradation import degrade
from shared.epochs import RandomBatches
from srgan.reading import read_pictures

# Optical density vectors of hematoxylin, eosin and the residual (Ruifrok & Johnston 2001).
STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])


class SuperResolutionBatches(RandomBatches):
    """Random training batches.

    Args:
        images: uint8 RGB arrays of any size of at least `crop` pixels per side.
        weights: relative chance of each image to be drawn.
        crop: side of the high-resolution crop in pixels, a multiple of 4.
        batch_size: crops per batch.
        batches: batches per epoch.
        degradation: ranges of the degradation.
        scale: linear factor between high and low resolution, 2 or 4.
        seed: seed of all draws.
    """

    def __init__(self, images, weights, crop, batch_size, batches, degradation, scale, seed):
        super().__init__(batches, seed)
        self.images = images
        self.chances = np.asarray(weights, float) / np.sum(weights)
        self.crop = crop
        self.batch_size = batch_size
        self.degradation = degradation
        self.scale = scale

    def draw(self, rng):
        """Return (low, high), float32 in 0..255.

        Shapes (batch, crop/scale, crop/scale, 3) and (batch, crop, crop, 3).
        """
        low, high = [], []
        for _ in range(self.batch_size):
            image = self.images[rng.choice(len(self.images), p=self.chances)]
            patch = recolour(flip(random_crop(image, self.crop, rng), rng), rng)
            high.append(patch)
            low.append(degrade(patch, rng, self.degradation, self.scale))
        return np.stack(low).astype(np.float32), np.stack(high).astype(np.float32)


def load_images(paths, folder_weights, held_out, crop: int):
    """Read all images; of a large slide some regions, see `read_pictures`.

    Args:
        paths: the list of images of each folder.
        folder_weights: relative chance of each folder.
        held_out: the images for validation.
        crop: smallest allowed side in pixels.

    Returns:
        (images for training, relative chance of each to be drawn, images for validation); images
        are uint8 RGB. Within a folder the chance grows with the area.

    Raises:
        OSError, ValueError: an image is unreadable or too small.
    """
    training, weights, validation = [], [], []
    for found, folder_weight in zip(paths, folder_weights, strict=True):
        areas = []
        for path in found:
            for image in read_pictures(path):
                if min(image.shape[:2]) < crop:
                    size = f"{image.shape[1]}x{image.shape[0]}"
                    raise ValueError(
                        f"{path}: {size} is less than CROP {crop}; remove it or lower CROP"
                    )
                if path in held_out:
                    validation.append(image)
                else:
                    training.append(image)
                    areas.append(image.shape[0] * image.shape[1])
        weights += [folder_weight * area / sum(areas) for area in areas]
    return training, weights, validation


def random_crop(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a random square and, in a third of cases, change its magnification by 0.5 to 3.

    Enlarged crops hold no fine detail: they teach the generator to add none where there is none.
    Reduced ones are sharper than any scanner and stand for lower magnifications.
    """
    zoom = 2 ** rng.uniform(-1, np.log2(3)) if rng.random() < 1 / 3 else 1.0
    side = min(round(size / zoom), *image.shape[:2])
    top, left = (int(rng.integers(0, extent - side + 1)) for extent in image.shape[:2])
    patch = image[top : top + side, left : left + side]
    if side == size:
        return patch
    kernel = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return cv2.resize(patch, (size, size), interpolation=kernel)


def flip(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply one of the eight flips and quarter turns of a square."""
    image = np.rot90(image, rng.integers(4))
    image = image[:, ::-1] if rng.random() < 0.5 else image
    return np.ascontiguousarray(image)  # OpenCV takes no negative strides


def recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary stain and light, so that no colour is taken for granted.

    Three in five crops stay as they are. The others get other hematoxylin and eosin strengths in
    optical density, a random gain for each channel, a gamma, and one in five of them permuted
    channels (stains that the training set does not hold).

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        uint8 RGB of the same shape.
    """
    if rng.random() < 0.6:
        return image
    return stress_colours(image, rng)


def stress_colours(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change stain and light of a uint8 RGB image; see `recolour`."""
    density = -np.log((image.astype(np.float32) + 1) / 256)
    strength = np.diag(rng.uniform(0.5, 1.5, 3))
    density = density @ (np.linalg.inv(STAINS) @ strength @ STAINS).astype(np.float32)
    light = np.exp(-np.clip(density, 0, 6))
    light = light ** rng.uniform(0.7, 1.4) * rng.uniform(0.6, 1.3, 3).astype(np.float32)
    if rng.random() < 0.2:
        light = np.ascontiguousarray(light[..., rng.permutation(3)])
    return np.clip(light * 255 + 0.5, 0, 255).astype(np.uint8)
