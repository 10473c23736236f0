"""CSV tables that are safe to open in a spreadsheet."""

import csv
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with which a cell begins that a spreadsheet runs
ENCODING = "utf-8-sig"  # with a byte order mark: Excel would take umlauts for two letters each


@contextmanager
def table_writer(path, columns=None):
    """Open a CSV table (UTF-8) and yield the function that adds one row, a dict.

    The header is `columns`, or the keys of the first row. Floats are written with 6 significant
    digits, from 100,000 on with one decimal; nan, like None, is an empty cell. Text that a
    spreadsheet would run as a formula (it begins with = + - @, tab or carriage return) gets a
    leading apostrophe; numbers are never touched. A row with a column that the header lacks raises
    ValueError.
    """
    with Path(path).open("w", encoding=ENCODING, newline="") as file:
        writer = None

        def add(row):
            nonlocal writer
            if writer is None:
                writer = _started_table(file, row)
            writer.writerow({name: _cell(value) for name, value in row.items()})

        if columns is not None:
            writer = _started_table(file, columns)
        yield add


def join_tables(paths, target):
    """Write the rows of several tables that `table_writer` has written into one.

    Its columns are all that any of them has, in the order of their first appearance.
    """
    tables, columns = [], {}
    for path in paths:
        with Path(path).open(encoding=ENCODING, newline="") as file:
            tables.append(list(csv.DictReader(file)))
            columns |= dict.fromkeys(name for row in tables[-1][:1] for name in row)
    with Path(target).open("w", encoding=ENCODING, newline="") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        for rows in tables:
            writer.writerows(rows)


def columns_of(path):
    """Return the names of the columns of a table, none where there is no table."""
    if not Path(path).is_file():
        return []
    with Path(path).open(encoding=ENCODING, errors="replace", newline="") as file:
        return next(csv.reader(file), [])


def column_of(path, name):
    """Return the texts of a column of a table that `table_writer` has written."""
    with Path(path).open(encoding=ENCODING, newline="") as file:
        return [text_of(row.get(name) or "") for row in csv.DictReader(file)]


def text_of(cell):
    """Return the text of a cell without the apostrophe that `table_writer` adds."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA) else cell


def _started_table(file, columns):
    csv.writer(file).writerow(map(_cell, columns))
    return csv.DictWriter(file, list(columns))


def _number(value):
    if value != value:
        return ""
    # Coordinates on a slide have more than six digits before the point.
    return f"{value:.6g}" if -1e5 < value < 1e5 else f"{value:.1f}"


def _cell(value):
    if isinstance(value, float):  # first, because most cells are floats
        return _number(value)
    if value is None or isinstance(value, Integral):
        return value
    if isinstance(value, Real):
        return _number(value)
    text = str(value)
    return "'" + text if text.startswith(FORMULA) else text
