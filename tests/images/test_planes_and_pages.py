"""Files of several planes or pages: the right one, or a line that says what to export."""

import struct
from itertools import product

import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.cases import CASES, needs_cases
from helpers.image_samples import read_all, tissue
from images.opening import ImageReadError, open_image

SMALL = {"photometric": "rgb", "metadata": None}


@needs_cases
@pytest.mark.parametrize("name", ["ij_composite.tif", "strip_thumb_first.tif"])
def test_files_of_other_programs_look_like_their_original(name):
    found, expected = read_all(CASES / "images" / name), read_all(CASES / "images" / "base.png")
    np.testing.assert_array_equal(found, expected)


@needs_cases
def test_an_olympus_stub_asks_for_an_export():
    with pytest.raises(ImageReadError, match=r"olympus\.vsi: .*folder _name_; export"):
        open_image(CASES / "images" / "olympus.vsi")


def test_an_mrxs_slide_without_its_folder_is_not_its_overview(tmp_path):
    Image.fromarray(tissue(32, 32)).save(tmp_path / "a.mrxs", "JPEG")
    with pytest.raises(ImageReadError, match=r"a\.mrxs: .*copy the folder of the same name"):
        open_image(tmp_path / "a.mrxs")


# --- planes ---


def write_planes(path, planes, kind, axes, **options):
    metadata = {"axes": axes}
    if kind == "imagej":
        metadata |= {"mode": "composite"} if axes == "CYX" else {}
        tifffile.imwrite(path, planes, imagej=True, metadata=metadata, **options)
    elif kind == "ome":
        options |= {"photometric": "minisblack"}
        tifffile.imwrite(path, planes, ome=True, metadata=metadata, **options)
    else:
        with tifffile.TiffWriter(path) as file:
            for plane in planes:
                file.write(plane, photometric="minisblack", metadata=None, **options)


