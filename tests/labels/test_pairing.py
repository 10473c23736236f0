"""Images and labels find each other in every layout; what does not fit is named."""

import json
import os

import numpy as np
import pytest
import scipy.io

from helpers.drawn_tissue import draw_discs, draw_tissue, write_picture
from images.errors import ImageReadError
from labels.label_map import LabelReadError
from labels.pairing import Pair, find_pairs
from labels.reading import read_image, read_labels

TRUTH = draw_discs((8, 8, 4), (16, 8, 3), (20, 20, 5), shape=(30, 40))


@pytest.fixture
def put(tmp_path):
    """Write an image, a label map (of any end) or some bytes by its name."""

    def write(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in (".png", ".tif", ".jpg"):
                write_picture(path, TRUTH.astype(np.uint16 if path.suffix == ".tif" else np.uint8))
            else:
                path.write_bytes(b"")

    return write


def found(folder, label_folder=None):
    """Return {image: label} by their paths within the folder."""
    pairs = find_pairs(folder, label_folder)
    assert len({pair.image for pair in pairs}) == len(pairs)
    assert all(len(pair.labels) == 1 for pair in pairs)
    base = folder if label_folder in (None, folder) else folder.parent
    return {
        pair.image.relative_to(base).as_posix(): pair.labels[0].relative_to(base).as_posix()
        for pair in pairs
    }


# --- One folder ---


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("a.png", "a_mask.png"),
        ("a.png", "a_label.tif"),
        ("a.jpg", "a_labels.png"),
        ("a.tif", "a_Instances.png"),
        ("a.png", "a_gt.png"),
        ("a.png", "a_cp_masks.png"),
        ("a_crop.png", "a_labeled_mask_corrected.png"),
        ("a_crop.png", "a_crop_mask.png"),
        ("a.png", "a.geojson"),
        ("a.png", "a.png.geojson"),
        ("a.ome.tif", "a.geojson.gz"),
        ("a.png", "a.json"),
        ("a.png", "a.xml"),
        ("a.png", "a.zip"),
        ("a.png", "a_RoiSet.zip"),
        ("a.png", "a.roi"),
        ("a.png", "a.mat"),
        ("a.png", "a.npy"),
    ],
)
def test_beside_each_other(tmp_path, put, image, label):
    put(image, label)
    (tmp_path / "b.png").write_bytes((tmp_path / image).read_bytes())
    put("b_mask.png")
    if label.endswith(".json"):
        (tmp_path / label).write_text("[]")
    assert found(tmp_path) == {image: label, "b.png": "b_mask.png"}
    assert found(tmp_path, tmp_path) == found(tmp_path)


def test_clutter_is_passed_over(tmp_path, put):
    put("a.png", "a_mask.png")
    put("._a.png", "._a_mask.png", "Thumbs.db", ".DS_Store", "notes.txt", "desktop.ini")
    put("__MACOSX/a.png", ".ipynb_checkpoints/a-checkpoint.png", "overlay/a.png", "results.xml")
    assert found(tmp_path) == {"a.png": "a_mask.png"}


def test_natural_order(tmp_path, put):
    put(*(f"{n}_crop.png" for n in (10, 2, 1)))
    put(*(f"{n}_labeled_mask_corrected.png" for n in (10, 2, 1)))
    assert [pair.image.name[:-9] for pair in find_pairs(tmp_path)] == ["1", "2", "10"]


# --- Folders beside each other, sub-folders ---


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images", "instances"),
        ("images", "masks"),
        ("Images", "Labels"),  # CoNSeP
        ("Tissue Images", "Annotations"),  # MoNuSeg
        ("tissue images", "label masks"),  # NuInsSeg
        ("Slide_01", "GT_01"),  # TNBC
        ("pictures", "masks"),
    ],
)
def test_folders_of_images_and_labels(tmp_path, put, images, labels):
    put(f"{images}/b.png", f"{images}/a.png", f"{labels}/a.tif", f"{labels}/b_mask.png")
    assert found(tmp_path) == {
        f"{images}/a.png": f"{labels}/a.tif",
        f"{images}/b.png": f"{labels}/b_mask.png",
    }


def test_the_better_labels_are_read(tmp_path, put):
    put("images/a.png", "masks/a.png", "instances/a.png")
    assert found(tmp_path) == {"images/a.png": "instances/a.png"}


