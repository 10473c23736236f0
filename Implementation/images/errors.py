"""What is wrong with an image file, as one error type with one clear line."""

import contextlib
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from PIL import UnidentifiedImageError


class ImageReadError(ValueError):
    """A file cannot be read; the message is one line: which file, what was found, what to do."""


@contextlib.contextmanager
def one_error_type(path: Path) -> Iterator[None]:
    """Turn every exception of the decoding libraries into ImageReadError."""
    try:
        yield
    except Exception as error:
        raise ImageReadError(one_line(f"{path.name}: {_explain(error)}")) from error


@contextlib.contextmanager
def named_with_folder(path: Path) -> Iterator[None]:
    """Let an ImageReadError name the folder, too, where images of several folders are read."""
    try:
        yield
    except ImageReadError as error:
        raise ImageReadError(f"{printable(str(path.parent))}/{error}") from error


def some_of(names: list[str]) -> str:
    """Name the first three of a list, printable."""
    return ", ".join(map(printable, names[:3])) + ", ..." * (len(names) > 3)


def counted(number: int, name: str) -> str:
    """Say "1 image" or "2 images"."""
    return f"{number} {name}{'s' * (number != 1)}"


def printable(text: str) -> str:
    """Return a text with ? for what a terminal would obey and for what is no text.

    File names may hold line breaks, control sequences and bytes of another system's encoding.
    """
    return "".join("?" if unicodedata.category(sign).startswith("C") else sign for sign in text)


def one_line(text: str) -> str:
    """Return a message as one printable line."""
    return printable(" ".join(text.split()))


def _explain(error: Exception) -> str:
    if isinstance(error, ImageReadError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "the file is not there, it was moved or deleted; check the path"
    if isinstance(error, PermissionError):
        return "there is no permission to read the file; change its permissions"
    if isinstance(error, MemoryError):
        return "it needs more memory than is free; convert it to a tiled TIFF or free some memory"
    if isinstance(error, UnidentifiedImageError):
        return "not an image or slide of a known format; convert it to PNG or TIFF, or remove it"
    detail = one_line(f"{type(error).__name__}: {error}")[:200]
    return (
        f"truncated, damaged or of an unsupported kind ({detail}); copy it again from its source "
        "or export it as PNG or tiled TIFF"
    )
