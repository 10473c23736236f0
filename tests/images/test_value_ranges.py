"""Floats, 10 to 16 bits and fourth samples: as bright as they were meant, and said if assumed."""

import struct
from itertools import product

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.cases import CASES, needs_cases
from helpers.image_samples import read_all, tissue
from images.opening import open_image

LAYOUTS = {"strips": {}, "tiles": {"tile": (32, 32)}, "zlib": {"compression": "zlib"}}


def notes(path):
    with open_image(path) as image:
        return image.notes


def write(path, pixels, **options):
    tifffile.imwrite(path, pixels, **({"photometric": "rgb"} | options))
    return path


def difference(path, expected):
    return np.abs(read_all(path).astype(int) - expected).mean()


@needs_cases
@pytest.mark.parametrize("name", ["f32_overshoot.tif", "u16_14bit.tif", "tiled_rgbx8.tif"])
def test_files_of_other_programs_look_like_their_original(name):
    assert difference(CASES / "images" / name, read_all(CASES / "images" / "base.png")) < 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("white", [1, 255, 1023, 4095])
def test_a_pixel_above_the_range_of_floats_does_not_darken_the_rest(tmp_path, layout, white):
    pixels = tissue(96, 128)
    values = pixels / np.float32(255) * np.float32(white)
    values[3, 5:7] = 1.02 * white
    values[9, 9, 1], values[9, 10, 1], values[9, 11, 1] = np.inf, np.nan, 40 * white
    path = write(tmp_path / "a.tif", values, **LAYOUTS[layout])
    assert difference(path, pixels) < 1
    assert bool(notes(path)) == (white != 1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32, np.int32])
def test_the_bits_of_a_camera_are_found_and_said(tmp_path, layout, bits, dtype):
    pixels = tissue(96, 128)
    values = np.rint(pixels / 255 * (2**bits - 1)).astype(dtype)
    values[5, 5] = np.iinfo(dtype).max  # a hot pixel
    path = write(tmp_path / "a.tif", values, **LAYOUTS[layout])
    assert difference(path, pixels) < 1
    said = f"{bits}-bit values in {8 * values.itemsize} bits: white assumed at {2**bits - 1}"
    assert notes(path) == (said,)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32])
def test_nothing_is_assumed_where_values_fill_their_type(tmp_path, dtype):
    pixels = tissue(64, 64)
    values = (pixels / 255 * np.iinfo(dtype).max).astype(dtype)
    assert difference(write(tmp_path / "a.tif", values), pixels) < 1
    assert notes(tmp_path / "a.tif") == ()
    assert notes(write(tmp_path / "b.tif", pixels)) == ()


def test_values_shifted_below_zero_are_shifted_back(tmp_path):
    pixels = tissue(64, 64)
    shifted = (pixels.astype(int) * 257 - 32768).astype(np.int16)
    assert difference(write(tmp_path / "a.tif", shifted), pixels) < 1
    assert "black assumed at -32768" in notes(tmp_path / "a.tif")[0]
    symmetric = (pixels / np.float32(127.5) - 1).astype(np.float32)
    assert difference(write(tmp_path / "b.tif", symmetric), pixels) < 1
    undershoot = pixels / np.float32(255)
    undershoot[::7, ::9] = -0.02
    assert difference(write(tmp_path / "c.tif", undershoot), pixels) < 3
    assert notes(tmp_path / "c.tif") == ()


def test_a_range_that_no_program_uses_is_taken_from_the_values_and_said(tmp_path):
    pixels = tissue(64, 64)
    for scale in (0.02, 3.7, 10**6):
        path = write(tmp_path / "a.tif", pixels / np.float32(255) * np.float32(scale))
        assert difference(path, pixels) < 3
        assert "no usual range" in notes(path)[0]


DIM = tissue(64, 64) // 5  # so dark that its values alone suggest another white
TAG = {"MaxSampleValue": ("H", 4095), "SMaxSampleValue": ("H", 4095)}


@pytest.mark.parametrize("kind", ["MaxSampleValue", "SMaxSampleValue", "ome", "imagej"])
def test_what_the_file_states_goes_before_what_its_values_suggest(tmp_path, kind):
    values = np.rint(DIM / 255 * 4095).astype(np.uint16)
    path = tmp_path / "a.tif"
    if kind == "ome":
        tifffile.imwrite(
            path, values, photometric="rgb", ome=True, metadata={"SignificantBits": 12}
        )
    elif kind == "imagej":
        grey = {"imagej": True, "metadata": {"min": 0.0, "max": 4095.0}}
        tifffile.imwrite(path, values[..., 0], **grey)
        assert difference(path, DIM[..., :1]) < 1 and notes(path) == ()
        return
    else:
        write(path, values, extratags=[(kind, TAG[kind][0], 3, (TAG[kind][1],) * 3, True)])
    assert difference(path, DIM) < 1
    assert notes(path) == ()


@pytest.mark.parametrize("stated", [3211, 65535])
def test_a_stated_maximum_that_means_nothing_is_passed_over(tmp_path, stated):
    """The brightest value that occurs, or the largest one that fits in."""
    pixels = tissue(64, 64)
    values = np.rint(pixels / 255 * 4095).astype(np.uint16)
    path = write(
        tmp_path / "a.tif", values, extratags=[("MaxSampleValue", "H", 3, (stated,) * 3, True)]
    )
    assert difference(path, pixels) < 1
    tifffile.imwrite(path, values, photometric="rgb", ome=True, metadata={"SignificantBits": 16})
    assert difference(path, pixels) < 1


