"""What the trainings share: split, run folders, devices, times and logs of an epoch."""

import inspect
import json
import time
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.training_runs import rows
from shared import epochs, setup
from shared.comparing import named
from shared.epochs import Backup, EpochLog, EpochTimes, RandomBatches, StopAtNaN, fit
from shared.machine import use_devices
from shared.run_folder import check_run_folder, describe, plain
from shared.saving import save_model, write_json
from shared.setup import hold_out, refuse_repeats, shares_of
from srgan.models import build_generator
from unet.model import build_unet

TRAINING = Path(__file__).resolve().parents[2] / "training"


# --- The split ---

ENDS = (".png", "_x0_y512.png", " [x=0,y=512,w=512,h=512].png", " [d=2,x=0,y=9,w=5,h=5].tif")


def paths(count):
    return [Path("folder") / f"{index:03d}.png" for index in range(count)]


@given(count=st.integers(2, 200), share=st.floats(0, 0.5), seed=st.integers(0, 9))
def test_a_fixed_number_is_held_out_and_at_least_one(count, share, seed):
    chosen = hold_out(paths(count), (), share, seed)
    assert len(chosen) == max(1, round(share * count)) and chosen <= set(paths(count))
    assert hold_out(paths(count), (), share, seed) == chosen


def test_the_seed_decides_which():
    assert len({frozenset(hold_out(paths(50), (), 0.1, seed)) for seed in range(5)}) == 5


def test_copies_and_fields_of_one_image_are_held_out_together():
    names = [f"{folder}/{n}{end}" for n in "abcdef" for folder in ("set", "copy") for end in ENDS]
    for seed in range(5):
        chosen = hold_out([Path(name) for name in names], (), 0.3, seed)
        assert len(chosen) == 2 * 2 * len(ENDS)  # two of six images
        assert len({path.stem[0] for path in chosen}) == 2


def test_about_the_share_is_held_out_where_fields_are_unequally_many():
    fields = [Path(f"a_x{n}_y0.png") for n in range(9)] + [Path("b.png"), Path("c_x1_y1.png")]
    for seed in range(10):
        assert len(hold_out(fields, (), 0.25, seed)) in (1, 2)
    with pytest.raises(ValueError, match="leaves none for training"):
        hold_out(fields[:9], (), 0.25, 0)


def test_names_go_before_the_share():
    assert hold_out(paths(30), ("00", "011"), 0.5, 1) == {*paths(10), Path("folder/011.png")}


@pytest.mark.parametrize(
    ("count", "names", "share", "words"),
    [
        (1, (), 0.1, "found only folder/000.png: .* add images"),
        (1, ("0",), 0.1, "found only folder/000.png: .* add images"),
        (4, ("x", "y"), 0.1, r"--validation-names\): none of 4 .* x or y; .* 000.png"),
        (4, ("0",), 0.1, r"--validation-names\): every one of 4"),
        (4, (), 0.9, "VALIDATION_SHARE 0.9 of 4 images leaves none"),
    ],
)
def test_a_side_without_images_is_refused_with_the_remedy(count, names, share, words):
    with pytest.raises(ValueError, match=words):
        hold_out(paths(count), names, share, 1)


@pytest.mark.parametrize("second", ["a.png", "x/../a.png", "x/a.png", "another name.tif"])
def test_an_image_that_comes_twice_is_refused(tmp_path, second):
    """By path or by content, whatever it is called."""
    (tmp_path / "x").mkdir()
    for name in ("a.png", "x/a.png", "another name.tif"):
        (tmp_path / name).write_bytes(b"same")
    (tmp_path / "b.png").write_bytes(b"else")  # as many bytes
    (tmp_path / "c.png").write_bytes(b"longer")
    refuse_repeats([tmp_path / name for name in ("a.png", "b.png", "c.png")])
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png", second)]
    with pytest.raises(ValueError, match=r"a\.png and .*(png|tif) are the same image"):
        refuse_repeats(paths)


