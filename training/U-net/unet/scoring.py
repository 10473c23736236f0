"""How well a U-net does on whole labelled images: pixels, separated nuclei, loss."""

import cv2
import keras
import numpy as np

from metrics.segmentation import instance_metrics, mean_of, pixel_metrics, within
from nuclei.separation import separate
from unet.model import nuclei_loss

FIGURES = (
    *("loss", "pixel_accuracy", "background_accuracy", "dice", "iou"),
    *("aji", "pq", "count_error"),
)


def score(unet, samples, pooling: int, microns: float) -> dict[str, float]:
    """Return the means of all `FIGURES` over samples.

    Args:
        unet: the model.
        samples: with labels, see `unet.data.Sample`.
        pooling: the U-net's pooling factor.
        microns: um per pixel of the samples, which the separation needs.
    """
    maps = [predict_maps(unet, sample.image, pooling) for sample in samples]
    return mean_scores(samples, maps, microns)


def mean_scores(samples, maps, microns: float) -> dict[str, float]:
    """Return the means of all `FIGURES` over samples, given the U-net's maps of each."""
    scores = [scores_of(*each, microns) for each in zip(samples, maps, strict=True)]
    return mean_of([{name: each[name] for name in FIGURES} for each in scores])


def predict_maps(unet, image: np.ndarray, pooling: int) -> np.ndarray:
    """Run the U-net on one uint8 RGB image of any size; return its maps, (height, width, 2)."""
    height, width = image.shape[:2]
    bottom, right = -height % pooling, -width % pooling
    padded = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REFLECT_101)
    # Not predict_on_batch: on JAX it consumes the arrays of the weights, which during the last
    # epoch are those of their average too.
    maps = unet(padded[None].astype(np.float32), training=False)
    return keras.ops.convert_to_numpy(maps)[0, :height, :width]


def scores_of(sample, maps: np.ndarray, microns: float) -> dict[str, float]:
    """Score one image where it is labelled: pixels at probability 0.5, nuclei as in a run.

    Returns:
        The loss, and all figures of `pixel_metrics` and `instance_metrics`.
    """
    known = sample.targets[..., 2] > 127
    truth, found = sample.targets[..., 0] > 127, maps[..., 0] > 0.5
    nuclei = separate(maps[..., 0], maps[..., 1], microns)
    return {
        "loss": float(nuclei_loss(sample.targets[None].astype(np.float32) / 255, maps[None])),
        **pixel_metrics(truth[known], found[known]),
        **instance_metrics(within(sample.labels, known), within(nuclei, known)),
    }