def test_the_same_names_in_several_organs(tmp_path, put):
    for organ in ("liver", "skin"):
        put(f"{organ}/images/1.png", f"{organ}/masks/1.png", f"{organ}/overlay/1.png")
    assert found(tmp_path) == {
        f"{organ}/images/1.png": f"{organ}/masks/1.png" for organ in ("liver", "skin")
    }


def test_the_same_sub_folders_below_images_and_masks(tmp_path, put):
    for organ in ("liver", "skin"):
        put(f"images/{organ}/1.png", f"masks/{organ}/1.png")
    assert found(tmp_path) == {
        f"images/{organ}/1.png": f"masks/{organ}/1.png" for organ in ("liver", "skin")
    }
    assert len(found(tmp_path / "images", tmp_path / "masks")) == 2
    (tmp_path / "masks" / "skin" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"image without label: .*skin/1\.png$"):
        find_pairs(tmp_path)


def test_masks_among_the_images_of_a_set_are_no_images(tmp_path, put):
    put("images/a.png", "images/a_mask.png", "labels/a.png")
    assert found(tmp_path) == {"images/a.png": "labels/a.png"}
    assert found(tmp_path / "images", tmp_path / "labels") == {"images/a.png": "labels/a.png"}


def test_labels_in_a_folder_of_their_own_may_be_more(tmp_path, put):
    put("x/a.png", "x/b_gt.png", "y/a.png", "y/b_gt.png", "y/c.png")
    assert found(tmp_path / "x", tmp_path / "y") == {
        "x/a.png": "y/a.png",
        "x/b_gt.png": "y/b_gt.png",
    }


def test_masks_among_the_images_are_known_by_their_content(tmp_path, put):
    put("x/seg_a.png", "y/a.png")
    write_picture(tmp_path / "x" / "a.png", draw_tissue(30, 40)[0])
    assert found(tmp_path / "x", tmp_path / "y") == {"x/a.png": "y/a.png"}


def test_a_label_folder_that_holds_images_too(tmp_path, put):
    put("sr/1_crop.png", "tcia/1_crop.png", "tcia/1_labeled_mask_corrected.png")
    assert found(tmp_path / "sr", tmp_path / "tcia") == {
        "sr/1_crop.png": "tcia/1_labeled_mask_corrected.png"
    }


# --- Errors ---


def test_orphans_are_all_named(tmp_path, put):
    put("images/a.png", "images/lonely.png", "masks/a.png", "masks/alone.png")
    with pytest.raises(ValueError, match="image without label: ") as error:
        find_pairs(tmp_path)
    assert "lonely.png; label without image: " in str(error.value)
    assert "alone.png" in str(error.value) and "a.png," not in str(error.value)


@pytest.mark.parametrize(
    ("liver", "skin"),
    [
        (
            ("images/1.png", "images/2.png", "masks/2.png"),
            ("images/2.png", "masks/1.png", "masks/2.png"),
        ),
        (("1.png",), ("2.png", "1_mask.png", "2_mask.png")),
        (("1.png", "2.png", "2_mask.png"), ("1_mask.png",)),
    ],
)
def test_a_missing_label_is_not_taken_from_another_organ(tmp_path, put, liver, skin):
    put(*(f"liver/{name}" for name in liver), *(f"skin/{name}" for name in skin))
    with pytest.raises(ValueError, match=r"liver.*1\.png.*skin.*1"):
        find_pairs(tmp_path)


@pytest.mark.parametrize("name", ["7_crop.png", "7_labeled_mask_corrected.png", "7.geojson"])
def test_an_orphan_of_one_folder_is_named(tmp_path, put, name):
    put("a.png", "a_mask.png", name)
    with pytest.raises(ValueError, match=name):
        find_pairs(tmp_path)


def test_doubles_are_named(tmp_path, put):
    put("a.png", "a_mask.png", "a.geojson")
    with pytest.raises(
        ValueError, match=r"a\.png: several labels fit, .*a\.geojson, .*a_mask\.png"
    ):
        find_pairs(tmp_path)
    (tmp_path / "a.geojson").unlink()
    put("a.jpg")
    with pytest.raises(ValueError, match=r"a_mask\.png: several images fit, .*a\.jpg, .*a\.png"):
        find_pairs(tmp_path)


