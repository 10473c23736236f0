"""Groups of images compared: one number an image, never one a nucleus.

Nuclei of one image are not independent of each other: with thousands of them every difference
between two slides is "significant". The unit of a test is therefore the image.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy  # loads its statistics, which take a second, when a test is made

from outputs.parquet import read_columns
from outputs.tables import table_writer

DENSITY = "density_per_mm2"
# Column of nuclei.csv, unit, whether nuclei that the border cuts are left out.
MEDIANS = (
    ("area_um2", "um2", True),
    ("area_px2", "px2", True),
    ("circularity", "0 to 1", True),
    ("eccentricity", "0 to 1", True),
    ("mean_hematoxylin_od", "optical density", False),
    ("nearest_neighbour_um", "um", False),
    ("nearest_neighbour_px", "px", False),
)
UNITS = {DENSITY: "1/mm2"} | {f"median_{name}": unit for name, unit, _ in MEDIANS}
GROUP_COLUMNS = (
    *("measure", "unit", "level", "group", "image", "images", "nuclei", "value"),
    *("sd_between_images", "test", "p_value"),
)
FEWEST_IMAGES = 2  # of each group for a test


@dataclass(frozen=True)
class Measured:
    """An image of a group.

    Attributes:
        image: its name.
        group: of the image.
        nuclei: how many it has.
        values: its density and the medians of its nuclei, by name of the measure.
    """

    image: str
    group: str
    nuclei: int
    values: Mapping[str, float]


def measure_image(image: str, group: str, row: Mapping, table: Path) -> Measured:
    """Take the measures of an image.

    Args:
        image, group: names.
        row: of summary.csv.
        table: nuclei.csv.
    """
    values = {}
    if row.get(DENSITY) is not None:
        values[DENSITY] = float(row[DENSITY])
    columns = read_columns(table, (*(name for name, _, _ in MEDIANS), "touches_border"))
    whole = columns["touches_border"] == 0
    for name, _, of_whole in MEDIANS:
        if name in columns:
            found = columns[name][whole] if of_whole else columns[name]
            found = found[np.isfinite(found)]
            if len(found):
                values[f"median_{name}"] = float(np.median(found))
    return Measured(image, group, len(whole), values)


def compare(images: Iterable[Measured]) -> list[dict]:
    """Compare the groups in each measure.

    Returns:
        The rows of groups.csv: for each measure one per group (`value`: mean of its images;
        `sd_between_images`: standard deviation of the sample, n - 1), then one per image. `p_value`
        is two-sided: of Mann and Whitney's test for two groups, of Kruskal and Wallis' for more;
        None where a group has fewer than two images or there is one group.
    """
    images, rows = list(images), []
    groups = sorted({each.group for each in images})
    for measure, unit in UNITS.items():
        with_it = [each for each in images if measure in each.values]
        if not with_it:
            continue
        members = {group: [e for e in with_it if e.group == group] for group in groups}
        values = {g: np.array([e.values[measure] for e in m]) for g, m in members.items() if m}
        test, p_value = _test([values.get(group, []) for group in groups])
        same = {"measure": measure, "unit": unit}
        for group, found in values.items():
            rows.append(
                same
                | {
                    "level": "group",
                    "group": group,
                    "images": len(found),
                    "nuclei": sum(each.nuclei for each in members[group]),
                    "value": float(found.mean()),
                    "sd_between_images": float(found.std(ddof=1)) if len(found) > 1 else None,
                    "test": test,
                    "p_value": p_value,
                }
            )
        rows += [
            same
            | {
                "level": "image",
                "group": each.group,
                "image": each.image,
                "nuclei": each.nuclei,
                "value": each.values[measure],
            }
            for each in with_it
        ]
    return rows


def write_groups(path: Path, rows: Iterable[dict]):
    """Write groups.csv; rows: see `compare`."""
    with table_writer(path, GROUP_COLUMNS) as add_row:
        for row in rows:
            add_row(row)


def _test(samples: list) -> tuple[str | None, float | None]:
    """Return name and two-sided p value of the test over images."""
    if len(samples) < 2 or min(map(len, samples)) < FEWEST_IMAGES:
        return None, None
    if len(samples) == 2:
        return "Mann-Whitney", float(scipy.stats.mannwhitneyu(*samples).pvalue)
    if np.ptp(np.concatenate(samples)) == 0:  # the test has no answer
        return "Kruskal-Wallis", 1.0
    return "Kruskal-Wallis", float(scipy.stats.kruskal(*samples).pvalue)
