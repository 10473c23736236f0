"""What of a folder counts as an image: no junk, no masks, and each slide once."""

import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import generate_uid
from skimage.draw import disk

from helpers.cases import CASES, needs_cases
from helpers.drawn_tissue import draw_discs, draw_tissue, write_picture
from helpers.whole_runs import drawn
from images import masks
from images.finding import different_ends, different_names, find_images, shown_name, stamp
from images.formats.dicom import slides_in
from images.masks import is_mask, without_masks
from images.opening import open_image

DICOM = CASES / "dicom"
DATA = CASES.parent / "data" / "nuclei"
JUNK = """slide.ndpi.ndpa|project.qpproj|slide.svs:Zone.Identifier|a.png.Zone.Identifier|slide.xmp
    slide.svs.crdownload|slide.svs.part|slide.svs.download|slide.svs.filepart|set.ndpis
    slide.svs.partial|slide.svs.aria2|slide.annotations|a.tif.aux.xml|Thumbs.db|desktop.ini|a.TFW
    ._a.png|.DS_Store|~$a.tif|a.png~|film.mp4|model.h5|a.svs.md5|frame_t.ets|DICOMDIR|README"""


def names(folder, **options):
    return [path.relative_to(folder).as_posix() for path in find_images(folder, **options)]


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"rubbish")


# --- junk ---


def test_what_is_known_to_be_no_image_is_passed_over_and_the_rest_is_listed(tmp_path):
    touch(*(tmp_path / name.strip() for line in JUNK.splitlines() for name in line.split("|")))
    listed = ["a.png", "b.czi", "c.unknown"]
    touch(*(tmp_path / name for name in listed))
    assert names(tmp_path) == names(tmp_path, recursive=True) == listed


def test_the_folders_of_a_slide_and_hidden_ones_are_not_searched(tmp_path):
    touch(tmp_path / "a.mrxs", tmp_path / "a" / "Data0001.jpg", tmp_path / "b" / "b.png")
    touch(tmp_path / "c.vsi", tmp_path / "_c_" / "stack1" / "x.tif")
    touch(tmp_path / ".ipynb_checkpoints" / "b-checkpoint.png", tmp_path / "__MACOSX" / "b.png")
    assert names(tmp_path, recursive=True) == ["a.mrxs", "b/b.png", "c.vsi"]
    assert names(tmp_path) == ["a.mrxs", "c.vsi"]


def test_the_parts_of_a_hamamatsu_slide_are_not_images_of_their_own(tmp_path):
    parts = ["scan.jpg", "scan(1,0).jpg", "map2.jpg", "macro.jpg"]
    touch(*(tmp_path / name for name in parts), tmp_path / "other.jpg")
    text = "[Virtual Microscope Specimen]\nImageFile=scan.jpg\nImageFile(1,0)=scan(1,0).jpg\n"
    (tmp_path / "scan.vms").write_text(f"{text}MapFile=map2.jpg\nMacroImage=macro.jpg\n")
    assert names(tmp_path) == ["other.jpg", "scan.vms"]


def test_images_of_one_stem_in_two_folders_are_both_listed_and_told_apart(tmp_path):
    touch(
        tmp_path / "a.png", tmp_path / "x" / "a.png", tmp_path / "y" / "a.png", tmp_path / "b.png"
    )
    touch(tmp_path / "x_a_png.tif", tmp_path / "y" / "a.tif")
    found = find_images(tmp_path, recursive=True)
    assert len(found) == 6
    named = different_names(found, tmp_path)
    assert len({name.casefold() for name in named.values()}) == 6
    assert named[tmp_path / "b.png"] == "b" and named[tmp_path / "y" / "a.png"] == "y_a_png"


def test_paths_are_named_by_ends_that_differ():
    paths = [Path(p) for p in ("/a/liver/images", "/b/liver/images", "/b/skin/images", "images")]
    ends = ("a/liver/images", "b/liver/images", "skin/images", "images")
    assert different_ends(paths, 2) == dict(zip(paths, ends, strict=True))
    assert different_ends([Path("x/y.h5")]) == {Path("x/y.h5"): "y.h5"}


