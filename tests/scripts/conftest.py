"""Fixtures of whole runs, with networks small enough for a second an image.

The tiny generator is bicubic interpolation and the tiny U-net takes dark for nucleus, so what is
drawn must be found.
"""

import functools
from pathlib import Path

import Final_implementation
import pytest

from helpers import tiny_models
from helpers.whole_runs import drawn, put
from networks import loading
from outputs import evidence, files
from pipeline import worker
from stages import assembly


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder of generator.h5, generator_x2.h5 and Unet.h5."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.save(tiny_models.bicubic_generator(), folder / "generator.h5")
    tiny_models.save(tiny_models.x2_generator(), folder / "generator_x2.h5")
    tiny_models.save(tiny_models.darkness_unet(), folder / "Unet.h5", tiny_models.UNET_MICRONS)
    return folder


cached_network = functools.lru_cache(loading.load_network)  # so that each is traced once


@pytest.fixture
def run(models, tmp_path, monkeypatch):
    """Function that runs main on tmp_path/input and gives its exit status; flags as keywords."""
    monkeypatch.setattr(worker, "load_network", cached_network)
    # The real ones take half the time of an image; the first test below draws them.
    monkeypatch.setattr(evidence, "write_map", lambda path, *_: Path(path).write_bytes(b"drawn"))
    monkeypatch.setattr(files, "write_figure", lambda path, *_: Path(path).write_bytes(b"drawn"))
    monkeypatch.setattr(assembly, "write_maps", lambda *_: None)

    def run_main(output="output", **flags):
        defaults = {
            "input_folder": tmp_path / "input",
            "generator": models / "generator.h5",
            "generator_x2": models / "generator_x2.h5",
            "unet": models / "Unet.h5",
            "microns_per_pixel": 1.0,
        }
        flags = defaults | {"output_folder": tmp_path / output} | flags
        return Final_implementation.main(**flags)

    return run_main


@pytest.fixture(scope="module")
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
        unet=models / "Unet.h5",
        microns_per_pixel=1.0,
    )
    return folder / "output", status, centres
