"""Evaluate.py judges what it should, in every layout, and says what is missing."""

import csv

import Evaluate
import numpy as np
import pytest

from evaluation.did_it_help import degraded, fitted, wrong_shares
from evaluation.scores import pair_with_labels, predict_maps, read_labels
from helpers.drawn_tissue import draw_tissue, write_picture
from helpers.tiny_models import bicubic_generator, darkness_unet, save
from images.degradation import degrade_area, degrade_scanner
from metrics.segmentation import best_ious
from networks.loading import load_network


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    return save(darkness_unet(), tmp_path_factory.mktemp("models") / "Unet.h5", 0.25)


@pytest.fixture
def drawn_set(tmp_path):
    """Two drawn images with label maps, and the same images in white, where nothing is found."""
    for seed, name in enumerate(("a", "b")):
        image, labels = draw_tissue(96, 128, seed=seed, nuclei=6)
        write_picture(tmp_path / "images" / f"{name}.png", image)
        write_picture(tmp_path / "white" / f"{name}.png", np.full_like(image, 255))
        write_picture(tmp_path / "instances" / f"{name}.png", labels.astype(np.uint16))
        write_picture(tmp_path / "masks" / f"{name}.png", ((labels > 0) * 255).astype(np.uint8))
    return tmp_path


def judge(drawn_set, unet, labels="instances", folders=("images",), **constants):
    """Run Evaluate.main; return the exit status and the rows of its CSV."""
    output = drawn_set / "out" / "evaluation.csv"
    status = Evaluate.main(
        image_folders=tuple(drawn_set / folder for folder in folders),
        label_folder=drawn_set / labels,
        unet=unet,
        output_file=output,
        smallest_nucleus=1.0,  # um2; the drawn discs are small
        **constants,
    )
    if status:
        return status, []
    with output.open(encoding="utf-8-sig", newline="") as file:
        return status, list(csv.DictReader(file))


def test_drawn_nuclei_are_found(drawn_set, unet):
    status, rows = judge(drawn_set, unet)
    assert status == 0 and [row["image"] for row in rows] == ["a.png", "b.png"]
    for row in rows:
        assert float(row["dice"]) > 0.8 and float(row["aji"]) > 0.4
        assert float(row["pixel_accuracy"]) > float(row["background_accuracy"])


def test_several_versions_of_the_images_come_out_as_one_table(drawn_set, unet, capsys):
    _, rows = judge(drawn_set, unet, folders=("images", "white"))
    found = {}
    for row in rows:
        found.setdefault(row["folder"].rsplit("/")[-1], []).append(float(row["dice"]))
    assert min(found["images"]) > 0.8 and max(found["white"]) == 0
    shown = capsys.readouterr().out
    assert "images, marker watershed" in shown and "white, marker watershed" in shown


def test_binary_masks_give_pixel_figures_only_unless_told(drawn_set, unet):
    _, rows = judge(drawn_set, unet, labels="masks")
    assert float(rows[0]["dice"]) > 0.8 and "aji" not in rows[0]
    _, rows = judge(drawn_set, unet, labels="masks", connected_components=True)
    assert float(rows[0]["aji"]) > 0.6


def test_the_classical_separations_are_judged_beside_ours(drawn_set, unet):
    _, rows = judge(drawn_set, unet, compare_separations=True)
    methods = {row["method"] for row in rows}
    assert methods == {"marker watershed", "connected components", "distance transform"}
    assert all(float(row["aji"]) > 0.2 for row in rows)


def test_names_choose_images(drawn_set, unet):
    _, rows = judge(drawn_set, unet, image_names=("b",))
    assert [row["image"] for row in rows] == ["b.png"]


def test_tcia_layout_pairs_crops_with_their_masks(tmp_path):
    image, labels = draw_tissue(32, 32, nuclei=2)
    for number in (1, 2):
        write_picture(tmp_path / f"{number}_crop.png", image)
        write_picture(tmp_path / f"{number}_labeled_mask_corrected.png", labels.astype(np.uint16))
    pairs = pair_with_labels(tmp_path, tmp_path)
    assert [(i.name, m.name) for i, m in pairs] == [
        (f"{n}_crop.png", f"{n}_labeled_mask_corrected.png") for n in (1, 2)
    ]


