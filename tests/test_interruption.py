"""The real script, killed in the middle and started again, ends with the same bytes."""

import subprocess
import sys
import time

import Final_implementation
import tiny_models
from drawn_tissue import draw_tissue
from pieces import Pieces
from PIL import Image

RESULTS = ("nuclei_labels.tif", "nuclei.csv", "nuclei.geojson", "super_resolved.png")
STRIPS = 12  # of tiles, for each network


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    image, _ = draw_tissue(STRIPS * 16, 300, nuclei=90)
    Image.fromarray(image).save(tmp_path / "images" / "a.png")
    choices = {
        "input_folder": tmp_path / "images",
        "generator": tiny_models.save(tiny_models.bicubic_generator(), tmp_path / "generator.h5"),
        "unet": tiny_models.save(
            tiny_models.darkness_unet(), tmp_path / "Unet.h5", tiny_models.UNET_MICRONS
        ),
        "microns_per_pixel": 1.0,
        "tile_size": 16,
    }
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    partial = killed / "a" / ".partial"

    command = [sys.executable, Final_implementation.__file__]
    for name, value in (choices | {"output_folder": killed}).items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    process = subprocess.Popen(command)
    # In the middle of the second network; state of the first one must not be lost either.
    while len(list(partial.glob("maps/*.json"))) < 3:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert len(list(partial.glob("pixels/*.json"))) == STRIPS
    finished = set(partial.glob("*/*.json"))
    assert STRIPS + 3 <= len(finished) < 2 * STRIPS
    assert list((killed / "a").iterdir()) == [partial]  # nothing unfinished under a final name

    done, finish = set(), Pieces.finish

    def watched(pieces, number, record):
        done.add(pieces.path(number).with_suffix(".json"))
        finish(pieces, number, record)

    monkeypatch.setattr(Pieces, "finish", watched)
    assert Final_implementation.main(output_folder=killed, **choices) == 0
    assert len(done) == 2 * STRIPS + 1 - len(finished) and not done & finished
    assert Final_implementation.main(output_folder=whole, **choices) == 0
    for name in RESULTS:
        assert (killed / "a" / name).read_bytes() == (whole / "a" / name).read_bytes(), name
    assert not partial.exists()
