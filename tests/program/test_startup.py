"""Keras starts quietly, or the reason why not stands in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FINAL = ROOT / "Implementation" / "Final_implementation.py"


def run(*command, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("backend", ["torch", "nonsense"])
def test_a_backend_that_is_not_there_is_named_in_one_line(tmp_path, backend):
    blocked = tmp_path / "torch.py"  # whether or not it is installed
    blocked.write_text("raise ImportError('no torch here')\n")
    done = run(
        FINAL, "--output-folder", tmp_path / "out", KERAS_BACKEND=backend, PYTHONPATH=str(tmp_path)
    )
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and "KERAS_BACKEND" in lines[0] and backend in lines[0]


@pytest.mark.parametrize(
    "name", ["Final_implementation", "Evaluate", "Stitch_fields", "Workflow_figure", "benchmark"]
)
def test_a_script_that_is_started_as_a_module_says_how_it_is_started(name):
    done = run("-m", f"Implementation.{name}", "--help", cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr == f"Start this script by its path: python Implementation/{name}.py\n"
