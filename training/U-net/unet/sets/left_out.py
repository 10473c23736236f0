"""Images that are not trained on, by a list that says why."""

import csv
from dataclasses import dataclass
from pathlib import Path

from labels.names import stem
from labels.pairing import Pair

COLUMNS = ("set", "image", "reason")


@dataclass(frozen=True)
class LeftOut:
    """A list of images that are left out.

    Attributes:
        images: (set, name of the image without its ending) of each, in small letters.
    """

    images: frozenset[tuple[str, str]] = frozenset()

    def __contains__(self, pair: Pair) -> bool:
        """Tell whether an image is listed: its name, below a folder whose name begins with the set.

        So a copy of a set is covered, too, if its folder is named after it: `consep_copy`. Capital
        letters do not matter.
        """
        folders = [folder.casefold() for folder in pair.image.parent.parts]
        return any(
            name == stem(pair.image).casefold()
            and any(folder.startswith(group) for folder in folders)
            for group, name in self.images
        )


def read_left_out(path: Path | None) -> LeftOut:
    """Read a list: CSV with the columns of COLUMNS; None = nothing is left out.

    Raises:
        ValueError: there is no such file, it lacks a column, or a row lacks a value.
    """
    if path is None:
        return LeftOut()
    expected = f"LEFT_OUT (--left-out) {path}: expected a CSV file with {', '.join(COLUMNS)}"
    if not path.is_file():
        raise ValueError(f"{expected}, found none; give None for no list")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows, start=2):
        missing = [column for column in COLUMNS if not row.get(column)]
        if missing:
            raise ValueError(f"{expected}, found no {' and no '.join(missing)} in line {number}")
    return LeftOut(frozenset((row["set"].casefold(), row["image"].casefold()) for row in rows))
