"""What a mask means is decided by looking at it, and stated."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.drawn_tissue import draw_discs, write_picture
from helpers.label_maps import same_up_to_numbers
from images.pixels import upright
from labels.forms import raster
from labels.label_map import LabelReadError
from labels.masks import labels_of
from labels.pairing import Pair
from labels.reading import read_labels

APART = draw_discs((20, 20, 8), (60, 40, 12), (90, 70, 5))
TOUCHING = draw_discs((20, 20, 8), (37, 20, 8), (60, 50, 9))


def read(path, masks="auto", shape=(80, 100)):
    return read_labels(Pair(path.with_name("image.png"), (path,)), shape, masks)


def refused(path, masks="auto", shape=(80, 100)):
    with pytest.raises(LabelReadError) as error:
        read(path, masks, shape)
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


# --- Label maps ---


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.uint32, np.float32])
@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_label_maps_of_any_number_type(tmp_path, dtype, suffix):
    path = tmp_path / f"m{suffix}"
    if suffix == ".npy":
        np.save(path, TOUCHING.astype(dtype))
    else:
        tifffile.imwrite(path, TOUCHING.astype(dtype))
    labels = read(path)
    assert labels.instances and labels.note == "label map" and labels.known is None
    assert labels.map.dtype == np.int32
    np.testing.assert_array_equal(labels.map, TOUCHING)


@pytest.mark.parametrize("factor", [1, 80, 300])
def test_label_maps_in_png(tmp_path, factor):
    truth = TOUCHING * factor
    write_picture(tmp_path / "m.png", truth.astype(np.uint8 if factor < 85 else np.uint16))
    labels = read(tmp_path / "m.png")
    assert labels.instances
    np.testing.assert_array_equal(labels.map, truth)


def test_numbers_that_are_codes_are_counted(tmp_path):
    np.save(tmp_path / "m.npy", TOUCHING.astype(np.int64) * 2**33)
    labels = read(tmp_path / "m.npy")
    assert labels.map.max() == 3 and same_up_to_numbers(labels.map, TOUCHING)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("background", ["black", "white"])
def test_colours_are_nuclei(tmp_path, bits, background):
    top = 2**bits - 1
    colours = np.array([(0, 0, 0), (top, 9, 0), (1, top, 30), (2, 0, 9)])
    if background == "white":
        colours[0] = top
    pixels = colours[TOUCHING].astype(np.uint8 if bits == 8 else np.uint16)
    write_picture(tmp_path / "m.png", pixels)
    labels = read(tmp_path / "m.png")
    assert labels.instances and labels.note == "by colour, label map"
    assert same_up_to_numbers(labels.map, TOUCHING)


def test_a_transparent_background_is_background(tmp_path):
    colours = np.array([(250, 250, 250, 0), (255, 9, 0, 255), (1, 255, 0, 255), (0, 0, 9, 255)])
    Image.fromarray(colours[TOUCHING].astype(np.uint8)).save(tmp_path / "m.png")
    assert same_up_to_numbers(read(tmp_path / "m.png").map, TOUCHING)


def test_indexed_colours_are_read_by_index(tmp_path):
    image = Image.fromarray(TOUCHING.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 90, 90, 90, 90, 90, 90, 7, 0, 0])  # two nuclei of one colour
    image.save(tmp_path / "m.png")
    labels = read(tmp_path / "m.png")
    assert labels.instances and labels.note == "by colour index, label map"
    np.testing.assert_array_equal(labels.map, TOUCHING)


def test_void_of_a_palette_is_not_labelled(tmp_path):
    indices = TOUCHING.astype(np.uint8)
    indices[70:] = 255
    image = Image.fromarray(indices, "P")
    image.putpalette(list(range(256)) * 3)
    image.save(tmp_path / "m.png")
    labels = read(tmp_path / "m.png")
    np.testing.assert_array_equal(labels.map, TOUCHING)
    np.testing.assert_array_equal(labels.known, np.arange(80)[:, None].repeat(100, 1) < 70)


# --- Binary masks ---


@pytest.mark.parametrize("white", [1, 255, 65535])
@pytest.mark.parametrize("colour", [False, True])
def test_two_values_are_binary(tmp_path, white, colour):
    mask = ((APART > 0) * white).astype(np.uint16 if white > 255 else np.uint8)
    write_picture(tmp_path / "m.png", np.repeat(mask[..., None], 3, axis=-1) if colour else mask)
    labels = read(tmp_path / "m.png")
    assert not labels.instances and labels.note == "binary mask"
    assert labels.map.dtype == np.int32 and labels.map.max() == 3
    assert same_up_to_numbers(labels.map, APART)
    told = read(tmp_path / "m.png", "instances")
    assert told.instances and same_up_to_numbers(told.map, APART)


@pytest.mark.parametrize("kind", ["bool.npy", "one_bit.png", "one_bit.tif", "two_colours.png"])
def test_binary_masks_of_other_kinds(tmp_path, kind):
    path, mask = tmp_path / kind, TOUCHING > 0
    if kind == "bool.npy":
        np.save(path, mask)
    elif kind == "one_bit.png":
        Image.fromarray(mask).save(path)
    elif kind == "one_bit.tif":
        tifffile.imwrite(path, ~mask, photometric="miniswhite")
    else:
        write_picture(path, np.where(mask[..., None], (0, 90, 200), 255).astype(np.uint8))
    labels = read(path)
    assert not labels.instances and "binary mask" in labels.note
    np.testing.assert_array_equal(labels.map > 0, mask)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".gif"])
@pytest.mark.parametrize("colours", [2, 256])
@pytest.mark.parametrize("soft", [False, True])
def test_black_is_background_wherever_it_stands_in_a_palette_of_greys(
    tmp_path, suffix, colours, soft
):
    mask = ((APART > 0) * 255).astype(np.uint8)
    pixels = cv2.GaussianBlur(mask, (3, 3), 1) if soft else mask
    image = Image.fromarray(pixels).convert("RGB").quantize(colours)
    assert np.asarray(image)[mask > 0].min() == 0  # white comes first
    image.save(tmp_path / f"m{suffix}")
    labels = read(tmp_path / f"m{suffix}")
    assert not labels.instances and "binary mask" in labels.note and labels.map.max() == 3
    assert np.count_nonzero((labels.map > 0) != (mask > 0)) <= soft * 0.15 * np.sum(mask > 0)


def test_indices_of_one_bit_may_be_unsorted_too():
    indices = APART == 0  # as tifffile gives them
    pixels, indexed = raster._unsorted(indices, np.array([[255] * 3, [0] * 3]))
    assert not indexed
    np.testing.assert_array_equal(pixels > 0, APART > 0)


def test_a_label_map_whose_greys_became_a_palette_stays_one(tmp_path):
    grey = Image.fromarray((TOUCHING * 60).astype(np.uint8))
    grey.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "m.png")
    assert same_up_to_numbers(read(tmp_path / "m.png").map, TOUCHING)


@pytest.mark.parametrize("colour", [(200, 0, 0), (0, 0, 40), (50, 50, 50)])
def test_a_class_on_white_is_read_by_index(tmp_path, colour):
    image = Image.fromarray((APART > 0).astype(np.uint8), "P")
    image.putpalette([255, 255, 255, *colour, *[0] * 762])
    image.save(tmp_path / "m.png")
    labels = read(tmp_path / "m.png")
    assert labels.note == "by colour index, binary mask"
    np.testing.assert_array_equal(labels.map > 0, APART > 0)


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("colour", [False, True])
def test_a_jpeg_of_discs_is_binary_and_never_a_label_map(tmp_path, quality, colour):
    mask = draw_discs((20, 20, 8), (60, 40, 12), (90, 70, 5), (20, 60, 6), (75, 12, 9)) > 0
    pixels = (mask * 255).astype(np.uint8)
    pixels = np.repeat(pixels[..., None], 3, axis=-1) if colour else pixels
    Image.fromarray(pixels).save(tmp_path / "m.jpg", quality=quality)
    labels = read(tmp_path / "m.jpg")
    assert not labels.instances and "soft edges" in labels.note
    assert labels.map.max() == 5
    assert np.count_nonzero((labels.map > 0) != mask) < 0.04 * mask.sum()


@pytest.mark.parametrize("kind", ["8 bit", "16 bit", "float"])
def test_smooth_edges_are_binary(tmp_path, kind):
    large = cv2.resize(APART.astype(np.uint8), (400, 320), interpolation=cv2.INTER_NEAREST)
    smooth = cv2.resize((large > 0) * np.float32(1), (90, 72), interpolation=cv2.INTER_AREA)
    pixels = {
        "8 bit": (smooth * 255).astype(np.uint8),
        "16 bit": (smooth * 65535).astype(np.uint16),
        "float": smooth,
    }[kind]
    np.save(tmp_path / "m.npy", pixels)
    labels = read(tmp_path / "m.npy", shape=(72, 90))
    assert not labels.instances and "soft edges" in labels.note and labels.map.max() == 3
    clear = abs(smooth - 0.5) > 0.01
    np.testing.assert_array_equal((labels.map > 0)[clear], (smooth > 0.5)[clear])


def test_a_label_map_whose_numbers_lie_near_white_stays_one(tmp_path):
    truth = np.choose(TOUCHING, [0, 240, 250, 255])
    write_picture(tmp_path / "m.png", truth.astype(np.uint8))
    np.testing.assert_array_equal(read(tmp_path / "m.png").map, truth)


def test_many_numbers_up_to_255_stay_a_label_map():
    grid = np.arange(1, 256).reshape(15, 17).repeat(6, axis=0).repeat(6, axis=1)
    grid[::6], grid[:, ::6] = 0, 0
    labels = labels_of(grid.astype(np.uint8))
    assert labels.instances
    np.testing.assert_array_equal(labels.map, grid)


# --- One nucleus, none ---


@pytest.mark.parametrize("value", [1, 7, 255])
def test_one_nucleus_alone_is_a_nucleus(value):
    labels = labels_of(draw_discs((40, 40, 15)).astype(np.uint8) * value)
    assert labels.instances and labels.note == "one nucleus" and labels.map.max() == 1


def test_one_nucleus_with_soft_edges_says_both():
    labels = labels_of(
        cv2.GaussianBlur(np.uint8(255) * (TOUCHING == 3).astype(np.uint8), (3, 3), 1)
    )
    assert labels.instances and "soft edges" in labels.note and "one nucleus" in labels.note


def test_a_clump_of_a_binary_mask_is_not_one_nucleus():
    clump = (draw_discs((30, 40, 12), (52, 40, 12)) > 0).astype(np.uint8)
    assert not labels_of(clump * 255).instances
    assert labels_of(clump * 7).instances  # the number of a nucleus


def test_an_empty_mask_holds_no_nuclei():
    labels = labels_of(np.zeros((9, 7), np.uint8))
    assert labels.instances and labels.note == "no nuclei" and not labels.map.any()


# --- Ambiguous and broken ---


def class_map():
    mask = np.zeros((80, 100), np.uint8)
    for index in range(12):
        y, x = 10 + 25 * (index // 4), 10 + 25 * (index % 4)
        cv2.circle(mask, (x, y), 6, 1 + index % 2, -1)
    return mask


def test_a_map_of_classes_is_refused_until_masks_settles_it(tmp_path):
    write_picture(tmp_path / "m.png", class_map())
    message = refused(tmp_path / "m.png")
    assert "2 values in 12 connected parts" in message and "MASKS" in message
    binary = read(tmp_path / "m.png", "binary")
    assert not binary.instances and binary.map.max() == 12
    instances = read(tmp_path / "m.png", "instances")
    assert instances.instances and instances.map.max() == 12


@pytest.mark.parametrize("numbered", [False, True])
def test_the_255_of_what_is_not_labelled_makes_no_binary_mask(tmp_path, numbered):
    mask = draw_discs(*((10 + 20 * (n // 4), 10 + 20 * (n % 4), 7) for n in range(16)))
    mask = mask if numbered else np.where(mask > 0, 1 + mask % 3, 0)
    cv2.circle(mask := mask.astype(np.uint8), (92, 40), 6, 255, -1)
    write_picture(tmp_path / "m.png", mask)
    if not numbered:
        assert "4 values in 17 connected parts" in refused(tmp_path / "m.png")
    assert read(tmp_path / "m.png", "auto" if numbered else "instances").map.max() >= 17
    binary = read(tmp_path / "m.png", "binary")
    np.testing.assert_array_equal(binary.map > 0, mask > 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["m.tif", "m.png"])
def test_labels_are_turned_as_their_orientation_says(tmp_path, name, orientation):
    stored = upright(TOUCHING, {6: 8, 8: 6}.get(orientation, orientation)).astype(np.uint8)
    if name == "m.tif":
        tag = [("Orientation", "H", 1, orientation, True)]
        tifffile.imwrite(tmp_path / name, stored, extratags=tag)
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / name, exif=exif)
    np.testing.assert_array_equal(read(tmp_path / name).map, TOUCHING)


def test_labels_in_tiles_are_not_turned_as_their_images_are_not(tmp_path):
    tag = [("Orientation", "H", 1, 3, True)]
    labels = TOUCHING.astype(np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", labels, tile=(32, 32), extratags=tag)
    np.testing.assert_array_equal(read(tmp_path / "m.tif").map, TOUCHING)


def test_a_label_map_saved_as_jpeg_is_refused(tmp_path):
    Image.fromarray((TOUCHING * 60).astype(np.uint8)).save(tmp_path / "m.jpg", quality=80)
    assert "MASKS" in refused(tmp_path / "m.jpg")


def test_a_label_map_told_to_be_binary_is_binary():
    labels = labels_of(TOUCHING, "binary")
    assert not labels.instances and labels.map.max() == 2


def test_no_background_is_refused():
    with pytest.raises(ValueError, match="no pixel is 0"):
        labels_of(1 + (APART > 0).astype(np.uint8))
    told = labels_of(1 + (APART > 0).astype(np.uint8), "binary")
    np.testing.assert_array_equal(told.map > 0, APART > 0)
    with pytest.raises(ValueError, match="every pixel is 255"):
        labels_of(np.full((9, 9), 255, np.uint8))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (TOUCHING - 1, "label of -1"),
        (TOUCHING * 1.5, "fractions up to 4.5"),
        (np.zeros((5, 80, 100), np.uint8), "5 x 80 x 100"),
        (np.zeros((0, 100), np.uint8), "0 x 100"),
        (np.array([{"masks": TOUCHING}]), "Python objects"),
        (np.zeros((80, 100), complex), "complex128"),
    ],
)
def test_arrays_that_are_no_label_map_are_refused(tmp_path, values, words):
    np.save(tmp_path / "m.npy", values)
    shape = np.shape(values)[:2] if np.ndim(values) == 2 else (80, 100)
    assert words in refused(tmp_path / "m.npy", shape=shape)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".npy", ".bmp"])
@pytest.mark.parametrize("harm", ["empty", "half", "text"])
def test_broken_files_are_named(tmp_path, suffix, harm):
    path = tmp_path / f"m{suffix}"
    noise = np.random.default_rng(0).integers(0, 250, (80, 100)).astype(np.uint8)
    if suffix == ".npy":
        np.save(path, noise)
    elif suffix == ".tif":
        tifffile.imwrite(path, noise)
    else:
        write_picture(path, noise)
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "text": b"no mask"}[harm])
    refused(path)


def test_another_size_than_the_image_is_refused(tmp_path):
    write_picture(tmp_path / "m.png", TOUCHING.astype(np.uint8))
    assert "100x80 pixels, its image 99x80" in refused(tmp_path / "m.png", shape=(80, 99))
