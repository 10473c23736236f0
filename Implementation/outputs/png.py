"""PNG files: fast compression, a note on the program, and a print size."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import imagecodecs
import numpy as np

FAST_PNG = {
    "level": imagecodecs.PNG.COMPRESSION.SPEED,
    "strategy": imagecodecs.PNG.STRATEGY.RLE,
    "filter": imagecodecs.PNG.FILTER.SUB,
}
PNG_HEADER = 8 + 25  # bytes: signature; length, type, content and checksum of the first chunk


def write_image(path, image, dots_per_inch=None, software_note=None):
    """Write an image, uint8 grey (height, width) or RGB (height, width, 3), as PNG.

    dots_per_inch: its print resolution. software_note: content of its Software field.
    """
    # OpenCV's settings, but without OpenCV, whose BGR order would need a copy of the whole image.
    png = memoryview(imagecodecs.png_encode(np.ascontiguousarray(image), **FAST_PNG))
    with Path(path).open("wb") as file:
        file.write(png[:PNG_HEADER])
        if software_note:  # Latin-1 by definition (PNG 1.2, section 4.2.3.1)
            note = software_note.encode("latin-1", "replace")
            file.write(_png_chunk(b"tEXt", b"Software\0" + note))
        if dots_per_inch:  # in pixels per metre (section 4.2.4.2)
            per_metre = round(dots_per_inch / 0.0254)
            file.write(_png_chunk(b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1)))
        file.write(png[PNG_HEADER:])


@contextmanager
def written_beside(software_note=None):
    """Give a function like `write_image`, with this note, that compresses in a second thread.

    All files are there when the block ends, which raises what the thread could not write.
    """
    with ThreadPoolExecutor(1) as thread:
        pictures = []

        def write(path, image, dots_per_inch=None):
            pictures.append(thread.submit(write_image, path, image, dots_per_inch, software_note))

        yield write
        for picture in pictures:
            picture.result()


def dots_per_inch(microns):
    """Return the resolution by which other programs know a pixel size in um; None for None."""
    return microns and 25400 / microns


def _png_chunk(name: bytes, content: bytes) -> bytes:
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
