"""What a run writes of all its images together, beside the table of the images."""

from collections.abc import Iterable
from pathlib import Path

from outputs.tables import join_tables
from program.disk import appearing

JOINED = ("regions.csv",)


def join_results(folder: Path, results: Iterable[Path]):
    """Join the tables of the images.

    Args:
        folder: of the run.
        results: folder of each finished image, in their order.
    """
    tables = [path for result in results if (path := result / "regions.csv").is_file()]
    if not tables:
        (folder / "regions.csv").unlink(missing_ok=True)
        return
    with appearing(folder / "regions.csv") as fresh:
        join_tables(tables, fresh)