def test_a_folder_of_folders_says_where_it_looked(tmp_path):
    touch(tmp_path / "x" / "a.png")
    with pytest.raises(ValueError, match=r"1 other entries.*directly in it"):
        find_images(tmp_path)
    assert names(tmp_path, recursive=True) == ["x/a.png"]


# --- DICOM ---


def copy_slide(target, series=None, rename=str):
    """Copy the DICOM slide, as another series where a number is given."""
    target.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(sorted(DICOM.glob("*.dcm"))):
        copy = target / rename(path.name)
        if series is None:
            shutil.copyfile(path, copy)
            continue
        data = pydicom.dcmread(path)
        data.SeriesInstanceUID = generate_uid(entropy_srcs=[str(series)])
        data.SOPInstanceUID = generate_uid(entropy_srcs=[f"{series} {number}"])
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.save_as(copy)


@needs_cases
def test_a_folder_of_one_dicom_slide_is_that_slide():
    assert find_images(DICOM) == [DICOM]
    with open_image(DICOM) as image:
        assert (image.width, image.height, image.microns_per_pixel) == (640, 512, 0.25)
        assert image.path == DICOM
    assert slides_in(DICOM) == [DICOM / "slide_level-0.dcm"]


@needs_cases
@pytest.mark.parametrize("recursive", [False, True])
def test_folders_of_dicom_slides_count_once_each(tmp_path, recursive):
    copy_slide(tmp_path / "case 1")
    copy_slide(tmp_path / "case 2.5", 2)
    (tmp_path / "case 2.5" / "notes.txt").write_text("no image")
    touch(tmp_path / "empty" / "notes.txt")
    assert names(tmp_path, recursive=recursive) == ["case 1", "case 2.5"]
    touch(tmp_path / "a.png")
    assert names(tmp_path, recursive=recursive) == ["a.png", "case 1", "case 2.5"]
    for path in find_images(tmp_path)[1:]:
        with open_image(path) as image:
            assert image.width == 640


@needs_cases
def test_several_slides_in_a_folder_are_a_file_each(tmp_path):
    copy_slide(tmp_path, rename=lambda name: f"1.2.{name[6:-4]}.7")  # as archives name them
    copy_slide(tmp_path, 2, rename=lambda name: f"b_{name}")
    touch(tmp_path / "a.png")
    assert names(tmp_path) == ["1.2.level-0.7", "a.png", "b_slide_level-0.dcm"]


@needs_cases
def test_a_slide_beside_other_images_is_one_file(tmp_path):
    copy_slide(tmp_path)
    touch(tmp_path / "a.png")
    assert names(tmp_path) == ["a.png", "slide_level-0.dcm"]


@needs_cases
def test_files_without_a_suffix_count_where_they_are_dicom(tmp_path):
    copy_slide(tmp_path / "x", rename=lambda name: name.removesuffix(".dcm"))
    assert names(tmp_path) == ["x"] and find_images(tmp_path / "x") == [tmp_path / "x"]


@needs_cases
def test_label_and_thumbnail_alone_are_no_image(tmp_path):
    copy_slide(tmp_path)
    for path in tmp_path.glob("*level*"):
        path.unlink()
    with pytest.raises(ValueError, match="no images"):
        find_images(tmp_path)


def test_a_damaged_dicom_file_is_listed(tmp_path):
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM rubbish")
    touch(tmp_path / "b.dcm")
    assert names(tmp_path) == ["a.dcm", "b.dcm"]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_that_differ_in_bytes_that_are_no_text_stay_apart(tmp_path):
    paths = [tmp_path / os.fsdecode(name) for name in (b"\xe4.png", b"\xf6.png", b"a.png")]
    shown = [shown_name(path, tmp_path) for path in paths]
    assert len(set(shown)) == 3 and shown[2] == "a.png"
    assert all(name.isprintable() for name in shown)


