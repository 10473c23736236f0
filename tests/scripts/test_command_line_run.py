"""The script itself, from any folder."""

import os
import subprocess
import sys

from helpers.whole_runs import SCRIPT, check_agreement, drawn, put


def test_the_script_runs_from_any_directory(models, tmp_path):
    put(tmp_path / "my images", "a.png", drawn()[0])
    flags = ["--input-folder", "my images", "--output-folder", "results"]
    flags += ["--generator", str(models / "generator.h5"), "--unet", str(models / "Unet.h5")]
    flags += ["--microns-per-pixel", "1.0", "--tile-size", "64", "--batch-size", "2"]
    # JAX, where it is installed, asks for more of TensorFlow's notes in the test's own process.
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *flags],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert check_agreement(tmp_path / "results" / "a") == len(drawn()[1])
    assert "a.png" in done.stdout
    shown = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.strip()]
    assert [line for line in shown if "a.png" not in line] == []  # nothing but the bar
    assert done.stdout.startswith("Looking at 1 file ...\nLoading ")
    repeated = subprocess.run(
        [sys.executable, "-X", "importtime", str(SCRIPT), *flags],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert repeated.returncode == 0 and "finished before" in repeated.stdout
    imported = {line.split("|")[-1].strip() for line in repeated.stderr.splitlines()}
    assert "pipeline.run" in imported
    assert not imported & {"tensorflow", "keras", "skimage", "matplotlib", "pipeline.worker"}
