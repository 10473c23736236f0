"""Training scripts with tiny constants: run, interrupt, compare."""

import contextlib
import csv
import inspect
import re

import h5py
import keras
import numpy as np
import pytest
import tyro
from matplotlib.figure import Figure

from helpers.drawn_tissue import write_picture

WHITE = np.full((8, 8, 3), 255, np.uint8)
BATCHES = {"generator.h5": "SuperResolutionBatches", "Unet.h5": "NucleiBatches"}


class TinyTraining:
    """The `main` of a training script with constants so small that a run takes a second.

    Args:
        script: the module.
        work: the module that does what the script promises.
        model: file name of the model that it trains.
        constants: constants other than the script's own.
    """

    def __init__(self, script, work, model, **constants):
        self.script, self.work, self.model = script, work, model
        self.constants = constants

    def run(self, run_folder, compiled=False, drawn=False, **changes):
        """Train in a run folder, without drawing pictures and curves unless `drawn`.

        `changes` replace constants.
        """
        with contextlib.ExitStack() as stack:
            if not compiled:
                stack.enter_context(step_by_step())
            if not drawn:
                patch = stack.enter_context(pytest.MonkeyPatch.context())
                patch.setattr(Figure, "savefig", lambda _, path: write_picture(path, WHITE))
            self.script.main(**{**self.constants, "run_folder": run_folder, **changes})

    def refused(self, run_folder, **changes):
        """Return what a run says that ends at once."""
        with pytest.raises(SystemExit) as error:
            self.run(run_folder, **changes)
        assert error.value.code not in (0, None)  # a text, which means exit status 1
        return str(error.value)

    def interrupt(self, run_folder, after=None, phase=None):
        """Run until Ctrl-C in the second epoch.

        Args:
            run_folder: where.
            after: "batch" = after the first batch; or the name of the callback after which it
                comes at the end of the epoch; None = after all of them.
            phase: the phase of the SRGAN.
        """
        standard_callbacks = self.work.standard_callbacks

        def interrupted_callbacks(*arguments):
            callbacks = standard_callbacks(*arguments)
            if phase is None or phase in arguments:
                names = [type(callback).__name__ for callback in callbacks]
                place = names.index(after) + 1 if after in names else len(callbacks)
                callbacks.insert(place, Interruption(epoch=1, at_its_end=after != "batch"))
            return callbacks

        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(self.work, "standard_callbacks", interrupted_callbacks)
            self.run(run_folder)

    def recorded_run(self, run_folder):
        """Train; return the (seed, epoch, index) of every batch that was read."""
        batches, read = BATCHES[self.model], set()

        class RecordedBatches(getattr(self.work, batches)):
            def __getitem__(self, index):
                read.add((self.seed, self.epoch, index))
                return super().__getitem__(index)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.work, batches, RecordedBatches)
            self.run(run_folder, drawn=True)
        return read


class Interruption(keras.callbacks.Callback):
    """Stand-in for Ctrl-C: in epoch `epoch`, after its first batch or at its end."""

    def __init__(self, epoch, at_its_end):
        super().__init__()
        self.epoch = epoch
        self.at_its_end = at_its_end
        self.reached = None

    def on_epoch_begin(self, epoch, logs=None):
        self.reached = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.reached == self.epoch and not self.at_its_end:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


@contextlib.contextmanager
def step_by_step():
    """Train uncompiled on TensorFlow, whose tracing and XLA take longer than a tiny training."""
    compile_model = keras.Model.compile

    def compile_eagerly(model, *arguments, **named):
        compile_model(model, *arguments, **named, run_eagerly=True)

    if keras.backend.backend() == "tensorflow":
        keras.Model.compile = compile_eagerly
    try:
        yield
    finally:
        keras.Model.compile = compile_model


@contextlib.contextmanager
def stand_in_for_models(training, folder):
    """Give a training another repository root, so that no test can touch the shipped models."""
    (folder / "models").mkdir()
    (folder / "models" / training.model).write_text("shipped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.work, "ROOT", folder)
        yield folder / "models"


def rows(file):
    """Read a CSV file."""
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def assert_sound_log(log):
    """Two epochs whose times can be true."""
    assert [int(row["epoch"]) for row in log] == [0, 1]
    assert all(np.isfinite(float(value)) for row in log for value in row.values())
    for row in log:
        assert 0 < float(row["steps_per_second"]) < 1e5
        assert 0 <= float(row["data_wait_share"]) <= 1


def saved_weights(path):
    """All weights of a saved model as one vector."""
    model = keras.models.load_model(path, compile=False)
    return np.concatenate([np.ravel(values) for values in model.get_weights()])


def assert_same_backup(first, second):
    """Compare the raw weights and the optimizer's state that two runs backed up last."""
    first, second = (
        _stored_values(max(folder.glob("epoch_*.weights.h5"))) for folder in (first, second)
    )
    assert first.keys() == second.keys() and len(first) > 10
    for name, values in first.items():
        np.testing.assert_allclose(values, second[name], rtol=1e-3, atol=1e-5, err_msg=name)


def assert_every_constant_is_an_explained_flag(script, capsys):
    """The Args of `main` explain each parameter, and --help shows the explanations."""
    arguments = inspect.getdoc(script.main).split("Args:\n")[1].split("\n\n")[0]
    explained = dict(re.findall(r"^    (\w+): (.+)$", arguments, re.MULTILINE))
    assert list(explained) == list(inspect.signature(script.main).parameters)
    with pytest.raises(SystemExit) as end:
        tyro.cli(script.main, args=["--help"])
    assert end.value.code == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, text in explained.items():
        assert f"--{name.replace('_', '-')}" in shown and " ".join(text.split()[:3]) in shown


def _stored_values(path):
    values = {}

    def keep(name, item):
        # The generator's optimizer of phase 1 is a leftover that nothing reads in phase 2.
        if isinstance(item, h5py.Dataset) and not name.startswith("generator/optimizer"):
            values[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(keep)
    return values