# --- Run folders ---


def run_of(folder, constants, training=("a", "b"), validation=("c",), **weights):
    for name in (*training, *validation):
        path = folder / "data" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_bytes(b"picture")
    sides = ([(folder / "data" / f"{n}.png",) for n in names] for names in (training, validation))
    return describe(constants, *sides, weights)


def test_a_run_goes_on_only_with_what_it_began_with(tmp_path):
    constants = plain({"crop": 32, "rates": (0.1, 0.2), "run_folder": tmp_path, "devices": 1})
    run = run_of(tmp_path, constants)
    check_run_folder(tmp_path / "run", run)
    write_json(tmp_path / "run" / "run.json", run)
    check_run_folder(tmp_path / "run", run)
    check_run_folder(
        tmp_path / "run", run_of(tmp_path, {**constants, "devices": "all", "run_folder": "x"})
    )
    with pytest.raises(ValueError, match="CROP was 32, is 64"):
        check_run_folder(tmp_path / "run", run_of(tmp_path, {**constants, "crop": 64}))
    with pytest.raises(ValueError, match=r"training images: 1 more \(.*d\.png\); 1 missing \(.*b"):
        check_run_folder(tmp_path / "run", run_of(tmp_path, constants, ("a", "d")))
    (tmp_path / "data" / "c.png").write_bytes(b"picTure")  # corrected, of as many bytes
    with pytest.raises(ValueError, match=r"validation images: 1 changed \(.*c\.png\)"):
        check_run_folder(tmp_path / "run", run_of(tmp_path, constants))


def test_a_run_goes_on_only_with_the_weights_that_it_began_with(tmp_path):
    file = tmp_path / "Unet.h5"
    file.write_bytes(b"one")
    weights = {"initial_unet": file, "vgg19_weights": "imagenet", "lpips_weights": None}
    run = run_of(tmp_path, {}, **weights)
    assert list(run["weights"]) == ["initial_unet"]
    write_json(tmp_path / "run" / "run.json", run)
    check_run_folder(tmp_path / "run", run_of(tmp_path, {}, **weights))
    file.write_bytes(b"two")
    with pytest.raises(ValueError, match="INITIAL_UNET has another content"):
        check_run_folder(tmp_path / "run", run_of(tmp_path, {}, **weights))


def test_a_run_of_an_earlier_version_is_known_by_the_bytes_of_its_files(tmp_path):
    run = run_of(tmp_path, {})
    earlier = {"constants": {}}
    for side in ("training_images", "validation_images"):
        earlier[side] = {name: [[7]] for name in run[side]}
    write_json(tmp_path / "run" / "run.json", earlier)
    check_run_folder(tmp_path / "run", run)
    (tmp_path / "data" / "c.png").write_bytes(b"another picture")
    with pytest.raises(ValueError, match=r"validation images: 1 changed"):
        check_run_folder(tmp_path / "run", run_of(tmp_path, {}))


def test_a_constant_that_a_run_did_not_have_yet_keeps_what_it_meant_then(tmp_path):
    write_json(tmp_path / "run" / "run.json", run_of(tmp_path, {"crop": 32}))
    check_run_folder(tmp_path / "run", run_of(tmp_path, {"crop": 32, "tuned_share": 1.0}))
    with pytest.raises(ValueError, match=r"TUNED_SHARE was 1\.0, is 0\.6"):
        check_run_folder(tmp_path / "run", run_of(tmp_path, {"crop": 32, "tuned_share": 0.6}))
    with pytest.raises(ValueError, match="SEED was unknown, is 1"):
        check_run_folder(tmp_path / "run", run_of(tmp_path, {"crop": 32, "seed": 1}))


