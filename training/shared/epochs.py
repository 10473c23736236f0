"""An epoch of training: its random batches, its speed, and what is written after it."""

import csv
import importlib.util
import time
from pathlib import Path

import keras
import numpy as np

CHECKPOINT = ".weights.h5"  # the ending that Keras asks for
KEPT_CHECKPOINTS = 2
# TensorBoard's log needs both; a machine that trains on JAX or PyTorch may have neither.
HAS_TENSORBOARD = all(importlib.util.find_spec(name) for name in ("tensorflow", "tensorboard"))


class RandomBatches(keras.utils.PyDataset):
    """Batches that depend only on (seed, epoch, index), so that an interrupted run can resume.

    A subclass draws a batch in `draw(rng)`.

    Attributes:
        epoch: the current epoch; `EpochTimes` sets it.
        ready: {index: time at which the batch was ready, by `time.perf_counter`, in seconds}.

    Args:
        batches: batches per epoch.
        seed: random seed of all draws.
        workers: threads that prepare batches in advance; NumPy and OpenCV release Python's lock.
    """

    def __init__(self, batches: int, seed: int, workers: int = 2):
        super().__init__(workers=workers, max_queue_size=8)
        self.batches = batches
        self.seed = seed
        self.epoch = 0
        self.ready = {}

    def __len__(self):
        return self.batches

    def __getitem__(self, index):
        batch = self.draw(np.random.default_rng((self.seed, self.epoch, index)))
        self.ready[index] = time.perf_counter()
        return batch


