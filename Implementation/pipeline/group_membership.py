"""Which image belongs to which group: read from a table, or from the sub-folders."""

import csv
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from images.errors import some_of
from images.finding import short_names

FOLDERS = "folders"  # for GROUPS: the sub-folder that an image lies in is its group
COLUMNS = ("image", "group")


def groups_of(names: Iterable[str], groups: str | None) -> dict[str, str]:
    """Return the group of each image that has one; name the rows of a table without an image.

    Args:
        names: of the images, with their sub-folders.
        groups: None = no groups; `FOLDERS`; or the path of a CSV table with the columns image
            (name with or without its ending) and group.

    Raises:
        OSError, ValueError: the table cannot be used, or no image has a group; one line.
    """
    if groups is None:
        return {}
    if groups == FOLDERS:
        found = {name: name.partition("/")[0] for name in names if "/" in name}
        expected = "images in sub-folders of the input folder"
    else:
        table = _read(Path(groups))
        keys = {name: key for name in names if (key := _key(table, name))}
        found = {name: table[key] for name, key in keys.items()}
        if found and (unused := [key for key in table if key not in keys.values()]):
            named = some_of(unused)
            rows = "1 row names" if len(unused) == 1 else f"{len(unused)} rows name"
            print(f"GROUPS: {rows} no image here ({named})", file=sys.stderr)
        expected = f"the names of images in {groups}"
    if not found:
        raise ValueError(f"GROUPS: expected {expected}, found none; check the names")
    return found


def _key(table: dict[str, str], name: str) -> str | None:
    """Return under which name the table has an image."""
    path = PurePosixPath(name)
    keys = map(_one_form, (name, path.name, *short_names(Path(path.name))))
    return next((key for key in keys if key in table), None)


def _one_form(name: str) -> str:
    """Return a name in one of the ways in which systems store the same letters."""
    return normalize("NFC", name)


def _read(path: Path) -> dict[str, str]:
    """Read the table; separated by commas, semicolons or tabs."""
    if not path.is_file():
        raise FileNotFoundError(f"GROUPS: expected a CSV table or '{FOLDERS}', found no {path}")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"GROUPS: {path} is not text; save it as CSV (UTF-8)") from None
    lines = text.splitlines() or [""]
    separator = max(",;\t", key=lines[0].count)
    rows = csv.reader(lines, delimiter=separator)
    header = [cell.strip().casefold() for cell in next(rows, [])]
    if not set(COLUMNS) <= set(header):
        found = ", ".join(header) or "nothing"
        raise ValueError(f"GROUPS: expected the columns image and group in {path}, found {found}")
    image, group = map(header.index, COLUMNS)
    cells = [[cell.strip() for cell in row] for row in rows if len(row) > max(image, group)]
    table = {}
    for row in cells:
        name, of_group = _one_form(row[image]), row[group]
        if name and of_group and table.setdefault(name, of_group) != of_group:
            both = f"{table[name]} and {of_group}"
            raise ValueError(
                f"GROUPS: {name} is in two groups of {path}, {both}; keep one of the rows"
            )
    return table
