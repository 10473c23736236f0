"""What every reader of labels gives, and the one error that all of them raise."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from images.errors import ImageReadError, one_line


@dataclass(frozen=True)
class Labels:
    """The known nuclei of one image.

    Attributes:
        map: int32 (height, width), 0 = background.
        instances: each number is one nucleus; where False, each is a connected part of a binary
            mask, which may hold several nuclei that touch.
        note: how the file was understood, a few words that are the same for files of one kind.
        known: bool (height, width), where the labels are complete; None = everywhere.
    """

    map: np.ndarray
    instances: bool
    note: str
    known: np.ndarray | None = None


class LabelReadError(ValueError):
    """A label file cannot be used; the message is one line: which file, and why.

    Args:
        path: the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: Path, reason: str):
        super().__init__(one_line(f"{path}: {reason}"))
        self.path = path
        self.reason = one_line(reason)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong with a label file into a LabelReadError that names it."""
    try:
        yield
    except LabelReadError:
        raise
    except (ValueError, FileNotFoundError) as error:
        raise LabelReadError(path, _reason(error)) from error
    except Exception as error:
        detail = one_line(f"{type(error).__name__}: {error}")[:200]
        raise LabelReadError(
            path, f"truncated, damaged or of an unknown kind ({detail}); export it again"
        ) from error


def check_size(found: tuple[int, ...], shape: tuple[int, int]) -> None:
    """Raise ValueError unless labels of the shape `found` fit an image of (height, width)."""
    if tuple(found[:2]) != tuple(shape):
        raise ValueError(
            f"{found[1]}x{found[0]} pixels, its image {shape[1]}x{shape[0]}: they must be equal"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file is not there; check the path"
    if isinstance(error, ImageReadError) or type(error) is ValueError:
        return str(error)
    return f"truncated, damaged or of an unknown kind ({error}); export it again"
