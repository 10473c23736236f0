"""How well pixel sizes are told is measured on images of known size, without labels."""

import csv

import cv2
import Evaluate
import numpy as np
import pytest
from PIL import Image

from evaluation.pixel_sizes import SIZES, WRONG
from helpers import tiny_models

BACKGROUND, NUCLEUS = (230, 170, 205), (90, 60, 140)


@pytest.fixture
def folder(tmp_path):
    """A folder with one image at 0.25 um per pixel: discs of 6.75 um, far from each other."""
    image = np.full((480, 480, 3), BACKGROUND, np.uint8)
    for y in range(30, 460, 60):
        for x in range(30, 460, 60):
            cv2.circle(image, (x, y), 13, NUCLEUS, -1)
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    (tmp_path / "images").mkdir()
    Image.fromarray(np.clip(image + noise, 0, 255).astype(np.uint8)).save(
        tmp_path / "images" / "a.png", dpi=(101600, 101600)
    )
    return tmp_path / "images"


@pytest.fixture
def quarter(tmp_path):
    """A network to which every patch has 0.25 um per pixel."""
    return tiny_models.save(tiny_models.constant_pixel_size(-2.0), tmp_path / "pixel_size.h5")


def test_images_are_brought_to_several_sizes_and_told_from_wrong_ones(
    folder, models, quarter, tmp_path, capsys
):
    table = tmp_path / "sizes.csv"
    flags = {"unet": models / "Unet.h5", "output_file": table, "estimate_sizes": True}
    flags["pixel_size_model"] = quarter
    assert Evaluate.main(image_folders=(folder,), **flags) == 0
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["microns_per_pixel"]) for row in rows] == list(SIZES)
    assert {f"alarm x{factor:g}" for factor in WRONG} <= set(rows[0])
    for row in rows[:3]:  # coarser ones show no nuclei to a U-net that takes them for 0.25 um
        factor = 0.25 / float(row["microns_per_pixel"])
        assert float(row["estimate"]) == pytest.approx(0.25)
        assert row["within 1.5"] == str(factor == 1) and row["within 2"] == str(
            factor in (0.5, 1, 2)
        )
        assert row["false alarm"] == str(not 0.5 < factor < 2)
        assert row["alarm x4"] == str(not 0.5 < factor / 4 < 2)
    printed = capsys.readouterr().out.splitlines()
    names = ["/".join(folder.parts[-2:]), *(f"{size:g} um" for size in SIZES), "all"]
    assert [line.split("  ")[0] for line in printed[-len(names) :]] == names


def test_a_name_without_images_is_said(folder, models, quarter, capsys):
    flags = {"unet": models / "Unet.h5", "estimate_sizes": True, "image_names": ("b",)}
    flags["pixel_size_model"] = quarter
    assert Evaluate.main(image_folders=(folder,), **flags) == 2
    assert "begin with b" in capsys.readouterr().err
