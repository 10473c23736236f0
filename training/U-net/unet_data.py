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
from unet_crowding import crowd
from unet_epochs import RandomBatches

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"}
TCIA_IMAGE, TCIA_MASK = "_crop", "_labeled_mask_corrected"
# Optical density vectors of hematoxylin, eosin and DAB (Ruifrok & Johnston 2001).
STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
# Touching nuclei are parted where the neck is narrower than either by this factor, as logarithm.
NECK = 0.3


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
    image = cv2.cvtColor(_read(image_path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
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
    summits = (relief - reconstruction(relief - NECK, relief) > NECK / 2) & mask
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


def random_view(image, targets, size: int, rng: np.random.Generator):
    """Cut a randomly placed, turned, mirrored square at 0.6 to 1.6 times the magnification.

    Returns:
        image uint8 (size, size, 3) and targets uint8 (size, size, 2).
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
        targets: uint8 (height, width, 2), see `target_maps`.
        white: the image's white point in grey levels.

    Returns:
        uint8 RGB.
    """
    if rng.random() < 1 / 3:
        return image
    nucleus, depth = np.moveaxis(targets.astype(np.float32) / 255, -1, 0)
    grains = rng.standard_normal(nucleus.shape, np.float32)
    grains = cv2.GaussianBlur(grains, (0, 0), rng.uniform(0.8, 3.5))
    grains *= rng.uniform(0, 0.35) / max(float(grains.std()), 1e-6)
    fading = rng.uniform(-0.7, 0.3) * nucleus * (np.sqrt(depth) - 0.4)
    change = 1 + fading + grains * np.maximum(nucleus, rng.uniform(0, 0.7))
    light = np.clip((image.astype(np.float32) + 1) / (white + 1), 1e-3, 1)
    light = light ** np.clip(change, 0.1, 3)[..., None]
    return np.clip(light * (white + 1) - 0.5, 0, 255).astype(np.uint8)


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
