"""image_files: any file gives the pixels and pixel size put into it, or one clear error."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.drawn_tissue import draw_tissue
from helpers.image_samples import (
    png_header,
    read_all,
    tissue,
)
from images.finding import find_images
from images.formats import plain, tiff
from images.opening import ImageReadError, open_image
from images.pixels import upright
from images.sizes import plausible_microns

SLIDES = Path(__file__).resolve().parents[3] / "shared" / "data" / "slides"
real_slides = pytest.mark.skipif(not SLIDES.is_dir(), reason=f"no real slides in {SLIDES}")


def read_in_pieces(image, width, height):
    whole = np.zeros((image.height, image.width, 3), np.uint8)
    for y in range(0, image.height, height):
        for x in range(0, image.width, width):
            w, h = min(width, image.width - x), min(height, image.height - y)
            whole[y : y + h, x : x + w] = image.read(x, y, w, h)
    return whole


def microns(path, scale=None):
    with open_image(path, scale) as image:
        return image.microns_per_pixel


# --- folders ---


def test_find_images_lists_images_in_natural_order(tmp_path):
    listed = ["2.png", "10.PNG", "a b.tif", "notes of a scan.heic", "ä.svs"]
    passed_over = [
        ".hidden.png",
        "notes.txt",
        "a.csv",
        "a.json",
        "b.geojson",
        "c.xml",
        "t.DB",
        "README",
    ]
    for name in listed + passed_over:
        (tmp_path / name).write_bytes(b"rubbish")
    (tmp_path / "slide").mkdir()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in find_images(tmp_path)] == listed
    assert [path.name for path in find_images(str(tmp_path))] == listed


def test_find_images_explains_a_bad_folder(tmp_path):
    file = tmp_path / "a.png"
    with pytest.raises(ValueError, match="no images in"):
        find_images(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        find_images(tmp_path / "missing")
    file.write_bytes(b"")
    with pytest.raises(NotADirectoryError, match="is a file"):
        find_images(file)


def test_find_images_lists_a_dangling_link(tmp_path):
    (tmp_path / "gone.svs").symlink_to(tmp_path / "nowhere.svs")
    (path,) = find_images(tmp_path)
    with pytest.raises(ImageReadError, match="not there"):
        open_image(path)


# --- plain images ---


@pytest.mark.parametrize(
    "name", ["a.png", "a.bmp", "a.webp", "a.tif", "a.jp2", "a.ppm", "no_suffix", "wrong.jpg"]
)
def test_lossless_rgb_is_returned_unchanged(tmp_path, name):
    pixels, path = tissue(40, 60), tmp_path / name
    forms = {".webp": ("WEBP", {"lossless": True}), ".tif": ("TIFF", {}), ".bmp": ("BMP", {})}
    forms |= {".jp2": ("JPEG2000", {}), ".ppm": ("PPM", {})}
    form, options = forms.get(path.suffix, ("PNG", {}))
    Image.fromarray(pixels).save(path, form, **options)
    with open_image(path) as image:
        assert (image.width, image.height, image.is_slide, image.downsample) == (60, 40, False, 1.0)
        assert (image.full_width, image.full_height) == (60, 40)
        assert image.path == path and image.kind
        region = image.read(7, 5, 20, 10)
        assert region.dtype == np.uint8 and region.flags.writeable
        np.testing.assert_array_equal(region, pixels[5:15, 7:27])


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "F"])
def test_pillow_modes_become_rgb(tmp_path, mode):
    pixels = tissue(24, 32)
    rgb = Image.fromarray(pixels)
    path = tmp_path / ("a.tif" if mode in ("CMYK", "F") else "a.png")
    if mode == "I;16":
        image, expected = (
            Image.fromarray(pixels[..., 0].astype(np.uint16) * 257),
            pixels[..., [0] * 3],
        )
    elif mode == "F":
        image, expected = Image.fromarray(pixels[..., 0] / np.float32(255)), pixels[..., [0] * 3]
    else:
        image = rgb.convert(mode)
        expected = np.asarray(image.convert("RGB"))
    image.save(path)
    np.testing.assert_allclose(read_all(path).astype(int), expected, atol=1)


def test_transparency_shows_white_glass(tmp_path):
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[..., 3] = [[0, 128, 255]] * 2
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_all(tmp_path / "a.png")[0, :, 0], [255, 127, 0])
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([200, 0, 0, 0, 200, 0])
    palette.save(tmp_path / "a.gif", transparency=0)
    np.testing.assert_array_equal(read_all(tmp_path / "a.gif")[0], [[255, 255, 255], [0, 200, 0]])


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.webp", "a.png"])
def test_several_pictures_in_a_file_are_refused(tmp_path, name):
    frames = [Image.new("RGB", (9, 7), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageReadError, match=r"2 pictures"):
        open_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("white", [255, 4095, 65535])
def test_16_bit_is_scaled_to_its_white(tmp_path, name, channels, white):
    grey = np.linspace(0, white, 50 * 20).reshape(20, 50)
    pixels = np.stack([grey, grey[::-1], grey[:, ::-1]][: min(channels, 3)], -1)
    expected = np.repeat(pixels, 3 // pixels.shape[-1], -1) * 255 / white
    pixels = np.rint(pixels).astype(np.uint16)
    if channels == 4:
        pixels = np.concatenate([pixels, np.full_like(pixels[..., :1], 65535)], -1)
    path = tmp_path / name
    if name == "a.png":
        cv2.imwrite(str(path), pixels[..., {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]])
    else:
        tifffile.imwrite(
            path, pixels.squeeze(), photometric="rgb" if channels > 1 else "minisblack"
        )
    np.testing.assert_allclose(read_all(path), expected, atol=1)


def test_tiff_of_floats_and_of_white_zero(tmp_path):
    pixels = tissue(30, 20)
    for scale in (1, 255):
        tifffile.imwrite(tmp_path / "f.tif", pixels / np.float32(scale), photometric="rgb")
        np.testing.assert_allclose(read_all(tmp_path / "f.tif"), pixels, atol=1)
    for dtype in (np.uint8, np.uint16):
        grey = (255 - pixels[..., 0]).astype(dtype)
        tifffile.imwrite(tmp_path / "w.tif", grey, photometric="miniswhite")
        np.testing.assert_allclose(read_all(tmp_path / "w.tif")[..., 1], pixels[..., 0], atol=1)


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_orientation_that_is_not_applied_is_said(tmp_path, orientation):
    tag = [("Orientation", "H", 1, orientation, True)]
    pixels = draw_tissue(64, 96)[0]
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(32, 32), photometric="rgb", extratags=tag)
    with open_image(tmp_path / "a.tif") as image:
        assert (image.width, image.height) == (96, 64)
        assert any("Orientation tag (6)" in note for note in image.notes) == (orientation == 6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_honoured(tmp_path, orientation):
    pixels = tissue(20, 30)
    stored = upright(pixels, {6: 8, 8: 6}.get(orientation, orientation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_all(tmp_path / "a.png"), pixels)
    expected = np.asarray(Image.fromarray(stored))
    method = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(orientation)  # Image.Transpose
    expected = Image.fromarray(stored).transpose(method) if method is not None else stored
    np.testing.assert_array_equal(np.asarray(expected), pixels)
    for dtype, name in ((np.uint8, "b.tif"), (np.uint16, "c.tif")):
        data = stored.astype(dtype) * (257 if dtype == np.uint16 else 1)
        tag = [("Orientation", "H", 1, orientation, True)]
        tifffile.imwrite(tmp_path / name, data, photometric="rgb", extratags=tag)
        np.testing.assert_array_equal(read_all(tmp_path / name), pixels)
    for mode in ("L", "P", "CMYK"):  # which Pillow maps into memory
        picture = Image.fromarray(np.ascontiguousarray(stored)).convert(mode)
        picture.save(tmp_path / "d.tif", tiffinfo={0x0112: orientation})
        expected = upright(np.asarray(picture.convert("RGB")), orientation)
        np.testing.assert_allclose(read_all(tmp_path / "d.tif"), expected, atol=1)


def test_one_pixel_and_difficult_names(tmp_path):
    folder = tmp_path / "Färbung 1 (μm) 組織"
    folder.mkdir()
    path = folder / "Gewebe Ü #1 .png"
    Image.new("RGB", (1, 1), "red").save(path)
    tiff = folder / "スライド 2.ome.tif"
    tifffile.imwrite(tiff, tissue(20, 30), tile=(16, 16))
    assert find_images(folder) == [path, tiff]
    assert read_all(path).tolist() == [[[255, 0, 0]]]
    assert read_all(tiff).shape == (20, 30, 3)


@pytest.mark.parametrize(
    "box", [(-1, 0, 5, 5), (0, 0, 31, 5), (0, 0, 0, 5), (28, 18, 3, 3), (5, 5, -2, 2)]
)
def test_read_outside_the_image_is_refused(tmp_path, box):
    Image.fromarray(tissue(20, 30)).save(tmp_path / "a.png")
    with (
        open_image(tmp_path / "a.png") as image,
        pytest.raises(ValueError, match="30 x 20"),
    ):
        image.read(*box)
    with pytest.raises(ValueError, match="closed"):
        image.read(0, 0, 1, 1)


# --- bad files ---


def write_bad(folder, what):
    """Write one bad file and return its path."""
    good = folder / "good"
    pixels = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
    suffix = {
        "jpeg": ".jpg",
        "tiled": ".tif",
        "strips": ".tif",
        "deflate": ".tif",
        "16 bit": ".png",
    }
    path = folder / f"bad file{suffix.get(what, '.png')}"
    data = {
        "empty": b"",
        "text": b"this is not an image\n",
        "signature": b"\x89PNG\r\n\x1a\n",
        "bomb": png_header(100_000, 100_000),
        "no pixels": png_header(0, 0),
        "no data": png_header(30, 30),
        "tiff header": b"II*\0\x08\0\0\0",
    }
    if what in data:
        path.write_bytes(data[what])
        return path
    if what in ("png", "jpeg"):
        Image.fromarray(pixels).save(good, what)
    elif what == "16 bit":
        cv2.imwrite(str(folder / "good.png"), pixels.astype(np.uint16) * 257)
        good = folder / "good.png"
    else:
        options = {"tiled": {"tile": (64, 64)}, "strips": {}, "deflate": {"compression": "zlib"}}
        tifffile.imwrite(good, pixels, photometric="rgb", **options[what])
    whole = good.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


BAD = "empty|text|signature|bomb|no pixels|no data|tiff header|png|jpeg|16 bit|tiled|strips|deflate"


@pytest.mark.parametrize("what", BAD.split("|"))
def test_bad_files_raise_one_clear_line(tmp_path, what):
    path = write_bad(tmp_path, what)
    assert path in find_images(tmp_path)
    with pytest.raises(ImageReadError) as caught:
        read_all(path)
    message = str(caught.value)
    assert message.startswith("bad file") and "\n" not in message
    assert what != "empty" or "empty" in message
    assert what != "bomb" or "convert it to a tiled TIFF" in message
    assert what != "text" or "known format" in message


def test_folder_missing_file_and_bad_scale(tmp_path):
    with pytest.raises(ImageReadError, match="a folder"):
        open_image(tmp_path)
    with pytest.raises(ImageReadError, match="not there"):
        open_image(tmp_path / "a.png")
    with pytest.raises(ValueError, match="positive"):
        open_image(tmp_path / "a.png", 0)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_no_permission(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (3, 3)).save(path)
    path.chmod(0)
    with pytest.raises(ImageReadError, match="permission"):
        open_image(path)


def test_an_mrxs_slide_without_its_folder(tmp_path):
    Image.new("RGB", (3, 3)).save(tmp_path / "a.mrxs", "JPEG")
    with pytest.raises(ImageReadError, match="data are missing; copy the folder") as error:
        read_all(tmp_path / "a.mrxs")
    assert "\n" not in str(error.value)


def test_pillow_limit_is_left_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(plain, "MAX_PLAIN_PIXELS", 100)
    before = Image.MAX_IMAGE_PIXELS
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    with pytest.raises(ImageReadError, match="30 x 30"):
        open_image(tmp_path / "a.png")
    assert before == Image.MAX_IMAGE_PIXELS


# --- pixel size ---


@pytest.mark.parametrize(
    ("dpi", "expected"),
    [(72, None), (96, None), (300, None), (50800, 0.5), (101600, 0.25), (10**6, None)],
)
def test_dpi_counts_only_where_a_microscope_can_have_it(tmp_path, dpi, expected):
    for name in ("a.png", "a.jpg", "a.tif"):
        if name == "a.jpg" and dpi > 65535:
            continue
        Image.new("RGB", (4, 4)).save(tmp_path / name, dpi=(dpi, dpi))
        found = microns(tmp_path / name)
        assert found == (expected and pytest.approx(expected, rel=1e-3)), name


def test_pixel_size_of_ome_and_imagej(tmp_path):
    pixels = tissue(32, 32)
    cases = [
        (0.25, "µm", 0.25),
        (250, "nm", 0.25),
        (0.0005, "mm", 0.5),
        (0.25, "pixel", None),
        (90, "µm", None),
    ]
    for size, unit, expected in cases:
        tags = {"PhysicalSizeX": size, "PhysicalSizeY": size}
        tags |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
        tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata=tags)
        assert microns(tmp_path / "a.ome.tif") == (expected and pytest.approx(expected))
    for unit, expected in [("um", 0.25), ("\\u00B5m", 0.25), ("pixel", None)]:
        options = {"imagej": True, "resolution": (4, 4), "metadata": {"unit": unit}}
        tifffile.imwrite(tmp_path / "j.tif", pixels[..., 0], **options)
        assert microns(tmp_path / "j.tif") == expected
    tifffile.imwrite(tmp_path / "n.tif", pixels)
    assert microns(tmp_path / "n.tif") is None
    tifffile.imwrite(
        tmp_path / "t.tif", pixels, tile=(16, 16), resolution=(20000, 20000), resolutionunit=3
    )
    assert microns(tmp_path / "t.tif") == pytest.approx(0.5)


def test_two_axes_are_averaged_or_refused():
    assert plausible_microns("0.49", "0.51") == pytest.approx(0.5)
    assert plausible_microns(0.4, 0.5) is None
    assert plausible_microns(None) is None
    assert plausible_microns("nan", "nan") is None


# --- slides written by tifffile ---


def write_slide(path, pixels, levels=3, microns_per_pixel=0.25, **options):
    options = {"tile": (64, 64), "compression": "zlib", "photometric": "rgb", **options}
    size = {"PhysicalSizeX": microns_per_pixel, "PhysicalSizeY": microns_per_pixel}
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(pixels, subifds=levels - 1, metadata=size, **options)
        for level in range(1, levels):
            height, width = pixels.shape[0] >> level, pixels.shape[1] >> level
            exact = pixels[: height << level, : width << level]
            smaller = cv2.resize(exact, (width, height), interpolation=cv2.INTER_AREA)
            writer.write(smaller, subfiletype=1, metadata=None, **options)


@pytest.mark.parametrize("compression", ["zlib", "jpeg", None, "lzw"])
def test_a_slide_read_in_pieces_is_the_whole(tmp_path, compression):
    path, pixels = tmp_path / "a.ome.tif", tissue(301, 403)
    write_slide(path, pixels, compression=compression)
    with open_image(path) as image:
        assert (image.width, image.height, image.is_slide) == (403, 301, True)
        assert image.microns_per_pixel == image.full_microns_per_pixel == 0.25
        whole = image.read(0, 0, 403, 301)
        np.testing.assert_array_equal(read_in_pieces(image, 77, 50), whole)
    assert np.abs(whole.astype(int) - pixels).mean() <= (5 if compression == "jpeg" else 0)


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.77, 1.0, 2.3])
def test_a_resampled_slide_read_in_pieces_is_the_whole(tmp_path, scale):
    path, pixels = tmp_path / "a.ome.tif", tissue(301, 403)
    write_slide(path, pixels)
    with open_image(path, scale) as image:
        assert image.downsample == pytest.approx(scale / 0.25)
        assert image.microns_per_pixel == pytest.approx(scale)
        assert (image.width, image.height) == (int(403 * 0.25 / scale), int(301 * 0.25 / scale))
        assert (image.full_width, image.full_height, image.full_microns_per_pixel) == (
            403,
            301,
            0.25,
        )
        whole = image.read(0, 0, image.width, image.height)
        pieces = read_in_pieces(image, 37, 23)
        assert np.abs(whole.astype(int) - pieces).max() <= 1
        # Output pixel (x, y) shows full-resolution box x * downsample ... (x + 1) * downsample.
        shape = (round(image.width * 8), round(image.height * 8))
        shift = image.downsample / 8
        grid = [((np.arange(n) + 0.5) * shift).astype(int) for n in shape]
        fine = pixels[grid[1]][:, grid[0]].reshape(image.height, 8, image.width, 8, 3)
        assert np.abs(fine.mean((1, 3)) - whole).mean() < 3


def test_slides_are_never_made_finer(tmp_path):
    path, pixels = tmp_path / "a.ome.tif", tissue(100, 120)
    write_slide(path, pixels, microns_per_pixel=1.0)
    for scale in (0.25, 0.95, 1.0):
        np.testing.assert_array_equal(read_all(path, scale), pixels)
        assert microns(path, scale) == 1.0
    tifffile.imwrite(path, pixels, tile=(64, 64), metadata={})
    assert microns(path, 2.0) is None
    np.testing.assert_array_equal(read_all(path, 2.0), pixels)


def test_a_region_decodes_only_the_tiles_it_touches(tmp_path, monkeypatch):
    path, pixels = tmp_path / "a.ome.tif", tissue(640, 640)
    write_slide(path, pixels, levels=1)
    decoded = []
    segment = tiff.decode_segment
    monkeypatch.setattr(
        tiff,
        "decode_segment",
        lambda page, index: decoded.append(index) or segment(page, index),
    )
    with open_image(path) as image:
        assert decoded == []
        for _ in range(2):
            region = image.read(130, 70, 60, 50)
    np.testing.assert_array_equal(region, pixels[70:120, 130:190])
    assert decoded == [12]  # row 1, column 2 of ten columns, once


LAYOUTS = {
    "strips": {"rowsperstrip": 16, "compression": "zlib"},
    "one piece": {},
    "big-endian": {"byteorder": ">", "tile": (64, 64)},
    "bigtiff": {"bigtiff": True, "tile": (64, 64)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("samples", ["rgb", "planes", "channels", "grey"])
def test_layouts_of_ome_tiff(tmp_path, layout, dtype, samples):
    pixels, path = tissue(150, 170), tmp_path / "a.ome.tif"
    pixels[0, 0] = 255
    expected = pixels[..., [0] * 3] if samples == "grey" else pixels
    data = pixels.astype(dtype) * (257 if dtype == np.uint16 else 1)
    options = {"photometric": "minisblack"}
    if samples == "grey":
        data = np.ascontiguousarray(data[..., 0])
    elif samples == "rgb":
        options = {"photometric": "rgb"}
    else:
        data = np.ascontiguousarray(np.moveaxis(data, -1, 0))
        if samples == "planes":
            options = {"photometric": "rgb", "planarconfig": "separate"}
        else:
            options["metadata"] = {"axes": "CYX"}
    tifffile.imwrite(path, data, **options, **LAYOUTS[layout])
    with open_image(path) as image:
        assert image.is_slide
        np.testing.assert_allclose(read_in_pieces(image, 64, 41), expected, atol=1)


def test_tiled_tiff_is_a_slide_and_white_is_one_for_all_regions(tmp_path):
    pixels = np.zeros((512, 512, 3), np.uint16)
    pixels[:256] = 2000
    pixels[-1, -1] = 4095
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(64, 64), photometric="rgb")
    with open_image(tmp_path / "a.tif") as image:
        assert image.is_slide
        assert image.read(10, 10, 1, 1).ravel().tolist() == [round(2000 * 255 / 4095)] * 3
    palette = Image.fromarray(tissue(64, 64)).convert("P")
    colours = np.asarray(palette.getpalette(), np.uint16).reshape(-1, 3).T * 257
    colours = np.pad(colours, ((0, 0), (0, 256 - colours.shape[1])))
    options = {"photometric": "palette", "colormap": colours, "tile": (32, 32)}
    tifffile.imwrite(tmp_path / "p.tif", np.asarray(palette), **options)
    np.testing.assert_array_equal(read_all(tmp_path / "p.tif"), np.asarray(palette.convert("RGB")))


def test_a_tiff_too_large_for_memory_is_read_as_a_slide(tmp_path, monkeypatch):
    pixels = tissue(100, 120)
    tifffile.imwrite(tmp_path / "a.tif", pixels, rowsperstrip=10, compression="zlib")
    with open_image(tmp_path / "a.tif") as image:
        assert not image.is_slide
    monkeypatch.setattr(tiff, "MAX_PLAIN_PIXELS", 5000)
    with open_image(tmp_path / "a.tif") as image:
        assert image.is_slide
        np.testing.assert_array_equal(image.read(3, 4, 50, 60), pixels[4:64, 3:53])


def test_pyramid_of_pages(tmp_path):
    pixels = tissue(512, 640)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for level in range(3):
            smaller = cv2.resize(
                pixels, None, fx=0.5**level, fy=0.5**level, interpolation=cv2.INTER_AREA
            )
            options = {
                "tile": (64, 64),
                "photometric": "rgb",
                "metadata": None,
                "subfiletype": int(level > 0),
            }
            writer.write(smaller, resolution=(40000, 40000), resolutionunit=3, **options)
    with open_image(tmp_path / "a.tif", 1.0) as image:
        assert "3 levels" in image.kind and image.full_microns_per_pixel == pytest.approx(0.25)
        np.testing.assert_array_equal(image.read(0, 0, 160, 128), smaller)


# --- real slides ---


@real_slides
@pytest.mark.parametrize(
    ("name", "width", "height", "size"),
    [
        ("cmu-1-small-region.svs", 2220, 2967, 0.499),
        ("tcga-cr-7395-01a-01-ts1.svs", 4443, 3567, None),
        ("OS-1-detail.ome.tif", 1101, 1101, 0.2271),
        ("HE_example.tif", 1380, 1484, 0.5001),
    ],
)
def test_real_slides(name, width, height, size):
    with open_image(SLIDES / name, 1.0) as image:
        assert image.is_slide and (image.full_width, image.full_height) == (width, height)
        assert image.full_microns_per_pixel == (size and pytest.approx(size, rel=1e-3))
        assert image.microns_per_pixel == (size and pytest.approx(1.0))
        side = min(image.width, image.height, 500)
        whole = image.read(0, 0, side, side).astype(int)
        assert whole.mean() > 60 and whole.std() > 0
        part = image.read(33, 57, side - 100, side - 200)
        assert np.abs(part - whole[57 : side - 143, 33 : side - 67]).max() <= 1


@real_slides
def test_real_slide_keeps_its_mean_colour_when_resampled():
    for path in find_images(SLIDES):
        if microns(path) is None:
            continue
        fine, coarse = read_all(path).mean((0, 1)), read_all(path, 2.0).mean((0, 1))
        np.testing.assert_allclose(fine, coarse, atol=1.5)


@real_slides
def test_truncated_slide(tmp_path):
    for path in find_images(SLIDES):
        data = path.read_bytes()
        cut = tmp_path / path.name
        cut.write_bytes(data[: len(data) * 2 // 3])
        with pytest.raises(ImageReadError) as caught:
            read_all(cut)
        assert "\n" not in str(caught.value)
