"""Fixtures of whole runs with the tiny models."""

import Final_implementation
import pytest

from helpers.tiny_models import load_once
from helpers.whole_runs import drawn, put, without_pictures
from pipeline import worker


@pytest.fixture
def run(models, tmp_path, monkeypatch):
    """Function that runs main on tmp_path/input and gives its exit status; flags as keywords."""
    monkeypatch.setattr(worker, "load_network", load_once)
    without_pictures(monkeypatch.setattr)  # which `finished` draws

    def run_main(output="output", **flags):
        defaults = {
            "input_folder": tmp_path / "input",
            "generator": models / "generator.h5",
            "generator_x2": models / "generator_x2.h5",
            "unet": models / "Unet.h5",
            "pixel_size_model": None,
            "microns_per_pixel": 1.0,
        }
        flags = defaults | {"output_folder": tmp_path / output} | flags
        return Final_implementation.main(**flags)

    return run_main


@pytest.fixture(scope="session")
def finished(models, tmp_path_factory):
    """A run of two images, as a user does it: (output folder, exit status, drawn centres)."""
    folder = tmp_path_factory.mktemp("finished")
    image, centres = drawn()
    for name in ("first.png", "zweites Präparat.png"):
        put(folder / "input", name, image)
    status = Final_implementation.main(
        input_folder=folder / "input",
        output_folder=folder / "output",
        generator=models / "generator.h5",
        generator_x2=models / "generator_x2.h5",
        unet=models / "Unet.h5",
        pixel_size_model=None,
        microns_per_pixel=1.0,
    )
    return folder / "output", status, centres
