"""Several devices of the JAX backend learn what one learns."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.drawn_tissue import write_pair, write_vgg19
from helpers.training_runs import rows

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys
from pathlib import Path
import keras, SRGAN_train, Unet_train
folder = Path(sys.argv[1])
for devices in (1, 4):
    common = dict(folder_weights=(1.0,), validation_names=("a",), crop=32, batch_size=4)
    common |= dict(steps_per_epoch=2, devices=devices)
    Unet_train.main(
        training_folders=(folder,), first_filters=4, depth=2, epochs=1,
        run_folder=folder / f"unet{devices}", **common,
    )
    SRGAN_train.main(
        high_resolution_folders=(folder / "images",), generator_filters=4, residual_blocks=1,
        discriminator_filters=8, vgg19_weights=str(folder / "vgg19.h5"),
        unet=None, pretraining_epochs=1, adversarial_epochs=1,
        run_folder=folder / f"srgan{devices}", **common,
    )
    assert (devices == 1) == (keras.distribution.distribution() is None)
assert len(keras.distribution.list_devices()) == 4
"""


def test_four_devices_give_the_losses_of_one(tmp_path):
    pytest.importorskip("jax", reason="the JAX backend is not installed")
    for seed, name in enumerate(("a", "b", "c")):
        write_pair(tmp_path, name, seed, (40, 40))
    write_vgg19(tmp_path / "vgg19.h5")
    folders = [ROOT / "training" / "SRGAN", ROOT / "training" / "U-net"]  # of the scripts
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        # Level 0: compiling takes longer than so little training.
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0",
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
    }
    command = [sys.executable, "-c", CODE, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for log in ("unet{}/training_log", "srgan{}/pretraining_log", "srgan{}/adversarial_log"):
        (one,), (four,) = (rows(tmp_path / f"{log.format(devices)}.csv") for devices in (1, 4))
        figures = [name for name in one if "loss" in name or name.startswith("val_")]
        assert len(figures) >= 5
        for name in figures:
            assert float(four[name]) == pytest.approx(float(one[name]), rel=1e-3, abs=1e-3), name
