"""Evaluate.py judges what it should, in every layout, and says what is missing."""

import csv
import json

import Evaluate
import numpy as np
import pytest
from PIL import Image

from evaluation.did_it_help import degraded, pairs_for_help
from evaluation.scores import chosen_pairs, predict_maps
from evaluation.trust_tables import by_confidence, calibration, fitted, wrong_shares
from helpers.drawn_tissue import draw_tissue, write_picture
from helpers.tiny_models import load_once
from images.degradation import SCALES, degrade_area, degrade_scanner
from metrics.segmentation import best_ious, matched_areas
from networks import loading


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch):
    monkeypatch.setattr(loading, "load_network", load_once)


@pytest.fixture
def unet(models):
    return models / "Unet.h5"


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
    assert "images, best regions" in shown and "white, best regions" in shown


def test_binary_masks_give_pixel_figures_only_unless_told(drawn_set, unet):
    _, rows = judge(drawn_set, unet, labels="masks")
    assert float(rows[0]["dice"]) > 0.8 and "aji" not in rows[0]
    assert rows[0]["labels"] == "binary mask"
    _, rows = judge(drawn_set, unet, labels="masks", masks="instances")
    assert float(rows[0]["aji"]) > 0.6 and "each connected part a nucleus" in rows[0]["labels"]


@pytest.mark.parametrize("empty", ["a", "b"])  # the first or the last of the folder
def test_a_field_without_nuclei_among_binary_masks_costs_no_figure(drawn_set, unet, capsys, empty):
    write_picture(drawn_set / "masks" / f"{empty}.png", np.zeros((96, 128), np.uint8))
    status, rows = judge(drawn_set, unet, labels="masks")
    assert status == 0
    assert [row["image"] for row in rows if row["count_error"] or row["aji"]] == [f"{empty}.png"]
    assert "1  only: true, found, AJI" in capsys.readouterr().out


def test_the_classical_separations_are_judged_beside_ours(drawn_set, unet):
    _, rows = judge(drawn_set, unet, compare_separations=True)
    methods = {row["method"] for row in rows}
    assert methods == {"best regions", "connected components", "distance transform"}
    assert all(float(row["aji"]) > 0.2 for row in rows)


def test_two_examinations_at_once_are_refused(drawn_set, unet, capsys):
    status, _ = judge(drawn_set, unet, tune=True, did_it_help=True)
    assert status == 2 and "one of --did-it-help, --tune" in capsys.readouterr().err


def test_names_choose_images(drawn_set, unet):
    _, rows = judge(drawn_set, unet, image_names=("b",))
    assert [row["image"] for row in rows] == ["b.png"]


def test_tcia_layout_pairs_crops_with_their_masks(tmp_path):
    image, labels = draw_tissue(32, 32, nuclei=2)
    for number in (1, 2):
        write_picture(tmp_path / f"{number}_crop.png", image)
        write_picture(tmp_path / f"{number}_labeled_mask_corrected.png", labels.astype(np.uint16))
    pairs = chosen_pairs(tmp_path, tmp_path, ("2",))
    assert [(pair.image.name, pair.labels[0].name) for pair in pairs] == [
        ("2_crop.png", "2_labeled_mask_corrected.png")
    ]
    with pytest.raises(ValueError, match="begin with 3"):
        chosen_pairs(tmp_path, tmp_path, ("3",))


def test_what_is_missing_is_named(drawn_set, unet, capsys):
    (drawn_set / "instances" / "b.png").unlink()
    assert judge(drawn_set, unet)[0] == 2
    assert "b.png" in capsys.readouterr().err
    assert judge(drawn_set, drawn_set / "nowhere.h5")[0] == 2
    assert "nowhere.h5" in capsys.readouterr().err


@pytest.mark.parametrize("help_asked", [False, True])
def test_all_broken_labels_are_named_at_once(drawn_set, unet, generators, capsys, help_asked):
    for name in "ab":
        (drawn_set / "instances" / f"{name}.png").write_bytes(b"no picture")
    assert judge(drawn_set, unet, did_it_help=help_asked, **generators)[0] == 2
    message = capsys.readouterr().err
    assert "a.png" in message and "b.png" in message
    assert judge(drawn_set, unet, labels="nowhere")[0] == 2
    assert "nowhere" in capsys.readouterr().err


