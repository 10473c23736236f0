"""What a training run writes after every epoch: validation figures, a picture, curves."""

from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

from shared.epochs import epoch_callbacks, read_log
from shared.saving import save_model
from unet.scoring import mean_scores, predict_maps

SHOWN = ("dice", "aji", "pq", "pixel_accuracy")
BEST_BY = "val_aji"  # figure of the log by which the best epoch is known


def standard_callbacks(run_folder: Path, batches, validation, pooling: int, microns: float) -> list:
    """Return the callbacks of the training, in order.

    Args:
        run_folder: where all files go.
        batches: the training data.
        validation: samples with labels.
        pooling: the U-net's pooling factor.
        microns: um per pixel of the samples.
    """
    log_file = run_folder / "training_log.csv"
    report = ValidationReport(validation, pooling, microns, run_folder)
    curves = TrainingCurves(log_file, run_folder / "training_curves.png")
    return epoch_callbacks(batches, report, curves, run_folder, "training_")


class ValidationReport(keras.callbacks.Callback):
    """Add loss, pixel figures and those of nuclei to the logs; keep the best U-net.

    Figures are means over whole held-out images, where they are labelled: pixels at probability
    0.5, beside the all-background answer's accuracy, and nuclei as a run separates them. The U-net
    with the highest AJI so far is `Unet_best.h5`.

    Args:
        samples: validation samples with labels (see unet.data.Sample).
        pooling: the U-net's pooling factor; images are reflected up to its multiple.
        microns: um per pixel of the samples.
        run_folder: gets `pictures/epoch_NNN.png` (image | truth | probability | distance) and the
            best U-net; holds the log.
    """

    def __init__(self, samples, pooling: int, microns: float, run_folder: Path):
        super().__init__()
        self.samples = samples
        self.pooling = pooling
        self.microns = microns
        self.run_folder = run_folder

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        maps = [predict_maps(self.model, sample.image, self.pooling) for sample in self.samples]
        figures = mean_scores(self.samples, maps, self.microns)
        logs.update({f"val_{name}": value for name, value in figures.items()})
        # Asked of the log, so that a resumed run knows the best, too.
        rows = read_log(self.run_folder / "training_log.csv")
        earlier = [float(row[BEST_BY]) for row in rows if int(row["epoch"]) < epoch]
        if logs[BEST_BY] > max(earlier, default=-1):
            save_model(self.model, self.run_folder / "Unet_best.h5")
        folder = self.run_folder / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        self.picture_file = folder / f"epoch_{epoch + 1:03d}.png"
        self._picture(maps).savefig(self.picture_file)

    def _picture(self, maps, rows=4):
        chosen = np.linspace(0, len(maps) - 1, min(rows, len(maps))).astype(int)
        figure = Figure(figsize=(13, 3 * len(chosen)), layout="constrained")
        axes = figure.subplots(len(chosen), 4, squeeze=False)
        titles = ("image", "truth", "probability", "relative distance")
        for row, index in zip(axes, chosen, strict=True):
            sample = self.samples[index]
            truth = sample.targets[..., 0] / 255
            panels = (sample.image, truth, *np.moveaxis(maps[index], -1, 0))
            for axis, title, panel in zip(row, titles, panels, strict=True):
                # The scale is fixed: otherwise a map that is nowhere sure would look sure.
                drawn = axis.imshow(panel, cmap="cividis", vmin=0, vmax=1)
                axis.set_title(title)
                axis.axis("off")
        figure.colorbar(drawn, ax=axes, fraction=0.02)
        return figure


class TrainingCurves(keras.callbacks.Callback):
    """Redraw losses and validation figures from the CSV log after every epoch."""

    def __init__(self, log_file: Path, picture: Path):
        super().__init__()
        self.log_file = log_file
        self.picture = picture

    def on_epoch_end(self, epoch, logs=None):
        draw_curves(self.log_file).savefig(self.picture)


def draw_curves(log_file: Path) -> Figure:
    """Draw losses and validation figures over the epochs; one epoch shows as points."""
    log = np.atleast_1d(np.genfromtxt(log_file, delimiter=",", names=True))
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    loss_axis, figure_axis = figure.subplots(1, 2)
    epochs = log["epoch"] + 1
    for name, label in (("loss", "training"), ("val_loss", "validation, not augmented")):
        loss_axis.plot(epochs, log[name], marker="o", label=label)
    for name in SHOWN:
        label = name.upper() if name in ("aji", "pq") else name.replace("_", " ").capitalize()
        figure_axis.plot(epochs, log[f"val_{name}"], marker="o", label=label)
    baseline = log["val_background_accuracy"]
    figure_axis.plot(epochs, baseline, "k--", marker=".", label="Accuracy of all-background")
    loss_axis.set(title="loss", xlabel="epoch")
    figure_axis.set(title="validation", xlabel="epoch", ylim=(0, 1))
    for axis in (loss_axis, figure_axis):
        axis.set_xlim(0.5, epochs.max() + 0.5)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize="small")
    return figure
