"""Unet_train.py from images and masks to a model: outputs, resuming, errors; tiny, offline."""

import inspect
import itertools
import json
import re
from pathlib import Path

import cv2
import h5py
import keras
import numpy as np
import pytest
import Unet_train
from matplotlib.figure import Figure

from helpers.drawn_tissue import draw_tissue, write_pair, write_picture
from helpers.training_runs import (
    TinyTraining,
    assert_every_constant_is_an_explained_flag,
    assert_same_backup,
    assert_sound_log,
    rows,
    saved_weights,
)
from shared import machine
from shared.epochs import EpochLog
from unet import callbacks
from unet import training as unet_training
from unet.data import Sample, load_sample, target_maps
from unet.model import build_unet, nuclei_loss
from unet.scoring import FIGURES, mean_scores, predict_maps
from unet.sets import finding as sets

STEPS = 2
SHARES = ("pixel_accuracy", "dice", "iou", "background_accuracy", "aji", "pq")  # 0 to 1


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Four drawn images with label maps, one of them for validation."""
    folder = tmp_path_factory.mktemp("inputs")
    for index, name in enumerate(("a", "b", "c", "held_out")):
        write_pair(folder, name, index)
    return folder


@pytest.fixture(scope="module")
def training(inputs):
    """The script with tiny constants."""
    return TinyTraining(
        Unet_train,
        unet_training,
        "Unet.h5",
        training_folders=(inputs,),
        folder_weights=(1.0,),
        validation_names=("held",),
        crop=32,
        first_filters=4,
        depth=2,
        batch_size=2,
        steps_per_epoch=STEPS,
        epochs=2,
    )


# --- A whole run ---


def test_unet_loads_alone_and_was_trained(finished):
    unet = keras.models.load_model(finished / "Unet.h5")
    image = draw_tissue(20, 28)[0][None].astype(np.float32)
    maps = keras.ops.convert_to_numpy(unet(image))
    assert maps.shape == (1, 20, 28, 2)
    assert maps.min() >= 0 and maps.max() <= 1
    keras.utils.set_random_seed(Unet_train.SEED)
    untrained = np.concatenate([np.ravel(values) for values in build_unet(4, 2).get_weights()])
    assert np.abs(saved_weights(finished / "Unet.h5") - untrained).max() > 1e-4


def test_unet_is_saved_without_its_optimizer(finished):
    with h5py.File(finished / "Unet.h5") as file:
        assert "model_weights" in file and "optimizer_weights" not in file


def test_log_has_a_row_for_each_epoch(finished):
    log = rows(finished / "training_log.csv")
    assert_sound_log(log)
    assert {"loss", *(f"val_{name}" for name in FIGURES)} <= log[0].keys()
    assert all(0 <= float(row[f"val_{name}"]) <= 1 for row in log for name in SHARES)
    assert log[0]["val_background_accuracy"] == log[1]["val_background_accuracy"]


def test_every_epoch_draws_its_own_batches(run):
    assert run[1] == set(itertools.product((Unet_train.SEED,), (0, 1), range(STEPS)))


def test_pictures_and_curves_are_drawn(finished):
    pictures = sorted((finished / "pictures").iterdir())
    assert [path.name for path in pictures] == ["epoch_001.png", "epoch_002.png"]
    for path in (*pictures, finished / "training_curves.png"):
        picture = cv2.imread(str(path))
        assert min(picture.shape[:2]) > 100 and picture.std() > 5


def test_record_lies_beside_the_model(finished, inputs):
    record = json.loads((finished / "Unet.json").read_text(encoding="utf-8"))
    assert record["model"] == "Unet.h5"
    assert record["constants"].keys() == inspect.signature(Unet_train.main).parameters.keys()
    assert record["microns_per_pixel"] == 0.25
    assert record["constants"]["run_folder"] == "/".join(finished.parts[-3:])
    names = [inputs / "images" / f"{name}.png" for name in ("a", "b", "c", "held_out")]
    images = ["/".join(path.parts[-3:]) for path in names]
    assert record["training_images"] == images[:3]
    assert record["validation_images"] == images[3:]
    last = rows(finished / "training_log.csv")[-1]
    assert record["epoch"] == 2
    assert {f"val_{name}" for name in FIGURES} == record["validation"].keys()
    for name, value in record["validation"].items():
        assert value == float(last[name])
    best = json.loads((finished / "Unet_best.json").read_text(encoding="utf-8"))
    log = rows(finished / "training_log.csv")
    assert best["model"] == "Unet_best.h5"
    assert best["validation"]["val_aji"] == max(float(row["val_aji"]) for row in log)
    assert record["versions"]["keras"] == keras.__version__
    assert record["versions"]["backend"] == keras.backend.backend()


def test_the_validation_figures_are_those_of_the_saved_unet(finished, inputs):
    record = json.loads((finished / "Unet.json").read_text(encoding="utf-8"))
    unet = keras.models.load_model(finished / "Unet.h5")
    image, labels = draw_tissue(42, 50, seed=3)
    maps = predict_maps(unet, image, 4)
    wrong = np.mean((maps[..., 0] > 0.5) != (labels > 0))
    assert record["validation"]["val_pixel_accuracy"] == pytest.approx(1 - wrong, abs=2e-3)
    assert record["validation"]["val_background_accuracy"] == pytest.approx(np.mean(labels == 0))


def test_finished_run_says_so_and_ships_only_when_told(finished, training, shipped, capsys):
    assert [path.name for path in shipped.iterdir()] == ["Unet.h5"]
    assert (shipped / "Unet.h5").read_text() == "shipped"
    before = {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    training.run(finished)
    assert f"Finished before: {finished / 'Unet.h5'}" in capsys.readouterr().out
    assert (shipped / "Unet.h5").read_text() == "shipped"
    training.run(finished, replace_shipped_model=True)
    assert {path: path.read_bytes() for path in finished.iterdir() if path.is_file()} == before
    for name in ("Unet.h5", "Unet.json"):
        assert (shipped / name).read_bytes() == (finished / name).read_bytes()


def test_a_run_says_how_labels_were_read_and_learns_from_a_labelled_part(
    training, tmp_path, capsys
):
    for name in ("a", "held"):
        image, labels = draw_tissue(60, 70, seed=len(name))
        write_picture(tmp_path / f"{name}.png", image)
        mask = ((labels > 0) * 255).astype(np.uint8)
        write_picture(tmp_path / f"{name}_mask.png", mask)
    region = {
        "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [30, 0], [30, 60], [0, 60]]]},
        "properties": {"classification": {"name": "Region"}},
    }
    (tmp_path / "held_mask.png").unlink()
    (tmp_path / "held.geojson").write_text(json.dumps([region]))
    run = tmp_path / "run"
    short = {"epochs": 1, "steps_per_epoch": 1}
    training.run(run, training_folders=(tmp_path,), **short)
    shown = capsys.readouterr().out
    assert "1 labelled by: binary mask" in shown
    assert "1 labelled by: outlines (GeoJSON), labelled in its regions only" in shown
    log = rows(run / "training_log.csv")
    assert float(log[0]["val_background_accuracy"]) == 1  # the region holds no nuclei


# --- Resuming ---


@pytest.mark.parametrize("after", ["batch", "ValidationReport", "EpochLog", None])
def test_interrupted_run_ends_as_an_unbroken_one(finished, training, tmp_path, after, capsys):
    training.interrupt(tmp_path, after)
    assert not (tmp_path / "Unet.h5").exists()
    training.run(tmp_path)
    np.testing.assert_allclose(
        saved_weights(tmp_path / "Unet.h5"), saved_weights(finished / "Unet.h5"), atol=1e-5
    )
    assert_same_backup(tmp_path / "training_backup", finished / "training_backup")
    assert_sound_log(rows(tmp_path / "training_log.csv"))
    np.testing.assert_allclose(
        saved_weights(tmp_path / "Unet_best.h5"),
        saved_weights(finished / "Unet_best.h5"),
        atol=1e-5,
    )
    end = capsys.readouterr().out
    assert ("Resumed after epoch 1 of 2" in end) == (after is not None)
    assert f'--unet "{tmp_path / "Unet.h5"}"' in end and "val dice" in end


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 3}, ["EPOCHS was 2, is 3"]),
        ({"crop": 16, "seed": 2}, ["CROP was 32, is 16", "SEED was 1, is 2"]),
        ({"validation_names": ("a",)}, ["training images: 1 more (", "1 missing ("]),
    ],
)
def test_another_run_in_the_same_folder_is_refused(finished, training, changes, words):
    before = {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    message = training.refused(finished, **changes)
    for word in [*words, str(finished), "--run-folder"]:
        assert word in message
    assert {path: path.read_bytes() for path in finished.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"freeze_encoder": True}, "FREEZE_ENCODER: expected an INITIAL_UNET or VGG19_WEIGHTS"),
        ({"check_folders": (Path("somewhere"),)}, "CHECK_FOLDERS: expected an INITIAL_UNET"),
        ({"initial_unet": "Unet.h5", "vgg19_weights": "imagenet"}, "VGG19_WEIGHTS: expected None"),
        ({"initial_unet": "Unet.h5", "depth": 3}, "expected a U-net of DEPTH 3 .* a depth of 2"),
        ({"initial_unet": "other.h5"}, "gives two maps, found 1 maps"),
    ],
)
def test_constants_that_would_do_nothing_or_harm_are_refused(
    finished, training, tmp_path, changes, words
):
    if "initial_unet" in changes:
        inputs = keras.Input((None, None, 3))
        keras.Model(inputs, keras.layers.Conv2D(1, 1)(inputs)).save(tmp_path / "other.h5")
        folder = finished if changes["initial_unet"] == "Unet.h5" else tmp_path
        changes = changes | {"initial_unet": folder / changes["initial_unet"]}
    if "vgg19_weights" in changes:
        changes = changes | {"first_filters": 16}
    assert re.search(words, training.refused(tmp_path / "run", **changes))


def test_fine_tuning_starts_from_the_given_unet(finished, training, tmp_path):
    start = finished / "Unet.h5"
    short = {"epochs": 1, "steps_per_epoch": 1, "learning_rate": 1e-9}
    training.run(tmp_path, compiled=True, initial_unet=start, **short)
    old, new = (keras.models.load_model(folder / "Unet.h5") for folder in (finished, tmp_path))
    before = {weight.path: keras.ops.convert_to_numpy(weight) for weight in old.weights}
    assert len(new.trainable_weights) > 10
    for weight in new.trainable_weights:
        after = keras.ops.convert_to_numpy(weight)
        np.testing.assert_allclose(before[weight.path], after, atol=1e-6)


@pytest.fixture
def option():
    """Name of TensorFlow's option, switched off again behind the test."""
    name = "auto_mixed_precision_onednn_bfloat16"
    yield name
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({name: False})


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs TensorFlow")
def test_training_in_bfloat16_saves_a_float32_unet(training, tmp_path, option, monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(machine, "has_bfloat16", lambda: True)  # else it is refused
    training.run(tmp_path, compiled=True, bfloat16=True, epochs=1, steps_per_epoch=1)
    assert tf.config.optimizer.get_experimental_options()[option]
    unet = keras.models.load_model(tmp_path / "Unet.h5", compile=False)
    assert {weights.dtype for weights in unet.get_weights()} == {np.dtype(np.float32)}
    assert all(np.isfinite(weights).all() for weights in unet.get_weights())


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs TensorFlow")
def test_training_in_bfloat16_needs_a_processor_that_has_it(training, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "has_bfloat16", lambda: False)
    assert "processor" in training.refused(tmp_path, bfloat16=True)


def test_training_in_bfloat16_needs_tensorflow(training, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    words = training.refused(tmp_path, bfloat16=True)
    assert "BFLOAT16" in words and "jax" in words


# --- The split ---


def load(folders, weights, validation_folders=(), names=(), share=0.1):
    """Split and read the pairs of folders, as main does."""
    pairs, judged = sets.pairs_of_folders(folders, validation_folders, None)
    held_out = sets.split(pairs, judged, names, share, seed=1)
    return sets.load_samples(pairs, weights, judged, held_out, load_sample)


def names_of(samples):
    return [sample.name for sample in samples]


def test_whole_images_go_to_one_side(tmp_path):
    for index in range(10):
        write_pair(tmp_path, f"{index:02d}", index, (16, 16))
    training, weights, validation = load((tmp_path,), (1.0,), share=0.3)
    assert len(training) == len(weights) == 7 and len(validation) == 3
    everything = {str(path) for path in (tmp_path / "images").iterdir()}
    assert set(names_of(training)) | set(names_of(validation)) == everything


def test_validation_folders_leave_the_training_folders_whole(tmp_path):
    for seed, (folder, count) in enumerate((("one", 3), ("two", 1), ("other_organ", 2))):
        for index in range(count):
            write_pair(tmp_path / folder, str(index), 10 * seed + index, (16, 16))
    training, weights, validation = load(
        (tmp_path / "one", tmp_path / "two"), (1.0, 3.0), (tmp_path / "other_organ",), share=0.9
    )
    assert [len(training), len(validation)] == [4, 2]
    assert all("other_organ" in name for name in names_of(validation))
    # Folders are drawn by their weights, images within a folder equally often.
    assert weights == pytest.approx([1 / 3, 1 / 3, 1 / 3, 3.0])


def test_a_training_folder_may_be_held_out_entirely(tmp_path):
    write_pair(tmp_path / "one", "a", 0, (16, 16))
    write_pair(tmp_path / "two", "held", 1, (16, 16))
    training, weights, validation = load(
        (tmp_path / "one", tmp_path / "two"), (1.0, 1.0), names=("held",)
    )
    assert (len(training), weights, len(validation)) == (1, [1.0], 1)


def test_a_stack_is_split_like_files_and_counts_once(tmp_path):
    for folder in ("one", "two"):
        drawn = [draw_tissue(16, 16, seed=len(folder) + ord(folder[0]) + n) for n in range(4)]
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "images.npy", np.stack([image for image, _ in drawn]))
        np.save(tmp_path / folder / "masks.npy", np.stack([labels for _, labels in drawn]))
    samples, _, validation = load((tmp_path / "one", tmp_path / "two"), (1.0, 1.0), share=0.25)
    assert [len(samples), len(validation)] == [6, 2]
    assert len({*names_of(samples), *names_of(validation)}) == 8
    with pytest.raises(ValueError, match="same image"):
        load((tmp_path / "one",), (1.0,), (tmp_path / "one",))


def test_each_folder_has_its_pixel_size(tmp_path):
    for folder in ("one", "two", "judged"):
        write_pair(tmp_path / folder, "a", 0, (16, 20))
    folders = tmp_path / "one", tmp_path / "two"
    sizes = (0.25, 0.5, 1.0)
    pairs, judged = sets.pairs_of_folders(folders, (tmp_path / "judged",), sizes)
    samples, _, validation = sets.load_samples(pairs, (1.0, 1.0), judged, set(), load_sample)
    sizes = [sample.image.shape[:2] for sample in samples + validation]
    assert sizes == [(16, 20), (32, 40), (64, 80)]
    alike, _ = sets.pairs_of_folders(folders, (), 0.5)
    assert [found[0].microns for found in alike] == [0.5, 0.5]


# --- Errors, before anything is trained ---


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training_folders": ("nowhere",)}, ["nowhere", "--training-folders"]),
        ({"validation_folders": ("nowhere",)}, ["nowhere"]),
        (
            {"validation_folders": (".",)},
            ["a.png are the same image", "or for validation"],
        ),
        ({"validation_names": ("nothing",)}, ["none of 4 images", "--validation-names"]),
        ({"validation_names": ("",)}, ["every one of 4 images", "add images"]),
        ({"validation_names": (), "validation_share": 0.9}, ["VALIDATION_SHARE 0.9 of 4 images"]),
        ({"folder_weights": (1.0, 2.0)}, ["expected 1 FOLDER_WEIGHTS, found 2"]),
        ({"microns_per_pixel": (0.5, 0.25)}, ["MICRONS_PER_PIXEL: expected one number above 0 or"]),
        ({"microns_per_pixel": -1.0}, ["MICRONS_PER_PIXEL", "found -1.0"]),
        ({"unet_microns_per_pixel": 0.0}, ["UNET_MICRONS_PER_PIXEL: expected a number above 0"]),
        ({"masks": "maybe"}, ["MASKS: expected auto or binary or instances, found maybe"]),
        ({"crop": 33}, ["CROP: expected a multiple of 4, found 33"]),
        ({"depth": 1}, ["DEPTH: expected at least 2, found 1"]),
        ({"vgg19_weights": "a.h5"}, ["VGG19_WEIGHTS: expected FIRST_FILTERS 16", "found 4 and 2"]),
        ({"epochs": 0}, ["EPOCHS: expected at least 1, found 0"]),
        ({"batch_size": -1}, ["BATCH_SIZE: expected at least 1, found -1"]),
        ({"learning_rate": float("nan")}, ["LEARNING_RATE: expected a number above 0"]),
    ],
)
def test_wrong_input_ends_at_once_and_says_what_to_do(training, inputs, tmp_path, changes, words):
    changes = {
        name: tuple(inputs / part for part in value) if name.endswith("folders") else value
        for name, value in changes.items()
    }
    message = training.refused(tmp_path / "run", **changes)
    assert all(word in message for word in words), message
    assert not (tmp_path / "run").exists()


