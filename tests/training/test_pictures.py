"""The super-resolution's images: read as the final script reads them, and only pictures."""

import csv
import shutil

import cv2
import numpy as np
import pytest
import SRGAN_copy_set
import SRGAN_evaluate
import tifffile

from helpers.cases import CASES, needs_cases
from helpers.drawn_tissue import draw_tissue, write_picture
from helpers.image_samples import tissue
from helpers.tiny_models import bicubic_generator, save
from images.opening import read_image
from shared import pictures
from shared.pictures import find_pictures, read_pictures
from srgan.data import load_pictures
from srgan.evaluation import load_images
from srgan.pairs import Partners

CHECKPOINT = ".ipynb_checkpoints/1_crop-checkpoint.png"


def names(folder):
    return [path.relative_to(folder).as_posix() for path in find_pictures(folder)]


def test_a_folder_of_masks_alone_is_refused(tmp_path):
    for name in "ab":
        write_picture(tmp_path / f"{name}.png", np.eye(40, dtype=np.uint8) * 255)
    with pytest.raises(ValueError, match="only 2 masks or label maps"):
        find_pictures(tmp_path)


# --- What is read ---


@needs_cases
@pytest.mark.parametrize(
    "name",
    [
        "tiled_jpeg2000.tif",
        "u16_14bit.tif",
        "f32_overshoot.tif",
        "tiled_rgbx8.tif",
        "ij_composite.tif",
        "strip_thumb_first.tif",
    ],
)
def test_training_sees_what_the_final_script_sees(name):
    (found,) = read_pictures(CASES / "images" / name)
    base = read_image(CASES / "images" / "base.png")
    # JPEG 2000 loses a little.
    assert np.abs(found.astype(int) - base).mean() < (6 if "jpeg2000" in name else 1)


@needs_cases
@pytest.mark.parametrize("path", ["images/leica.scn", "dicom"])
def test_slides_are_training_images_too(path):
    (found,) = read_pictures(CASES / path)
    assert found.shape == (512, 640, 3)
    training, _ = load_pictures([[CASES / path]], (1.0,), set(), 192, Partners(None, 4))
    np.testing.assert_array_equal(training[0].high, found)


def write_slide(path, pixels, microns):
    size = {"resolution": (1e4 / microns, 1e4 / microns), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", **size)


@pytest.mark.parametrize(("microns", "side"), [(0.125, 128), (0.2, 204), (0.25, 256), (0.5, 256)])
def test_slides_are_read_at_the_pixel_size_that_the_generator_gives(tmp_path, microns, side):
    write_slide(tmp_path / "a.tif", tissue(256, 256), microns)
    (found,) = read_pictures(tmp_path / "a.tif")
    assert found.shape[0] == side


def test_images_that_state_another_pixel_size_are_noted(tmp_path):
    for name, microns in (("a", 0.5), ("b", 0.26)):
        write_slide(tmp_path / f"{name}.tif", tissue(256, 256), microns)
    write_picture(tmp_path / "c.png", tissue(256, 256))  # states none
    partners = Partners(None, 4)
    paths = [[tmp_path / name for name in ("a.tif", "b.tif", "c.png")]]
    load_pictures(paths, (1.0,), set(), 32, partners)
    assert partners.of_other_size == ["a.tif: 0.5 um"]


def test_of_a_large_slide_regions_of_tissue_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "LARGEST_WHOLE", 100_000)
    slide = np.full((640, 832, 3), 240, np.uint8)
    slide[200:400, 100:500] = draw_tissue(200, 400, nuclei=60)[0]
    write_slide(tmp_path / "a.tif", slide, 0.25)
    found = read_pictures(tmp_path / "a.tif", regions=5, side=64)
    assert len(found) == 5 and {each.shape for each in found} == {(64, 64, 3)}
    assert min(np.mean(np.ptp(each.astype(int), axis=-1) > 20) for each in found) > 0.5
    assert len({each.tobytes() for each in found}) == 5
    for first, second in zip(found, read_pictures(tmp_path / "a.tif", 5, 64), strict=True):
        np.testing.assert_array_equal(first, second)
    paths = [[tmp_path / "a.tif"]]
    (picture,), validation = load_pictures(paths, (1.0,), set(), 32, Partners(None, 4))
    assert picture.weight == pytest.approx(1) and not validation
    # One that is narrower than a region is read whole.
    assert [each.shape for each in read_pictures(tmp_path / "a.tif", 5, 700)] == [(640, 832, 3)]


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_unreadable_image_is_named_with_its_folder_in_one_line(tmp_path, content):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.png: ") as caught:
        read_pictures(tmp_path / "broken.png")
    assert str(caught.value).startswith(f"{tmp_path}/broken.png: ")
    assert "\n" not in str(caught.value)


