"""SRGAN_evaluate.py judges against bicubic; SRGAN_copy_set.py makes a set to train on."""

import csv
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import SRGAN_copy_set
import SRGAN_evaluate
from PIL import Image

from helpers.drawn_tissue import draw_tissue, write_picture, write_vgg19
from helpers.tiny_models import bicubic_generator, random_generator, save
from images.degradation import degrade_area
from images.opening import open_image
from metrics.pictures import bicubic, fidelity, grey_level_difference
from shared.comparing import named
from srgan import evaluation
from srgan.models import build_generator
from srgan.perceptual.vgg19 import build_vgg19_features


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A judged folder of two drawn images: (output folder, rows, images by name)."""
    folder = tmp_path_factory.mktemp("judged")
    images = {name: draw_tissue(64, 96, seed=i)[0] for i, name in enumerate(("a", "b"))}
    for name, image in images.items():
        write_picture(folder / "high" / f"{name}.png", image)
    models = (
        save(random_generator(), folder / "random.h5"),
        save(bicubic_generator(), folder / "like_bicubic.h5"),
    )
    SRGAN_evaluate.main(
        high_resolution_folder=folder / "high",
        generators=models,
        stress_tests=True,
        output_folder=folder / "out",
    )
    with (folder / "out" / "super_resolution.csv").open(encoding="utf-8-sig", newline="") as file:
        return folder / "out", list(csv.DictReader(file)), images


def test_every_method_is_judged_on_every_variant(judged):
    _, rows, _ = judged
    variants = {row["images and degradation"] for row in rows}
    assert variants == {
        "images, area",
        "images, scanner",
        "other colours, area",
        "soft violet, area",
        "soft violet, scanner",
        "enlarged x2, area",
        "enlarged x3, area",
    }
    assert len(rows) == 3 * len(variants) and {row["n"] for row in rows} == {"2"}


def test_an_untrained_generator_scores_what_bicubic_scores(judged):
    _, rows, _ = judged
    figures = {(row["images and degradation"], row["method"]): row for row in rows}
    for variant in ("images, area", "images, scanner"):
        ours, theirs = (figures[variant, method] for method in ("like_bicubic", "bicubic"))
        assert float(ours["ssim"]) == pytest.approx(float(theirs["ssim"]), abs=0.02)
        assert float(ours["psnr"]) == pytest.approx(float(theirs["psnr"]), abs=0.5)
        assert float(theirs["lowest_gain"]) == 0


def test_images_of_the_first_degradation_are_saved(judged):
    output, _, images = judged
    for name, image in images.items():
        low, enlarged, high = (
            cv2.imread(str(output / kind / f"{name}.png"))[..., ::-1]
            for kind in ("low_resolution", "bicubic", "high_resolution")
        )
        np.testing.assert_array_equal(high, image)
        np.testing.assert_array_equal(enlarged, bicubic(np.ascontiguousarray(low)))
        assert (output / "srgan" / f"{name}.png").is_file()
    assert (output / "comparison.png").stat().st_size > 10_000


def test_saved_images_keep_their_pixel_size_and_lie_beside_no_others(tmp_path):
    settings = {
        "high_resolution_folder": tmp_path / "high",
        "generators": (save(bicubic_generator(), tmp_path / "g.h5"),),
        "output_folder": tmp_path / "out",
    }
    write_picture(tmp_path / "high" / "unknown.png", draw_tissue(64, 96, seed=1)[0])
    path = tmp_path / "high" / "a.png"
    Image.fromarray(draw_tissue(64, 96)[0]).save(path, dpi=(25400 / 0.5,) * 2)
    for _ in range(2):  # the same images may be written again
        SRGAN_evaluate.main(**settings)
    for kind in evaluation.KINDS:
        expected = 2.0 if kind == "low_resolution" else 0.5
        with open_image(tmp_path / "out" / kind / "a.png") as file:
            assert file.microns_per_pixel == pytest.approx(expected, rel=1e-3)
        with open_image(tmp_path / "out" / kind / "unknown.png") as file:
            assert file.microns_per_pixel is None
    path.unlink()
    with pytest.raises(SystemExit, match=r"OUTPUT_FOLDER.* 4 others such as .*a\.png"):
        SRGAN_evaluate.main(**settings)


@pytest.mark.parametrize("place", ["out/high_resolution", "."])
def test_results_of_an_evaluation_are_not_judged_in_its_own_folder(tmp_path, place):
    picture = tmp_path / "out" / "high_resolution" / "a.png"
    write_picture(picture, draw_tissue(64, 96)[0])
    before = picture.read_bytes()
    with pytest.raises(SystemExit, match=r"OUTPUT_FOLDER.*a\.png.*would be replaced"):
        SRGAN_evaluate.main(
            high_resolution_folder=tmp_path / place,
            generators=(save(bicubic_generator(), tmp_path / "g.h5"),),
            output_folder=tmp_path / "out",
        )
    assert picture.read_bytes() == before


@pytest.mark.parametrize("missing", ["high_resolution_folder", "generators"])
def test_missing_images_or_models_end_at_once(tmp_path, missing):
    write_picture(tmp_path / "high" / "a.png", draw_tissue(32, 32)[0])
    paths = {
        "high_resolution_folder": tmp_path / "high",
        "generators": (save(bicubic_generator(), tmp_path / "g.h5"),),
    }
    paths[missing] = tmp_path / "nowhere" if missing != "generators" else (tmp_path / "no.h5",)
    with pytest.raises(SystemExit, match=r"nowhere|no\.h5"):
        SRGAN_evaluate.main(**paths, output_folder=tmp_path / "out")


def test_generators_of_one_file_name_are_told_apart():
    first, second, third = (Path(name) for name in ("a/generator.h5", "b/generator.h5", "b/new.h5"))
    assert named((first, second, third)) == {
        "a/generator": first,
        "b/generator": second,
        "new": third,
    }


def test_an_x2_generator_is_compared_with_bicubic_x2(tmp_path):
    image = draw_tissue(64, 96)[0]
    write_picture(tmp_path / "high" / "a.png", image)
    model = save(build_generator(4, 1, scale=2), tmp_path / "double.h5")
    settings = {"high_resolution_folder": tmp_path / "high", "output_folder": tmp_path / "out"}
    SRGAN_evaluate.main(**settings, generators=(model,))
    table = (tmp_path / "out" / "super_resolution.csv").read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(table.splitlines()))
    expected = fidelity(image, bicubic(degrade_area(image, 2), 2))["psnr"]
    assert float(rows[0]["psnr"]) == pytest.approx(expected)
    assert float(rows[1]["psnr"]) == pytest.approx(expected, abs=0.3)
    quadruple = save(build_generator(4, 1), tmp_path / "quadruple.h5")
    with pytest.raises(SystemExit, match="one scale, found double x2, quadruple x4"):
        SRGAN_evaluate.main(**settings, generators=(model, quadruple))


def test_figures_by_hand():
    image = np.full((16, 16, 3), 100, np.uint8)
    # Mean squared error 4: 10 log10(255^2 / 4) = 42.11 dB.
    assert fidelity(image, image + 2)["psnr"] == pytest.approx(42.11, abs=0.01)
    assert fidelity(image, image) == {"psnr": 100.0, "ssim": 1.0}
    assert grey_level_difference(np.full((4, 4, 3), 97, np.uint8), image) == 3


def test_feature_distance_grows_with_the_difference(tmp_path):
    write_vgg19(tmp_path / "vgg19.h5", ("block1_conv1",))
    features = build_vgg19_features(str(tmp_path / "vgg19.h5"), "block1_conv1")
    image = draw_tissue(16, 20)[0] // 2
    distances = [
        evaluation.feature_distance(features, image, image + change) for change in (0, 1, 50)
    ]
    assert distances[0] == 0 and distances == sorted(set(distances))


def test_a_super_resolved_copy_has_the_same_sizes_names_and_masks(tmp_path):
    image, labels = draw_tissue(64, 96)
    write_picture(tmp_path / "set" / "images" / "ä b.png", image)
    Image.fromarray(image).save(tmp_path / "set" / "images" / "ä b.png", dpi=(50800, 50800))
    write_picture(tmp_path / "set" / "masks" / "ä b.png", ((labels > 0) * 255).astype(np.uint8))
    model = save(bicubic_generator(), tmp_path / "generator.h5")
    for copy in ("copy", "again"):
        SRGAN_copy_set.main(tmp_path / "set", tmp_path / copy, model)
    paths = [tmp_path / copy / "images" / "ä b.png" for copy in ("copy", "again")]
    made = cv2.imdecode(np.fromfile(paths[0], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert made.shape == image.shape and 1 < np.abs(made.astype(float) - image).mean() < 40
    assert paths[0].read_bytes() == paths[1].read_bytes()
    masks = [tmp_path / folder / "masks" / "ä b.png" for folder in ("set", "copy")]
    assert masks[0].read_bytes() == masks[1].read_bytes()
    with open_image(paths[0]) as file:  # the size that the source states
        assert file.microns_per_pixel == pytest.approx(0.5, rel=1e-3)


def test_a_set_without_labels_and_a_model_that_is_none_are_refused(tmp_path):
    write_picture(tmp_path / "set" / "images" / "a.png", draw_tissue(64, 96)[0])
    (tmp_path / "generator.h5").write_bytes(b"rubbish")
    with pytest.raises(SystemExit, match="expected masks or instances"):
        SRGAN_copy_set.main(tmp_path / "set", tmp_path / "copy", tmp_path / "generator.h5")
    (tmp_path / "set" / "masks").mkdir()
    with pytest.raises(SystemExit, match="--generator"):
        SRGAN_copy_set.main(tmp_path / "set", tmp_path / "copy", tmp_path / "generator.h5")


def test_a_copy_replaces_neither_its_source_nor_an_older_copy(tmp_path):
    write_picture(tmp_path / "set" / "images" / "a.png", draw_tissue(64, 96)[0])
    (tmp_path / "set" / "masks").mkdir()
    before = (tmp_path / "set" / "images" / "a.png").read_bytes()
    model = save(bicubic_generator(), tmp_path / "generator.h5")
    SRGAN_copy_set.main(tmp_path / "set", tmp_path / "copy", model)
    for target in ("set", "copy"):
        with pytest.raises(SystemExit, match=f"found a set in .*{target}; set SOURCE_FOLDER"):
            SRGAN_copy_set.main(tmp_path / "set", tmp_path / target, model)
    assert (tmp_path / "set" / "images" / "a.png").read_bytes() == before


def test_a_set_without_images_is_refused(tmp_path):
    model = save(bicubic_generator(), tmp_path / "generator.h5")
    with pytest.raises(SystemExit, match=r"expected a folder of images, found no .*images"):
        SRGAN_copy_set.main(tmp_path, tmp_path / "copy", model)
    keras.utils.clear_session()