def test_orphans_and_mismatches_end_the_run_by_name(tmp_path, training):
    folders = {"training_folders": (tmp_path,)}
    for seed, name in enumerate(("a", "held")):
        write_pair(tmp_path, name, seed)
    write_picture(tmp_path / "images" / "lonely.png", draw_tissue(9, 9)[0])
    assert "lonely.png" in training.refused(tmp_path / "run", **folders)
    write_picture(tmp_path / "instances" / "lonely.png", np.zeros((9, 8), np.uint8))
    write_picture(tmp_path / "instances" / "a.png", np.zeros((9, 8), np.uint8))
    message = training.refused(tmp_path / "run", **folders)
    assert "lonely.png: 8x9 pixels" in message and "a.png: 8x9 pixels" in message


# --- Network, loss and figures ---


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_unet_maps_any_multiple_of_its_pooling_to_two_maps(depth):
    keras.utils.set_random_seed(0)  # with some first weights float32 rounds a probability to 1
    unet = build_unet(4, depth)
    for height, width in ((1, 2), (3, 1)):
        shape = (1, height * 2**depth, width * 2**depth, 3)
        maps = keras.ops.convert_to_numpy(unet(np.full(shape, 200, np.float32)))
        assert maps.shape == (*shape[:3], 2)
        assert maps.min() > 0 and maps.max() < 1


