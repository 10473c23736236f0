"""SRGAN_train.py from images to models: outputs, resuming, errors; tiny networks, offline."""

import csv
import inspect
import itertools
import json
import shutil

import cv2
import h5py
import keras
import numpy as np
import pytest
import SRGAN_train
import tyro
from drawn_tissue import (
    Interruption,
    assert_same_backup,
    draw_tissue,
    saved_weights,
    step_by_step,
    write_picture,
    write_vgg19,
)

STEPS = 3
PHASES = ("pretraining", "adversarial")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Four drawn images, one of them for validation, and random VGG19 weights."""
    folder = tmp_path_factory.mktemp("inputs")
    for index, name in enumerate(("a", "b", "c", "held_out")):
        write_picture(folder / "images" / f"{name}.png", draw_tissue(44, 52, index)[0])
    write_vgg19(folder / "vgg19.h5", ("block1_conv1", "block1_conv2"))
    return folder


def train(inputs, run_folder, **changes):
    """Run the script's main with tiny constants."""
    constants = {
        "high_resolution_folders": (inputs / "images",),
        "folder_weights": (1.0,),
        "validation_names": ("held",),
        "crop": 32,
        "generator_filters": 4,
        "residual_blocks": 1,
        "discriminator_filters": 16,
        "vgg19_weights": str(inputs / "vgg19.h5"),
        "vgg19_layer": "block1_conv2",
        "batch_size": 2,
        "steps_per_epoch": STEPS,
        "pretraining_epochs": 2,
        "adversarial_epochs": 2,
        "run_folder": run_folder,
    }
    with step_by_step():
        SRGAN_train.main(**{**constants, **changes})


def interrupt(inputs, run_folder, phase, interruption):
    """Run until an interruption of one phase."""
    standard_callbacks = SRGAN_train.standard_callbacks

    def interrupted_callbacks(run_folder, name, *rest):
        callbacks = standard_callbacks(run_folder, name, *rest)
        return [*callbacks, interruption] if name == phase else callbacks

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SRGAN_train, "standard_callbacks", interrupted_callbacks)
        train(inputs, run_folder)


