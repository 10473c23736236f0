"""Images that a list leaves out are not trained on, are still validated on, and are counted."""

import json
from pathlib import Path

import pytest
import Unet_train

from helpers.drawn_tissue import write_pair
from helpers.training_runs import TinyTraining, stand_in_for_models
from labels.pairing import Pair
from unet import training as unet_training
from unet.sets.left_out import LeftOut, read_left_out


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """The script with tiny constants, four images to train on and one to replay."""
    folder = tmp_path_factory.mktemp("inputs")
    for seed, name in enumerate(("inky", "b", "c", "held_out")):
        write_pair(folder / "some_set", name, seed)
    write_pair(folder / "older", "inky", 7)
    write_pair(folder / "older", "other", 8)
    return TinyTraining(
        Unet_train,
        unet_training,
        "Unet.h5",
        training_folders=(folder / "some_set",),
        validation_names=("held",),
        replay_folders=(folder / "older",),
        left_out=None,
        crop=32,
        first_filters=2,
        depth=2,
        batch_size=1,
        steps_per_epoch=1,
        epochs=1,
    )


@pytest.fixture(scope="module")
def shipped(training, tmp_path_factory):
    with stand_in_for_models(training, tmp_path_factory.mktemp("repository")) as models:
        yield models


def write_list(path, *rows):
    path.write_text("\n".join(["set,image,reason", *rows]), encoding="utf-8")
    return path


def images_of(run_folder):
    run = json.loads((run_folder / "run.json").read_text(encoding="utf-8"))
    return [
        sorted("/".join((Path(n).parts[-3], Path(n).stem)) for n in run[side])
        for side in ("training_images", "validation_images")
    ]


def test_a_listed_image_is_not_trained_on_but_validated_on(training, shipped, tmp_path, capsys):
    rows = ("some_set,inky,ink", "some_set,held_out,ink", "elsewhere,b,ink", "some_set,d,ink")
    left_out = write_list(tmp_path / "list.csv", *rows)
    training.run(tmp_path / "run", left_out=left_out)
    assert images_of(tmp_path / "run") == [
        ["older/inky", "older/other", "some_set/b", "some_set/c"],
        ["some_set/held_out"],
    ]
    assert f"1 image left out of training: see {left_out}" in capsys.readouterr().out


def test_replayed_images_are_left_out_too(training, shipped, tmp_path, capsys):
    left_out = write_list(tmp_path / "list.csv", "older,inky,ink", "some,c,a copy of a set")
    training.run(tmp_path / "run", left_out=left_out)
    assert images_of(tmp_path / "run")[0] == ["older/other", "some_set/b", "some_set/inky"]
    assert "2 images left out of training" in capsys.readouterr().out


def test_nothing_is_said_where_nothing_is_left_out(training, shipped, tmp_path, capsys):
    training.run(tmp_path / "run", left_out=write_list(tmp_path / "list.csv", "older,z,gone"))
    assert "left out" not in capsys.readouterr().out
    assert len(images_of(tmp_path / "run")[0]) == 5


def test_nothing_to_train_on_is_refused(training, shipped, tmp_path):
    rows = (f"some_set,{name},ink" for name in ("inky", "b", "c"))
    left_out = write_list(tmp_path / "list.csv", *rows)
    assert "leaves no image to train on" in training.refused(tmp_path / "run", left_out=left_out)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a CSV file with set, image, reason, found none"),
        ("set,image\na,b\n", "found no reason in line 2"),
        ("set,image,reason\na,b,ink\nc,d,\n", "found no reason in line 3"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(tmp_path, content, message):
    path = tmp_path / "list.csv"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_left_out(path)


def test_an_image_is_found_by_its_name_and_a_folder_above_it():
    listed = LeftOut(frozenset({("set", "a")}))
    for path, expected in {
        "set/a.png": True,
        "set_copy/images/a.webp": True,
        "set/deeper/images/a.tif": True,
        "Set/Train/A.PNG": True,
        "other/a.png": False,
        "set/ab.png": False,
        "a/set.png": False,
    }.items():
        assert (Pair(Path(path), ()) in listed) == expected, path
    assert Pair(Path("set/a.png"), ()) not in read_left_out(None)


def test_the_shipped_list_can_be_read_and_names_each_image_once():
    images = read_left_out(Unet_train.LEFT_OUT).images
    lines = Unet_train.LEFT_OUT.read_text(encoding="utf-8").strip().splitlines()
    assert ("consep", "train_02") in images and len(images) == len(lines) - 1
