"""Pairs of images and labels -> samples -> augmented batches of images and target maps."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage
from skimage.morphology import reconstruction
from skimage.segmentation import watershed

from labels.label_map import Labels, naming
from labels.pairing import Pair
from labels.reading import read_image, read_labels
from labels.scale import at_pixel_size, pixel_size
from shared.appearance import vary_optics, vary_stain_and_light, white_point
from shared.epochs import RandomBatches
from unet.augmentation import random_view, vary_chromatin

UNET_MICRONS = 0.25  # um per pixel at which the U-net sees
SURROUNDINGS = 32  # pixels around the labelled part of an image that are kept: context
# Touching nuclei are parted where the neck is narrower than either by more than this factor, as
# logarithm (.15: by 14 %).
NECK = 0.15


@dataclass
class Sample:
    """One image with its targets.

    Attributes:
        name: path of the image.
        image: uint8 RGB (height, width, 3).
        targets: uint8 (height, width, 3), 0..255: nucleus mask, relative distance, and the weight
            in the loss, 0 where the labels are not complete.
        white: grey level of the brightest tissue-free pixels, by which light is normalised.
        note: how the labels were understood, and what was done to fit the pixel size.
        labels: int32 label map, where it was asked for.
    """

    name: str
    image: np.ndarray
    targets: np.ndarray
    white: float
    note: str
    labels: np.ndarray | None = None


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
        """Return (images in 0..255, targets in 0..1), both float32 (batch, crop, crop, 3)."""
        images, targets = [], []
        for _ in range(self.batch_size):
            sample = self.samples[rng.choice(len(self.samples), p=self.chances)]
            image, target = random_view(sample.image, sample.targets, self.crop, rng)
            image = vary_chromatin(image, target, sample.white, rng)
            image = vary_stain_and_light(image, sample.white, rng)
            images.append(vary_optics(image, rng))
            targets.append(target)
        return np.stack(images).astype(np.float32), np.stack(targets).astype(np.float32) / 255


def load_sample(
    pair: Pair,
    masks="auto",
    unet_microns: float = UNET_MICRONS,
    keep_labels: bool = False,
) -> Sample:
    """Read an image and its labels and make the target maps.

    The nuclei of a binary mask are its connected parts, cut at their necks. An image of another
    pixel size is resampled. Of a partly labelled image only the labelled part is kept.

    Args:
        pair: the files.
        masks: what masks are, see `labels.masks.labels_of`.
        unet_microns: um per pixel of the samples.
        keep_labels: the sample is for validation, which compares nuclei.

    Raises:
        ValueError: a file cannot be read, the sizes differ, or nothing is labelled.
    """
    image, stated = read_image(pair)
    understood = read_labels(pair, image.shape[:2], masks)
    microns, remark = pixel_size(pair.microns, stated)
    white = white_point(image)
    with naming(pair.image):
        image, understood = at_pixel_size(image, understood, microns, unet_microns)
        image, labels, known = _labelled_part(image, understood)
    if not understood.instances:
        labels = cut_at_necks(labels > 0)
    targets = np.dstack([target_maps(labels), known.astype(np.uint8) * 255])
    note = ", ".join(filter(None, [understood.note, remark]))
    kept = labels.astype(np.int32) if keep_labels else None
    return Sample(str(pair.image), image, targets, white, note, kept)


def _labelled_part(image: np.ndarray, labels: Labels):
    """Return (image, label map, where it is complete) of the part that is labelled."""
    if labels.known is None:
        return image, labels.map, np.ones(labels.map.shape, bool)
    if not labels.known.any():
        raise ValueError("nothing of the image is labelled")
    sides = ndimage.find_objects(labels.known.astype(np.uint8))[0]
    part = tuple(
        slice(max(side.start - SURROUNDINGS, 0), side.stop + SURROUNDINGS) for side in sides
    )
    return image[part], labels.map[part], labels.known[part]


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