# --- What is found ---


def fill(folder):
    """The TCIA layout with what else lies in such folders, and images of one stem elsewhere."""
    for number in (1, 2):
        image, labels = draw_tissue(64, 64, seed=number)
        write_picture(folder / f"{number}_crop.png", image)
        mask = (labels > 0).astype(np.uint8) * 255
        write_picture(folder / f"{number}_labeled_mask_corrected.png", mask)
    write_picture(folder / "x" / "1_crop.png", draw_tissue(64, 64, seed=3)[0])
    write_picture(folder / "masked tissue.png", draw_tissue(64, 64, seed=4)[0])
    write_picture(folder / CHECKPOINT, draw_tissue(64, 64, seed=1)[0])
    (folder / "._1_crop.png").write_bytes(b"a note of macOS")
    (folder / "Thumbs.db").write_bytes(b"a note of Windows")


LISTED = ["1_crop.png", "2_crop.png", "masked tissue.png", "x/1_crop.png"]


def test_only_pictures_are_trained_on_and_masks_are_said(tmp_path, capsys):
    fill(tmp_path)
    assert names(tmp_path) == LISTED
    assert "2 masks beside images are left out" in capsys.readouterr().out


def test_evaluation_takes_every_picture_once_and_tells_them_apart(tmp_path):
    fill(tmp_path)
    found = load_images(tmp_path, (), 64)
    assert set(found) == {"1_crop_png", "2_crop", "masked tissue", "x_1_crop_png"}
    assert len({image.pixels.tobytes() for image in found.values()}) == 4
    assert set(load_images(tmp_path, ("masked",), 64)) == {"masked tissue"}
    with pytest.raises(FileNotFoundError, match="none of 4 images has a name"):
        load_images(tmp_path, ("nothing",), 64)


def test_images_of_one_stem_are_each_in_the_table_and_saved(tmp_path):
    fill(tmp_path / "high")
    SRGAN_evaluate.main(
        high_resolution_folder=tmp_path / "high",
        generators=(save(bicubic_generator(), tmp_path / "g.h5"),),
        output_folder=tmp_path / "out",
    )
    with (tmp_path / "out" / "super_resolution.csv").open(encoding="utf-8", newline="") as file:
        assert {row["n"] for row in csv.DictReader(file)} == {"4"}
    assert len(list((tmp_path / "out" / "high_resolution").iterdir())) == 4


def test_a_copied_set_has_a_picture_for_each_image(tmp_path):
    model = save(bicubic_generator(), tmp_path / "generator.h5")
    folder = tmp_path / "set" / "images"
    write_picture(folder / "a.png", draw_tissue(32, 32)[0])
    (folder / "._a.png").write_bytes(b"a note of macOS")
    (tmp_path / "set" / "masks").mkdir()
    SRGAN_copy_set.main(tmp_path / "set", tmp_path / "copy", model)
    assert [path.name for path in (tmp_path / "copy" / "images").iterdir()] == ["a.png"]
    shutil.copyfile(folder / "a.png", folder / "A.bmp")
    with pytest.raises(SystemExit, match=r"A\.bmp and a\.png would have one copy"):
        SRGAN_copy_set.main(tmp_path / "set", tmp_path / "copy", model)
    assert cv2.imread(str(tmp_path / "copy" / "images" / "a.png")).shape == (32, 32, 3)