@pytest.mark.parametrize("kind", ["imagej", "ome", "pages"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_three_grey_planes_are_red_green_and_blue(tmp_path, kind, dtype):
    pixels = tissue(40, 60)
    pixels[0, 0] = 255
    planes = np.moveaxis(pixels, -1, 0).astype(dtype) * (np.iinfo(dtype).max // 255)
    write_planes(tmp_path / "a.tif", np.ascontiguousarray(planes), kind, "CYX")
    np.testing.assert_array_equal(read_all(tmp_path / "a.tif"), pixels)
    with open_image(tmp_path / "a.tif") as image:
        assert bool(image.notes) == (kind != "imagej")


def test_an_imagej_stack_of_a_single_page_entry_is_read_whole(tmp_path):
    """ImageJ writes one page entry for large stacks; the planes follow one another."""
    pixels = tissue(40, 60)
    write_planes(tmp_path / "a.tif", np.moveaxis(pixels, -1, 0).copy(), "imagej", "CYX")
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        first, byteorder = tif.pages[0].offset, tif.byteorder
        entries = len(tif.pages[0].tags)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    start = first + 2 + 12 * entries
    content[start : start + 4] = struct.pack(byteorder + "I", 0)
    (tmp_path / "a.tif").write_bytes(content)
    np.testing.assert_array_equal(read_all(tmp_path / "a.tif"), pixels)
    (tmp_path / "a.tif").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(ImageReadError, match="some of which are missing"):
        read_all(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("axes", "shape", "found"),
    [
        ("CYX", (2,), "2 channels"),
        ("CYX", (4,), "4 channels"),
        ("CYX", (5,), "5 channels"),
        ("ZYX", (3,), "3 focal planes"),
        ("ZYX", (7,), "7 focal planes"),
        ("TYX", (6,), "6 time points"),
        ("ZCYX", (4, 3), "4 focal planes x 3 channels"),
    ],
)
@pytest.mark.parametrize(  # ImageJ writes no tiles
    ("kind", "tile"), [("imagej", None), ("ome", None), ("ome", (16, 16))]
)
def test_planes_that_are_no_colours_are_refused(tmp_path, kind, axes, shape, found, tile):
    planes = np.ones((*shape, 32, 48), np.uint8)
    write_planes(tmp_path / "a.tif", planes, kind, axes, **({"tile": tile} if tile else {}))
    with pytest.raises(ImageReadError, match=rf"a stack of {found} of 48 x 32.*Fiji") as caught:
        open_image(tmp_path / "a.tif")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("samples", [2, 5])
def test_interleaved_channels_are_refused(tmp_path, samples):
    pixels = np.ones((32, 48, samples), np.uint8)
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    with pytest.raises(ImageReadError, match=f"{samples} channels"):
        open_image(tmp_path / "a.tif")


def test_a_stack_of_colour_pictures_is_refused(tmp_path):
    stack = np.stack([tissue(32, 48)] * 4)
    for options in ({"imagej": True, "metadata": {"axes": "ZYXS"}}, {"metadata": None}):
        tifffile.imwrite(tmp_path / "a.tif", stack, photometric="rgb", **options)
        with pytest.raises(ImageReadError, match="a stack of 4"):
            open_image(tmp_path / "a.tif")


def palette_of(factors):
    return (np.arange(256) * np.reshape(factors, (3, 1))).astype(np.uint16)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize(  # ImageJ writes no tiles
    ("kind", "tile"),
    [
        ("imagej", None),
        *product(["palette", "separated", "ycbcr"], [None, (16, 16)]),
    ],
)
def test_a_stack_of_indexed_or_other_colours_is_refused(tmp_path, kind, tile, count):
    path, tiles = tmp_path / "a.tif", {"tile": tile} if tile else {}
    grey = tissue(32, 48)[..., 0]
    if kind == "imagej":
        options = {
            "metadata": {"axes": "ZYX", "mode": "color"},
            "colormap": palette_of((257, 128, 9)),
        }
        tifffile.imwrite(path, np.stack([grey] * count), imagej=True, **options)
    else:
        samples = {"palette": grey, "separated": np.dstack([tissue(32, 48), grey])}
        pixels = samples.get(kind, tissue(32, 48))
        options = {"photometric": kind, "metadata": None, "contiguous": False, **tiles}
        options |= {"compression": "jpeg"} if kind == "ycbcr" else {}
        with tifffile.TiffWriter(path) as file:
            for page in range(count):
                colours = palette_of((257, 128, 9 + page))
                table = {"colormap": colours} if kind == "palette" else {}
                file.write(pixels, **options, **table)
    with pytest.raises(ImageReadError, match=f"a stack of {count} .* of 48 x 32.*Fiji"):
        open_image(path)


@pytest.mark.parametrize("mode", ["P", "CMYK", "1", "L"])
def test_pages_that_pillow_writes_are_refused(tmp_path, mode):
    pages = [Image.fromarray(tissue(32, 48, seed)).convert(mode) for seed in range(4)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageReadError, match="a stack of 4 pictures"):
        open_image(tmp_path / "a.tif")


# --- pages ---


@pytest.mark.parametrize("tile", [None, (32, 32)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("subfile", [1, 4, 9])
def test_a_reduced_copy_or_mask_is_never_the_image(tmp_path, tile, dtype, order, subfile):
    """Also where it has more pixels, as a label can."""
    pixels = tissue(64, 80)
    pixels[0, 0] = 255
    full = pixels.astype(dtype) * (np.iinfo(dtype).max // 255)
    tiles = {"tile": tile} if tile else {}
    beside, options = np.zeros((100, 120, 3), dtype), SMALL
    if subfile == 4:
        beside, options = np.ones((100, 120), bool), {"photometric": "mask", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        if order == "last":
            file.write(full, **SMALL, **tiles)
        file.write(beside, subfiletype=subfile, **options, **tiles)
        if order == "first":
            file.write(full, **SMALL, **tiles)
    np.testing.assert_array_equal(read_all(tmp_path / "a.tif"), pixels)
    with open_image(tmp_path / "a.tif") as image:
        assert image.notes == ()


@pytest.mark.parametrize("name", ["label", "macro image", "Overview", "a.svs [thumbnail]"])
def test_an_ome_image_named_as_an_overview_is_never_the_image(tmp_path, name):
    pixels = tissue(64, 80)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        file.write(np.zeros((100, 120, 3), np.uint8), photometric="rgb", metadata={"Name": name})
        size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        file.write(pixels, photometric="rgb", metadata={"Name": "tissue"} | size)
    np.testing.assert_array_equal(read_all(tmp_path / "a.ome.tif"), pixels)
    with open_image(tmp_path / "a.ome.tif") as image:
        assert image.microns_per_pixel == 0.5 and image.notes == ()


def test_images_that_are_left_out_are_said(tmp_path):
    pixels = tissue(64, 80)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(pixels[:40, :50].copy(), **SMALL)
        file.write(pixels, **SMALL)
    np.testing.assert_array_equal(read_all(tmp_path / "a.tif"), pixels)
    with open_image(tmp_path / "a.tif") as image:
        assert image.notes == ("the largest of 2 images in the file; the others are left out",)


@pytest.mark.parametrize("photometric", ["rgb", "cfa"])
def test_a_preview_is_never_the_image(tmp_path, photometric):
    """Raw files of cameras: the image lies in a sub-IFD, often of colours that cannot be read."""
    pixels = tissue(128, 160)
    with tifffile.TiffWriter(tmp_path / "a.dng") as file:
        file.write(tissue(32, 40), subfiletype=1, subifds=1, **SMALL)
        content = pixels if photometric == "rgb" else pixels[..., 0].copy()
        file.write(content, photometric=photometric, metadata=None)
    if photometric == "rgb":
        np.testing.assert_array_equal(read_all(tmp_path / "a.dng"), pixels)
    else:
        with pytest.raises(ImageReadError, match="CFA colours cannot be read"):
            open_image(tmp_path / "a.dng")


def test_a_single_page_that_calls_itself_reduced_is_the_image(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", tissue(32, 40), subfiletype=1, **SMALL)
    np.testing.assert_array_equal(read_all(tmp_path / "a.tif"), tissue(32, 40))
