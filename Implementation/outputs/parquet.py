"""All nuclei of a run in one Parquet file, for pandas, R and spreadsheets."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

BLOCK = 2**20  # bytes of a table that are read at a time; Arrow reads 32 of them ahead
ROWS = 100_000  # of a row group, the unit in which a file is written and read
PARSING = csv.ParseOptions(newlines_in_values=True)  # names of regions may have several lines
TEXT = ("image", "region", "region_class")
WHOLE = ("label", "touches_border", "neighbours_50um", "in_tissue_edge")


def write_nuclei_parquet(path: Path, tables: Mapping[str, Path]):
    """Join the tables of the nuclei of all images; memory does not grow with them.

    A column that an image does not have is empty there: areas are in `area_um2`, or, where the
    pixel size is not known, in `area_px2`.

    Args:
        path: the file.
        tables: nuclei.csv of each image, by the name of the image.
    """
    columns = {"image": None}
    for table in tables.values():
        columns |= dict.fromkeys(_header(table))
    schema = pa.schema([(name, _type(name)) for name in columns])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        batches = (
            _filled(batch, image, schema)
            for image, table in tables.items()
            for batch in _batches(table)
        )
        for group in _row_groups(batches):
            writer.write_table(group, row_group_size=len(group))


def read_columns(table: Path, names: tuple[str, ...]) -> dict:
    """Return some columns of a nuclei.csv as float arrays; those that it has."""
    there = [name for name in names if name in _header(table)]
    options = csv.ConvertOptions(
        include_columns=there, column_types={name: pa.float64() for name in there}
    )
    found = csv.read_csv(table, parse_options=PARSING, convert_options=options)
    return {name: found[name].to_numpy() for name in there}


def _header(table: Path) -> list[str]:
    with table.open(encoding="utf-8-sig") as file:
        return file.readline().strip().split(",")


def _type(name: str) -> pa.DataType:
    if name in TEXT:
        return pa.string()
    return pa.int64() if name in WHOLE else pa.float64()


def _batches(table: Path):
    columns = {name: _type(name) for name in _header(table)}
    with csv.open_csv(
        table,
        read_options=csv.ReadOptions(block_size=BLOCK),
        parse_options=PARSING,
        convert_options=csv.ConvertOptions(column_types=columns),
    ) as reader:
        yield from reader


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Gather batches, which may be small: as many as an image has nuclei."""
    gathered, rows = [], 0
    for batch in batches:
        gathered.append(batch)
        rows += len(batch)
        if rows >= ROWS:
            yield pa.Table.from_batches(gathered)
            gathered, rows = [], 0
    if gathered:
        yield pa.Table.from_batches(gathered)


def _filled(batch: pa.RecordBatch, image: str, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch with all columns of the schema; texts without the table's apostrophe."""
    arrays = []
    for field in schema:
        if field.name == "image":
            arrays.append(pa.array([image] * len(batch), pa.string()))
        elif field.name not in batch.schema.names:
            arrays.append(pa.nulls(len(batch), field.type))
        elif field.type == pa.string():
            guarded = r"^'([=+\-@\t\r])"  # by `outputs.tables`, for spreadsheets
            arrays.append(pc.replace_substring_regex(batch[field.name], guarded, r"\1"))
        else:
            arrays.append(batch[field.name])
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
