"""SRGAN_train.py from images to models: outputs, resuming, errors; tiny networks, offline."""

import inspect
import itertools
import json
import shutil
from pathlib import Path

import cv2
import h5py
import keras
import numpy as np
import pytest
import SRGAN_train
import tyro

from helpers.drawn_tissue import draw_tissue, write_picture, write_vgg19
from helpers.tiny_models import random_unet
from helpers.training_runs import (
    TinyTraining,
    assert_every_constant_is_an_explained_flag,
    assert_same_backup,
    assert_sound_log,
    rows,
    saved_weights,
)
from images.degradation import degrade_area
from images.opening import read_image
from srgan import training as srgan_training
from srgan.data import load_pictures
from srgan.pairs import Partners

STEPS = 2
PHASES = ("pretraining", "adversarial")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Four drawn images, one of them for validation, and random VGG19 weights."""
    folder = tmp_path_factory.mktemp("inputs")
    for index, name in enumerate(("a", "b", "c", "held_out")):
        write_picture(folder / "images" / f"{name}.png", draw_tissue(44, 52, index)[0])
    write_vgg19(folder / "vgg19.h5")
    random_unet(depth=2).save(folder / "Unet.h5")
    return folder


@pytest.fixture(scope="module")
def training(inputs):
    """The script with tiny constants."""
    return TinyTraining(
        SRGAN_train,
        srgan_training,
        "generator.h5",
        high_resolution_folders=(inputs / "images",),
        folder_weights=(1.0,),
        validation_names=("held",),
        crop=32,
        generator_filters=4,
        residual_blocks=1,
        discriminator_filters=16,
        vgg19_weights=str(inputs / "vgg19.h5"),
        unet=inputs / "Unet.h5",
        batch_size=2,
        steps_per_epoch=STEPS,
        pretraining_epochs=2,
        adversarial_epochs=2,
        adversarial_share=0.6,
    )


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
    assert_sound_log(log)
    columns = {"loss"}
    columns |= {f"val_{m}_{d}" for m in ("psnr", "ssim") for d in ("area", "scanner")}
    columns |= {f"bicubic_{m}_{d}" for m in ("psnr", "ssim") for d in ("area", "scanner")}
    if phase == "adversarial":
        columns |= {"pixel_loss", "content_loss", "adversarial_loss", "discriminator_loss"}
        columns |= {"nuclei_loss", "nuclei_features_loss"}
    assert columns <= log[0].keys()
    # Bicubic interpolation does not learn.
    assert log[0]["bicubic_psnr_area"] == log[1]["bicubic_psnr_area"]
    assert float(log[1]["val_psnr_area"]) == pytest.approx(
        float(log[1]["bicubic_psnr_area"]), abs=3
    )


def test_every_epoch_draws_its_own_batches(run):
    seed = SRGAN_train.SEED
    every = itertools.product((seed, seed + 1), (0, 1), range(STEPS))  # a seed for each phase
    assert run[1] == set(every)


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


def test_the_shipped_generator_lies_between_the_two_phases(training, finished):
    pretrained, adversarial, blended = (
        saved_weights(finished / f"{name}.h5")
        for name in ("generator_pretrained", "generator_adversarial", "generator")
    )
    share = training.constants["adversarial_share"]
    assert 0 < share < 1 and not np.array_equal(pretrained, adversarial)
    np.testing.assert_allclose(blended, share * adversarial + (1 - share) * pretrained, atol=1e-6)


@pytest.mark.parametrize("name", ["generator_pretrained", "generator"])
def test_the_validation_figures_are_those_of_the_saved_generator(finished, inputs, name):
    record = json.loads((finished / f"{name}.json").read_text(encoding="utf-8"))
    generator = keras.models.load_model(finished / f"{name}.h5")
    image = read_image(inputs / "images" / "held_out.png")
    low = image.reshape(11, 4, 13, 4, 3).astype(float).mean(axis=(1, 3))
    low = np.pad(np.rint(low), ((24, 24), (24, 24), (0, 0)), mode="symmetric")
    generated = keras.ops.convert_to_numpy(generator(low[None].astype(np.float32)))[0]
    generated = np.rint(generated[96:-96, 96:-96])
    psnr = 10 * np.log10(255**2 / np.mean((generated - image) ** 2.0))
    assert record["validation"]["val_psnr_area"] == pytest.approx(psnr, abs=0.02)


def test_finished_run_says_so_and_ships_only_when_told(finished, training, shipped, capsys):
    assert [path.name for path in shipped.iterdir()] == ["generator.h5"]
    assert (shipped / "generator.h5").read_text() == "shipped"
    before = {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    training.run(finished)
    assert f"Finished before: {finished / 'generator.h5'}" in capsys.readouterr().out
    assert (shipped / "generator.h5").read_text() == "shipped"
    training.run(finished, replace_shipped_models=True)
    assert {path: path.read_bytes() for path in finished.iterdir() if path.is_file()} == before
    for name in ("generator", "generator_pretrained"):
        for suffix in (".h5", ".json"):
            copy = shipped / (name + suffix)
            assert copy.read_bytes() == (finished / copy.name).read_bytes()


# --- Resuming ---


def test_run_interrupted_in_both_phases_ends_as_an_unbroken_one(
    finished, training, tmp_path, capsys
):
    training.interrupt(tmp_path, "batch", "pretraining")
    assert not (tmp_path / "generator_pretrained.h5").exists()
    training.interrupt(tmp_path, "EpochLog", "adversarial")
    assert not (tmp_path / "generator.h5").exists()
    training.run(tmp_path)
    for name in ("generator_pretrained.h5", "generator.h5"):
        np.testing.assert_allclose(
            saved_weights(tmp_path / name), saved_weights(finished / name), atol=1e-5
        )
    for phase in PHASES:
        assert_same_backup(tmp_path / f"{phase}_backup", finished / f"{phase}_backup")
        assert_sound_log(rows(tmp_path / f"{phase}_log.csv"))
    end = capsys.readouterr().out
    assert f'--generator "{tmp_path / "generator.h5"}"' in end
    assert "val psnr area" in end and "bicubic psnr area" in end


def test_run_interrupted_before_it_saved_ends_as_an_unbroken_one(finished, training, tmp_path):
    for name in ("run.json", "generator_pretrained.h5", "pretraining_log.csv"):
        shutil.copy(finished / name, tmp_path / name)
    training.interrupt(tmp_path, phase="adversarial")
    assert not (tmp_path / "generator.h5").exists()
    training.run(tmp_path)
    np.testing.assert_allclose(
        saved_weights(tmp_path / "generator.h5"),
        saved_weights(finished / "generator.h5"),
        atol=1e-5,
    )
    assert_same_backup(tmp_path / "adversarial_backup", finished / "adversarial_backup")
    assert_sound_log(rows(tmp_path / "adversarial_log.csv"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"adversarial_epochs": 3}, ["ADVERSARIAL_EPOCHS was 2, is 3"]),
        (
            {"crop": 16, "degradation": SRGAN_train.Degradation(noise_sigma=(0.0, 2.0))},
            ["CROP was 32, is 16", "DEGRADATION.NOISE_SIGMA was [0.0, 6.0], is [0.0, 2.0]"],
        ),
        (
            {"validation_names": ("a",)},
            ["VALIDATION_NAMES was ['held'], is ['a']", "training images: 1 more (", "1 missing ("],
        ),
    ],
)
def test_another_run_in_the_same_folder_is_refused(finished, training, changes, words):
    before = {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    message = training.refused(finished, **changes)
    for word in [*words, str(finished), "--run-folder"]:
        assert word in message
    assert {path: path.read_bytes() for path in finished.iterdir() if path.is_file()} == before


def test_fine_tuning_starts_from_the_given_generator(finished, training, tmp_path):
    start = finished / "generator.h5"
    training.run(
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


def test_of_a_generator_of_another_depth_is_taken_what_fits(finished, training, tmp_path, capsys):
    depth = training.constants["residual_blocks"] + 1
    short = {"pretraining_epochs": 0, "adversarial_epochs": 1, "steps_per_epoch": 1}
    start = finished / "generator_pretrained.h5"
    training.run(tmp_path, initial_generator=start, residual_blocks=depth, **short)
    assert f"begun anew: block{depth}_conv1, block{depth}_conv2" in capsys.readouterr().out
    deeper, old = (
        keras.models.load_model(f / "generator_pretrained.h5") for f in (tmp_path, finished)
    )
    np.testing.assert_array_equal(*(m.get_layer("head").get_weights()[0] for m in (deeper, old)))
    assert len(deeper.weights) == len(old.weights) + 4


def test_a_pretrained_generator_needs_no_pretraining(finished, training, tmp_path):
    start = finished / "generator_pretrained.h5"
    short = {"pretraining_epochs": 0, "adversarial_epochs": 1, "steps_per_epoch": 1}
    training.run(tmp_path, initial_generator=start, **short)
    np.testing.assert_array_equal(
        saved_weights(tmp_path / "generator_pretrained.h5"), saved_weights(start)
    )
    assert (tmp_path / "generator.json").is_file()


def test_an_x2_training_starts_from_x4_weights_and_ships_under_its_own_name(
    finished, training, shipped, tmp_path, capsys
):
    settings = {"scale": 2, "initial_generator": finished / "generator.h5"}
    settings |= {"steps_per_epoch": 1, "pretraining_epochs": 1, "adversarial_epochs": 1}
    training.run(tmp_path, **settings, replace_shipped_models=True)
    said = capsys.readouterr().out
    assert "(x4); begun anew: detail, residual" in said and "--generator-x2" in said
    for kind in ("", "_pretrained"):
        copy = shipped / f"generator_x2{kind}.h5"
        assert copy.read_bytes() == (tmp_path / f"generator{kind}.h5").read_bytes()
        record = json.loads(copy.with_suffix(".json").read_text(encoding="utf-8"))
        assert record["model"] == copy.name and record["task"].startswith("x2 ")
        assert record["input_microns_per_pixel"] == 0.5
        generator = keras.models.load_model(copy)
        assert generator(np.zeros((1, 6, 8, 3), np.float32)).shape == (1, 12, 16, 3)


def test_recorded_pairs_are_trained_on_and_reported(training, inputs, tmp_path, capsys):
    low = tmp_path / "low"
    for name in ("a", "b", "c", "held_out"):
        image = read_image(inputs / "images" / f"{name}.png")
        write_picture(low / f"{name}.png", degrade_area(image if name != "c" else image[::-1]))
    settings = {"steps_per_epoch": 1, "pretraining_epochs": 1, "adversarial_epochs": 1}
    settings |= {"low_resolution_folder": low, "recorded_share": 1.0}
    training.run(tmp_path / "run", **settings)
    said = capsys.readouterr().out
    assert "3 recorded pairs registered, 1 left out" in said and "left out: c.png: " in said
    log = rows(tmp_path / "run" / "adversarial_log.csv")
    assert float(log[0]["val_psnr_recorded"]) > 15 and "bicubic_psnr_recorded" in log[0]
    write_picture(low / "d.png", degrade_area(image))
    with pytest.raises(SystemExit, match=r"1 images have no high-resolution partner.*d\.png"):
        training.run(tmp_path / "other", **settings)


# --- The images ---


def test_chance_grows_with_area_within_a_folder(tmp_path):
    for name, sides in {"a/1": (32, 32), "a/2": (32, 96), "b/1": (64, 64), "b/x": (32, 32)}.items():
        write_picture(tmp_path / f"{name}.png", draw_tissue(*sides)[0])
    paths = [sorted((tmp_path / folder).iterdir()) for folder in ("a", "b")]
    held_out = {tmp_path / "b" / "x.png"}
    training, validation = load_pictures(paths, (1.0, 3.0), held_out, 32, Partners(None, 4))
    assert [picture.high.shape[:2] for picture in training] == [(32, 32), (32, 96), (64, 64)]
    assert [picture.weight for picture in training] == pytest.approx([0.25, 0.75, 3.0])
    assert [picture.high.shape[:2] for picture in validation] == [(32, 32)]


# --- Errors, before anything is trained ---


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"high_resolution_folders": ("nowhere",)}, ["nowhere", "Put sharp H&E images"]),
        ({"vgg19_weights": "nowhere.h5"}, ["nowhere.h5", "Set VGG19_WEIGHTS"]),
        ({"lpips_weights": Path("nowhere.ckpt")}, ["nowhere.ckpt", "LPIPS_WEIGHTS to None"]),
        ({"unet": "nowhere.h5"}, ["no U-net at nowhere.h5", "--unet"]),
        ({"nuclei_weight": -1.0}, ["NUCLEI_WEIGHT: expected at least 0"]),
        ({"validation_names": ("nothing",)}, ["none of 4 images", "--validation-names"]),
        ({"validation_names": ("",)}, ["every one of 4 images", "add images"]),
        ({"crop": 64}, ["a.png: 52x44 is less than CROP 64"]),
        ({"crop": 30}, ["CROP: expected a multiple of 4, found 30"]),
        ({"batch_size": 0}, ["BATCH_SIZE: expected at least 1, found 0"]),
        ({"pretraining_epochs": 0}, ["PRETRAINING_EPOCHS: expected at least 1"]),
        ({"discriminator_filters": 0}, ["DISCRIMINATOR_FILTERS: expected at least 1"]),
        ({"adversarial_rate": 0.0}, ["ADVERSARIAL_RATE: expected a number above 0"]),
        ({"adversarial_share": 1.5}, ["ADVERSARIAL_SHARE: expected 0 to 1, found 1.5"]),
        ({"folder_weights": (1.0, 2.0)}, ["expected 1 FOLDER_WEIGHTS, found 2"]),
    ],
)
def test_wrong_input_ends_at_once_and_says_what_to_do(training, tmp_path, changes, words):
    message = training.refused(tmp_path / "run", **changes)
    assert all(word in message for word in words)
    assert not (tmp_path / "run").exists()


def test_an_image_in_two_folders_is_refused_by_name(training, inputs, tmp_path):
    folders = (inputs, inputs / "images")
    message = training.refused(
        tmp_path / "run", high_resolution_folders=folders, folder_weights=(1.0, 1.0)
    )
    assert str(inputs / "images" / "a.png") in message and "same image" in message


def test_unreadable_image_is_named(tmp_path, training):
    for name in ("broken", "held_out"):
        (tmp_path / f"{name}.png").write_bytes(b"no picture of " + name.encode())
    message = training.refused(tmp_path / "run", high_resolution_folders=(tmp_path,))
    assert "broken.png: not an image or slide" in message


# --- The command line ---


def test_every_constant_is_a_flag(capsys):
    for name, parameter in inspect.signature(SRGAN_train.main).parameters.items():
        assert parameter.default == getattr(SRGAN_train, name.upper())
    assert_every_constant_is_an_explained_flag(SRGAN_train, capsys)


def test_flags_reach_main(tmp_path):
    flags = ["--high-resolution-folders", str(tmp_path / "x"), str(tmp_path / "y")]
    flags += ["--folder-weights", "1", "2", "--degradation.blur-sigma", "0", "1"]
    with pytest.raises(
        SystemExit, match=r"expected a folder of images, found no .*x(.|\n)*Put sharp"
    ):
        tyro.cli(SRGAN_train.main, args=flags)
