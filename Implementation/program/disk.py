"""Files that are whole or not there, and room for them."""

import contextlib
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

UNFINISHED = re.compile(r".+\.[0-9a-f]{32}\.new")  # names of `appearing`
TRIES, PAUSE = 5, 0.2  # before a file that another program holds open is given up; seconds


class OutputError(ValueError):
    """Results cannot be written; the message is one line that says why and what to do."""


def check_room(folder: Path, needed: int) -> None:
    """Refuse what would fill the disk, before it is written.

    Args:
        folder: where it goes.
        needed: bytes that will be written at least.

    Raises:
        OutputError: the disk has less.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"{needed / 1e9:.1f} GB at least are needed in {folder}, {free / 1e9:.1f} GB are free; "
            "make room or name another --output-folder"
        )


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Give a name of its own for a file that gets its final name once it is complete.

    A crash or a full disk leaves the old file or the new one, never half of it.
    """
    fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex}.new")
    try:
        yield fresh
        _put(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def remove_unfinished(folder: Path):
    """Delete the files of a folder that were being written when a program was killed."""
    for path in folder.glob("*.new"):
        if UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _put(fresh: Path, path: Path):
    """Give a file its name; wait a little for a program that holds the old one open (Windows)."""
    for _ in range(TRIES - 1):
        try:
            fresh.replace(path)
            return
        except PermissionError:
            time.sleep(PAUSE)
    fresh.replace(path)