# --- whether an image has changed ---


def test_what_changes_in_the_data_of_a_slide_changes_its_stamp(tmp_path):
    touch(tmp_path / "a.mrxs", tmp_path / "a" / "Slidedat.ini", tmp_path / "a" / "Data0000.dat")
    (tmp_path / "b.vms").write_text("[Virtual Microscope Specimen]\nImageFile=b.jpg\n[x]\n")
    touch(tmp_path / "b.jpg", tmp_path / "c.png")
    paths = [tmp_path / name for name in ("a.mrxs", "b.vms", "c.png")]
    before = [stamp(path) for path in paths]
    (tmp_path / "a" / "Data0001.dat").write_bytes(b"the rest of a copy")
    (tmp_path / "b.jpg").write_bytes(b"longer than before")
    after = [stamp(path) for path in paths]
    assert [old[0] < new[0] for old, new in zip(before, after, strict=True)] == [True, True, False]
    assert after[2] == before[2] == [7, (tmp_path / "c.png").stat().st_mtime_ns]
    os.utime(tmp_path / "a" / "Data0000.dat", ns=(2**62, 2**62))
    assert stamp(paths[0]) == [after[0][0], 2**62]


def test_what_is_written_beside_the_data_of_a_slide_does_not_change_its_stamp(tmp_path):
    touch(tmp_path / "a.mrxs", tmp_path / "a" / "Data0000.dat", tmp_path / "b.vms")
    before = stamp(tmp_path / "a.mrxs"), stamp(tmp_path / "b.vms")
    touch(tmp_path / "a" / "manifest.json", tmp_path / "a" / "overlay.png", tmp_path / "b.csv")
    (tmp_path / "a" / ".partial").mkdir()
    assert (stamp(tmp_path / "a.mrxs"), stamp(tmp_path / "b.vms")) == before


@needs_cases
def test_the_stamp_of_a_dicom_slide_is_that_of_its_files(tmp_path):
    copy_slide(tmp_path / "x")
    before = stamp(tmp_path / "x")
    assert before[0] == sum(path.stat().st_size for path in DICOM.iterdir())
    touch(tmp_path / "x" / "manifest.json", tmp_path / "x" / "overlay.png", tmp_path / "x" / "a")
    assert stamp(tmp_path / "x") == before
    (tmp_path / "x" / "slide_level-1.dcm").unlink()
    assert stamp(tmp_path / "x")[0] < before[0]


def test_an_image_that_is_gone_has_no_stamp(tmp_path):
    for name in ("a.png", "a.mrxs", "a.vms"):
        with pytest.raises(FileNotFoundError):
            stamp(tmp_path / name)


# --- masks ---


@needs_cases
@pytest.mark.parametrize("path", sorted((CASES / "masks").glob("*")), ids=lambda path: path.name)
def test_masks_of_other_programs_are_no_pictures(path):
    assert is_mask(path)


@needs_cases
@pytest.mark.parametrize("name", ["base.png", "ij_composite.tif", "u16_14bit.tif", "leica.scn"])
def test_pictures_of_other_programs_are_no_masks(name):
    assert not is_mask(CASES / "images" / name)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA}")
def test_real_masks_and_images_are_told_apart():
    sets = [folder for folder in DATA.rglob("*") if folder.is_dir()]
    tcia = find_images(DATA / "tcia")
    images, masks = without_masks(tcia)
    assert {path.stem.split("_", 1)[1] for path in images} == {"crop"}
    assert len(images) == len(masks) == 10
    for folder in sets:
        wanted = {"instances": True, "masks": True, "images": False}.get(folder.name)
        if wanted is not None:
            found = find_images(folder)[:8]
            assert [is_mask(path) for path in found] == [wanted] * len(found), folder


def labels_of_discs():
    return draw_discs(*((12 + 18 * i, 14 + 22 * j, 8) for i in range(5) for j in range(3)))


