"""Which image belongs to which group and patient: from a table, or from the sub-folders."""

import csv
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from unicodedata import normalize

from images.errors import counted, some_of
from images.finding import short_names

FOLDERS = "folders"  # for GROUPS: the sub-folder that an image lies in is its group
COLUMNS = ("image", "group")
PATIENT = "patient"  # a further column of the table, which it need not have


class Member(NamedTuple):
    """What an image belongs to.

    Attributes:
        group: of the image.
        patient: whose tissue it shows, None where that is not stated.
    """

    group: str
    patient: str | None = None


def groups_of(names: Iterable[str], groups: str | None) -> dict[str, Member]:
    """Return what each image that has a group belongs to; name the rows that match no image.

    Args:
        names: of the images, with their sub-folders.
        groups: None = no groups; `FOLDERS`; or the path of a CSV table with the columns image
            (name with or without its ending), group and, if wanted, patient.

    Raises:
        OSError, ValueError: the table cannot be used, no image has a group, or some have a patient
            and others none; one line.
    """
    if groups is None:
        return {}
    if groups == FOLDERS:
        found = {name: Member(name.partition("/")[0]) for name in names if "/" in name}
        expected = "images in sub-folders of the input folder"
    else:
        table = _read(Path(groups))
        keys = {name: key for name in names if (key := _key(table, name))}
        found = {name: table[key] for name, key in keys.items()}
        if found and (unused := [key for key in table if key not in keys.values()]):
            named = some_of(unused)
            rows = "1 row names" if len(unused) == 1 else f"{len(unused)} rows name"
            print(f"GROUPS: {rows} no image here ({named})", file=sys.stderr)
        _check_patients(found)
        expected = f"the names of images in {groups}"
    if not found:
        raise ValueError(f"GROUPS: expected {expected}, found none; check the names")
    return found


def _check_patients(found: dict[str, Member]):
    """Refuse a patient of some images only; say which patients are in several groups."""
    without = [name for name, member in found.items() if member.patient is None]
    if 0 < len(without) < len(found):
        raise ValueError(
            f"GROUPS: expected a patient of every image or of none, found none of "
            f"{counted(len(without), 'image')} ({some_of(without)}); fill in the column"
        )
    count = Counter(
        patient for patient, _ in {(each.patient, each.group) for each in found.values()}
    )
    shared = sorted(name for name, groups in count.items() if name is not None and groups > 1)
    if shared:
        print(
            f"GROUPS: patients in several groups ({some_of(shared)}); the tests are not paired and "
            "take them for different ones",
            file=sys.stderr,
        )


def _key(table: dict[str, Member], name: str) -> str | None:
    """Return under which name the table has an image."""
    path = PurePosixPath(name)
    keys = map(_one_form, (name, path.name, *short_names(Path(path.name))))
    return next((key for key in keys if key in table), None)


def _one_form(name: str) -> str:
    """Return a name in one of the ways in which systems store the same letters."""
    return normalize("NFC", name)


def _read(path: Path) -> dict[str, Member]:
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
    places = [header.index(column) if column in header else -1 for column in (*COLUMNS, PATIENT)]
    table = {}
    for cells in rows:
        cells = [*map(str.strip, cells), *[""] * len(header)]  # a row may be short
        image, group, patient = (cells[place] for place in places)
        name, member = _one_form(image), Member(group, patient or None)
        if name and group and table.setdefault(name, member) != member:
            both = f"{_said(table[name])} and {_said(member)}"
            raise ValueError(f"GROUPS: {name} is in two rows of {path}, {both}; keep one of them")
    return table


def _said(member: Member) -> str:
    return ", patient ".join(filter(None, (member.group, member.patient)))
