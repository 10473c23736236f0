"""Models compared in a table: their names, and the table as a file."""

import csv
from pathlib import Path

import keras

from images.finding import different_ends


def load_models(paths, what: str, constant: str) -> dict[str, keras.Model]:
    """Load {name: model}, see `named`.

    Args:
        paths: of the saved models.
        what: they are, e.g. "generator".
        constant: of the script, by which the user names them.

    Raises:
        OSError, ValueError: one is missing, or is no saved model.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"no {what} at {missing[0]}: train one or set {constant}")
    return {
        name: keras.models.load_model(path, compile=False) for name, path in named(paths).items()
    }


def named(paths) -> dict[str, Path]:
    """Name each model file by its stem, with as many folders as tell it from the others.

    Raises:
        ValueError: a file is named twice.
    """
    if len(set(paths)) < len(paths):
        raise ValueError(
            f"expected different models, found one twice: {', '.join(map(str, paths))}"
        )
    ends = different_ends(paths)
    stems = [end.removesuffix(path.suffix) for path, end in ends.items()]
    return {
        end if stems.count(stem) > 1 else stem: path
        for stem, (path, end) in zip(stems, ends.items(), strict=True)
    }


def write_table(path: Path, rows: list[dict]):
    """Write rows of the same keys as CSV; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