def test_sizes_that_differ_are_an_error(drawn_set, unet, capsys):
    write_picture(drawn_set / "instances" / "a.png", np.arange(64, dtype=np.uint16).reshape(8, 8))
    assert judge(drawn_set, unet)[0] == 2
    assert "a.png: 8x8 pixels, its image 128x96" in capsys.readouterr().err


def test_other_pixel_sizes_come_back_at_the_images_own_size(unet):
    image, labels = draw_tissue(50, 70, nuclei=3)
    maps = predict_maps(load_once(unet, "U-net", 1, 2), image, microns=0.5)
    assert maps.shape == (50, 70, 2)
    assert np.mean((maps[..., 0] > 0.5) == (labels > 0)) > 0.9


def write_regions(path, *boxes, nuclei=()):
    """Write GeoJSON with regions and nuclei, each (left, top, right, bottom)."""
    features = [
        {
            "geometry": {"type": "Polygon", "coordinates": [[[a, b], [c, b], [c, d], [a, d]]]},
            "properties": {"classification": {"name": of_class}},
        }
        for of_class, these in (("Region*", boxes), ("Nucleus", nuclei))
        for a, b, c, d in these
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(features))


def test_images_and_labels_in_one_folder_scored_inside_the_regions(drawn_set, unet, capsys):
    folder = drawn_set / "corrected"
    image = np.full((96, 128, 3), (230, 170, 205), np.uint8)
    nuclei = [(10, 10, 22, 22), (30, 40, 42, 52)]
    # Those on the right are not labelled: they must not count as invented.
    for left, top, right, bottom in [*nuclei, (80, 10, 92, 22), (80, 40, 92, 52)]:
        image[top:bottom, left:right] = (110, 60, 140)
    write_picture(folder / "a.png", image)
    write_regions(folder / "a.geojson", (0, 0, 64, 96), nuclei=nuclei)
    status, rows = judge(drawn_set, unet, labels="corrected", folders=("corrected",))
    assert status == 0 and len(rows) == 1
    assert rows[0]["true_count"] == "2" and rows[0]["invented"] == "0" and rows[0]["lost"] == "0"
    assert float(rows[0]["dice"]) > 0.9
    assert float(rows[0]["background_accuracy"]) == pytest.approx(1 - 2 * 144 / (64 * 96))
    assert "labelled in its regions only" in rows[0]["labels"]
    assert "1 labelled by: outlines (GeoJSON)" in capsys.readouterr().out
    write_regions(folder / "a.geojson", (0, 0, 128, 96), nuclei=nuclei)
    _, rows = judge(drawn_set, unet, labels="corrected", folders=("corrected",))
    assert rows[0]["invented"] == "2"


def test_ambiguous_areas_are_left_out(drawn_set, unet):
    image, labels = draw_tissue(96, 128, seed=0, nuclei=6)
    kept = np.where(np.arange(128) < 64, labels, 0)
    organ = drawn_set / "organ"
    write_picture(organ / "tissue images" / "a.png", image)
    write_picture(organ / "label masks" / "a.tif", kept.astype(np.uint16))
    area = ((np.arange(128) >= 64) * np.full((96, 1), 255)).astype(np.uint8)
    _, rows = judge(drawn_set, unet, labels="organ/label masks", folders=("organ/tissue images",))
    assert int(rows[0]["invented"]) > 0
    write_picture(organ / "ambiguous area masks" / "a.png", area)
    _, rows = judge(drawn_set, unet, labels="organ/label masks", folders=("organ/tissue images",))
    assert int(rows[0]["invented"]) == 0 and "ambiguous areas left out" in rows[0]["labels"]