def adam(peak: float, steps: int) -> keras.optimizers.Optimizer:
    """Return Adam with a short warm-up, a cosine decay to 1 %, and an average of recent weights.

    Args:
        peak: highest learning rate.
        steps: steps of the whole run.
    """
    warmup = min(200, max(1, steps // 10))
    schedule = keras.optimizers.schedules.CosineDecay(
        peak / 10, max(1, steps - warmup), alpha=0.01, warmup_target=peak, warmup_steps=warmup
    )
    momentum = 1 - 1 / max(100, steps // 20)  # averages over a twentieth of the run
    return keras.optimizers.Adam(schedule, use_ema=True, ema_momentum=momentum)


def epoch_callbacks(batches: RandomBatches, report, curves, folder: Path, prefix: str) -> list:
    """Return the callbacks of an epoch, in the order in which they must run.

    Validation uses the averaged weights, and the backup holds the raw ones: `averages` swaps them
    for the report only. The backup is last, so that it never holds an epoch that the log lacks.

    Args:
        batches: the training data.
        report: callback that adds validation figures to the logs; has `picture_file`.
        curves: callback that draws the log.
        folder: folder for `<prefix>log.csv`, `<prefix>backup`, `<prefix>tensorboard`.
        prefix: beginning of these names.
    """
    averages = keras.callbacks.SwapEMAWeights()
    callbacks = [
        Resumption(),
        EpochTimes(batches),
        StopAtNaN(),
        averages,
        keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: averages.on_test_begin()),
        report,
        keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: averages.on_test_end()),
        EpochLog(folder / f"{prefix}log.csv"),
        curves,
    ]
    if HAS_TENSORBOARD:
        log_folder = folder / f"{prefix}tensorboard"
        callbacks += [
            keras.callbacks.TensorBoard(log_folder),
            PicturesToTensorBoard(log_folder, report),
        ]
    return [*callbacks, Backup(folder / f"{prefix}backup")]


def fit(model: keras.Model, batches: RandomBatches, epochs: int, callbacks: list):
    """Train a compiled and built model from its last finished epoch on.

    Args:
        model: the model.
        batches: the training data.
        epochs: of the whole training.
        callbacks: of `epoch_callbacks`.

    Raises:
        SystemExit: there is a backup that cannot be read.
    """
    backup = next(each for each in callbacks if isinstance(each, Backup))
    begin = backup.restored(model)
    # The batches are random already; shuffling them would keep a resumed run from repeating.
    model.fit(batches, initial_epoch=begin, epochs=epochs, callbacks=callbacks, shuffle=False)


class Backup(keras.callbacks.Callback):
    """Keep the weights and the optimizer's state of the last epoch, whatever kills the run.

    Unlike Keras' BackupAndRestore, whose two files may be of different epochs or half written after
    a kill, it has one file per epoch, which gets its name once it is complete.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f"unfinished{CHECKPOINT}"
        self.model.save_weights(unfinished, overwrite=True)
        unfinished.replace(self.folder / f"epoch_{epoch + 1:05}{CHECKPOINT}")
        for path in self._checkpoints()[:-KEPT_CHECKPOINTS]:
            path.unlink()

    def restored(self, model: keras.Model) -> int:
        """Load the newest checkpoint that can be read; return how many epochs are finished."""
        paths = self._checkpoints()
        for path in reversed(paths):
            model.optimizer.build(model.trainable_variables)
            try:
                model.load_weights(path)
            except OSError:  # a loss of power cut it short; the one before is whole
                continue
            return int(path.name.removesuffix(CHECKPOINT).rpartition("_")[2])
        if paths:
            raise SystemExit(
                f"{paths[-1]} cannot be read, nor can those before; delete {self.folder} to begin "
                "anew"
            )
        return 0

    def _checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob(f"epoch_*{CHECKPOINT}"))


class Resumption(keras.callbacks.Callback):
    """State in one line that a run goes on where an interrupted one stopped."""

    def __init__(self):
        super().__init__()
        self.begun = False

    def on_epoch_begin(self, epoch, logs=None):
        if epoch and not self.begun:
            print(f"Resumed after epoch {epoch} of {self.params['epochs']}")
        self.begun = True


class EpochTimes(keras.callbacks.Callback):
    """Tell the data which epoch it is; log steps per second and the share of time spent waiting.

    A step requests its batch when the step before it has ended, so it waited if the batch became
    ready only later. (If JAX computes on one accelerator, Keras requests it a step earlier.)
    Validation and pictures are not counted; the compilation in the first step is.
    """

    def __init__(self, batches: RandomBatches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.epoch = epoch
        self.batches.ready.clear()
        self.begun = self.last = time.perf_counter()
        self.waited = 0.0

    def on_train_batch_end(self, batch, logs=None):
        needed = min(batch + _batches_ahead(), len(self.batches) - 1)
        self.waited += max(0.0, self.batches.ready[needed] - self.last)
        self.last = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = self.last - self.begun
        logs["steps_per_second"] = len(self.batches) / seconds
        logs["data_wait_share"] = self.waited / seconds


class StopAtNaN(keras.callbacks.Callback):
    """End a run whose loss is no longer a number, before this reaches the backup."""

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            raise SystemExit(
                f"\nThe loss became {logs['loss']} in step {batch + 1}: lower the learning rate "
                "and give another RUN_FOLDER (--run-folder)."
            )


class EpochLog(keras.callbacks.Callback):
    """Write the logs as CSV, a row per epoch.

    Unlike Keras' CSVLogger it replaces the rows of epochs that are trained again after a run was
    interrupted between log and backup.
    """

    def __init__(self, file: Path):
        super().__init__()
        self.file = file

    def on_epoch_end(self, epoch, logs=None):
        rows = [row for row in read_log(self.file) if int(row["epoch"]) < epoch]
        rows.append({"epoch": epoch, **dict(sorted(logs.items()))})
        unfinished = self.file.with_suffix(".tmp")
        with unfinished.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[-1]))
            writer.writeheader()
            writer.writerows(rows)
        unfinished.replace(self.file)


class PicturesToTensorBoard(keras.callbacks.Callback):
    """Add the picture of every epoch to the TensorBoard log."""

    def __init__(self, folder: Path, report):
        super().__init__()
        self.folder, self.report = folder / "pictures", report

    def on_epoch_end(self, epoch, logs=None):
        import tensorflow as tf  # only here: training runs without it on other backends

        image = tf.io.decode_png(tf.io.read_file(str(self.report.picture_file)))
        with tf.summary.create_file_writer(str(self.folder)).as_default():
            tf.summary.image("validation", image[None], step=epoch)


def read_log(file: Path) -> list[dict]:
    """Return the rows of an epoch log as strings; none if there is no log."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _batches_ahead() -> int:
    """Return how many steps in advance Keras takes a batch from the queue."""
    if keras.backend.backend() != "jax" or keras.distribution.distribution():
        return 0
    import jax  # only here: other backends do not need it

    return int(jax.default_backend() != "cpu")
