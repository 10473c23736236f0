"""The folder that a run writes to: one run at a time, names that stay inside, room on the disk."""

import contextlib
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from images.errors import printable

LOCK_FILE = ".lock"
LONGEST_NAME = 200  # bytes of a folder's name; systems take 255, and some room is left for numbers
# What Windows and network shares do not take in a name; "/" and "\" would lead elsewhere.
FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


class OutputError(ValueError):
    """Results cannot be written; the message is one line that says why and what to do."""


def locked(folder: Path) -> FileLock:
    """Take a folder for this run alone: a context manager that lets go of it at its end.

    The operating system keeps the lock, so that a run that was killed leaves none behind.

    Raises:
        OutputError: another run writes to the folder.
    """
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    try:
        return lock.acquire()
    except Timeout:
        raise OutputError(
            f"{folder} is being written by another run; wait for its end or name another folder "
            "with --output-folder"
        ) from None


def folder_name(name: str) -> str:
    """Return a name for a folder of results: inside the output folder on every system.

    Control characters and what is no text become "_", as do path separators.
    """
    name = FORBIDDEN.sub("_", printable(name))
    name = name.encode()[:LONGEST_NAME].decode(errors="ignore").strip(" .")
    return f"_{name}" if not name or RESERVED.fullmatch(name) else name


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
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