def test_the_pixel_size_of_the_file_counts_unless_another_is_given(drawn_set, unet, capsys):
    for path in (drawn_set / "images").iterdir():
        Image.open(path).resize((64, 48)).save(path, dpi=(25400 / 0.5,) * 2)
        labels = drawn_set / "instances" / path.name
        small = np.asarray(Image.open(labels))[::2, ::2]
        write_picture(labels, small)
    _, rows = judge(drawn_set, unet)
    assert {row["microns_per_pixel"] for row in rows} == {"0.5"}
    _, rows = judge(drawn_set, unet, microns_per_pixel=0.25)
    assert rows[0]["microns_per_pixel"] == "0.25" and "the file says 0.5" in rows[0]["labels"]
    for path in (drawn_set / "images").iterdir():
        Image.open(path).save(path, dpi=(2400, 2400))
    assert judge(drawn_set, unet)[0] == 2
    assert "10.58 um per pixel" in capsys.readouterr().err


def test_unreadable_labels_are_named(drawn_set, unet, capsys):
    (drawn_set / "instances" / "b.png").write_bytes(b"")
    assert judge(drawn_set, unet)[0] == 2
    assert "b.png: the file is empty" in capsys.readouterr().err


# --- did it help? ---


@pytest.fixture
def generators(models):
    """The arguments that name an x4 and an x2 generator."""
    return {
        "generator": models / "generator.h5",
        "generator_x2": models / "generator_x2.h5",
    }


def test_all_versions_are_judged_by_labels_and_by_the_high_resolution(
    drawn_set, unet, generators, capsys
):
    status, rows = judge(drawn_set, unet, did_it_help=True, **generators)
    assert status == 0 and len(rows) == 2 * 2 * 5  # images, degradations, versions
    for row in rows:
        assert int(row["true_count"]) <= 6 and float(row["dice"]) > 0.5
        if row["method"] == "high resolution":
            assert row["high_invented"] == row["high_lost"] == "0" and row["high_pq"] == "1"
            assert row["classical_aji"] == "1"
    shown = capsys.readouterr().out
    for text in (
        "area, bicubic x4 from 10x",
        "scanner, super-resolved x2 from 20x",
        "area, high resolution",
        "Confidence of x4",
        "Confidence of x2",
        "ratio",
    ):
        assert text in shown
    assert "rank correlation" in shown and "labels" in shown
    x4 = [row for row in rows if row["method"] == "super-resolved x4 from 10x"]
    nuclei = sum(int(row["predicted_count"]) for row in x4)
    for table, counted in (("by their mean", len(x4)), ("Nuclei by their", nuclei)):
        lines = shown.split(table)[1].split("\n\n")[0].splitlines()[2:]
        assert sum(int(line[14:22]) for line in lines if " to " in line) == counted > 3


def test_without_labels_the_high_resolution_is_the_truth(drawn_set, unet, generators, capsys):
    status, rows = judge(drawn_set, unet, "none", did_it_help=True, **generators)
    assert status == 0 and "dice" not in rows[0] and float(rows[0]["high_dice"]) > 0.5
    assert "no labels (" in capsys.readouterr().out


def test_images_that_are_not_of_40x_are_named(drawn_set, unet, generators, capsys):
    path = drawn_set / "images" / "b.png"
    Image.open(path).save(path, dpi=(25400 / 0.5,) * 2)  # a.png states no size
    assert judge(drawn_set, unet, did_it_help=True, **generators)[0] == 0
    shown = capsys.readouterr().out
    assert "not for 1 of these 2" in shown and "large: b.png (0.5 um)\n" in shown
    Image.open(path).save(path, dpi=(25400 / 0.26,) * 2)
    assert judge(drawn_set, unet, did_it_help=True, **generators)[0] == 0
    assert "of these 2" not in capsys.readouterr().out