@pytest.mark.parametrize("leftover", ["backup", "pretraining_backup", "Unet.h5"])
def test_checkpoints_of_an_unknown_run_are_refused(tmp_path, leftover):
    run = run_of(tmp_path, {})
    (tmp_path / "notes.txt").touch()
    check_run_folder(tmp_path, run)
    (tmp_path / leftover).mkdir()
    with pytest.raises(ValueError, match=f"holds {leftover} but no run.json.*--run-folder"):
        check_run_folder(tmp_path, run)


# --- Devices ---


def test_several_devices_need_jax_and_a_batch_that_divides(monkeypatch):
    use_devices(1, 3)
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(ValueError, match=r"DEVICES: all needs the JAX .*found tensorflow"):
        use_devices("all", 8)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0", "cpu:1"])
    with pytest.raises(ValueError, match=r"DEVICES: expected 1 to 2 .*, found 4"):
        use_devices(4, 8)
    with pytest.raises(ValueError, match="BATCH_SIZE: expected a multiple of 2 devices, found 3"):
        use_devices("all", 3)


# --- Epochs ---


class Pairs(RandomBatches):
    """Three batches of random numbers."""

    def __init__(self):
        super().__init__(batches=3, seed=1)

    def draw(self, rng):
        return rng.random((2, 3), np.float32), rng.random((2, 1), np.float32)


def test_waiting_for_data_is_told_from_computing(monkeypatch):
    batches = Pairs()
    times = EpochTimes(batches)
    monkeypatch.setattr(epochs, "_batches_ahead", lambda: 0)
    clock = iter((10, 13, 15, 17))  # begin of the epoch, end of each step
    monkeypatch.setattr(epochs.time, "perf_counter", lambda: float(next(clock)))
    times.on_epoch_begin(epoch=4)
    # Waited 2 s for the first batch, not for the second, 1 s for the third.
    batches.ready.update({0: 12.0, 1: 12.5, 2: 16.0})
    for index in range(3):
        times.on_train_batch_end(index)
    logs = {}
    times.on_epoch_end(4, logs)
    assert batches.epoch == 4
    assert logs == pytest.approx({"steps_per_second": 3 / 7, "data_wait_share": 3 / 7})


def test_every_batch_knows_when_it_was_ready():
    batches = Pairs()
    before = time.perf_counter()
    first, again = batches[1], batches[1]
    assert before < batches.ready[1] < time.perf_counter() and list(batches.ready) == [1]
    np.testing.assert_array_equal(first[0], again[0])


def test_a_row_of_an_epoch_that_is_trained_again_is_replaced(tmp_path):
    log = EpochLog(tmp_path / "log.csv")
    for epoch, loss in ((0, 5.0), (1, 4.0), (2, 3.0), (1, 2.0)):
        log.on_epoch_end(epoch, {"loss": loss, "dice": 0.5})
    assert rows(tmp_path / "log.csv") == [
        {"epoch": "0", "dice": "0.5", "loss": "5.0"},
        {"epoch": "1", "dice": "0.5", "loss": "2.0"},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_a_loss_that_is_no_number_ends_the_run_before_its_backup(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e30), "mse", run_eagerly=True)
    backup = Backup(tmp_path / "backup")
    with pytest.raises(SystemExit, match="lower the learning rate"):
        model.fit(Pairs(), epochs=1, callbacks=[StopAtNaN(), backup], verbose=0)
    assert not (tmp_path / "backup").exists()


def tiny_fit(folder, epochs, model=None):
    """Train a tiny model; return its weights and the epochs that were done."""
    keras.utils.set_random_seed(0)
    model = model or keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.1), "mse", run_eagerly=True)
    begun = []
    watch = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: begun.append(epoch))
    fit(model, Pairs(), epochs, [watch, Backup(folder)])
    return np.concatenate([np.ravel(values) for values in model.get_weights()]), begun


