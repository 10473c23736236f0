"""Damaged and hostile image files: valid pixels or one line, without a crash, a wait or the memory.

200 random corruptions of PNG, JPEG, TIFF and SVS, and files that claim far more than they hold.
"""

import io
import json
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.image_samples import (
    SVS,
    WRITERS,
    corrupted,
    png_chunk,
    png_header,
    read_all,
    tissue,
)
from images import opening
from images.formats import slides, tiff
from images.opening import ImageReadError, open_image

HEIGHT, WIDTH = 120, 150
PATIENCE = 20  # seconds of the processor for one small file


def read_tiles(path, most=2000):
    """Read all tiles (of an image that has become huge, the first) at 1 um; check each."""
    with open_image(path, 1.0) as image:
        places = [
            (x, y)
            for y in range(0, min(image.height, 64 * 40), 64)
            for x in range(0, min(image.width, 64 * 50), 64)
        ]
        for x, y in places[:most]:
            width, height = min(64, image.width - x), min(64, image.height - y)
            tile = image.read(x, y, width, height)
            assert tile.shape == (height, width, 3) and tile.dtype == np.uint8


@pytest.mark.parametrize("suffix", WRITERS)
def test_fifty_corruptions_give_pixels_or_one_line(tmp_path, suffix):
    refused, path = 0, tmp_path / f"damaged.{suffix}"
    contents = []
    for write in WRITERS[suffix]:
        write(path, tissue(HEIGHT, WIDTH))
        read_tiles(path)  # whole, it is read
        contents.append(path.read_bytes())
    for seed in range(50):
        content = contents[seed % len(contents)]
        path.write_bytes(corrupted(content, np.random.default_rng(seed)))
        started = time.process_time()
        try:
            read_tiles(path)
        except ImageReadError as error:
            message = str(error)
            assert message.startswith(path.name) and message.isprintable(), (seed, message)
            refused += 1
        assert time.process_time() - started < PATIENCE, seed
    assert 10 < refused < 50


# --- files that claim far more than they hold ---


def jpeg_of_size(width, height):
    content = bytearray(imagecodecs.jpeg_encode(tissue(16, 16)))
    start = content.find(b"\xff\xc0") + 5
    content[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def jpeg2000_of_size(side):
    content = bytearray(imagecodecs.jpeg2k_encode(tissue(64, 64), codecformat="j2k"))
    sizes = content.find(b"\xff\x51") + 6  # of the image; its tiles' follow 16 bytes behind
    for start in (sizes, sizes + 16):
        content[start : start + 8] = struct.pack(">II", side, side)
    return bytes(content)


def write_tiles(path, content, compression, shape=(128, 128, 3), **options):
    """Write a tiled TIFF whose every tile has this content as stored."""
    count = -(-shape[0] // 64) * -(-shape[1] // 64)
    options = {"tile": (64, 64), "compression": compression, "photometric": "rgb", **options}
    tifffile.imwrite(path, iter([content] * count), shape=shape, dtype=np.uint8, **options)


def write_png_of_text(path):
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000)))
    whole = png_header(30, 30, bytes(30 * 91))
    path.write_bytes(whole[:33] + text + whole[33:])