@pytest.mark.parametrize("flat", [False, True])
def test_a_gap_in_the_labels_is_named_and_no_labels_at_all_are_fine(drawn_set, flat, capsys):
    folder = drawn_set / "set"
    for kind, end in (("images", ""), ("instances", "_mask")):
        for path in (drawn_set / kind).iterdir():
            target = f"{path.stem}{end}.png" if flat else f"{kind}/{path.name}"
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            path.rename(folder / target)
    assert all(pair.labels for pair in pairs_for_help([folder], None, ()))
    labels = {name: f"{name}_mask.png" if flat else f"instances/{name}.png" for name in "ab"}
    (folder / labels["b"]).unlink()
    with pytest.raises(ValueError, match=r"^image without label: [^,;]*b\.png$"):
        pairs_for_help([folder], None, ())
    assert capsys.readouterr().out == ""
    (folder / labels["a"]).unlink()
    found = [(pair.image.name, pair.labels) for pair in pairs_for_help([folder], None, ())]
    assert found == [("a.png", ()), ("b.png", ())]
    assert "no labels (image without label: " in capsys.readouterr().out


def test_did_it_help_scores_the_labelled_part(drawn_set, unet, generators):
    for name in ("a", "b"):
        write_regions(drawn_set / "regions" / f"{name}.geojson", (0, 0, 64, 96))
    status, rows = judge(drawn_set, unet, "regions", did_it_help=True, **generators)
    assert status == 0 and all(int(row["true_count"]) == 0 for row in rows)
    assert all(float(row["background_accuracy"]) == 1 for row in rows)


def test_the_degradations_are_those_of_the_training_folder():
    image, _ = draw_tissue(64, 80)
    for scale in SCALES:
        area, scanner = (degraded(image, kind, 3, scale) for kind in ("area", "scanner"))
        np.testing.assert_array_equal(area, degrade_area(image, scale))
        expected = degrade_scanner(image, np.random.default_rng(3), scale)
        np.testing.assert_array_equal(scanner, expected)


def test_the_fit_finds_the_law_that_errors_follow():
    detail, departure = np.random.default_rng(0).uniform(0.5, 9, (2, 500))
    error = 4 * (detail + 0.3) ** 0.7 * (departure + 0.3) ** 0.2
    np.testing.assert_allclose(fitted(detail, departure, error), [0.7, 0.2, 4], rtol=1e-6)


def test_calibration_counts_nuclei_and_their_partners_by_confidence():
    confidences = np.array([0.1, 0.85, 0.8, 0.89, 0.9, 1.0, np.nan])
    wrong = np.array([True, False, False, True, False, True, True])
    assert calibration(confidences, wrong) == [
        ((0, 0.3), 1, 0.0),
        ((0.8, 0.9), 3, pytest.approx(2 / 3)),
        ((0.9, 1), 2, 0.5),
    ]


def test_wrong_shares_compare_the_least_with_the_most_confident_fifth():
    confidence = np.append(np.arange(10) / 10, np.nan)
    wrong = np.array([1, 1, 0, 1, 0, 0, 0, 0, 1, 0, 1], bool)
    assert wrong_shares(confidence, wrong) == (1.0, 0.5)


def test_images_are_grouped_by_their_mean_confidence():
    entries = [{"expected": np.full(4, error)} for error in (20.0, 1.0, 8.0, 30.0)]
    groups = by_confidence(entries)  # exp(-error / 10): .14, .90, .45, .05
    assert groups == {
        "0 to 0.4": [entries[0], entries[3]],
        "0.4 to 0.5": [entries[2]],
        "0.6 to 1": [entries[1]],
    }


def test_best_ious_come_in_the_order_of_the_labels():
    labels, others = np.zeros((2, 6, 12), int)
    labels[0:2, 6:12] = 3  # first in reading order
    labels[4:6, 0:4] = 1
    labels[4:6, 8:12] = 7
    others[4:6, 0:2] = 5
    others[0:2, 6:12] = 1
    assert best_ious(labels, others).tolist() == [0.5, 1, 0]


def test_areas_are_compared_of_nuclei_that_match():
    labels, others = np.zeros((2, 10, 10), int)
    labels[0:4, 0:4], others[0:4, 0:3] = 1, 9  # 16 and 12 pixels, IoU .75
    labels[6:10, 0:4], others[6:10, 0:2] = 2, 4  # IoU .5 is no match
    labels[6:8, 6:8] = 3
    areas, other_areas = matched_areas(labels, others)
    assert (areas.tolist(), other_areas.tolist()) == ([16], [12])
