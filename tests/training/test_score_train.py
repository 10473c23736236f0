"""Score_train.py: regions of true overlap, and a whole tiny training."""

import json

import keras
import numpy as np
import pytest
import Score_train

from helpers.drawn_nuclei import disc
from helpers.drawn_tissue import draw_tissue, write_pair
from helpers.tiny_models import darkness_unet, save
from helpers.training_runs import (
    TinyTraining,
    assert_every_constant_is_an_explained_flag,
    saved_weights,
    stand_in_for_models,
)
from nuclei.candidates.regions import FEATURES
from nuclei.separation import candidates
from unet.data import Sample, target_maps
from unet.score import training as work
from unet.score.regions import draw_regions, is_inside, overlaps, random_view

SIZE = (60, 84)


def drawn_sample(seed=0):
    image, labels = draw_tissue(*SIZE, seed)
    targets = np.dstack([target_maps(labels), np.full(SIZE, 255, np.uint8)])
    return Sample("drawn", image, targets, 250.0, "", labels)


def two_discs():
    """Two discs that touch: truth, fragments and tree of maps as the U-net learns them."""
    left, right = disc((80, 120), (40, 40), 40), disc((80, 120), (40, 79), 40)
    truth = np.where(left, 1, 2 * right).astype(np.int32)
    distance = target_maps(truth)[..., 1].astype(np.float32) / 255
    return truth, *candidates(truth > 0, (truth > 0).astype(np.float32), distance, 0.25)


# --- Regions ---


def test_overlaps_are_those_of_the_pixels():
    truth, fragments, tree = two_discs()
    found = overlaps(tree, fragments, truth)
    for region in range(len(tree.parts)):
        pixels = np.append(False, tree.fragments_of([region], fragments.max()) == 0)[fragments]
        shares = [(pixels & (truth == n)).sum() / (pixels | (truth == n)).sum() for n in (1, 2)]
        assert found[region] == pytest.approx(max(shares))
    assert found.max() > 0.95 and found[-1] == pytest.approx(0.5, abs=0.03)  # both together


def test_a_region_that_is_labelled_in_part_is_not_learned_from():
    truth, fragments, tree = two_discs()
    known = np.ones(truth.shape, bool)
    known[:, 70:] = False
    inside = is_inside(tree, fragments, known)
    assert inside.any() and not inside[-1]
    for region in np.flatnonzero(inside):
        pixels = np.append(False, tree.fragments_of([region], fragments.max()) == 0)[fragments]
        assert known[pixels].all()


def test_views_keep_image_and_labels_together():
    sample = drawn_sample()
    shapes = set()
    for seed in range(12):
        image, labels, known = random_view(sample, np.random.default_rng(seed))
        assert image.shape == (*labels.shape, 3) and image.dtype == np.uint8
        assert known.shape == labels.shape and known.all()
        grey = image.mean(axis=-1)
        assert grey[labels > 0].mean() < grey[labels == 0].mean() - 10
        shapes.add(labels.shape)
    assert SIZE in shapes and len(shapes) > 4


def test_regions_of_an_image_without_nuclei_are_none():
    empty = drawn_sample()
    empty.image[:], empty.labels[:], empty.targets[..., :2] = 250, 0, 0
    features, overlap = draw_regions(darkness_unet(), empty, 2, 0.25, np.random.default_rng(0))
    assert features.shape == (0, len(FEATURES)) and overlap.shape == (0,)


def test_the_network_learns_what_features_tell():
    random = np.random.default_rng(0)
    features = random.normal(3, 2, (3000, len(FEATURES))).astype(np.float32)
    overlap = (features[:, 4] > 3) * 0.9
    chosen = work.SimpleNamespace(hidden=8, epochs=60, seed=0)
    network = work.fitted(features[:2400], overlap[:2400], np.ones(2400), chosen)
    told = network.predict(features[2400:], verbose=0)[:, 0]
    assert np.mean((told > 0.45) == (overlap[2400:] > 0.45)) > 0.93


# --- Runs ---


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A tiny training on three drawn images and one for validation."""
    folder = tmp_path_factory.mktemp("inputs")
    for seed, name in enumerate("abcd"):
        write_pair(folder / "set", name, seed, SIZE)
    return TinyTraining(
        Score_train,
        work,
        "nucleus_score.h5",
        training_folders=(folder / "set",),
        validation_names=("d",),
        left_out=None,
        unet=save(darkness_unet(), folder / "Unet.h5"),
        views=1,
        hidden=4,
        epochs=2,
    )


def test_every_constant_is_an_explained_flag(capsys):
    assert_every_constant_is_an_explained_flag(Score_train, capsys)


def test_a_run_leaves_a_network_and_its_record(training, tmp_path, capsys):
    with stand_in_for_models(training, tmp_path) as models:
        training.run(tmp_path / "run")
        assert (models / "nucleus_score.h5").read_text() == "shipped"
        shown = capsys.readouterr().out
        path = tmp_path / "run" / "nucleus_score.h5"
        assert "3 images for training, 1 for validation" in shown
        assert "the one that ships" in shown and f'--nucleus-score "{path}"' in shown
        record = json.loads(path.with_suffix(".json").read_text("utf-8"))
        assert record["features"] == list(FEATURES)
        assert len(record["training_images"]) == 3
        assert record["validation"].keys() == work.FIGURES.keys()
        before = path.read_bytes()
        training.run(tmp_path / "run", replace_shipped_model=True)
        assert "Finished before" in capsys.readouterr().out
        assert (models / "nucleus_score.h5").read_bytes() == before == path.read_bytes()


def test_an_interrupted_run_goes_on_and_ends_the_same(training, tmp_path, monkeypatch):
    training.run(tmp_path / "whole")
    drawn = []

    def interrupted(*given):
        drawn.append(given)
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return draw_regions(*given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(work, "draw_regions", interrupted)
        training.run(tmp_path / "parts")
    again = []
    with monkeypatch.context() as patch:
        patch.setattr(work, "draw_regions", lambda *g: again.append(g) or draw_regions(*g))
        training.run(tmp_path / "parts")
    assert len(again) == 2
    weights = [saved_weights(tmp_path / n / "nucleus_score.h5") for n in ("whole", "parts")]
    np.testing.assert_allclose(*weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"views": 0}, ["VIEWS: expected at least 1"]),
        ({"masks": "some"}, ["MASKS"]),
        ({"folder_weights": (1.0, 2.0)}, ["expected 1 FOLDER_WEIGHTS"]),
        ({"validation_names": ("none",)}, ["--validation-names"]),
    ],
)
def test_constants_that_cannot_work_are_refused(training, tmp_path, changes, words):
    message = training.refused(tmp_path / "run", **changes)
    assert all(word in message for word in words)
    assert not (tmp_path / "run").exists()


def test_a_missing_unet_is_named(training, tmp_path):
    assert "none.h5" in training.refused(tmp_path / "run", unet=tmp_path / "none.h5")


def test_another_run_is_refused_its_folder(training, tmp_path):
    training.run(tmp_path / "run")
    assert "HIDDEN was 4, is 5" in training.refused(tmp_path / "run", hidden=5)


def test_images_in_which_nothing_is_found_are_refused(training, tmp_path):
    blank = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Rescaling(0.0), keras.layers.Conv2D(2, 1)]
    )
    unet = save(blank, tmp_path / "blank.h5")
    assert "finds no nucleus" in training.refused(tmp_path / "run", unet=unet)
