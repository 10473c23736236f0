"""The folder that a run writes to: one run at a time, and names that stay inside."""

import re
from pathlib import Path

from filelock import FileLock, Timeout

from images.errors import printable
from program.disk import OutputError

LOCK_FILE = ".lock"
LONGEST_NAME = 200  # bytes of a folder's name; systems take 255, and some room is left for numbers
# What Windows and network shares do not take in a name; "/" and "\" would lead elsewhere.
FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


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
