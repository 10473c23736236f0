"""High-resolution images -> augmented, degraded (low resolution, high resolution) batches.

Every image lies in memory as uint8. A crop is cut first and only then transformed, so the cost of
a batch does not depend on the size of the images.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from images.degradation import Degradation, degrade
from shared.appearance import STAINS, flip
from shared.epochs import RandomBatches
from srgan.pairs import Partners

VIOLET_SHARE = 0.1  # of the simulated crops


@dataclass(frozen=True)
class Picture:
    """A high-resolution image to train on.

    Attributes:
        high: uint8 RGB (height, width, 3).
        weight: relative chance to be drawn.
        recorded: uint8 RGB, the same field as a microscope recorded it at low resolution,
            registered (see `srgan.pairs`), or None.
    """

    high: np.ndarray
    weight: float = 1.0
    recorded: np.ndarray | None = None


@dataclass(frozen=True)
class LowResolution:
    """Where the low-resolution partners of the crops come from.

    Attributes:
        scale: linear factor between high and low resolution, 2 or 4.
        degradation: ranges of the simulated ones.
        recorded_share: share of the crops of a recorded pair that take the recorded partner; the
            others are simulated.
    """

    scale: int = 4
    degradation: Degradation = field(default_factory=Degradation)
    recorded_share: float = 1.0


class SuperResolutionBatches(RandomBatches):
    """Random training batches.

    Args:
        pictures: each of at least `crop` pixels per side.
        crop: side of the high-resolution crop in pixels, a multiple of 4.
        batch_size: crops per batch.
        batches: batches per epoch.
        low_resolution: how their partners are made.
        seed: seed of all draws.
    """

    def __init__(self, pictures, crop, batch_size, batches, low_resolution, seed):
        super().__init__(batches, seed)
        self.pictures = pictures
        weights = np.array([picture.weight for picture in pictures], float)
        self.chances = weights / weights.sum()
        self.crop = crop
        self.batch_size = batch_size
        self.low_resolution = low_resolution

    def draw(self, rng):
        """Return (low, high), float32 in 0..255.

        Shapes (batch, crop/scale, crop/scale, 3) and (batch, crop, crop, 3).
        """
        low, high = [], []
        for _ in range(self.batch_size):
            picture = self.pictures[rng.choice(len(self.pictures), p=self.chances)]
            recorded = picture.recorded is not None
            if recorded and rng.random() < self.low_resolution.recorded_share:
                pair = self._recorded(picture, rng)
            else:
                pair = self._simulated(picture, rng)
            low.append(pair[0])
            high.append(pair[1])
        return np.stack(low).astype(np.float32), np.stack(high).astype(np.float32)

    def _simulated(self, picture, rng):
        patch = flip(random_crop(picture.high, self.crop, rng), rng)
        patch = soft_violet(patch, rng) if rng.random() < VIOLET_SHARE else recolour(patch, rng)
        how = self.low_resolution
        return degrade(patch, rng, how.degradation, how.scale), patch

    def _recorded(self, picture, rng):
        """Cut and change both partners alike, without zoom: it would no longer be a recording."""
        scale = self.low_resolution.scale
        side = self.crop // scale
        y, x = (int(rng.integers(0, n - side + 1)) for n in picture.recorded.shape[:2])
        low = picture.recorded[y : y + side, x : x + side]
        high = picture.high[scale * y :, scale * x :][: self.crop, : self.crop]
        changes = rng.integers(2**32)
        return tuple(_changed(patch, np.random.default_rng(changes)) for patch in (low, high))


def load_pictures(paths, folder_weights, held_out, crop: int, partners: Partners):
    """Read all images; of a large slide some regions, see `read_pictures`.

    Args:
        paths: the list of images of each folder.
        folder_weights: relative chance of each folder.
        held_out: the images for validation.
        crop: smallest allowed side in pixels.
        partners: recorded low-resolution images. Pairs that do not match are left out and kept in
            `partners.refused`.

    Returns:
        (pictures for training, pictures for validation). Within a folder the weight grows with the
        area.

    Raises:
        OSError, ValueError: an image is unreadable or too small, or no pair matches.
    """
    training, validation = [], []
    for found, folder_weight in zip(paths, folder_weights, strict=True):
        pictures = []
        for path in found:
            read = partners.pictures_of(path)
            for high, _ in read:
                if min(high.shape[:2]) < crop:
                    size = f"{high.shape[1]}x{high.shape[0]}"
                    raise ValueError(
                        f"{path}: {size} is less than CROP {crop}; remove it or lower CROP"
                    )
            if path in held_out:
                validation += [Picture(high, recorded=low) for high, low in read]
            else:
                pictures += read
        total = sum(high.size for high, _ in pictures)
        training += [Picture(h, folder_weight * h.size / total, low) for h, low in pictures]
    if partners.refused and not (training and validation):
        raise ValueError(
            f"no image is left for {'validation' if training else 'training'}: "
            + "; ".join(partners.refused)
        )
    return training, validation


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


def _changed(patch, rng):
    """Flip and recolour by the draws of `rng`: the same for both partners of a pair."""
    return recolour(flip(patch, rng), rng)


def recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary stain and light, so that no colour is taken for granted.

    Three in five crops stay as they are. The others get other hematoxylin and eosin strengths in
    optical density, a random gain for each channel, a gamma, and one in five of them permuted
    channels (stains that the training set does not hold). Each pixel is changed by itself.

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        uint8 RGB of the same shape.
    """
    if rng.random() < 0.6:
        return image
    return stress_colours(image, rng)


def soft_violet(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Recolour like the camera of an old microscope: saturated violet, and often out of focus.

    Blue averages about 210, and the darkest nuclei are about (40, 0, 160): colours in which the
    channels do not darken together, as they do in all other training images.

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        uint8 RGB of the same shape.
    """
    grey = image.mean(axis=-1, dtype=np.float32)
    white = max(float(np.percentile(grey, 99)), 1.0)
    darkness = np.clip(rng.uniform(1.0, 1.5) * (1 - grey / white), 0, 1)[..., None]
    light = rng.uniform((215, 200, 235), 255).astype(np.float32)
    dark = rng.uniform((20, 0, 135), (60, 25, 185)).astype(np.float32)
    image = np.rint(light + darkness * (dark - light)).astype(np.uint8)
    sigma = rng.uniform(0, 4)
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 1 else image


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
