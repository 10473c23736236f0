"""The peak memory of a run is that of its process and its helpers together."""

import numpy as np
import pytest
from PIL import Image

from evaluation.speed import memory

# Stands in for the pipeline: takes 100 MB, and 1 MB more per pixel of the image's side, half of
# this in a helper process.
PROGRAM = """
import subprocess
import sys
import time
from pathlib import Path
from PIL import Image
folder = Path(sys.argv[sys.argv.index("--input-folder") + 1])
with Image.open(folder / "1.png") as image:  # the second of two
    side = image.width
filled = b"x" * (100_000_000 + side * 500_000)
code = f"import time; filled = b'x' * ({side} * 500_000); time.sleep(1)"
subprocess.run([sys.executable, "-c", code])
"""


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Function that measures the stand-in for inputs of some sizes."""
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setattr(memory, "SCRIPT", tmp_path / "program.py")
    Image.fromarray(np.full((30, 20, 3), 200, np.uint8)).save(tmp_path / "image.png")
    return lambda *sides: memory.measure_memory(tmp_path / "image.png", sides, 4, {})


def test_peaks_and_growth_are_measured(measure, capsys):
    small, large = measure(100, 300)
    assert [small["side"], large["side"]] == [100, 300] and 0.2 < small["peak"] < 0.3
    assert large["peak"] - small["peak"] == pytest.approx(0.2, abs=0.03)
    growth = large["peak"] / small["peak"] - 1
    assert f"growth {growth:.1%}" in capsys.readouterr().out


def test_a_run_that_fails_is_shown(measure, tmp_path):
    (tmp_path / "program.py").write_text("raise SystemExit('no such thing')")
    with pytest.raises(ValueError, match="no such thing"):
        measure(100)


def test_small_pictures_are_mirrored():
    tissue = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    square = memory.mirrored(tissue, 7)
    assert square.shape == (7, 7, 3)
    np.testing.assert_array_equal(square[:2, :3], tissue)
    np.testing.assert_array_equal(square[2:4, 3:6], tissue[::-1, ::-1])
