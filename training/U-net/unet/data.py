"""Image/mask folders -> augmented batches of images and target maps.

Two layouts are read, in any mix of folders:
- TCIA (doi 10.7937/tcia.2019.4a4dkp9u): `N_crop.png` beside `N_labeled_mask_corrected.png`;
- `images/` with `instances/` (label maps) or `masks/` (binary) of the same file names beside it.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage
from skimage.morphology import reconstruction
from skimage.segmentation import watershed

from images.opening import read_image
from shared.epochs import RandomBatches
from unet.augmentation import random_view, vary_chromatin, vary_optics, vary_stain_and_light
from unet.crowding import crowd

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"}
TCIA_IMAGE, TCIA_MASK = "_crop", "_labeled_mask_corrected"
# Touching nuclei are parted where the neck is narrower than either by more than this factor, as
# logarithm (.15: by 14 %).
NECK = 0.15


@dataclass
class Sample:
    """One image with its targets.

    Attributes:
        name: path of the image.
        image: uint8 RGB (height, width, 3).
        targets: uint8 (height, width, 2): nucleus mask and relative distance, both 0..255.
        white: grey level of the brightest tissue-free pixels, by which light is normalised.
    """

    name: str
    image: np.ndarray
    targets: np.ndarray
    white: float


class NucleiBatches(RandomBatches):
    """Random training batches.

    Args:
        samples: what to draw from.
        weights: relative chance of each sample.
        crop: side of a crop in pixels, a multiple of the U-net's pooling factor.
        batch_size: crops per batch.
        batches: batches per epoch.
        seed: seed of all draws.
    """

    def __init__(self, samples, weights, crop, batch_size, batches, seed):
        super().__init__(batches, seed)
        self.samples = samples
        self.chances = np.asarray(weights, float) / np.sum(weights)
        self.crop = crop
        self.batch_size = batch_size

    def draw(self, rng):
        """Return (images in 0..255, targets in 0..1), float32, (batch, crop, crop, 3 and 2)."""
        images, targets = [], []
        for _ in range(self.batch_size):
            sample = self.samples[rng.choice(len(self.samples), p=self.chances)]
            image, target = random_view(sample.image, sample.targets, self.crop, rng)
            image = vary_chromatin(image, target, sample.white, rng)
            image = vary_stain_and_light(image, sample.white, rng)
            images.append(vary_optics(image, rng))
            targets.append(target)
        return np.stack(images).astype(np.float32), np.stack(targets).astype(np.float32) / 255


def find_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """List the (image, mask) pairs of a folder in either layout.

    Raises:
        FileNotFoundError: the folder is missing or holds neither layout.
        ValueError: images without a mask or masks without an image; all are named.
    """
    folder = Path(folder)
    if (folder / "images").is_dir():
        kind = "instances" if (folder / "instances").is_dir() else "masks"
        images = {p.stem: p for p in _images_in(folder / "images")}
        masks = {p.stem: p for p in _images_in(folder / kind)}
    else:
        found = _images_in(folder)
        images = {p.stem[: -len(TCIA_IMAGE)]: p for p in found if p.stem.endswith(TCIA_IMAGE)}
        masks = {p.stem[: -len(TCIA_MASK)]: p for p in found if p.stem.endswith(TCIA_MASK)}
    if not images and not masks:
        raise FileNotFoundError(
            f"{folder}: expected images/ with masks/ or instances/, or N{TCIA_IMAGE}.png beside "
            f"N{TCIA_MASK}.png; found neither"
        )
    orphans = [images.get(name) or masks[name] for name in sorted(images.keys() ^ masks.keys())]
    if orphans:
        names = ", ".join(str(path) for path in orphans)
        raise ValueError(f"image without mask, or mask without image: {names}")
    return [(images[name], masks[name]) for name in sorted(images)]


def load_sample(image_path: Path, mask_path: Path, crowding: float = 0, seed=0) -> Sample:
    """Read an image and its mask and make the target maps.

    Args:
        image_path, mask_path: the two files.
        crowding: nuclei are pasted against others, once for the whole training, at most so many
            per nucleus; see `crowd`.
        seed: of their number and places.

    Raises:
        ValueError: a file cannot be read, or the sizes differ.
    """
    image = read_image(image_path)
    labels = read_labels(mask_path)
    if labels.shape != image.shape[:2]:
        raise ValueError(
            f"{mask_path} is {labels.shape[1]}x{labels.shape[0]} pixels, its image {image_path} "
            f"{image.shape[1]}x{image.shape[0]}: they must be equal"
        )
    white = float(np.percentile(image.max(axis=-1), 99))
    rng = np.random.default_rng(seed)
    image, labels = crowd(image, labels, rng.uniform(0, crowding), rng)
    return Sample(str(image_path), image, target_maps(labels), max(white, 1.0))


def read_labels(path: Path) -> np.ndarray:
    """Read a mask as a label map: int32 (height, width), 0 = background.

    A mask of one or two values is binary: its connected components become the labels, cut at
    their necks. A mask of more values is taken as a label map.
    """
    mask = _read(path, cv2.IMREAD_UNCHANGED)
    if mask.ndim == 3:
        mask = mask[..., :3].max(axis=-1)
    return cut_at_necks(mask > 0) if len(np.unique(mask)) <= 2 else mask.astype(np.int32)


def cut_at_necks(mask: np.ndarray) -> np.ndarray:
    """Label a binary mask, parting nuclei that touch: int32 (height, width).

    A watershed of the distance to the outline, from its summits (h-maxima, Soille 2003). Masks
    that merge touching nuclei would otherwise teach the U-net to merge them, too. A neck must be
    clearly narrower than both its sides, so that an irregular outline is not cut to pieces.
    """
    distance = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    # Relative to the size of what the neck parts: in the logarithm a rise is a ratio of widths.
    relief = cv2.GaussianBlur(np.log1p(distance), (0, 0), 1.0) * mask
    # Upper halves of domes: whole ones of height NECK would reach down to the necks.
    summits = (relief - reconstruction(relief - 2 * NECK, relief) > NECK) & mask
    markers = ndimage.label(summits, np.ones((3, 3)))[0]
    parts, _ = ndimage.label(mask)
    missed = mask & ~np.isin(parts, np.unique(parts[summits]))
    markers[missed] = parts[missed] + markers.max()
    return watershed(-relief, markers, mask=mask).astype(np.int32)


def target_maps(labels: np.ndarray) -> np.ndarray:
    """Make the nucleus mask and the relative distance map from a label map.

    The distance to the border is measured within each nucleus and divided by its maximum, so that
    touching nuclei fall apart above a threshold whatever their size.

    Returns:
        uint8 (height, width, 2) in 0..255.
    """
    distance = np.zeros(labels.shape, np.float32)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        inside = labels[box] == label
        depth = cv2.distanceTransform(np.pad(inside, 1).astype(np.uint8), cv2.DIST_L2, 5)
        distance[box] += depth[1:-1, 1:-1] / depth.max()
    return np.stack([(labels > 0) * 255, np.rint(distance * 255)], axis=-1).astype(np.uint8)


def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"expected the folder {folder}, found none")
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)


def _read(path: Path, mode: int) -> np.ndarray:
    encoded = np.fromfile(path, np.uint8)  # cv2.imread fails on non-ASCII paths on Windows
    image = cv2.imdecode(encoded, mode) if encoded.size else None
    if image is None:
        raise ValueError(f"{path}: not a readable image; replace or remove it and its partner")
    return image