def test_what_is_missing_is_named(drawn_set, unet, capsys):
    (drawn_set / "instances" / "b.png").unlink()
    assert judge(drawn_set, unet)[0] == 2
    assert "b.png" in capsys.readouterr().err
    assert judge(drawn_set, drawn_set / "nowhere.h5")[0] == 2
    assert "nowhere.h5" in capsys.readouterr().err
    assert judge(drawn_set, unet, labels="nowhere")[0] == 2
    assert "nowhere" in capsys.readouterr().err


def test_sizes_that_differ_are_an_error(drawn_set, unet, capsys):
    write_picture(drawn_set / "instances" / "a.png", np.arange(64, dtype=np.uint16).reshape(8, 8))
    assert judge(drawn_set, unet)[0] == 2
    assert "differ in size" in capsys.readouterr().err


def test_other_pixel_sizes_come_back_at_the_images_own_size(unet):
    image, labels = draw_tissue(50, 70, nuclei=3)
    maps = predict_maps(load_network(unet, "U-net", 1, 2), image, microns=0.5)
    assert maps.shape == (50, 70, 2)
    assert np.mean((maps[..., 0] > 0.5) == (labels > 0)) > 0.9


def test_label_maps_and_masks_are_told_apart(tmp_path):
    labels = np.zeros((20, 20), np.uint16)
    labels[2:6, 2:6], labels[2:6, 6:10], labels[12:15, 12:15] = 7, 9, 300
    write_picture(tmp_path / "labels.png", labels)
    write_picture(tmp_path / "mask.png", ((labels > 0) * 255).astype(np.uint8))
    read, known = read_labels(tmp_path / "labels.png", connected_components=False)
    assert known and set(np.unique(read)) == {0, 7, 9, 300}
    read, known = read_labels(tmp_path / "mask.png", connected_components=False)
    assert not known and read.max() == 2
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match=r"empty\.png"):
        read_labels(tmp_path / "empty.png", connected_components=False)


# --- did it help? ---


@pytest.fixture
def generator(tmp_path):
    return save(bicubic_generator(), tmp_path / "generator.h5")


def test_all_versions_are_judged_by_labels_and_by_the_high_resolution(
    drawn_set, unet, generator, capsys
):
    status, rows = judge(drawn_set, unet, did_it_help=True, generator=generator)
    assert status == 0 and len(rows) == 2 * 2 * 3  # images, degradations, versions
    for row in rows:
        assert int(row["true_count"]) <= 6 and float(row["dice"]) > 0.5
        if row["method"] == "high resolution":
            assert row["high_invented"] == row["high_lost"] == "0" and row["high_pq"] == "1"
    shown = capsys.readouterr().out
    for text in ("area, bicubic", "scanner, super-resolved", "area, high resolution", "ratio"):
        assert text in shown
    assert "rank correlation" in shown and "labels" in shown


def test_without_labels_the_high_resolution_is_the_truth(drawn_set, unet, generator, capsys):
    status, rows = judge(drawn_set, unet, "none", did_it_help=True, generator=generator)
    assert status == 0 and "dice" not in rows[0] and float(rows[0]["high_dice"]) > 0.5
    assert "no labels in" in capsys.readouterr().out


def test_the_degradations_are_those_of_the_training_folder():
    image, _ = draw_tissue(64, 80)
    np.testing.assert_array_equal(degraded(image, "area", 3), degrade_area(image))
    expected = degrade_scanner(image, np.random.default_rng(3))
    np.testing.assert_array_equal(degraded(image, "scanner", 3), expected)


def test_the_fit_finds_the_law_that_errors_follow():
    detail, departure = np.random.default_rng(0).uniform(0.5, 9, (2, 500))
    error = 4 * (detail + 0.3) ** 0.7 * (departure + 0.3) ** 0.2
    np.testing.assert_allclose(fitted(detail, departure, error), [0.7, 0.2, 4], rtol=1e-6)


def test_wrong_shares_compare_the_least_with_the_most_confident_fifth():
    confidence = np.append(np.arange(10) / 10, np.nan)
    wrong = np.array([1, 1, 0, 1, 0, 0, 0, 0, 1, 0, 1], bool)
    assert wrong_shares(confidence, wrong) == (1.0, 0.5)


def test_best_ious_come_in_the_order_of_the_labels():
    labels, others = np.zeros((2, 6, 12), int)
    labels[0:2, 6:12] = 3  # first in reading order
    labels[4:6, 0:4] = 1
    labels[4:6, 8:12] = 7
    others[4:6, 0:2] = 5
    others[0:2, 6:12] = 1
    assert best_ious(labels, others).tolist() == [0.5, 1, 0]
