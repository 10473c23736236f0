"""Colours of more or fewer than 8 bits, and palettes: as bright as they were meant."""

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.image_samples import read_all, tissue
from images.opening import ImageReadError, open_image

PIXELS = tissue(48, 64)
GREY = PIXELS[..., 0]


def notes(path):
    with open_image(path) as image:
        return image.notes


def write_ppm(path, values, white):
    """Write a PGM or PPM; under the name of `text...` its numbers as text."""
    is_text, is_grey = path.stem.startswith("text"), values.ndim == 2
    kind = {(True, True): 2, (True, False): 3, (False, True): 5, (False, False): 6}
    header = f"P{kind[is_text, is_grey]}\n# 1 2 3\n64 48\n# 4\n{white}\n".encode()
    text = " ".join(map(str, values.ravel().tolist())).encode()
    path.write_bytes(header + (text if is_text else values.astype(">u2").tobytes()))


def write_jpeg2000(path, values, bits=16):
    path.write_bytes(imagecodecs.jpeg2k_encode(values, level=0, bitspersample=bits))


@pytest.mark.parametrize("name", ["a.png", "a.jp2", "a.ppm", "text.ppm"])
@pytest.mark.parametrize("kind", ["grey", "colour"])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_16_bits_that_hold_fewer_are_as_bright_as_they_were_meant(tmp_path, name, kind, bits):
    path, pixels = tmp_path / name, GREY if kind == "grey" else PIXELS
    values = np.rint(pixels / 255 * (2**bits - 1)).astype(np.uint16)
    if name == "a.png":
        cv2.imwrite(str(path), values[..., ::-1] if kind == "colour" else values)
    elif name == "a.jp2":
        write_jpeg2000(path, values)
    else:
        write_ppm(path, values, 65535)
    found = read_all(path).astype(int)
    assert np.abs(found - np.atleast_3d(pixels)).max() <= 1
    said = f"{bits}-bit values in 16 bits: white assumed at {2**bits - 1}"
    assert notes(path) == ((said,) if bits < 16 else ())


@pytest.mark.parametrize("kind", ["grey", "colour"])
@pytest.mark.parametrize("name", ["a.jp2", "a.ppm", "text.ppm"])
def test_a_stated_white_goes_before_what_the_values_suggest(tmp_path, name, kind):
    path, dim = tmp_path / name, (GREY if kind == "grey" else PIXELS) // 5
    values = np.rint(dim / 255 * 4095).astype(np.uint16)
    if name == "a.jp2":
        write_jpeg2000(path, values, 12)
    else:
        write_ppm(path, values, 4095)
    assert np.abs(read_all(path).astype(int) - np.atleast_3d(dim)).max() <= 1
    assert notes(path) == ()


def test_alpha_of_deep_jpeg2000_counts(tmp_path):
    alpha = np.tile(np.linspace(0, 65535, 64), (48, 1))[..., None]
    values = np.concatenate([PIXELS * 257.0, alpha], axis=-1).astype(np.uint16)
    write_jpeg2000(tmp_path / "a.jp2", values)
    expected = PIXELS * (alpha / 65535) + 255 * (1 - alpha / 65535)
    assert np.abs(read_all(tmp_path / "a.jp2") - expected).max() < 2


@pytest.mark.parametrize("options", [{}, {"tile": (32, 32)}])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite", "rgb"])
@pytest.mark.parametrize("bits", [2, 4, 6])
def test_fewer_than_8_bits_have_a_white_of_their_own(tmp_path, options, photometric, bits):
    path, pixels = tmp_path / "a.tif", PIXELS if photometric == "rgb" else GREY
    white = 2**bits - 1
    values = np.rint(pixels / 255 * white).astype(np.uint8)
    shown = np.rint(values * (255 / white))
    stored = white - values if photometric == "miniswhite" else values
    tifffile.imwrite(path, stored, bitspersample=bits, photometric=photometric, **options)
    assert np.abs(read_all(path) - np.atleast_3d(shown)).max() <= 1
    assert notes(path) == ()


@pytest.mark.parametrize("options", [{}, {"tile": (32, 32)}, {"compression": "lzw"}])
@pytest.mark.parametrize("factor", [1, 256, 257])
def test_a_palette_of_8_bits_is_no_black_one(tmp_path, options, factor):
    picture = Image.fromarray(PIXELS).quantize(256)
    colours = np.zeros((3, 256), np.uint16)
    table = np.reshape(picture.getpalette(), (-1, 3)).T
    colours[:, : table.shape[1]] = table
    options = options | {"photometric": "palette", "colormap": colours * factor}
    tifffile.imwrite(tmp_path / "a.tif", np.asarray(picture), **options)
    np.testing.assert_array_equal(read_all(tmp_path / "a.tif"), np.asarray(picture.convert("RGB")))


# --- compressions ---


@pytest.mark.parametrize("compression", ["jpeg2000", "webp", "zstd", "lzma", "packbits"])
@pytest.mark.parametrize("options", [{"rowsperstrip": 16}, {"tile": (32, 32)}])
def test_strips_are_read_in_the_compressions_that_tiles_are(tmp_path, compression, options):
    tifffile.imwrite(
        tmp_path / "a.tif", PIXELS, photometric="rgb", compression=compression, **options
    )
    np.testing.assert_array_equal(read_all(tmp_path / "a.tif"), PIXELS)


@pytest.mark.parametrize("compression", ["lerc", "jpegxl", "png"])
def test_strips_of_a_compression_that_cannot_be_read_are_called_by_its_name(tmp_path, compression):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", compression=compression)
    name = f"a TIFF compressed as {compression.upper()} cannot be read"
    with pytest.raises(ImageReadError, match=name):
        read_all(tmp_path / "a.tif")