def test_missing_folders_and_layouts_say_what_is_expected(tmp_path, put):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_pairs(tmp_path / "nowhere")
    with pytest.raises(
        FileNotFoundError, match=r"expected images/ with instances/.*found no images"
    ):
        find_pairs(tmp_path)
    put("images/a.png")
    with pytest.raises(ValueError, match=r"image without label: .*a\.png"):
        find_pairs(tmp_path)


# --- Layouts of sets that are no pairs of files ---


def test_one_mask_per_nucleus(tmp_path):
    for name in ("one", "two"):
        write_picture(tmp_path / name / "images" / f"{name}.png", draw_tissue(30, 40)[0])
        for number in (1, 2, 3):
            mask = ((number == TRUTH) * 255).astype(np.uint8)
            write_picture(tmp_path / name / "masks" / f"{'cba'[number - 1]}0f{number}.png", mask)
    pairs = find_pairs(tmp_path)
    assert [pair.image.name for pair in pairs] == ["one.png", "two.png"]
    labels = read_labels(pairs[0], (30, 40))
    assert labels.instances and labels.note == "one mask per nucleus" and labels.map.max() == 3
    np.testing.assert_array_equal(labels.map > 0, TRUTH > 0)
    assert len(pairs[0].files) == 4
    for name, fewer in (("a", 0), ("b", 1)):  # of two readers, not of two nuclei
        mask = np.where(fewer < TRUTH, 255, 0).astype(np.uint8)
        write_picture(tmp_path / "three" / "masks" / f"reader_{name}.png", mask)
    pair = Pair(tmp_path / "three.png", tuple((tmp_path / "three" / "masks").iterdir()))
    with pytest.raises(LabelReadError, match=r"of one nucleus, as in each of 2 .* found \d parts"):
        read_labels(pair, (30, 40))
    broken = pairs[0].labels[1]
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(LabelReadError, match=broken.name):
        read_labels(pairs[0], (30, 40))


def test_nuinsseg_and_its_ambiguous_areas(tmp_path, put):
    put("human liver/tissue images/a.png", "human liver/tissue images/b.png")
    for folder in ("label masks", "label masks modify"):
        put(f"human liver/{folder}/a.tif", f"human liver/{folder}/b.tif")
    put("human liver/mask binary/a.png", "human liver/distance maps/a.png")
    area = np.zeros((30, 40), np.uint8)
    area[:, 30:] = 255
    write_picture(tmp_path / "human liver" / "ambiguous area masks" / "a.png", area)
    first, second = find_pairs(tmp_path)
    assert first.labels[0].parent.name == "label masks modify"
    assert first.left_out.parent.name == "ambiguous area masks" and second.left_out is None
    labels = read_labels(first, (30, 40))
    np.testing.assert_array_equal(labels.known, area == 0)
    np.testing.assert_array_equal(labels.map, TRUTH)
    assert "ambiguous areas left out" in labels.note
    assert read_labels(second, (30, 40)).known is None
    organ = tmp_path / "human liver"
    apart = find_pairs(organ / "tissue images", organ / "label masks")
    assert apart[0].left_out == first.left_out and apart[0].labels[0].parent.name == "label masks"


def pannuke(folder, nested):
    """Write three images with masks of two classes and background; return the label map."""
    images = folder / ("images/fold1" if nested else "")
    masks = folder / ("masks/fold1" if nested else "")
    for each in (images, masks):
        each.mkdir(parents=True, exist_ok=True)
    image = draw_tissue(30, 40)[0]
    np.save(images / "images.npy", np.stack([image] * 3).astype(np.float64))
    planes = np.zeros((3, 30, 40, 3))
    planes[..., 0], planes[..., 1] = np.where(TRUTH < 3, TRUTH, 0), TRUTH == 3
    planes[..., 2] = TRUTH == 0
    np.save(masks / "masks.npy", planes)
    np.save(images / "types.npy", np.array(["Breast"] * 3))
    return image


