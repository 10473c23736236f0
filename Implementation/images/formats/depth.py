"""Pixels of more than 8 bits, of which Pillow would cut colours to 8."""

import re
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
from PIL import Image

HEAD = 4096  # bytes in which the header of a PNG or PPM ends
CODESTREAM = b"\xff\x4f\xff\x51"  # of JPEG 2000: its start and the marker of its sizes
COMPONENTS = 40  # bytes from there to the number of components; 3 bytes follow for each of them
BGR = {3: [2, 1, 0], 4: [2, 1, 0, 3]}  # OpenCV's order of samples


def deep_pixels(
    path: Path, image: Image.Image
) -> tuple[np.ndarray | None, tuple[float, float] | None]:
    """Return the values as stored of an image whose samples have more than 8 bits.

    path: the file; image: the same opened and loaded by Pillow, so that a file cut short, which
    other decoders take, has failed by now.

    Returns:
        pixels (height, width, samples), None where 8 bits hold all; black and white as the file
        states them, None where it does not.
    """
    if image.format == "PNG" and _head(path)[24] == 16:
        return _by_opencv(path), None
    if image.format == "PPM" and (white := _white_of_ppm(path)) > 255:
        return _by_opencv(path), (0.0, float(white)) if white < 65535 else None
    if image.format == "JPEG2000" and image.mode in ("I;16", "LA", "RGB", "RGBA"):
        content = path.read_bytes()
        if bits := _bits_of_jpeg2000(content):
            pixels = np.atleast_3d(imagecodecs.jpeg2k_decode(content))
            return pixels, (0.0, 2.0**bits - 1) if bits < 16 else None
    is_deep = image.mode == "F" or image.mode.startswith("I")
    return (np.atleast_3d(np.asarray(image)) if is_deep else None), None


def _by_opencv(path: Path) -> np.ndarray:
    # Of numbers written as text, OpenCV takes the last one only if something follows it.
    content = np.append(np.fromfile(path, np.uint8), np.uint8(ord("\n")))
    pixels = np.atleast_3d(cv2.imdecode(content, cv2.IMREAD_UNCHANGED))
    order = BGR.get(pixels.shape[-1])
    return pixels[..., order] if order else pixels


def _white_of_ppm(path: Path) -> int:
    """Return the value of white that a PGM or PPM states, 0 for its other kinds."""
    words = re.sub(rb"#[^\r\n]*", b"", _head(path)).split(maxsplit=4)
    is_one = len(words) > 3 and words[0] in (b"P2", b"P3", b"P5", b"P6")
    return int(words[3]) if is_one and words[3].isdigit() else 0


def _bits_of_jpeg2000(content: bytes) -> int:
    """Return the bits of the samples of JPEG 2000 if they are 9 to 16, else 0."""
    start = content.find(CODESTREAM) + COMPONENTS
    count = int.from_bytes(content[start : start + 2], "big")
    depths = set(content[start + 2 : start + 2 + 3 * count : 3])  # bits - 1; from 128 on: signed
    depth = depths.pop() if len(depths) == 1 else 0
    return depth + 1 if 8 <= depth < 16 else 0


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)
