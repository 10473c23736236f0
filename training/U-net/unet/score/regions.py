"""Labelled images -> candidates for nuclei, with how well each one fits a true nucleus."""

import cv2
import numpy as np

from nuclei.candidates.merging import Tree
from nuclei.candidates.regions import FEATURES
from nuclei.separation import Separation, candidates, nuclei_mask
from shared.appearance import vary_optics, vary_stain_and_light
from unet.augmentation import vary_chromatin
from unet.data import Sample
from unet.scoring import predict_maps

OCTAVES = 0.5  # by which the magnification of a view differs at the most
RESCALED = 0.6  # share of the views whose magnification is changed


def draw_regions(unet, sample: Sample, pooling: int, microns: float, rng: np.random.Generator):
    """Return all candidates of a random view of an image.

    The U-net was trained on these images; its maps of a view that is changed are as uncertain as
    those of images that it never saw.

    Args:
        unet: the model.
        sample: with labels.
        pooling: the U-net's pooling factor.
        microns: um per pixel of the sample.
        rng: random numbers.

    Returns:
        (features (N, n), see `FEATURES`, overlap of each with a true nucleus (N,)), of the
        candidates that lie where the image is labelled.
    """
    image, truth, known = random_view(sample, rng)
    probability, distance = np.moveaxis(predict_maps(unet, image, pooling), -1, 0)
    mask = nuclei_mask(probability, microns, Separation())
    if not mask.any():
        return np.zeros((0, len(FEATURES)), np.float32), np.zeros(0)
    fragments, tree = candidates(mask, probability, distance, microns)
    inside = is_inside(tree, fragments, known)
    return tree.regions.features(microns)[inside], overlaps(tree, fragments, truth)[inside]


def random_view(sample: Sample, rng: np.random.Generator):
    """Change chromatin, stain, light, optics and magnification of a sample at random.

    Returns:
        image, uint8 RGB; label map, int32; where it is complete, bool.
    """
    image = vary_chromatin(sample.image, sample.targets, sample.white, rng)
    image = vary_optics(vary_stain_and_light(image, sample.white, rng), rng)
    known = sample.targets[..., 2] > 127
    if rng.random() > RESCALED:
        return image, sample.labels, known
    scale = 2 ** rng.uniform(-OCTAVES, OCTAVES)
    size = tuple(max(round(side * scale), 1) for side in known.shape[::-1])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    nearest = {"dsize": size, "interpolation": cv2.INTER_NEAREST}
    # OpenCV resizes no int32; float64 holds each label.
    labels = cv2.resize(sample.labels.astype(np.float64), **nearest).astype(np.int32)
    known = cv2.resize(known.astype(np.uint8), **nearest).astype(bool)
    return cv2.resize(image, size, interpolation=how), labels, known


def overlaps(tree: Tree, fragments: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the greatest intersection over union of each region with a true nucleus, (N,).

    Args:
        tree: of the fragments.
        fragments, truth: int label maps (height, width), 0 = background.
    """
    shared = _shared_pixels(fragments, truth)
    for first, second in filter(None, tree.parts):
        together = dict(shared[first])
        for nucleus, pixels in shared[second].items():
            together[nucleus] = together.get(nucleus, 0) + pixels
        shared.append(together)
    true_areas = np.bincount(truth.ravel()).tolist()
    areas = tree.regions.sums[:, 0].tolist()
    return np.array(
        [
            max((n / (area + true_areas[nucleus] - n) for nucleus, n in found.items()), default=0.0)
            for area, found in zip(areas, shared, strict=True)
        ]
    )


def is_inside(tree: Tree, fragments: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Tell of each region whether it lies wholly where labels are complete, bool (N,)."""
    unknown = np.bincount(fragments.ravel(), ~known.ravel())[1:] > 0
    inside = (~unknown).tolist()
    for first, second in filter(None, tree.parts):
        inside.append(inside[first] and inside[second])
    return np.array(inside)


def _shared_pixels(fragments: np.ndarray, truth: np.ndarray) -> list[dict[int, int]]:
    """Return {true nucleus: pixels} of each fragment."""
    both = (fragments > 0) & (truth > 0)
    numbers = truth.max() + 1
    keys, counts = np.unique(
        fragments[both].astype(np.int64) * numbers + truth[both], False, False, True
    )
    shared = [{} for _ in range(fragments.max())]
    for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
        shared[key // numbers - 1][key % numbers] = count
    return shared
