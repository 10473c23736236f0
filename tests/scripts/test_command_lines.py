"""--help explains every flag of every script, and a missing folder is named with its flag."""

import subprocess
import sys
from pathlib import Path

import benchmark
import Evaluate
import Final_implementation
import Pick_fields
import Pixel_size_train
import pytest
import Score_train
import SRGAN_copy_set
import SRGAN_evaluate
import SRGAN_train
import Stitch_fields
import Unet_evaluate
import Unet_train
import Workflow_figure

from helpers.training_runs import assert_every_constant_is_an_explained_flag

SCRIPTS = (
    benchmark,
    Evaluate,
    Final_implementation,
    Pick_fields,
    SRGAN_copy_set,
    SRGAN_evaluate,
    Stitch_fields,
    Unet_evaluate,
    Workflow_figure,
)


@pytest.mark.parametrize(
    "script",
    (*SCRIPTS, Pixel_size_train, Score_train, SRGAN_train, Unet_train),
    ids=lambda script: script.__name__,
)
def test_help_is_quick_and_imports_nothing_heavy(script):
    heavy = {"tensorflow", "keras", "jax", "torch"}
    heavy |= {"cv2", "skimage"} if script is Final_implementation else set()
    code = (
        "import runpy, sys, time\n"
        "path, *heavy = sys.argv[1:]; sys.argv = [path, '--help']\n"
        f"sys.path[0] = {str(Path(script.__file__).parent)!r}\n"
        "try: runpy.run_path(path, run_name='__main__')\n"
        "finally: print('LOADED', *sorted({*heavy} & {*sys.modules}), time.process_time())\n"
    )
    command = [sys.executable, "-c", code, script.__file__, *heavy]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    name, *loaded, seconds = done.stdout.splitlines()[-1].split()
    assert name == "LOADED" and loaded == [] and "--" in done.stdout
    assert float(seconds) < 2  # of the processor: other programs may slow the clock


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_every_constant_is_an_explained_flag(script, capsys):
    assert_every_constant_is_an_explained_flag(script, capsys)


@pytest.mark.parametrize(
    ("script", "constant", "flag"),
    [
        (Evaluate, "image_folders", "IMAGE_FOLDERS (--image-folders)"),
        (Evaluate, "label_folder", "LABEL_FOLDER (--label-folder)"),
        (Stitch_fields, "input_folder", "INPUT_FOLDER (--input-folder)"),
    ],
)
def test_a_missing_folder_is_named_with_its_flag(script, constant, flag, tmp_path, capsys):
    missing = tmp_path / "nowhere"
    folders = {"image_folders": (tmp_path,), "label_folder": tmp_path, "input_folder": tmp_path}
    wrong = {constant: (missing,) if constant == "image_folders" else missing}
    accepted = script.main.__annotations__
    given = {name: value for name, value in (folders | wrong).items() if name in accepted}
    assert script.main(**given) == 2
    message = capsys.readouterr().err
    assert flag in message and str(missing) in message
