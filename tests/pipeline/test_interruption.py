"""The real script, killed in the middle and started again, ends with the same bytes."""

import sys
import time

import Final_implementation
import psutil
import pytest
from PIL import Image

from helpers.drawn_tissue import draw_tissue
from helpers.tiny_models import load_once
from helpers.whole_runs import finished_folders, without_pictures
from pipeline import worker
from stages.pieces import Pieces

RESULTS = (
    "nuclei_labels.tif",
    "nuclei.csv",
    "nuclei.geojson",
    "super_resolved.png",
    "sr_confidence.tif",
)
STRIPS = 12  # of tiles, for each network


@pytest.fixture
def choices(models, tmp_path):
    """Constants of a run with tiny models on one image, which `draw` makes."""
    (tmp_path / "images").mkdir()
    return {
        "input_folder": tmp_path / "images",
        "generator": models / "generator.h5",
        "unet": models / "Unet.h5",
        "pixel_size_model": None,
        "microns_per_pixel": 1.0,
    }


def draw(choices, height, width, nuclei):
    image, _ = draw_tissue(height, width, nuclei=nuclei)
    Image.fromarray(image).save(choices["input_folder"] / "a.png")


def kill_run(choices, folder, stage: str, pieces: int):
    """Start the script and kill it once a stage has so many pieces.

    Returns the records of all pieces that are done, and how many processes it had started.
    """
    command = [sys.executable, Final_implementation.__file__]
    for name, value in (choices | {"output_folder": folder}).items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    process = psutil.Popen(command)
    partial = folder / "a" / ".partial"
    deadline = time.monotonic() + 300
    while len(list(partial.glob(f"{stage}/*.json"))) < pieces:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run hangs"
        time.sleep(0.005)
    helpers = process.children(recursive=True)
    process.kill()
    process.wait()
    assert not psutil.wait_procs(helpers, timeout=10)[1]
    # Nothing unfinished has a final name; the manifest only says whose folder this is.
    assert {path.name for path in (folder / "a").iterdir()} == {".partial", "manifest.json"}
    assert not finished_folders(folder)
    return set(partial.glob("*/*.json")), len(helpers)


def check_that_it_goes_on(choices, killed, whole, finished, pieces: int, monkeypatch):
    """Run again what was killed; nothing is done twice, and the bytes are a clean run's."""
    done, finish = set(), Pieces.finish

    def watched(pieces, number, record):
        done.add(pieces.path(number).with_suffix(".json"))
        finish(pieces, number, record)

    without_pictures(monkeypatch.setattr)
    monkeypatch.setattr(worker, "load_network", load_once)
    monkeypatch.setattr(Pieces, "finish", watched)
    assert Final_implementation.main(output_folder=killed, **choices) == 0
    assert len(done) == pieces - len(finished) and not done & finished
    assert Final_implementation.main(output_folder=whole, **choices) == 0
    for name in RESULTS:
        assert (killed / "a" / name).read_bytes() == (whole / "a" / name).read_bytes(), name
    assert not (killed / "a" / ".partial").exists()


def test_a_run_killed_between_strips_goes_on(tmp_path, choices, monkeypatch):
    draw(choices, STRIPS * 16, 300, nuclei=90)
    choices["tile_size"] = 16
    # In the middle of the second network; state of the first one must not be lost either.
    finished, _ = kill_run(choices, tmp_path / "killed", "maps", 3)
    assert len([piece for piece in finished if piece.parent.name == "pixels"]) == STRIPS
    assert STRIPS + 3 <= len(finished) < 2 * STRIPS
    check_that_it_goes_on(
        choices, tmp_path / "killed", tmp_path / "whole", finished, 2 * STRIPS + 1, monkeypatch
    )


def test_a_run_killed_while_helpers_measure_goes_on(tmp_path, choices, monkeypatch):
    draw(choices, 90, 1500, nuclei=250)  # four windows of 1536 output pixels
    choices |= {"measuring_processes": 2, "tile_size": 128}
    finished, started = kill_run(choices, tmp_path / "killed", "windows", 1)
    windows = len([piece for piece in finished if piece.parent.name == "windows"])
    assert started >= 2 and 1 <= windows < 4
    pieces = len(finished) - windows + 4  # both networks had finished
    check_that_it_goes_on(
        choices, tmp_path / "killed", tmp_path / "whole", finished, pieces, monkeypatch
    )
