"""memory.py tells the peak memory of another process and judges it."""

import numpy as np
import pytest
from PIL import Image

from evaluation import memory

# Stands in for the pipeline: takes 100 MB, and 1 MB more per pixel of the image's side, half of
# this in a helper process.
PROGRAM = """
import subprocess
import sys
import time
from pathlib import Path
from PIL import Image
folder = Path(sys.argv[sys.argv.index("--input-folder") + 1])
with Image.open(folder / "image.png") as image:
    side = image.width
filled = b"x" * (100_000_000 + side * 500_000)
code = f"import time; filled = b'x' * ({side} * 500_000); time.sleep(1)"
subprocess.run([sys.executable, "-c", code])
"""


@pytest.fixture
def measure(tmp_path, monkeypatch, capsys):
    """Function that runs main with the stand-in; it gives the exit status and what was printed."""
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setattr(memory, "SCRIPT", tmp_path / "program.py")
    Image.fromarray(np.full((30, 20, 3), 200, np.uint8)).save(tmp_path / "image.png")

    def run_main(**flags):
        status = memory.main(tmp_path / "image.png", temporary_folder=tmp_path, **flags)
        return status, capsys.readouterr().out

    return run_main


def test_peaks_and_growth_are_measured_and_judged(measure):
    status, printed = measure(sides=(100, 300))
    assert status == 1  # it grows
    lines = printed.splitlines()
    small, large = (float(line.split()[1]) for line in lines[1:3])
    assert lines[1].split()[0] == "100x100" and 0.2 < small < 0.3
    assert large - small == pytest.approx(0.2, abs=0.03)
    assert measure(sides=(100, 300), largest_growth=2.0)[0] == 0
    assert measure(sides=(100, 100))[0] == 0
    assert measure(sides=(100,), largest_peak=0.15)[0] == 1


def test_a_run_that_fails_is_shown(measure, tmp_path):
    (tmp_path / "program.py").write_text("raise SystemExit('no such thing')")
    status, printed = measure(sides=(100,))
    assert status == 1
    assert "no such thing" in printed


def test_small_pictures_are_mirrored():
    tissue = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    square = memory.mirrored(tissue, 7)
    assert square.shape == (7, 7, 3)
    np.testing.assert_array_equal(square[:2, :3], tissue)
    np.testing.assert_array_equal(square[2:4, 3:6], tissue[::-1, ::-1])