COLOURS = np.random.default_rng(1).integers(1, 256, (16, 3), np.uint8)
COLOURS[0] = 0
MASKS = {
    "zero_one.png": lambda labels: (labels > 0).astype(np.uint8),
    "binary.jpg": lambda labels: ((labels > 0) * 255).astype(np.uint8),
    "classes.png": lambda labels: (labels % 4).astype(np.uint8),
    "labels8.png": lambda labels: labels.astype(np.uint8),
    "labels16.tif": lambda labels: labels.astype(np.uint16) * 300,
    "colours.png": lambda labels: COLOURS[labels],
}


@pytest.mark.parametrize("name", MASKS)
def test_drawn_masks_are_no_pictures(tmp_path, name):
    write_picture(tmp_path / name, MASKS[name](labels_of_discs()))
    assert is_mask(tmp_path / name)


@pytest.mark.parametrize("name", [name for name in MASKS if name.endswith(".png")])
def test_masks_without_compression_are_no_pictures(tmp_path, name):
    pixels = MASKS[name](labels_of_discs())
    Image.fromarray(pixels).save(tmp_path / "a.png", compress_level=0)
    assert (tmp_path / "a.png").stat().st_size > pixels.size
    assert is_mask(tmp_path / "a.png")


def flat_colours():
    """Purple discs and glass without any noise."""
    image, _ = drawn(80, 80)
    image[:, 45:] = 245
    return image


def pictures():
    tissue = draw_tissue(120, 160, nuclei=40)[0]
    glass = tissue.copy()
    glass[:, :130] = 255
    glass[0, 0] = 0
    dark = np.zeros((120, 160), np.uint8)  # fluorescence
    for x, y in np.random.default_rng(0).integers(20, 100, (12, 2)):
        dark[disk((y, x), 9)] = 90
    noise = np.random.default_rng(1).normal(0, 12, dark.shape)
    fluorescence = np.where(dark > 0, np.clip(dark + noise, 1, 255), 0).astype(np.uint8)
    return {
        "tissue": tissue,
        "grey": tissue[..., 0],
        "mostly glass": glass,
        "flat colours": flat_colours(),
        "one colour": np.full((50, 60, 3), 240, np.uint8),
        "bare glass": np.random.default_rng(2).choice([253, 254, 255], (50, 60)).astype(np.uint8),
        "black": np.zeros((50, 60), np.uint8),
        "fluorescence": fluorescence,
        "enlarged": np.kron(tissue[..., 0], np.ones((4, 4), np.uint8)),
    }


@pytest.mark.parametrize("kind", pictures())
def test_drawn_pictures_are_no_masks(tmp_path, kind):
    for name in ("a_mask.png", "labeled_mask.jpg"):  # whatever they are called
        write_picture(tmp_path / name, pictures()[kind])
        assert not is_mask(tmp_path / name)
    Image.fromarray(pictures()[kind]).save(tmp_path / "stored.png", compress_level=0)
    assert not is_mask(tmp_path / "stored.png")


@pytest.mark.parametrize(("kind", "wanted"), [("labels8.png", True), ("tissue", False)])
def test_masks_of_slides_are_told_by_blocks(tmp_path, monkeypatch, kind, wanted):
    monkeypatch.setattr(masks, "LARGEST", 1000)
    pixels = MASKS[kind](labels_of_discs()) if wanted else pictures()[kind]
    write_picture(tmp_path / "a.png", np.tile(pixels, (12, 12) + (1,) * (pixels.ndim - 2)))
    assert is_mask(tmp_path / "a.png") == wanted


def test_files_that_cannot_be_read_count_as_pictures(tmp_path):
    touch(tmp_path / "a.png")
    Image.fromarray(draw_tissue(30, 40)[0]).save(tmp_path / "b.png")
    paths = [tmp_path / "a.png", tmp_path / "b.png", Path(tmp_path / "gone.png")]
    assert without_masks(paths) == (paths, [])
