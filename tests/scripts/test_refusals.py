"""What stops a run before it begins is said in one line."""

import keras
import pytest
from keras import layers

from helpers import tiny_models
from helpers.whole_runs import drawn, last_lines, put


def foreign(*steps, channels=3):
    x = inputs = keras.Input((None, None, channels))
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


def no_file(path):
    pass


def text_file(path):
    path.write_text("not a model\n")


def weights_alone(path):
    weights = path.with_name("m.weights.h5")
    tiny_models.random_unet().save_weights(weights)
    weights.replace(path)


def four_channels(path):
    foreign(layers.Conv2D(2, 3, padding="same"), channels=4).save(path)


def x2(path):
    foreign(layers.UpSampling2D(2), layers.Conv2D(3, 3, padding="same")).save(path)


def hidden_code(path):
    foreign(layers.Lambda(lambda x: x), layers.Conv2D(2, 3, padding="same")).save(path)


@pytest.mark.parametrize(
    "make", [no_file, text_file, weights_alone, four_channels, x2, hidden_code]
)
def test_a_model_that_does_not_fit_is_named_in_one_line(run, tmp_path, capsys, make):
    put(tmp_path / "input", "a.png", drawn()[0])
    make(tmp_path / "model.h5")
    for flag, kind in (("unet", "U-net"), ("generator", "generator")):
        capsys.readouterr()
        assert run(**{flag: tmp_path / "model.h5"}) == 2
        (line,) = last_lines(capsys)
        assert line.startswith(f"{kind}: ") and str(tmp_path / "model.h5") in line
    assert not (tmp_path / "output").exists()


def test_a_folder_without_images_ends_the_run_with_one_line(run, tmp_path, capsys):
    assert run() == 2
    (line,) = last_lines(capsys)
    assert str(tmp_path / "input") in line
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "notes.txt").write_text("no image")
    assert run() == 2
    (line,) = last_lines(capsys)
    assert "no images" in line


@pytest.mark.parametrize("blocked", ["output", "output/run.json"])
def test_an_output_that_cannot_be_written_ends_the_run_with_one_line(
    run, tmp_path, capsys, blocked
):
    put(tmp_path / "input", "a.png", drawn()[0])
    if blocked == "output":
        (tmp_path / blocked).write_text("a file where the folder should be")
    else:
        (tmp_path / blocked).mkdir(parents=True)
    assert run() == 2
    (line,) = last_lines(capsys)
    assert str(tmp_path / blocked) in line


@pytest.mark.parametrize(
    "flags",
    [
        {"tile_size": 0},
        {"tile_size": 100},
        {"tile_size": -16},
        {"batch_size": 0},
        {"microns_per_pixel": 0.0},
        {"microns_per_pixel": -1.0},
        {"microns_per_pixel": float("nan")},
        {"read_at_microns_per_pixel": 0.0},
        {"probability_threshold": 0.0},
        {"probability_threshold": 1.5},
        {"least_overlap": 1.0},
        {"faithful_share": 1.5},
        {"jpeg_quality": 101},
        {"region": (0, 0, 0, 10)},
        {"geojson_frame": "level 2"},
        {"precision": "half"},
        {"super_resolve": False, "segment": False},
        {"enlarge": 1, "segment": False},
        {"super_resolve": False, "enlarge": 2},
    ],
)
def test_a_constant_that_cannot_work_is_named(run, capsys, flags):
    assert run(**flags) == 2
    (line,) = last_lines(capsys)
    assert all(name.upper() in line for name in flags)
