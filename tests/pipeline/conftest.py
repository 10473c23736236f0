"""Runs of main on tiny models, for the tests of what may go wrong around them."""

import Final_implementation
import pytest

from helpers.tiny_models import load_once
from helpers.whole_runs import without_pictures
from pipeline import worker


@pytest.fixture
def run(models, tmp_path, monkeypatch, capsys):
    """Function that runs main on tmp_path/input; it gives the exit status and what was printed."""
    monkeypatch.setattr(worker, "load_network", load_once)
    without_pictures(monkeypatch.setattr)
    defaults = {"input_folder": tmp_path / "input", "microns_per_pixel": 1.0, "tile_size": 32}
    defaults |= {"generator": models / "generator.h5", "unet": models / "Unet.h5"}
    defaults["pixel_size_model"] = None

    def run_main(output=None, **flags):
        capsys.readouterr()
        output = output or tmp_path / "output"
        status = Final_implementation.main(output_folder=output, **defaults | flags)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return status, printed.out + printed.err

    return run_main