def test_maps_of_odd_sizes_are_those_of_the_padded_image():
    unet = build_unet(4, 2)
    image = draw_tissue(37, 30)[0]
    maps = predict_maps(unet, image, 4)
    assert maps.shape == (37, 30, 2)
    padded = np.pad(image, ((0, 3), (0, 2), (0, 0)), mode="reflect")
    np.testing.assert_allclose(predict_maps(unet, padded, 4)[:37, :30], maps, atol=1e-6)


def weighted(truth, weight):
    """Both maps and the weight of each pixel, as batches hold them."""
    weight = np.broadcast_to(weight, truth.shape[:3])[..., None]
    return np.concatenate([truth, weight], axis=-1).astype(np.float32)


def test_loss_is_zero_for_perfect_maps_and_grows_with_error():
    truth = np.zeros((2, 8, 8, 2), np.float32)
    truth[:, 2:6, 2:6] = 1
    targets = weighted(truth, 1)
    losses = [float(nuclei_loss(targets, abs(truth - error))) for error in (0, 0.1, 0.5, 0.9)]
    assert losses[0] == pytest.approx(0, abs=1e-5)
    assert losses == sorted(losses)
    # At one half: log 2 for each map; overlap 16 of 16 + 32 pixels per image.
    assert losses[2] == pytest.approx(2 * np.log(2) + 1 - (32 + 1) / (32 + 64 + 1), rel=1e-4)


