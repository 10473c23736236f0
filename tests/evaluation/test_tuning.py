"""Thresholds are chosen by what they do to PQ and counts on all sets together."""

import inspect

import Evaluate
import numpy as np
import pytest

from evaluation import tuning
from helpers.drawn_tissue import draw_tissue, write_picture
from helpers.tiny_models import load_once
from labels.pairing import find_pairs
from nuclei.separation import Separation


@pytest.fixture
def unet(models):
    return load_once(models / "Unet.h5", "U-net", 1, 2)


def write_set(folder, smallest):
    """Images of nuclei, and of specks that are labelled where they are larger than `smallest`."""
    for seed in (0, 1):
        image, labels = draw_tissue(120, 160, seed, nuclei=5)
        for number, x in enumerate(range(10, 150, 20), start=labels.max() + 1):
            speck = np.s_[112:118, x : x + 6]  # 36 pixels of .0625 um2 = 2.25 um2
            image[speck] = (60, 30, 90)
            if smallest < 2.25:
                labels[speck] = number
        write_picture(folder / "images" / f"{seed}.png", image)
        write_picture(folder / "instances" / f"{seed}.png", labels.astype(np.uint16))
    return folder


@pytest.mark.parametrize(("smallest", "expected"), [(1.0, 1.0), (4.0, 4.0)])
def test_the_size_floor_follows_what_is_labelled(
    tmp_path, unet, monkeypatch, capsys, smallest, expected
):
    grid = {"smallest_nucleus": (1.0, 4.0), "least_overlap": (0.15,)}
    monkeypatch.setattr(tuning, "GRID", grid)
    folder = write_set(tmp_path / "set", smallest)
    best, rows = tuning.tune({folder: find_pairs(folder)}, unet, Separation(), None, "auto")
    assert best.smallest_nucleus == expected
    assert len(rows) == 3 and rows[0]["worth"] >= rows[1]["worth"] >= rows[2]["worth"]
    assert (
        f"Best: --smallest-nucleus {expected:g} --least-overlap 0.15\n" in capsys.readouterr().out
    )


def test_thresholds_that_are_given_are_tried_too(tmp_path, unet, monkeypatch):
    monkeypatch.setattr(tuning, "GRID", {"smallest_nucleus": (4.0,)})
    folder = write_set(tmp_path / "set", 1.0)
    given = Separation(probability=0.6, smallest_nucleus=1.0)
    best, rows = tuning.tune({folder: find_pairs(folder)}, unet, given, None, "auto")
    assert best == given and [row["smallest_nucleus"] for row in rows] == [1.0, 4.0]


def test_every_threshold_that_is_tuned_can_be_set():
    assert set(tuning.GRID) == set(tuning.FLAGS)
    arguments = inspect.signature(Evaluate.main).parameters
    assert {flag[2:].replace("-", "_") for flag in tuning.FLAGS.values()} <= set(arguments)
