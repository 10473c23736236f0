"""What a training run writes after every epoch: validation figures, a picture, curves."""

from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

from images.degradation import degrade_area, degrade_scanner
from metrics.pictures import bicubic, mean_fidelity
from shared.epochs import epoch_callbacks
from srgan.models import scale_of
from srgan.prediction import super_resolve

VALIDATION_CROP = 384  # pixels; the middle of each validation image, so that an epoch stays short
PICTURE_CROP = 192


def standard_callbacks(run_folder: Path, phase: str, batches, generator, validation) -> list:
    """Return the callbacks of one phase, in order."""
    report = ValidationReport(generator, validation, run_folder / f"{phase}_pictures")
    return epoch_callbacks(batches, report, TrainingCurves(run_folder), run_folder, f"{phase}_")


class ValidationReport(keras.callbacks.Callback):
    """Add figures of the middles of held-out images, beside bicubic's, to the logs; save a picture.

    Args:
        generator: the model that is judged.
        pictures: the held-out pictures; their middle is used. Recorded pairs among them give
            figures of their own, `recorded`.
        folder: where `epoch_NNN.png` (low resolution | bicubic | generator | high resolution) goes.
    """

    def __init__(self, generator, pictures, folder: Path):
        super().__init__()
        self.generator = generator
        self.folder = folder
        self.scale = scale_of(generator)
        self.high = [centre_crop(picture.high, VALIDATION_CROP) for picture in pictures]
        self.cases = {
            "area": [(degrade_area(high, self.scale), high) for high in self.high],
            "scanner": [
                (degrade_scanner(high, np.random.default_rng(i), self.scale), high)
                for i, high in enumerate(self.high)
            ],
        }
        recorded = [recorded_middle(p, self.scale) for p in pictures if p.recorded is not None]
        if recorded:
            self.cases["recorded"] = recorded
        enlarged = {
            name: [bicubic(low, self.scale) for low, _ in pairs]
            for name, pairs in self.cases.items()
        }
        self.baseline = self._figures(enlarged, "bicubic")

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        generated = self._generate()
        logs.update(self._figures(generated, "val") | self.baseline)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.picture_file = self.folder / f"epoch_{epoch + 1:03d}.png"
        self._picture(generated["area"]).savefig(self.picture_file)

    def figures(self) -> dict[str, float]:
        """Return PSNR and SSIM of the generator as it is now, and bicubic's."""
        return self._figures(self._generate(), "val") | self.baseline

    def _generate(self):
        return {
            name: [super_resolve(self.generator, low) for low, _ in pairs]
            for name, pairs in self.cases.items()
        }

    def _figures(self, images, prefix):
        return {
            f"{prefix}_{metric}_{name}": value
            for name, pairs in self.cases.items()
            for metric, value in mean_fidelity(
                (high, image) for (_, high), image in zip(pairs, images[name], strict=True)
            ).items()
        }

    def _picture(self, generated, rows=3):
        chosen = np.linspace(0, len(self.high) - 1, min(rows, len(self.high))).astype(int)
        figure = Figure(figsize=(12, 3 * len(chosen)), layout="constrained")
        titles = ("low resolution", "bicubic", "generator", "high resolution")
        axes = figure.subplots(len(chosen), 4, squeeze=False)
        for row, index in zip(axes, chosen, strict=True):
            low, _ = self.cases["area"][index]
            nearest = np.kron(low, np.ones((self.scale, self.scale, 1), np.uint8))
            panels = (nearest, bicubic(low, self.scale), generated[index], self.high[index])
            for axis, title, panel in zip(row, titles, panels, strict=True):
                axis.imshow(centre_crop(panel, PICTURE_CROP))
                axis.set_title(title)
                axis.axis("off")
        return figure


class TrainingCurves(keras.callbacks.Callback):
    """Redraw losses and validation figures from the CSV logs, a row for each phase so far."""

    def __init__(self, run_folder: Path):
        super().__init__()
        self.run_folder = run_folder

    def on_epoch_end(self, epoch, logs=None):
        names = [f"{phase}_log.csv" for phase in ("pretraining", "adversarial")]
        files = [self.run_folder / name for name in names if (self.run_folder / name).is_file()]
        figure = Figure(figsize=(12, 3.5 * len(files)), layout="constrained")
        rows = figure.subplots(len(files), 3, squeeze=False)
        for axes, file in zip(rows, files, strict=True):
            log = np.atleast_1d(np.genfromtxt(file, delimiter=",", names=True))
            draw_curves(axes, log, file.name.removesuffix("_log.csv"))
        figure.savefig(self.run_folder / "training_curves.png")


def draw_curves(axes, log, phase: str):
    """Draw one phase: losses; PSNR and SSIM on validation, with bicubic's as dashed lines."""
    loss_axis, *metric_axes = axes
    names = log.dtype.names
    for name in names:
        if "loss" in name:
            loss_axis.plot(log["epoch"] + 1, log[name], label=name)
    scale = "linear" if phase == "pretraining" else "log"  # its loss is in dB already
    loss_axis.set(title=f"{phase}, loss", xlabel="epoch", yscale=scale)
    for axis, metric in zip(metric_axes, ("psnr", "ssim"), strict=True):
        cases = [name for name in ("area", "scanner", "recorded") if f"val_psnr_{name}" in names]
        for colour, name in zip(("tab:blue", "tab:orange", "tab:green"), cases, strict=False):
            axis.plot(log["epoch"] + 1, log[f"val_{metric}_{name}"], colour, label=name)
            baseline = log[f"bicubic_{metric}_{name}"]
            axis.plot(log["epoch"] + 1, baseline, colour, ls="--", label=f"{name}, bicubic")
        axis.set(title=f"validation {metric.upper()}", xlabel="epoch")
    for axis in axes:
        axis.legend(fontsize="small")


def recorded_middle(picture, scale: int):
    """Return (low, high): the middle of a recorded pair, of at most VALIDATION_CROP pixels."""
    sides = [min(VALIDATION_CROP // scale, side) // 2 * 2 for side in picture.recorded.shape[:2]]
    y, x = ((n - side) // 2 for n, side in zip(picture.recorded.shape, sides, strict=False))
    low = picture.recorded[y : y + sides[0], x : x + sides[1]]
    high = picture.high[scale * y :, scale * x :][: scale * sides[0], : scale * sides[1]]
    return low, high


def centre_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Cut the middle of at most `size` pixels per side, rounded down to a multiple of 4."""
    height, width = (min(size, extent) // 4 * 4 for extent in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]
