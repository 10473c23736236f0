"""Plain images (PNG, JPEG, BMP, ...), decoded once and held in memory."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from images.errors import ImageReadError
from images.formats.depth import deep_pixels
from images.formats.slides import Source, whole_level
from images.pixels import BAND_PIXELS, range_of, to_rgb, upright
from images.sizes import plausible_microns
from images.white import ALPHA_IGNORED

ANIMATED = ("GIF", "PNG", "WEBP", "TIFF")  # formats whose further frames are not just previews
COLOR_MAP = 320  # number of TIFF's tag
MAX_PLAIN_PIXELS = 250_000_000  # decoded, a plain image is held twice: 1.5 GB of 8-bit RGB
# Named formats only: Pillow would also start Ghostscript for an EPS file.
PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "GIF", "TIFF", "JPEG2000", "PPM")


def open_plain(
    path: Path,
    kind: str | None = None,
    microns: float | None = None,
    frame: int = 0,
    notes: tuple[str, ...] = (),
) -> Source:
    """Decode a file with Pillow; a caller that knows kind, pixel size and page better says them."""
    # Not by its path: Pillow would map an uncompressed TIFF that is to be turned with width and
    # height exchanged.
    with (
        own_size_limit(),
        path.open("rb") as file,
        Image.open(file, formats=PILLOW_FORMATS) as image,
    ):
        if kind is None and image.format in ANIMATED and getattr(image, "n_frames", 1) > 1:
            found = f"an animation of {image.n_frames} pictures"
            raise ImageReadError(f"{found}, not one; save the one that is meant as PNG")
        image.seek(frame)
        _check_plain_size(*image.size)
        image.load()
        _mend_palette(image)
        rgb, note = _pillow_rgb(path, image)
        pixels = upright(rgb, image.getexif().get(0x0112, 1))
        if kind is None:
            kind, dpi = image.format, image.info.get("dpi")
            microns = plausible_microns(*(25400 / d for d in dpi)) if dpi and all(dpi) else None
    notes += (note,) if note else ()
    return Source(kind, [whole_level(pixels)], microns, notes=notes)


@contextlib.contextmanager
def own_size_limit() -> Iterator[None]:
    """Lift Pillow's bomb limit, which is lower than ours, for callers that check the header."""
    pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = pillow_limit


def first_bytes(path: Path) -> bytes:
    """Return the first 32 bytes; refuses what is no file or is empty."""
    # A pipe or device would block for ever when opened.
    if path.exists() and not path.is_file():
        raise ImageReadError("a folder or device, not a file; name an image file")
    with path.open("rb") as file:
        head = file.read(32)
    if not head:
        raise ImageReadError("the file is empty (0 bytes); copy it again from its source")
    return head


def _check_plain_size(width: int, height: int) -> None:
    if width * height > MAX_PLAIN_PIXELS:
        limit = f"more than {MAX_PLAIN_PIXELS // 10**6} million"
        raise ImageReadError(f"{width} x {height} pixels, {limit}; convert it to a tiled TIFF")


def _mend_palette(image: Image.Image) -> None:
    """Read a ColorMap of 8 bits as such; TIFF asks for 16, of which Pillow drops the lower 8."""
    colours = getattr(image, "tag_v2", {}).get(COLOR_MAP, ())
    if image.mode in ("P", "PA") and 0 < max(colours, default=0) < 256:
        image.putpalette(np.reshape(colours, (3, -1)).T.astype(np.uint8).tobytes())


def _pillow_rgb(path: Path, image: Image.Image) -> tuple[np.ndarray, str | None]:
    """Return RGB, and a line on what was assumed of white and of alpha."""
    pixels, stated = deep_pixels(path, image)
    if pixels is None:
        return _rgb_of_8_bits(image)
    values = range_of(pixels, stated)
    return to_rgb(pixels, values), values.note


def _rgb_of_8_bits(image: Image.Image) -> tuple[np.ndarray, str | None]:
    mode = "RGBA" if image.has_transparency_data else "RGB"
    ignores_alpha = mode == "RGBA" and _hides_a_picture(image)
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    for top, band in _bands(image, mode):
        rgb[top : top + len(band)] = to_rgb(band[..., :3] if ignores_alpha else band)
    return rgb, ALPHA_IGNORED if ignores_alpha else None


def _hides_a_picture(image: Image.Image) -> bool:
    """Whether alpha hides all of a picture that is not of one colour."""
    first, varies = None, False
    for _, band in _bands(image, "RGBA"):
        first = band[:1, :1, :3] if first is None else first
        if np.any(band[..., 3]):
            return False
        varies = varies or bool(np.any(band[..., :3] != first))
    return varies


def _bands(image: Image.Image, mode: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield pieces (first row, pixels): at once, each step would hold a copy of the whole."""
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        yield top, np.asarray(band.convert(mode))