def test_pixels_that_are_not_labelled_do_not_count():
    truth = np.zeros((2, 8, 8, 2), np.float32)
    truth[:, 2:6, 2:6] = 1
    weight = np.zeros((2, 8, 8))
    weight[:, :, :5] = 1
    guess = np.random.default_rng(0).uniform(0.1, 0.9, truth.shape).astype(np.float32)
    loss = float(nuclei_loss(weighted(truth, weight), guess))
    assert loss == pytest.approx(
        float(nuclei_loss(weighted(truth, 1)[:, :, :5], guess[:, :, :5])), rel=1e-5
    )
    other = np.where(weight[..., None] > 0, guess, 1 - guess)
    assert float(nuclei_loss(weighted(truth, weight), other)) == pytest.approx(loss, rel=1e-6)
    assert float(nuclei_loss(weighted(truth, 0), guess)) == pytest.approx(0, abs=1e-6)


def labelled(seed=0, known=255):
    """A sample of drawn tissue with its labels."""
    image, labels = draw_tissue(60, 70, seed)
    targets = np.dstack([target_maps(labels), np.full(labels.shape, known, np.uint8)])
    return Sample("drawn", image, targets, 240.0, "", labels)


def perfect(sample):
    return sample.targets[..., :2].astype(np.float32) / 255


