"""An uninterrupted run of each tiny training, for many looks at what it has left."""

import pytest

from helpers.training_runs import stand_in_for_models


@pytest.fixture(scope="module")
def shipped(training, tmp_path_factory):
    """Folder that stands for `models/` of the repository."""
    with stand_in_for_models(training, tmp_path_factory.mktemp("repository")) as models:
        yield models


@pytest.fixture(scope="module")
def run(training, shipped, tmp_path_factory):
    """The folder of an uninterrupted run, and the (seed, epoch, index) of its batches."""
    folder = tmp_path_factory.mktemp("runs") / "new" / "run"
    return folder, training.recorded_run(folder)


@pytest.fixture(scope="module")
def finished(run):
    """The folder of an uninterrupted run."""
    return run[0]