def rows(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A stand-in for the repository, so that no test can touch its models/."""
    root = tmp_path_factory.mktemp("repository")
    (root / "models").mkdir()
    (root / "models" / "generator.h5").write_text("shipped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SRGAN_train, "ROOT", root)
        yield root / "models"


@pytest.fixture(scope="module")
def drawn():
    """The (seed, epoch, index) of every batch that `finished` drew."""
    return set()


@pytest.fixture(scope="module")
def finished(inputs, shipped, drawn, tmp_path_factory):
    """The folder of an uninterrupted run."""

    class RecordedBatches(SRGAN_train.SuperResolutionBatches):
        def __getitem__(self, index):
            drawn.add((self.seed, self.epoch, index))
            return super().__getitem__(index)

    run_folder = tmp_path_factory.mktemp("runs") / "new" / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SRGAN_train, "SuperResolutionBatches", RecordedBatches)
        train(inputs, run_folder)
    return run_folder


# --- A whole run ---


def test_generators_load_alone_and_were_trained(finished):
    image = draw_tissue(9, 12)[0][None].astype(np.float32)
    outputs = []
    for name in ("generator_pretrained.h5", "generator.h5"):
        generator = keras.models.load_model(finished / name)
        outputs.append(keras.ops.convert_to_numpy(generator(image)))
        assert outputs[-1].shape == (1, 36, 48, 3)
        bicubic = cv2.resize(image[0], None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        difference = np.abs(outputs[-1][0] - np.clip(bicubic, 0, 255))
        assert 0 < difference.max() < 30
    assert not np.array_equal(*outputs)


def test_generators_are_saved_without_their_optimizer(finished):
    for name in ("generator_pretrained.h5", "generator.h5"):
        with h5py.File(finished / name) as file:
            assert "model_weights" in file and "optimizer_weights" not in file


@pytest.mark.parametrize("phase", PHASES)
def test_log_has_a_row_for_each_epoch(finished, phase):
    log = rows(finished / f"{phase}_log.csv")
    assert [int(row["epoch"]) for row in log] == [0, 1]
    columns = {"loss"}
    columns |= {f"val_{m}_{d}" for m in ("psnr", "ssim") for d in ("area", "scanner")}
    columns |= {f"bicubic_{m}_{d}" for m in ("psnr", "ssim") for d in ("area", "scanner")}
    if phase == "adversarial":
        columns |= {"pixel_loss", "content_loss", "adversarial_loss", "discriminator_loss"}
    assert columns <= log[0].keys()
    assert all(np.isfinite(float(row[column])) for row in log for column in columns)
    # Bicubic interpolation does not learn.
    assert log[0]["bicubic_psnr_area"] == log[1]["bicubic_psnr_area"]
    assert float(log[1]["val_psnr_area"]) == pytest.approx(
        float(log[1]["bicubic_psnr_area"]), abs=3
    )


def test_every_epoch_draws_its_own_batches(finished, drawn):
    seed = SRGAN_train.SEED
    every = itertools.product((seed, seed + 1), (0, 1), range(STEPS))  # a seed for each phase
    assert drawn == set(every)


@pytest.mark.parametrize("phase", PHASES)
def test_pictures_and_curves_are_drawn(finished, phase):
    pictures = sorted(path.name for path in (finished / f"{phase}_pictures").iterdir())
    assert pictures == ["epoch_001.png", "epoch_002.png"]
    drawn = [finished / f"{phase}_pictures" / name for name in pictures]
    for path in (*drawn, finished / "training_curves.png"):
        picture = cv2.imread(str(path))
        assert min(picture.shape[:2]) > 100 and picture.std() > 5


@pytest.mark.parametrize("name", ["generator_pretrained", "generator"])
def test_record_lies_beside_each_generator(finished, inputs, name):
    record = json.loads((finished / f"{name}.json").read_text(encoding="utf-8"))
    assert record["model"] == f"{name}.h5"
    assert record["constants"].keys() == inspect.signature(SRGAN_train.main).parameters.keys()
    assert record["constants"]["seed"] == SRGAN_train.SEED
    assert record["constants"]["run_folder"] == "/".join(finished.parts[-3:])
    assert record["constants"]["degradation"]["area_share"] == 0.35
    names = [inputs / "images" / f"{name}.png" for name in ("a", "b", "c", "held_out")]
    images = ["/".join(path.parts[-3:]) for path in names]
    assert record["training_images"] == images[:3]
    assert record["validation_images"] == images[3:]
    assert record["versions"]["keras"] == keras.__version__
    assert record["versions"]["backend"] == keras.backend.backend()


def test_the_shipped_generator_lies_between_the_two_phases(finished):
    pretrained, adversarial, blended = (
        saved_weights(finished / f"{name}.h5")
        for name in ("generator_pretrained", "generator_adversarial", "generator")
    )
    share = SRGAN_train.ADVERSARIAL_SHARE
    assert 0 < share < 1 and not np.array_equal(pretrained, adversarial)
    np.testing.assert_allclose(blended, share * adversarial + (1 - share) * pretrained, atol=1e-6)


@pytest.mark.parametrize("name", ["generator_pretrained", "generator"])
def test_the_validation_figures_are_those_of_the_saved_generator(finished, inputs, name):
    record = json.loads((finished / f"{name}.json").read_text(encoding="utf-8"))
    generator = keras.models.load_model(finished / f"{name}.h5")
    image = SRGAN_train.read_image(inputs / "images" / "held_out.png")
    low = image.reshape(11, 4, 13, 4, 3).astype(float).mean(axis=(1, 3))
    low = np.pad(np.rint(low), ((24, 24), (24, 24), (0, 0)), mode="symmetric")
    generated = keras.ops.convert_to_numpy(generator(low[None].astype(np.float32)))[0]
    generated = np.rint(generated[96:-96, 96:-96])
    psnr = 10 * np.log10(255**2 / np.mean((generated - image) ** 2.0))
    assert record["validation"]["val_psnr_area"] == pytest.approx(psnr, abs=0.02)


def test_finished_run_is_not_trained_again_and_ships_only_when_told(finished, inputs, shipped):
    assert [path.name for path in shipped.iterdir()] == ["generator.h5"]
    assert (shipped / "generator.h5").read_text() == "shipped"
    before = saved_weights(finished / "generator.h5")
    train(inputs, finished, replace_shipped_models=True)
    assert len(rows(finished / "adversarial_log.csv")) == 2
    np.testing.assert_allclose(saved_weights(finished / "generator.h5"), before, atol=1e-6)
    for name in ("generator", "generator_pretrained"):
        for suffix in (".h5", ".json"):
            copy = shipped / (name + suffix)
            assert copy.read_bytes() == (finished / copy.name).read_bytes()


# --- Resuming ---


def test_run_interrupted_in_both_phases_ends_as_an_unbroken_one(finished, inputs, tmp_path):
    interrupt(inputs, tmp_path, "pretraining", Interruption(epoch=1))
    assert not (tmp_path / "generator_pretrained.h5").exists()
    interrupt(inputs, tmp_path, "adversarial", Interruption(epoch=1))
    assert not (tmp_path / "generator.h5").exists()
    train(inputs, tmp_path)
    for name in ("generator_pretrained.h5", "generator.h5"):
        np.testing.assert_allclose(
            saved_weights(tmp_path / name), saved_weights(finished / name), atol=1e-5
        )
    for phase in PHASES:
        assert_same_backup(tmp_path / f"{phase}_backup", finished / f"{phase}_backup")
        assert [row["epoch"] for row in rows(tmp_path / f"{phase}_log.csv")] == ["0", "1"]


def test_run_interrupted_before_it_saved_ends_as_an_unbroken_one(finished, inputs, tmp_path):
    for name in ("generator_pretrained.h5", "pretraining_log.csv"):
        shutil.copy(finished / name, tmp_path / name)
    interrupt(inputs, tmp_path, "adversarial", Interruption(epoch=1, at_its_end=True))
    assert not (tmp_path / "generator.h5").exists()
    train(inputs, tmp_path)
    np.testing.assert_allclose(
        saved_weights(tmp_path / "generator.h5"),
        saved_weights(finished / "generator.h5"),
        atol=1e-5,
    )
    assert_same_backup(tmp_path / "adversarial_backup", finished / "adversarial_backup")
    assert [row["epoch"] for row in rows(tmp_path / "adversarial_log.csv")] == ["0", "1"]


def test_fine_tuning_starts_from_the_given_generator(finished, inputs, tmp_path):
    start = finished / "generator.h5"
    train(
        inputs,
        tmp_path,
        initial_generator=start,
        steps_per_epoch=1,
        pretraining_epochs=1,
        pretraining_rate=1e-9,
        adversarial_epochs=1,
        adversarial_rate=1e-9,
    )
    np.testing.assert_allclose(
        saved_weights(tmp_path / "generator.h5"), saved_weights(start), atol=1e-6
    )


# --- The split ---


def load(inputs, names=(), share=0.0, folder=None, weights=(1.0,)):
    folders = (folder or inputs / "images",)
    return SRGAN_train.load_images(folders, weights, names, share, crop=32, seed=1)


def test_whole_images_go_to_one_side(tmp_path):
    for index in range(20):
        write_picture(tmp_path / f"{index:02d}.png", draw_tissue(32, 32, index)[0])
    training, weights, validation = load(None, share=0.3, folder=tmp_path)
    assert len(training) == len(weights) and 2 <= len(validation) <= 11
    assert not training.keys() & validation.keys()
    assert training.keys() | validation.keys() == {str(p) for p in tmp_path.iterdir()}
    again = load(None, share=0.3, folder=tmp_path)
    assert list(again[2]) == list(validation)


def test_chance_grows_with_area_within_a_folder(tmp_path):
    for name, sides in {"a/1": (32, 32), "a/2": (32, 96), "b/1": (64, 64), "b/x": (32, 32)}.items():
        write_picture(tmp_path / f"{name}.png", draw_tissue(*sides)[0])
    training, weights, _ = SRGAN_train.load_images(
        (tmp_path / "a", tmp_path / "b"), (1.0, 3.0), ("x",), 0.0, crop=32, seed=1
    )
    assert [path[-7:-4] for path in training] == ["a/1", "a/2", "b/1"]
    assert weights == pytest.approx([0.25, 0.75, 3.0])


# --- Errors, before anything is trained ---


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"high_resolution_folders": ("nowhere",)}, ["nowhere", "Put sharp H&E images"]),
        ({"vgg19_weights": "nowhere.h5"}, ["nowhere.h5", "Set VGG19_WEIGHTS"]),
        ({"vgg19_layer": "block9_conv9"}, ["block9_conv9", "block3_conv3"]),
        ({"vgg19_layer": "block2_conv1"}, ["lack block2_conv1", "Set VGG19_WEIGHTS"]),
        ({"validation_names": ("nothing",)}, ["0 for validation", "VALIDATION_NAMES"]),
        ({"validation_names": ("",)}, ["0 images for training"]),
        ({"crop": 64}, ["a.png: 52x44 is less than 64"]),
        ({"folder_weights": (1.0, 2.0)}, ["expected 1 FOLDER_WEIGHTS, found 2"]),
    ],
)
def test_wrong_input_ends_at_once_and_says_what_to_do(inputs, tmp_path, changes, words):
    with pytest.raises(SystemExit) as error:
        train(inputs, tmp_path / "run", **changes)
    assert all(word in str(error.value) for word in words)
    assert not (tmp_path / "run").exists()


def test_unreadable_image_is_named(tmp_path, inputs):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(SystemExit, match=r"broken\.png: not a readable image"):
        train(inputs, tmp_path / "run", high_resolution_folders=(tmp_path,))


# --- The command line ---


def test_every_constant_is_a_flag(capsys):
    parameters = inspect.signature(SRGAN_train.main).parameters
    for name, parameter in parameters.items():
        assert parameter.default == getattr(SRGAN_train, name.upper())
    with pytest.raises(SystemExit) as end:
        tyro.cli(SRGAN_train.main, args=["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for name in parameters:
        assert f"--{name.replace('_', '-')}" in shown or name == "degradation"
    assert "--degradation.blur-sigma" in shown


def test_flags_reach_main(tmp_path):
    flags = ["--high-resolution-folders", str(tmp_path / "x"), str(tmp_path / "y")]
    flags += ["--folder-weights", "1", "2", "--degradation.blur-sigma", "0", "1"]
    with pytest.raises(SystemExit, match=r"no high-resolution images found in .*x"):
        tyro.cli(SRGAN_train.main, args=flags)
