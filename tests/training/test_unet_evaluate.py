"""Unet_evaluate.py scores U-nets on images as they are and changed; tiny, offline."""

import csv

import numpy as np
import pytest
import Unet_evaluate

from helpers.drawn_tissue import draw_tissue, write_pair
from helpers.tiny_models import darkness_unet, random_unet, save
from unet.data import Sample, target_maps
from unet.evaluation import CHANGES, SHOWN, changed_scores, pooling_of
from unet.scoring import mean_scores, predict_maps

SIZE = (60, 84)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Three drawn images with labels, and three U-nets, two of which are the same."""
    folder = tmp_path_factory.mktemp("inputs")
    for seed, name in enumerate(("a", "b", "other")):
        write_pair(folder / "set", name, seed, SIZE)
    models = {name: darkness_unet() for name in ("dark", "again")} | {"random": random_unet()}
    return folder, tuple(save(unet, folder / f"{name}.h5") for name, unet in models.items())


@pytest.fixture(scope="module")
def rows(inputs, tmp_path_factory):
    """The rows of a table of two of the images."""
    folder, unets = inputs
    table = tmp_path_factory.mktemp("table") / "new" / "nuclei.csv"
    Unet_evaluate.main(
        labelled_folders=(folder / "set",), image_names=("a", "b"), unets=unets, output_file=table
    )
    with table.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def drawn_sample(seed):
    image, labels = draw_tissue(*SIZE, seed)
    targets = np.dstack([target_maps(labels), np.full(SIZE, 255, np.uint8)])
    return Sample("drawn", image, targets, 250.0, "", labels)


def figures(rows, unet):
    return {
        row["images"]: {name: float(row[name]) for name in SHOWN}
        for row in rows
        if row["unet"] == unet
    }


def test_every_unet_is_scored_on_every_change(rows, inputs):
    assert len(rows) == 3 * len(CHANGES)
    assert {(row["folder"], row["n"]) for row in rows} == {(f"{inputs[0].name}/set", "2")}
    for unet in ("dark", "again", "random"):
        assert figures(rows, unet).keys() == CHANGES.keys()
    scores = ("dice", "aji", "pq", "f1")
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in scores)


def test_all_unets_see_the_same_changes(rows):
    assert figures(rows, "dark") == figures(rows, "again") != figures(rows, "random")


def test_images_as_they_are_score_as_in_training(rows):
    unet, samples = darkness_unet(), [drawn_sample(seed) for seed in (0, 1)]
    expected = mean_scores(samples, [predict_maps(unet, s.image, 2) for s in samples], 0.25)
    found = figures(rows, "dark")["as they are"]
    for name in ("dice", "aji", "pq", "count_error"):
        assert found[name] == pytest.approx(expected[name], abs=1e-6)


def test_another_size_is_compared_with_the_labels_as_they_are(rows):
    assert figures(rows, "dark")["as they are"]["dice"] > 0.95
    for change in ("3/4 of the magnification", "4/3 of the magnification"):
        assert figures(rows, "dark")[change]["dice"] > 0.85
    sample, rng = drawn_sample(0), np.random.default_rng(0)
    sizes = [
        CHANGES[f"{ratio} of the magnification"](sample, rng).shape for ratio in ("3/4", "4/3")
    ]
    assert sizes == [(45, 63, 3), (80, 112, 3)]


def test_stain_light_and_optics_are_changed_and_drawn_by_the_seed():
    sample = drawn_sample(0)
    before = sample.image.copy()
    for name in ("other stain and light", "other optics"):
        made = [CHANGES[name](sample, np.random.default_rng(seed)) for seed in (1, 1, 2)]
        np.testing.assert_array_equal(made[0], made[1])
        assert made[0].shape == sample.image.shape and (made[0] != made[2]).any()
    np.testing.assert_array_equal(sample.image, before)


def test_a_shifted_image_scores_less():
    sample, unet = drawn_sample(0), darkness_unet()
    right, shifted = (
        changed_scores(unet, sample, image, 0.25)["dice"]
        for image in (sample.image, np.roll(sample.image, 4, axis=1))
    )
    assert shifted < right - 0.1


def test_the_pooling_is_read_from_the_network():
    assert [pooling_of(random_unet(depth=depth)) for depth in (2, 3, 4)] == [4, 8, 16]
    assert pooling_of(darkness_unet()) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_names": ("z",)}, r"IMAGE_NAMES.*none of 3 images.*begins with z"),
        ({"unets": ("nowhere.h5",)}, r"no U-net at .*nowhere\.h5: train one or set UNETS"),
        ({"labelled_folders": ("missing",)}, "missing"),
    ],
)
def test_what_is_missing_is_named(inputs, tmp_path, changes, message):
    folder, unets = inputs
    settings = {"labelled_folders": ("set",), "output_file": tmp_path / "nuclei.csv"} | changes
    settings["labelled_folders"] = tuple(folder / name for name in settings["labelled_folders"])
    settings["unets"] = tuple(folder / name for name in settings.get("unets", unets))
    with pytest.raises(SystemExit, match=message):
        Unet_evaluate.main(**settings)
    assert not (tmp_path / "nuclei.csv").exists()
