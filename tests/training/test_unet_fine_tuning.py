"""Fine-tuning on a handful of fields: defaults, replayed crops, figures before and after."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import Unet_train

from helpers.drawn_tissue import write_pair
from helpers.training_runs import TinyTraining, saved_weights, stand_in_for_models
from unet import training as unet_training
from unet.evaluation import check_sizes
from unet.fine_tuning import with_defaults
from unet.model import build_unet
from unet.sets import finding as sets

GIVEN = {
    "epochs": None,
    "learning_rate": None,
    "validation_share": None,
    "tuned_share": None,
    "replay_folders": None,
    "replay_share": 0.5,
    "initial_unet": None,
    "unet_microns_per_pixel": None,
}


def write_fields(folder, names, first_seed):
    for seed, name in enumerate(names, start=first_seed):
        write_pair(folder, name, seed)
    return folder


# --- Defaults ---


def test_a_handful_of_fields_is_trained_on_shortly_and_gently(tmp_path):
    given = GIVEN | {"training_folders": (tmp_path,)}
    new = with_defaults(given, tmp_path / "none")
    tuned = with_defaults(given | {"initial_unet": tmp_path / "Unet.h5"}, tmp_path / "none")
    assert (new["epochs"], new["learning_rate"], new["validation_share"]) == (15, 2e-3, 0.1)
    assert (tuned["epochs"], tuned["learning_rate"], tuned["validation_share"]) == (3, 5e-4, 0.25)
    assert (new["tuned_share"], tuned["tuned_share"]) == (1, 0.6)
    assert new["unet_microns_per_pixel"] == tuned["unet_microns_per_pixel"] == 0.25
    assert 200 <= tuned["epochs"] * Unet_train.STEPS_PER_EPOCH <= 900


@pytest.mark.parametrize("initial", [None, "Unet.h5"])
def test_what_the_user_sets_stays(tmp_path, initial):
    chosen = {"epochs": 7, "learning_rate": 1e-3, "validation_share": 0.0, "replay_folders": ()}
    chosen |= {"tuned_share": 0.9, "unet_microns_per_pixel": 0.3}
    given = GIVEN | {"training_folders": (tmp_path,), "initial_unet": initial} | chosen
    assert with_defaults(given, tmp_path) == given


def test_a_unet_keeps_the_pixel_size_that_it_was_trained_at(tmp_path):
    given = GIVEN | {"training_folders": (tmp_path,), "initial_unet": tmp_path / "Unet.h5"}
    (tmp_path / "Unet.json").write_text(json.dumps({"microns_per_pixel": 0.5}))
    assert with_defaults(given, tmp_path / "none")["unet_microns_per_pixel"] == 0.5
    with pytest.raises(ValueError, match=r"expected 0.5 um, which INITIAL_UNET .* found 0.25"):
        with_defaults(given | {"unet_microns_per_pixel": 0.25}, tmp_path / "none")
    check_sizes([tmp_path / "Unet.h5", tmp_path / "other.h5"], 0.5)
    with pytest.raises(ValueError, match=r"expected 0.5 um, which .*Unet\.h5 .* found 0.25"):
        check_sizes([tmp_path / "Unet.h5"], 0.25)


def test_older_images_are_replayed_where_they_are_at_hand(tmp_path):
    older = write_fields(tmp_path / "nuclei", ("a",), 0)
    given = GIVEN | {"training_folders": (tmp_path / "corrected",), "initial_unet": "Unet.h5"}
    assert with_defaults(given, older)["replay_folders"] == (older,)
    (tmp_path / "empty").mkdir()
    for changes, folder in (
        ({}, tmp_path / "missing"),
        ({}, tmp_path / "empty"),
        ({"initial_unet": None}, older),
        ({"replay_share": 0.0}, older),
        ({"training_folders": (older,)}, older),
    ):
        assert with_defaults(given | changes, folder)["replay_folders"] == ()


def test_replayed_folders_share_what_is_set_aside_for_them():
    assert sets.with_replay((1.0, 3.0), 0, 0.5) == [1.0, 3.0]
    assert sets.with_replay((1.0, 3.0), 2, 0.4) == pytest.approx([0.15, 0.45, 0.2, 0.2])


@pytest.mark.parametrize(("limit", "kept"), [(9, [0, 1, 2, 3, 4]), (3, [0, 2, 4]), (1, [0])])
def test_a_limit_keeps_items_from_all_over(limit, kept):
    assert sets.evenly(list(range(5)), limit) == kept


# --- A whole run ---


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Corrected fields, older ones, and other tissue; a tiny U-net to start from."""
    folder = tmp_path_factory.mktemp("inputs")
    write_fields(folder / "corrected", ("a", "b", "c", "d"), 0)
    write_fields(folder / "older", ("e", "f", "g"), 10)
    write_fields(folder / "other", ("h", "i"), 20)
    keras.utils.set_random_seed(0)
    build_unet(4, 2).save(folder / "Unet.h5")
    return folder


