"""The table of all images of a run: as summary.csv and on the terminal."""

import sys
from collections.abc import Iterable
from pathlib import Path

from images.errors import some_of
from outputs.tables import column_of, table_writer
from program.disk import appearing

SUMMARY_COLUMNS = (
    "image",
    "status",
    "error",
    "width_in",
    "height_in",
    "width_out",
    "height_out",
    "route",
    "estimated_microns_per_pixel",
    "microns_per_pixel_out",
    "tissue_mm2",
    "tissue_px2",
    "white_rgb",
    "white_measured",
    "nuclei",
    "density_per_mm2",
    "mean_area_um2",
    "sd_area_um2",
    "median_area_um2",
    "iqr_area_um2",
    "mean_area_px2",
    "sd_area_px2",
    "median_area_px2",
    "iqr_area_px2",
    "cv_area",
    "colour_difference",
    "colour_difference_p99",
    "sr_expected_error",
    "sr_confidence",
    "warning",
    "generator_sha256",
    "unet_sha256",
    "nucleus_score_sha256",
    "seconds",
)


class Summary:
    """Keeps summary.csv up to date while images finish, in any order.

    A spreadsheet that holds the file open (Windows) must not cost the run: the table is then
    written beside it, under another name, until it can be replaced.

    Args:
        path: of the table.

    Attributes:
        written: where the table was written last.
    """

    def __init__(self, path: Path):
        self.path, self.rows, self.written = path, {}, path
        self._beside = path.with_stem(f"{path.stem}_new")

    def images_before(self) -> list[str]:
        """Return the names of the images in the table that an earlier run left."""
        return column_of(self.path, "image") if self.path.is_file() else []

    def add(self, number: int, row: dict):
        """Add the row of an image; rows are written in the order of their numbers."""
        self.rows[number] = row
        self.write()

    def write(self):
        """Write the table of all images so far."""
        try:
            _write(self.path, self.ordered())
            self._beside.unlink(missing_ok=True)
            self.written = self.path
        except PermissionError:
            _write(self._beside, self.ordered())
            if self.written == self.path:
                print(
                    f"{self.path} is open in another program; the table is written to "
                    f"{self._beside.name} until that program closes it",
                    file=sys.stderr,
                )
            self.written = self._beside

    def ordered(self) -> list[dict]:
        """Return all rows in the order of their numbers."""
        return [self.rows[number] for number in sorted(self.rows)]


def print_table(rows: list[dict]):
    """Print one line per image: sizes, nuclei, density, mean area, seconds, route; or its error."""
    width = max(len("image"), *(len(row["image"]) for row in rows))
    header = ("in", "out", "nuclei", "per mm2", "mean area", "seconds")
    print(f"\n{'image':{width}}" + "".join(f"{title:>13}" for title in header) + "  route")
    for row in rows:
        if row["status"] != "done":
            print(f"{row['image']:{width}}  failed: {row['error']}")
            continue
        cells = [f"{row[f'width_{end}']}x{row[f'height_{end}']}" for end in ("in", "out")]
        cells.append(_shown(row.get("nuclei"), "d"))
        cells.append(_shown(row.get("density_per_mm2"), ".0f"))
        unit = "px2" if row["microns_per_pixel_out"] is None else "um2"
        cells.append(_shown(row.get(f"mean_area_{unit}"), ".1f", f" {unit}"))
        cells.append(_shown(row["seconds"], ".1f"))
        line = "".join(f"{cell:>13}" for cell in cells)
        print(f"{row['image']:{width}}{line}  {row['route']}")
        if row.get("warning"):
            print(f"{'':{width}}  warning: {row['warning']}")


def print_unknown_sizes(rows: Iterable[dict]):
    """Say which images have no pixel size, what the tissue tells of it, and what that means."""
    names = [
        row["image"] + _by_tissue(row.get("estimated_microns_per_pixel"))
        for row in rows
        if row["status"] == "done" and row["microns_per_pixel_out"] is None
    ]
    if names:
        print(
            f"The pixel size of {some_of(names)} is unknown: lengths and areas are in pixels, "
            "there is no density, and nuclei were looked for as if the pixels had the size that "
            "the U-net was trained at. If you know it, give --microns-per-pixel."
        )


def _by_tissue(microns: float | None) -> str:
    return f" (about {microns:.2g} um by its tissue)" if microns else ""


def _write(path: Path, rows: list[dict]):
    with appearing(path) as fresh, table_writer(fresh, SUMMARY_COLUMNS) as add:
        for row in rows:
            add(row)


def _shown(value, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"
