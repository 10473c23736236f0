"""What a training run writes after every epoch: validation figures, a picture, curves."""

from pathlib import Path

import cv2
import keras
import numpy as np
from matplotlib.figure import Figure

from shared.epochs import epoch_callbacks

MEASURES = ("pixel_accuracy", "dice", "iou")


def standard_callbacks(run_folder: Path, batches, validation, pooling: int) -> list:
    """Return the callbacks of the training, in order."""
    report = ValidationReport(validation, pooling, run_folder / "pictures")
    curves = TrainingCurves(run_folder / "training_log.csv", run_folder / "training_curves.png")
    return epoch_callbacks(batches, report, curves, run_folder, "training_")


class ValidationReport(keras.callbacks.Callback):
    """Add pixel accuracy (beside the all-background answer's), Dice and IoU to the logs.

    Figures are means over whole held-out images, where they are labelled, at probability 0.5.

    Args:
        samples: validation samples (see unet.data.Sample).
        pooling: the U-net's pooling factor; images are reflected up to its multiple.
        folder: where `epoch_NNN.png` (image | truth | probability | distance) goes.
    """

    def __init__(self, samples, pooling: int, folder: Path):
        super().__init__()
        self.samples = samples
        self.pooling = pooling
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        maps = [predict_maps(self.model, sample.image, self.pooling) for sample in self.samples]
        figures = []
        for sample, prediction in zip(self.samples, maps, strict=True):
            truth, known = sample.targets[..., 0] > 127, sample.targets[..., 2] > 127
            figures.append(pixel_figures(truth[known], prediction[..., 0][known] > 0.5))
        for name in (*MEASURES, "background_accuracy"):
            logs[f"val_{name}"] = float(np.mean([figure[name] for figure in figures]))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.picture_file = self.folder / f"epoch_{epoch + 1:03d}.png"
        self._picture(maps).savefig(self.picture_file)

    def _picture(self, maps, rows=4):
        chosen = np.linspace(0, len(maps) - 1, min(rows, len(maps))).astype(int)
        figure = Figure(figsize=(12, 3 * len(chosen)), layout="constrained")
        axes = figure.subplots(len(chosen), 4, squeeze=False)
        titles = ("image", "truth", "probability", "relative distance")
        for row, index in zip(axes, chosen, strict=True):
            sample = self.samples[index]
            panels = (sample.image, sample.targets[..., 0], *np.moveaxis(maps[index], -1, 0))
            for axis, title, panel in zip(row, titles, panels, strict=True):
                axis.imshow(panel, cmap="cividis")
                axis.set_title(title)
                axis.axis("off")
        return figure


class TrainingCurves(keras.callbacks.Callback):
    """Redraw loss and validation figures from the CSV log after every epoch."""

    def __init__(self, log_file: Path, picture: Path):
        super().__init__()
        self.log_file = log_file
        self.picture = picture

    def on_epoch_end(self, epoch, logs=None):
        log = np.atleast_1d(np.genfromtxt(self.log_file, delimiter=",", names=True))
        figure = Figure(figsize=(9, 3.5), layout="constrained")
        loss_axis, figure_axis = figure.subplots(1, 2)
        loss_axis.plot(log["epoch"] + 1, log["loss"])
        loss_axis.set(title="loss", xlabel="epoch")
        for name in MEASURES:
            figure_axis.plot(log["epoch"] + 1, log[f"val_{name}"], label=name.replace("_", " "))
        baseline = log["val_background_accuracy"]
        figure_axis.plot(log["epoch"] + 1, baseline, "k--", label="accuracy of all-background")
        figure_axis.set(title="validation", xlabel="epoch", ylim=(0, 1))
        figure_axis.legend(fontsize="small")
        figure.savefig(self.picture)


def predict_maps(unet, image: np.ndarray, pooling: int) -> np.ndarray:
    """Run the U-net on one uint8 RGB image of any size; return its maps, (height, width, 2)."""
    height, width = image.shape[:2]
    bottom, right = -height % pooling, -width % pooling
    padded = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REFLECT_101)
    # Not predict_on_batch: on JAX it consumes the arrays of the weights, which during the last
    # epoch are those of their average too.
    maps = unet(padded[None].astype(np.float32), training=False)
    return keras.ops.convert_to_numpy(maps)[0, :height, :width]


def pixel_figures(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Compare two boolean masks: pixel accuracy, that of all-background, Dice and IoU in 0..1."""
    overlap, total = np.sum(truth & predicted), np.sum(truth) + np.sum(predicted)
    return {
        "pixel_accuracy": float(np.mean(truth == predicted)),
        "background_accuracy": float(np.mean(~truth)),
        "dice": float(2 * overlap / total) if total else 1.0,
        "iou": float(overlap / (total - overlap)) if total else 1.0,
    }