@pytest.mark.parametrize("nested", [False, True])
def test_pannuke(tmp_path, nested):
    image = pannuke(tmp_path, nested)
    pairs = find_pairs(tmp_path)
    assert [pair.image.name for pair in pairs] == ["00000", "00001", "00002"]
    assert all(path.is_file() for path in pairs[1].files)
    pixels, microns = read_image(pairs[2])
    np.testing.assert_array_equal(pixels, image)
    stack = pairs[2].image.parent
    np.save(stack, np.load(stack) / np.float32(255))
    with pytest.raises(ImageReadError, match=r"found fractions up to .* multiply the stack by 255"):
        read_image(pairs[2])
    assert microns is None and pixels.dtype == np.uint8
    labels = read_labels(pairs[2], (30, 40))
    assert labels.instances and "PanNuke" in labels.note
    np.testing.assert_array_equal(labels.map, TRUTH)


def test_broken_stacks_are_named(tmp_path):
    pannuke(tmp_path, False)
    np.save(tmp_path / "masks.npy", np.zeros((2, 30, 40, 3)))
    with pytest.raises(ValueError, match=r"masks\.npy: found \(2, 30, 40, 3\)"):
        find_pairs(tmp_path)
    (tmp_path / "masks.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match=r"masks\.npy: truncated"):
        find_pairs(tmp_path)
    (tmp_path / "masks.npy").unlink()
    with pytest.raises(ValueError, match=r"image without label: .*images\.npy"):
        find_pairs(tmp_path)


@pytest.mark.parametrize("place", ["images/all.json", "annotations/train.json", "all.json"])
def test_one_coco_file_for_all_images(tmp_path, put, place):
    put("images/a.png", "images/b.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "annotations": [{"id": 1, "image_id": 2, "segmentation": [[2, 2, 9, 2, 9, 9, 2, 9]]}],
    }
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(json.dumps(content))
    assert found(tmp_path) == {"images/a.png": place, "images/b.png": place}
    counts = [read_labels(pair, (30, 40)).map.max() for pair in find_pairs(tmp_path)]
    assert counts == [0, 1]


def test_coco_images_of_one_name_are_told_by_their_folders(tmp_path, put):
    put("liver/1.png", "skin/1.png")
    content = {
        "images": [
            {"id": n, "file_name": f"{organ}/1.png"} for n, organ in ((1, "skin"), (2, "liver"))
        ],
        "annotations": [{"id": 1, "image_id": 2, "segmentation": [[2, 2, 9, 2, 9, 9, 2, 9]]}],
    }
    (tmp_path / "all.json").write_text(json.dumps(content))
    pairs = find_pairs(tmp_path)
    assert [pair.image.parent.name for pair in pairs] == ["liver", "skin"]
    assert [read_labels(pair, (30, 40)).map.max() for pair in pairs] == [1, 0]
    content["images"] = content["images"][:1]  # of skin alone
    content["images"][0]["file_name"] = "1.png"
    (tmp_path / "all.json").write_text(json.dumps(content))
    os.utime(tmp_path / "all.json", ns=(1, 1))  # a new time, or its content would be kept
    with pytest.raises(ValueError, match="several images fit"):
        find_pairs(tmp_path)


# --- Matlab ---


def matlab(path, **variables):
    scipy.io.savemat(path, variables)
    return Pair(path.with_name("image.png"), (path,))


def test_inst_map_of_matlab(tmp_path):
    pair = matlab(tmp_path / "m.mat", inst_map=TRUTH.astype(float), type_map=TRUTH > 0)
    labels = read_labels(pair, (30, 40))
    assert labels.instances
    np.testing.assert_array_equal(labels.map, TRUTH)


def test_broken_matlab_files_are_named(tmp_path):
    pair = matlab(tmp_path / "m.mat", other=TRUTH)
    with pytest.raises(
        LabelReadError, match=r"m\.mat: expected the variable inst_map, found other"
    ):
        read_labels(pair, (30, 40))
    with pytest.raises(LabelReadError, match="whole numbers"):
        read_labels(matlab(tmp_path / "m.mat", inst_map=TRUTH / 2), (30, 40))
    with pytest.raises(LabelReadError, match="40x30 pixels, its image 41x30"):
        read_labels(matlab(tmp_path / "m.mat", inst_map=TRUTH), (30, 41))
    content = (tmp_path / "m.mat").read_bytes()
    for broken in (b"", b"no matlab", content[:200]):
        (tmp_path / "m.mat").write_bytes(broken)
        with pytest.raises(LabelReadError, match=r"m\.mat: "):
            read_labels(pair, (30, 40))