def test_perfect_maps_have_perfect_scores():
    samples = [labelled(seed) for seed in (0, 1)]
    figures = mean_scores(samples, [perfect(sample) for sample in samples], 0.5)
    assert list(figures) == list(FIGURES)
    assert figures["dice"] == figures["iou"] == figures["pixel_accuracy"] == 1
    assert figures["aji"] > 0.8 and figures["pq"] > 0.8 and figures["count_error"] < 0.2


def test_nuclei_count_only_where_they_are_labelled():
    sample, other = labelled(), labelled()
    for each in (sample, other):
        each.targets[:, 35:, 2] = 0
    other.labels[:, 50:] = 0
    maps = perfect(sample)
    wrong = maps.copy()
    wrong[:, 50:] = 1 - wrong[:, 50:]  # its nuclei lie in the unlabelled part
    expected = mean_scores([sample], [maps], 0.5)
    for each, guess in ((other, maps), (sample, wrong)):
        assert mean_scores([each], [guess], 0.5) == pytest.approx(expected, abs=0.05)


def test_the_best_unet_is_kept_also_over_an_interruption(tmp_path, monkeypatch):
    sample, saved = labelled(), []
    monkeypatch.setattr(callbacks, "save_model", lambda _, file: saved.append(file.name))
    monkeypatch.setattr(callbacks.ValidationReport, "_picture", lambda *_: Figure())
    log = EpochLog(tmp_path / "training_log.csv")
    quality = {0: 0.6, 1: 0.3, 2: 1.0, 3: 0.9}  # of each epoch: how much of its nuclei is found
    for epochs in ((0, 1), (1, 2, 3)):  # epoch 1 is trained again
        report = callbacks.ValidationReport([sample], 2, 0.5, tmp_path)
        for epoch in epochs:
            maps = perfect(sample)
            maps[:, int(quality[epoch] * 70) :] = 0
            monkeypatch.setattr(callbacks, "predict_maps", lambda *_, maps=maps: maps)
            logs, before = {"loss": 1.0}, len(saved)
            report.on_epoch_end(epoch, logs)
            log.on_epoch_end(epoch, logs)
            assert len(saved) - before == (epoch in (0, 2)), epoch
    assert set(saved) == {"Unet_best.h5"}


