"""Thresholds are chosen by what they do to PQ and counts on all sets together."""

import numpy as np
import pytest

from evaluation import tuning
from helpers.drawn_tissue import draw_tissue, write_picture
from helpers.tiny_models import load_once
from labels.pairing import find_pairs


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
    grid = {"smallest_nucleus": (1.0, 4.0), "rise": (0.1,)}
    monkeypatch.setattr(tuning, "GRID", grid)
    folder = write_set(tmp_path / "set", smallest)
    best, rows = tuning.tune({folder: find_pairs(folder)}, unet, None, "auto")
    assert best.smallest_nucleus == expected
    assert len(rows) == 2 and rows[0]["worth"] >= rows[1]["worth"]
    assert f"smallest_nucleus {expected:g}" in capsys.readouterr().out