@pytest.mark.parametrize("damage", ["none", "unfinished", "cut short"])
def test_a_run_killed_at_any_moment_of_its_backup_goes_on(tmp_path, damage):
    whole, _ = tiny_fit(tmp_path / "whole", 4)
    tiny_fit(tmp_path / "killed", 3)
    newest = tmp_path / "killed" / "epoch_00003.weights.h5"
    assert sorted(path.name for path in newest.parent.iterdir()) == [
        "epoch_00002.weights.h5",
        newest.name,
    ]
    if damage == "unfinished":  # killed while the file of the next epoch was written
        (newest.parent / "unfinished.weights.h5").write_bytes(newest.read_bytes()[:500])
    elif damage == "cut short":  # a loss of power
        newest.write_bytes(newest.read_bytes()[:500])
    weights, begun = tiny_fit(tmp_path / "killed", 4)
    assert begun == ([2, 3] if damage == "cut short" else [3])
    np.testing.assert_allclose(weights, whole, atol=1e-6)


def test_backups_none_of_which_can_be_read_are_named(tmp_path):
    tiny_fit(tmp_path, 1)
    (tmp_path / "epoch_00001.weights.h5").write_bytes(b"\0")
    with pytest.raises(SystemExit, match=r"epoch_00001.*delete .* to begin anew"):
        tiny_fit(tmp_path, 2)


def test_a_broken_write_leaves_no_half_file(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "run.json", {"bad": setup})
    assert not (tmp_path / "run.json").exists()


def test_models_are_named_by_as_many_folders_as_tell_them_apart():
    names = ("1/default/Unet.h5", "2/default/Unet.h5", "models/old.h5", "old.keras")
    paths = [Path(name) for name in names]
    ends = ("1/default/Unet", "2/default/Unet", "old.h5", "old.keras")
    assert named(paths) == dict(zip(ends, paths, strict=True))
    assert named(paths[:3]) == dict(zip((*ends[:2], "old"), paths[:3], strict=True))
    with pytest.raises(ValueError, match="one twice"):
        named([paths[0], paths[0]])


# --- Saved models ---


def configurations(file):
    """Yield (class name, arguments) of every layer and initializer of a saved model."""

    def walk(entry):
        if isinstance(entry, list):
            for item in entry:
                yield from walk(item)
        elif isinstance(entry, dict):
            if "class_name" in entry:
                yield entry["class_name"], entry["config"]
            yield from (found for item in entry.values() for found in walk(item))

    with h5py.File(file) as h5:
        yield from walk(json.loads(h5.attrs["model_config"]))


@pytest.mark.parametrize("build", [lambda: build_generator(4, 1), lambda: build_unet(2, 2)])
def test_a_saved_model_names_no_argument_that_has_its_default(tmp_path, build):
    model = build()
    save_model(model, tmp_path / "model.h5")
    found = list(configurations(tmp_path / "model.h5"))
    assert {"GlorotUniform", "Conv2D"} <= {name for name, _ in found}
    for name, arguments in found:
        kind = getattr(keras.layers, name, None) or getattr(keras.initializers, name, None)
        if kind and name != "Rescaling":
            known = inspect.signature(kind).parameters
            defaults = {key: known[key].default for key in arguments if key in known}
            assert not [key for key in defaults if arguments[key] == defaults[key]], name
    loaded = keras.models.load_model(tmp_path / "model.h5", compile=False)
    assert loaded.get_config() == model.get_config()
    batch = np.random.default_rng(0).uniform(0, 255, (1, 16, 16, 3)).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict_on_batch(batch), model.predict_on_batch(batch))


def test_folders_without_weights_count_alike():
    assert shares_of(("a", "b"), ()) == (1.0, 1.0)
    assert shares_of(("a", "b"), (2.0, 1.0)) == (2.0, 1.0)
    for folders, weights in [((), ()), (("a",), (1.0, 1.0)), (("a",), (0.0,))]:
        with pytest.raises(ValueError, match="expected"):
            shares_of(folders, weights)