def write_sparse_tiff(path, side, tile):
    """Write a TIFF of `side` pixels a side whose tiles are all left out, as scanners do."""
    tifffile.imwrite(path, tissue(64, 64), tile=(64, 64), photometric="rgb", metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as file:
        tags = file.pages[0].tags
        for name in ("ImageWidth", "ImageLength"):
            tags[name].overwrite(side, dtype="I")
        for name in ("TileWidth", "TileLength"):
            tags[name].overwrite(tile, dtype="I")
        tags["TileByteCounts"].overwrite([0] * (-(-side // tile)) ** 2)
        tags["TileOffsets"].overwrite([0] * (-(-side // tile)) ** 2)


def write_webp_of_size(path):
    frame = io.BytesIO()
    Image.fromarray(tissue(16, 16)).save(frame, "WEBP", lossless=True)
    chunk = frame.getvalue()[12:]
    canvas = struct.pack("<I", 16382)[:3]
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas + canvas
    body = b"WEBP" + extended + chunk
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


BOMBS = {
    "header.png": lambda path: path.write_bytes(png_header(100_000, 100_000)),
    "text.png": write_png_of_text,
    "header.jpg": lambda path: path.write_bytes(jpeg_of_size(65_500, 65_500)),
    "canvas.webp": write_webp_of_size,
    "sparse.tif": lambda path: write_sparse_tiff(path, 4_000_000, 1_000_000),
    "one tile.tif": lambda path: write_sparse_tiff(path, 100_000, 100_000),
    "jpeg.tif": lambda path: write_tiles(path, jpeg_of_size(30_000, 30_000), "jpeg"),
    "jpeg2000.tif": lambda path: write_tiles(path, jpeg2000_of_size(20_000), "jpeg2000"),
    "deflate.tif": lambda path: write_tiles(path, zlib.compress(bytes(3 * 10**8), 1), "zlib"),
    "jpeg.svs": lambda path: write_tiles(
        path, jpeg_of_size(30_000, 30_000), "jpeg", description=SVS.format(128, 128), metadata=None
    ),
}
READ_BOMBS = """
import json, resource, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from images.opening import ImageReadError, open_image

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

for path in sorted(Path(sys.argv[2]).iterdir()):
    before, started, message = peak(), time.process_time(), None
    try:
        with open_image(path, 1.0) as image:
            image.read(0, 0, 64, 64)
    except ImageReadError as error:
        message = str(error)
    spent = peak() - before, time.process_time() - started
    print(json.dumps([path.name, message, *spent]), flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_bombs_are_refused_before_memory_is_spent(tmp_path):
    for name, write in BOMBS.items():
        write(tmp_path / name)
    arguments = [str(Path(opening.__file__).parents[1]), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", READ_BOMBS, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    results = {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}
    assert set(results) == set(BOMBS)
    for name, (message, megabytes, seconds) in results.items():
        assert message is not None and message.startswith(name) and message.isprintable(), name
        assert megabytes < 200 and seconds < PATIENCE, (name, megabytes, seconds)


def test_a_tile_that_is_larger_than_its_place_is_refused_and_a_smaller_one_not(tmp_path):
    path = tmp_path / "a.tif"
    for side, fits in ((64, True), (72, False)):
        tile = imagecodecs.jpeg_encode(tissue(side, side))
        write_tiles(path, tile, "jpeg", shape=(64, 64, 3), photometric="ycbcr")
        if fits:
            assert np.abs(read_all(path).astype(int) - tissue(side, side)).mean() < 5
        else:
            with pytest.raises(ImageReadError, match="72 x 72 pixels in a place for 64 x 64"):
                read_all(path)


def test_a_compression_whose_sizes_cannot_be_checked_is_named(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", tissue(64, 64), tile=(64, 64), photometric="rgb", compression="lerc"
    )
    with pytest.raises(ImageReadError, match="LERC cannot be read"):
        read_all(tmp_path / "a.tif")


@pytest.mark.parametrize("options", [{"compression": None}, {"tile": (16, 16)}])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_a_file_cut_short_while_it_is_read_is_an_error_not_a_crash(
    tmp_path, monkeypatch, options, byteorder, planes
):
    """Also where it is uncompressed: a mapped file that shrinks would kill the program."""
    monkeypatch.setattr(tiff, "MAX_PLAIN_PIXELS", 1000)
    monkeypatch.setattr(tiff, "BLOCK", 16)
    monkeypatch.setattr(slides, "CACHE_BYTES", 0)
    pixels = tissue(48, 80)
    stored = np.moveaxis(pixels, -1, 0) if planes == "separate" else pixels
    options = options | {"photometric": "rgb", "planarconfig": planes, "byteorder": byteorder}
    tifffile.imwrite(tmp_path / "a.tif", stored, **options)
    with open_image(tmp_path / "a.tif") as image:
        assert image.is_slide
        np.testing.assert_array_equal(image.read(0, 0, 80, 48), pixels)
        with (tmp_path / "a.tif").open("r+b") as file:
            file.truncate(2000)
        with pytest.raises(ImageReadError) as caught:
            image.read(0, 0, 80, 48)
    assert str(caught.value).startswith("a.tif") and "\n" not in str(caught.value)


def test_messages_hold_nothing_that_a_terminal_obeys(tmp_path):
    path = tmp_path / "a\x1b[2J\u202eb\nc.png"
    path.write_bytes(b"no image")
    with pytest.raises(ImageReadError) as caught:
        open_image(path)
    assert str(caught.value).startswith("a?[2J?b c.png: ")
