"""Small image files of every format, whole and corrupted."""

import struct
import zlib

import cv2
import numpy as np
import tifffile
from PIL import Image

from images.opening import open_image

SVS = "Aperio Image Library v11.2.1\r\n{0}x{1} [0,0 {0}x{1}] (64x64) JPEG/RGB Q=70|MPP = 0.5"


def tissue(height, width, seed=0):
    """A smooth random RGB image with strong colours."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height // 8 + 2, width // 8 + 2, 3))
    return cv2.resize(noise.astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)


def read_all(path, scale=None):
    with open_image(path, scale) as image:
        return image.read(0, 0, image.width, image.height)


def png_chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_header(width, height, pixels=b""):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")


def write_svs(path, pixels, codec="jpeg"):
    """Write what a scanner of Aperio writes: tiles, thumbnail, a coarser level, a label."""
    height, width = pixels.shape[:2]
    options = {"photometric": "rgb", "metadata": None}
    slide = options | {"tile": (64, 64), "compression": codec}
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, description=SVS.format(width, height), **slide)
        file.write(pixels[::4, ::4].copy(), compression=codec, rowsperstrip=16, **options)
        file.write(pixels[::2, ::2].copy(), description=SVS.format(width, height), **slide)
        file.write(pixels[::8, ::8].copy(), compression="lzw", subfiletype=1, **options)


def write_tiff(**options):
    return lambda path, pixels: tifffile.imwrite(path, pixels, photometric="rgb", **options)


def write_16_bit(path, pixels):
    path.write_bytes(cv2.imencode(path.suffix, pixels.astype(np.uint16) * 257)[1].tobytes())


def write_by_pillow(mode="RGB", **options):
    return lambda path, pixels: Image.fromarray(pixels).convert(mode).save(path, **options)


WRITERS = {
    "png": [write_by_pillow(), write_by_pillow("P"), write_16_bit],
    "jpg": [write_by_pillow(), write_by_pillow(progressive=True), write_by_pillow("CMYK")],
    "tif": [
        write_tiff(),
        write_tiff(compression="zlib"),
        write_tiff(tile=(64, 64)),
        write_tiff(tile=(64, 64), compression="jpeg"),
        write_tiff(tile=(64, 64), compression="jpeg2000"),
    ],
    "svs": [write_svs, lambda path, pixels: write_svs(path, pixels, "lzw")],
}


def corrupted(content, rng):
    """Cut, flip bits, overwrite the header or the tail (TIFF's tables), or drop a piece."""
    damaged, size = bytearray(content), len(content)
    kind = rng.integers(5)
    if kind == 0:
        return bytes(damaged[: rng.integers(size)])
    if kind == 1:
        for place in rng.integers(size, size=rng.integers(1, 9)):
            damaged[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        for place in rng.integers(min(size, 300), size=rng.integers(1, 5)):
            damaged[place] = int(rng.integers(256))
    elif kind == 3:
        for place in rng.integers(min(size, 600), size=rng.integers(1, 5)):
            damaged[-1 - place] = int(rng.integers(256))
    else:
        start = int(rng.integers(size))
        del damaged[start : start + int(rng.integers(1, 200))]
    return bytes(damaged)
