"""What a run writes of all its images together, beside the table of the images."""

from collections.abc import Callable, Mapping, Sized
from pathlib import Path

from outputs.groups import compare, measure_image, write_groups
from outputs.parquet import write_nuclei_parquet
from outputs.tables import columns_of, join_tables
from pipeline.group_membership import Member
from program.disk import appearing


def join_results(folder: Path, rows: Mapping[Path, dict], groups: Mapping[str, Member]):
    """Write regions.csv, nuclei.parquet and groups.csv, those of which there is something.

    Args:
        folder: of the run.
        rows: of summary.csv, by the folder of the image's results; in their order.
        groups: what each image belongs to, by its name; empty = nothing is compared.
    """
    done = {result: row for result, row in rows.items() if row["status"] == "done"}
    regions = [path for result in done if (path := result / "regions.csv").is_file()]
    _write(folder / "regions.csv", regions, lambda path: join_tables(regions, path))
    tables = {row["image"]: result / "nuclei.csv" for result, row in done.items()}
    tables = {image: table for image, table in tables.items() if table.is_file()}
    _write(folder / "nuclei.parquet", tables, lambda path: write_nuclei_parquet(path, tables))
    compared = [
        measure_image(image, groups[image], row, tables[image])
        for image, row in ((row["image"], row) for row in done.values())
        if image in groups and image in tables
    ]
    table = folder / "groups.csv"
    if compared or _is_own_comparison(table):
        _write(table, compared, lambda path: write_groups(path, compare(compared)))


def remove_joined(folder: Path):
    """Delete what is of all images, so that an interrupted run leaves none of other choices."""
    comparison = [folder / "groups.csv"] if _is_own_comparison(folder / "groups.csv") else []
    tables = [folder / name for name in ("report.html", "regions.csv", "nuclei.parquet")]
    for path in tables + comparison:
        path.unlink(missing_ok=True)


def _is_own_comparison(table: Path) -> bool:
    """Tell whether a groups.csv is a run's, of any version, and not the user's list of groups."""
    return set(columns_of(table)) >= {"measure", "level", "p_value"}


def _write(path: Path, content: Sized, write: Callable[[Path], None]):
    """Write a file where there is something to write; otherwise delete an older one."""
    if not content:
        path.unlink(missing_ok=True)
        return
    with appearing(path) as fresh:
        write(fresh)