def test_curves_show_a_single_epoch(tmp_path):
    names = ("epoch", "loss", *(f"val_{name}" for name in FIGURES))
    (tmp_path / "log.csv").write_text(f"{','.join(names)}\n{','.join(['0.5'] * len(names))}\n")
    lines = [
        line for axis in callbacks.draw_curves(tmp_path / "log.csv").axes for line in axis.lines
    ]
    assert len(lines) == 7 and all(line.get_marker() not in ("None", "") for line in lines)
    shown = {line.get_label() for line in lines}
    assert {"training", "validation, not augmented", "AJI", "PQ", "Dice"} <= shown


def test_the_picture_has_one_scale_for_every_epoch(tmp_path):
    sample = labelled()
    report = callbacks.ValidationReport([sample], 2, 0.5, tmp_path)
    figure = report._picture([perfect(sample) * 0.2])
    *panels, scale = figure.axes
    assert len(panels) == 4
    for panel in panels[1:]:
        assert panel.images[0].get_clim() == (0, 1)
    assert scale.get_ylim() == (0, 1)


# --- The command line ---


def test_every_constant_is_a_flag(capsys):
    for name, parameter in inspect.signature(Unet_train.main).parameters.items():
        assert parameter.default == getattr(Unet_train, name.upper())
    assert_every_constant_is_an_explained_flag(Unet_train, capsys)