def test_values_far_beyond_what_is_stated_are_believed(tmp_path):
    pixels = tissue(64, 64)
    tag = [("MaxSampleValue", "H", 3, (1023,) * 3, True)]
    path = write(tmp_path / "a.tif", pixels.astype(np.uint16) * 257, extratags=tag)
    assert difference(path, pixels) < 1


# --- a fourth sample ---


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("extra", [0, 1, 2])
def test_only_a_sample_that_is_said_to_be_alpha_hides_colours(
    tmp_path, planes, layout, dtype, extra
):
    pixels, white = tissue(64, 96), np.iinfo(dtype).max
    alpha = np.tile(np.linspace(0, 1, 96), (64, 1))[..., None]
    shown = pixels * alpha + 255 * (1 - alpha) if extra else pixels
    colours = pixels * alpha if extra == 1 else pixels
    values = np.concatenate([colours / 255, alpha], axis=-1) * white
    values = np.rint(values).astype(dtype)
    values = np.moveaxis(values, -1, 0).copy() if planes == "separate" else values
    options = {"planarconfig": planes, "extrasamples": [extra], **LAYOUTS[layout]}
    path = write(tmp_path / "a.tif", values, **options)
    assert difference(path, shown) < 2
    assert bool(notes(path)) == (extra == 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("extras", [(0, 0), (2, 0), (0, 0, 0)])
def test_further_samples_are_left_out(tmp_path, dtype, extras):
    pixels = tissue(64, 64)
    more = [np.full((64, 64, 1), 255 * (extra == 2)) for extra in extras]
    values = np.concatenate([pixels, *more], axis=-1) * (np.iinfo(dtype).max // 255)
    path = write(
        tmp_path / "a.tif", values.astype(dtype), extrasamples=extras, planarconfig="contig"
    )
    assert difference(path, pixels) < 1
    assert "left out" in notes(path)[0]


def test_alpha_has_the_range_of_the_colours(tmp_path):
    pixels = np.concatenate([tissue(64, 64), np.full((64, 64, 1), 255, np.uint8)], axis=-1)
    for values in ((pixels.astype(np.uint16) << 4) + 15, pixels.astype(np.float32)):
        path = write(tmp_path / "a.tif", values, extrasamples=["unassalpha"])
        assert difference(path, pixels[..., :3]) < 2


def write_bmp(path, rgba):
    """Write a BMP of 32 bits whose fourth 8 bits are said to be alpha."""
    height, width = rgba.shape[:2]
    pixels = rgba[::-1, :, [2, 1, 0, 3]].tobytes()
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(52)
    start = struct.pack("<IHHI", 14 + len(header) + len(pixels), 0, 0, 14 + len(header))
    path.write_bytes(b"BM" + start + header + pixels)


def write_with_alpha(path, rgb, alpha, **options):
    """Write a picture with one value of alpha everywhere, as options of a TIFF or by its suffix."""
    pixels = np.dstack([rgb, np.full_like(rgb[..., :1], alpha)])
    if options:
        tifffile.imwrite(path, pixels, photometric="rgb", **options)
    elif path.suffix == ".bmp":
        write_bmp(path, pixels)
    elif rgb.dtype == np.uint16:
        cv2.imwrite(str(path), pixels[..., [2, 1, 0, 3]])
    else:
        Image.fromarray(pixels).save(path)


ALPHA_FILES = {
    "a.png": {},
    "a.bmp": {},
    "strips.tif": {"extrasamples": ["assocalpha"]},
    "unassociated.tif": {"extrasamples": ["unassalpha"]},
    "tiles.tif": {"extrasamples": ["unassalpha"], "tile": (32, 48)},
    "premultiplied.tif": {"extrasamples": ["assocalpha"], "tile": (32, 48)},
}


@pytest.mark.parametrize(
    ("name", "dtype"),  # a BMP has 8 bits
    [pair for pair in product(ALPHA_FILES, (np.uint8, np.uint16)) if pair != ("a.bmp", np.uint16)],
)
def test_an_alpha_that_would_hide_the_whole_picture_is_ignored_and_said(tmp_path, name, dtype):
    pixels = tissue(72, 96)
    stored = pixels.astype(dtype) * (np.iinfo(dtype).max // 255)
    path = tmp_path / name
    write_with_alpha(path, stored, 0, **ALPHA_FILES[name])
    assert difference(path, pixels) == 0
    assert notes(path) == ("alpha is zero wherever it was looked at: ignored",)


@pytest.mark.parametrize("name", ALPHA_FILES)
def test_where_all_is_of_one_colour_alpha_still_hides_it(tmp_path, name):
    path = tmp_path / name
    write_with_alpha(path, np.full((72, 96, 3), 90, np.uint8), 0, **ALPHA_FILES[name])
    assert difference(path, 255) == 0 and notes(path) == ()


def test_one_pixel_that_shows_makes_alpha_count(tmp_path):
    pixels = np.dstack([tissue(64, 64), np.zeros((64, 64), np.uint8)])
    pixels[40, 40, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    write(tmp_path / "a.tif", pixels, extrasamples=["unassalpha"], tile=(32, 32))
    for name in ("a.png", "a.tif"):
        found = read_all(tmp_path / name)
        np.testing.assert_array_equal(found[40, 40], pixels[40, 40, :3])
        assert np.count_nonzero(found != 255) <= 3 and notes(tmp_path / name) == ()