@pytest.fixture(scope="module")
def training(inputs):
    return TinyTraining(
        Unet_train,
        unet_training,
        "Unet.h5",
        initial_unet=inputs / "Unet.h5",
        training_folders=(inputs / "corrected",),
        replay_folders=(inputs / "older",),
        check_folders=(inputs / "other",),
        crop=32,
        first_filters=4,
        depth=2,
        batch_size=2,
        steps_per_epoch=1,
        epochs=1,
    )


def test_a_run_ends_with_figures_before_and_after(inputs, training, tmp_path, capsys):
    with stand_in_for_models(training, tmp_path):
        training.run(tmp_path / "run", replay_limit=2, validation_share=None)
    shown = capsys.readouterr().out
    plan = ("Fine-tuning", "1 epoch of 1 step,", "learning rate 0.0005", "3 images for training")
    for words in (*plan, "1 for validation", "50% of the crops are replayed from 2 images"):
        assert words in shown
    held_out = shown.split("Held out: ")[1].splitlines()[0]
    assert held_out in {"a.png", "b.png", "c.png", "d.png"}
    table = [line for line in shown.splitlines() if ", before" in line or ", after" in line]
    assert [line.split()[:-4] for line in table] == [
        ["held", "out,", "before", "1"],
        ["held", "out,", "after", "1"],
        ["check,", "before", "2"],
        ["check,", "after", "2"],
    ]
    assert f'--unet "{tmp_path / "run" / "Unet.h5"}"' in shown
    record = json.loads((tmp_path / "run" / "Unet.json").read_text("utf-8"))
    assert record["constants"]["epochs"] == 1 and record["constants"]["learning_rate"] == 5e-4
    assert len(record["training_images"]) == 3 + 2
    compared = record["fine_tuning"]
    assert compared["held out"]["images"] == 1 and compared["check"]["images"] == 2
    after = compared["held out"]["after"]
    assert after["dice"] == pytest.approx(record["validation"]["val_dice"], abs=1e-6)
    for line, part, when in zip(
        table, ("held out",) * 2 + ("check",) * 2, ("before", "after") * 2, strict=True
    ):
        assert float(line.split()[-4]) == pytest.approx(compared[part][when]["dice"], abs=6e-4)


def test_the_new_unet_keeps_a_share_of_the_weights_that_it_started_from(
    inputs, training, tmp_path, capsys
):
    whole, part = (saved_weights(run(training, tmp_path, share)) for share in (1.0, 0.25))
    start = saved_weights(inputs / "Unet.h5")
    assert np.abs(whole - start).max() > 1e-4
    np.testing.assert_allclose(part, 0.25 * whole + 0.75 * start, atol=1e-6)
    record = json.loads((tmp_path / "0.25" / "Unet.json").read_text("utf-8"))
    after = record["fine_tuning"]["held out"]["after"]
    assert {
        name.removeprefix("val_"): value for name, value in record["validation"].items()
    } == after
    assert "INITIAL_UNET" in training.refused(tmp_path / "new", tuned_share=0.5, initial_unet=None)


def run(training, folder, share):
    training.run(folder / str(share), tuned_share=share, learning_rate=1e-2)
    return folder / str(share) / "Unet.h5"


def test_originals_of_what_is_held_out_are_not_replayed(training, tmp_path):
    older = write_fields(tmp_path / "older", ("a", "b", "z"), 30)
    training.run(tmp_path / "run", replay_folders=(older,), validation_names=("a", "d"))
    described = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    replayed = {Path(name).name for name in described["training_images"] if "older" in name}
    assert replayed == {"b.png", "z.png"}


def test_originals_of_what_is_checked_are_not_replayed_and_what_is_trained_on_is_named(
    training, tmp_path, capsys
):
    older = write_fields(tmp_path / "older", ("h", "z"), 30)  # h is checked
    write_fields(tmp_path / "validation", ("b", "y"), 40)  # b is trained on
    training.run(
        tmp_path / "run", replay_folders=(older,), validation_folders=(tmp_path / "validation",)
    )
    described = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    replayed = {Path(name).name for name in described["training_images"] if "older" in name}
    assert replayed == {"z.png"}
    assert "1 image for training and some that are scored have the same names (b.png)" in (
        capsys.readouterr().out
    )


def test_an_image_may_be_in_one_set_only(inputs, training, tmp_path):
    for name in ("check_folders", "replay_folders"):
        message = training.refused(tmp_path / "run", **{name: (inputs / "corrected",)})
        assert "are the same image" in message
    assert "nowhere" in training.refused(tmp_path / "run", replay_folders=(inputs / "nowhere",))
    assert "REPLAY_SHARE" in training.refused(tmp_path / "run", replay_share=1.0)
