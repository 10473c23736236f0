"""The network for pixel sizes: patches of true size, moments, layers, a whole tiny training."""

import json

import keras
import numpy as np
import Pixel_size_train
import pytest
import tifffile
from PIL import Image

from helpers.drawn_tissue import draw_tissue
from helpers.training_runs import (
    TinyTraining,
    assert_every_constant_is_an_explained_flag,
    saved_weights,
    stand_in_for_models,
)
from networks.loading import load_pixel_size_network
from pixelsize import patches
from pixelsize import training as work
from pixelsize.model import Perceptron, build_moments
from pixelsize.patches import SIDE, Picture, draw_patch

NAMES = ("a", "b", "c", "d")


# --- Patches ---


def test_patches_have_the_size_that_is_told(monkeypatch):
    monkeypatch.setattr(patches, "AS_IT_IS", 1.0)
    period = 8.0  # um, of the stripes
    x = np.arange(600) * 0.25
    stripes = np.tile(128 + 100 * np.sin(2 * np.pi * x / period), (600, 1))
    picture = Picture(np.dstack([stripes] * 3).astype(np.uint8), 0.25, 255.0)
    rng, seen = np.random.default_rng(0), []
    for _ in range(60):
        patch, octave = draw_patch(picture, rng)
        side = len(patch)
        assert patch.shape == (side, side, 3) and patch.dtype == np.uint8 and side <= SIDE
        expected = side * 2**octave / period  # waves across the patch
        if 3 < expected < side / 4:
            spectrum = np.abs(np.fft.fft2(patch[..., 0] - patch[..., 0].mean()))
            y, x = np.unravel_index(spectrum[: side // 2, : side // 2].argmax(), (side // 2,) * 2)
            assert max(x, y) == pytest.approx(expected, abs=1)
            seen.append(octave)
    assert len(seen) > 20 and min(seen) < -2 < 0 < max(seen)


def test_changed_patches_keep_their_size_and_type():
    picture = Picture(draw_tissue(120, 90, 0)[0], 0.5, 255.0)
    drawn = [draw_patch(picture, np.random.default_rng(seed)) for seed in range(30)]
    assert all(patch.dtype == np.uint8 and len(patch) >= patches.SMALLEST for patch, _ in drawn)
    again = [draw_patch(picture, np.random.default_rng(seed)) for seed in range(30)]
    assert all((a[0] == b[0]).all() and a[1] == b[1] for a, b in zip(drawn, again, strict=True))


# --- Network ---


def test_moments_are_means_over_the_patch():
    model = build_moments(None, width=2)
    image = draw_tissue(40, 40, 1)[0][None].astype(np.float32)
    inner = keras.Model(model.input, model.get_layer("block2_conv2").output)
    seen = keras.ops.convert_to_numpy(inner(image))[0]
    found = keras.ops.convert_to_numpy(model(image))[0, 0, 0]
    assert len(found) == 2 * (2 + 4 + 8)
    np.testing.assert_allclose(found[4:8], seen.mean(axis=(0, 1)), rtol=1e-4)
    np.testing.assert_allclose(found[8:12], (seen**2).mean(axis=(0, 1)), rtol=1e-4)


def test_the_layers_of_the_network_tell_what_the_perceptron_tells():
    described = build_moments(None, width=2)
    images = [draw_tissue(40, 40, seed)[0] for seed in range(8)]
    moments = np.array([keras.ops.convert_to_numpy(described(i[None]))[0, 0, 0] for i in images])
    octaves = np.linspace(-3, 1, len(images))
    perceptron = Perceptron(moments, hidden=4, seed=0)
    perceptron.fit(moments, octaves, epochs=3)
    whole = perceptron.behind(described)
    told = [float(keras.ops.convert_to_numpy(whole(image[None])).item()) for image in images]
    np.testing.assert_allclose(told, perceptron.predict(moments), atol=1e-4)
    assert np.std(told) > 1e-3


def test_a_perceptron_learns_what_moments_tell():
    rng = np.random.default_rng(0)
    octaves = rng.uniform(-4, 2, 600)
    moments = np.exp(octaves[:, None] * [0.5, -0.8] + rng.normal(0, 0.1, (600, 2)))
    perceptron = Perceptron(moments[:500], hidden=16, seed=0)
    perceptron.fit(moments[:500], octaves[:500], epochs=40)
    error = perceptron.predict(moments[500:]) - octaves[500:]
    assert np.sqrt(np.mean(error**2)) < 0.5 < np.std(octaves)


# --- A whole run ---


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for seed, name in enumerate(NAMES):
        image = Image.fromarray(draw_tissue(60, 60, seed)[0])
        image.save(folder / f"{name}.png", dpi=(101600, 101600))
    return TinyTraining(
        Pixel_size_train,
        work,
        "pixel_size.h5",
        image_folders=(folder,),
        validation_names=("d",),
        patches=8,
        validation_patches=4,
        vgg19_weights="none",
        hidden=4,
        epochs=2,
    )


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Parts of four patches, and a narrow network instead of VGG19."""
    monkeypatch.setattr(work, "PART", 4)
    monkeypatch.setattr(work, "build_moments", lambda weights: build_moments(None, width=2))
    keras.utils.set_random_seed(0)


def test_every_constant_is_an_explained_flag(capsys):
    assert_every_constant_is_an_explained_flag(Pixel_size_train, capsys)


def test_a_run_leaves_a_network_and_its_record(training, tmp_path, capsys):
    with stand_in_for_models(training, tmp_path) as models:
        training.run(tmp_path / "run")
        assert (models / "pixel_size.h5").read_text() == "shipped"
        shown = capsys.readouterr().out
        assert "3 images for training, 1 for validation" in shown
        path = tmp_path / "run" / "pixel_size.h5"
        assert f'--pixel-size-model "{path}"' in shown
        network = load_pixel_size_network(path)
        told = network.octaves(np.stack([draw_tissue(50, 50, seed)[0] for seed in range(2)]))
        assert told.shape == (2,) and np.isfinite(told).all() and told[0] != told[1]
        record = json.loads(path.with_suffix(".json").read_text("utf-8"))
        assert record == network.record and record["constants"]["patches"] == 8
        assert len(record["training_images"]) == 3
        within = record["validation"]["within_1.5"], record["validation"]["within_2"]
        assert 0 <= within[0] <= within[1] <= 1
        (line,) = [line for line in shown.splitlines() if line.startswith("all")]
        assert line.split()[1:3] == ["4", f"{within[0]:.1%}"]
        before = path.read_bytes()
        training.run(tmp_path / "run", replace_shipped_model=True)
        assert "Finished before" in capsys.readouterr().out
        assert (models / "pixel_size.h5").read_bytes() == before == path.read_bytes()


def test_an_interrupted_run_goes_on_and_ends_the_same(training, tmp_path, monkeypatch):
    training.run(tmp_path / "whole")
    drawn = []

    def interrupted(picture, rng):
        drawn.append(picture)
        if len(drawn) == 6:
            raise KeyboardInterrupt
        return draw_patch(picture, rng)

    keras.utils.set_random_seed(0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(work, "draw_patch", interrupted)
        training.run(tmp_path / "parts")
    assert [f.name for f in (tmp_path / "parts" / "training_moments").iterdir()] == ["0000.npz"]
    again = []
    keras.utils.set_random_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr(work, "draw_patch", lambda *given: again.append(given) or draw_patch(*given))
        training.run(tmp_path / "parts")
    assert len(again) == 4 + 4  # the second part, and the one for validation
    weights = [saved_weights(tmp_path / name / "pixel_size.h5") for name in ("whole", "parts")]
    np.testing.assert_allclose(*weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patches": 0}, ["PATCHES: expected at least 1"]),
        (
            {"microns_per_pixel": (0.25, 0.5)},
            ["MICRONS_PER_PIXEL", "expected one number above 0 or 1"],
        ),
        ({"microns_per_pixel": -0.25}, ["MICRONS_PER_PIXEL", "above 0", "found -0.25"]),
        ({"folder_weights": (1.0, 2.0)}, ["expected 1 FOLDER_WEIGHTS"]),
        ({"validation_names": ("none",)}, ["--validation-names"]),
    ],
)
def test_constants_that_cannot_work_are_refused(training, tmp_path, changes, words):
    message = training.refused(tmp_path / "run", **changes)
    assert all(word in message for word in words)
    assert not (tmp_path / "run").exists()


def test_an_image_without_a_pixel_size_is_named(training, tmp_path):
    for seed, name in enumerate(NAMES):
        (tmp_path / "plain").mkdir(exist_ok=True)
        Image.fromarray(draw_tissue(60, 60, seed)[0]).save(tmp_path / "plain" / f"{name}.png")
    given = {"image_folders": (tmp_path / "plain",)}
    message = training.refused(tmp_path / "run", **given)
    assert "a.png" in message and "MICRONS_PER_PIXEL" in message
    training.run(tmp_path / "run", **given, microns_per_pixel=0.5)


@pytest.mark.parametrize(("stated", "expected"), [(0.125, 0.25), (None, 0.5)])
def test_slides_keep_what_they_state(tmp_path, stated, expected):
    resolution = (
        {"resolution": (1e4 / stated,) * 2, "resolutionunit": "CENTIMETER"} if stated else {}
    )
    pixels = draw_tissue(256, 256, 0)[0]
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(64, 64), photometric="rgb", **resolution)
    (picture,), remark = patches.read_sized_pictures(tmp_path / "a.tif", 0.5)
    assert picture.microns == pytest.approx(expected) and not remark


def test_a_given_size_that_overrules_a_stated_one_is_said(tmp_path, capsys):
    Image.fromarray(draw_tissue(60, 60, 0)[0]).save(tmp_path / "a.png", dpi=(50800, 50800))
    groups = work.read_groups([[tmp_path / "a.png"]], [0.25], ())
    assert groups["training"][0][0].microns == 0.25
    assert "1 image read at 0.25 um per pixel as given, though the file says 0.5" in (
        capsys.readouterr().out
    )


def test_another_run_is_refused_its_folder(training, tmp_path):
    training.run(tmp_path / "run")
    assert "HIDDEN was 4, is 5" in training.refused(tmp_path / "run", hidden=5)
