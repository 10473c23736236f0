"""Groups of images compared: one number an image or a patient, never one a nucleus.

Nuclei of one image are not independent of each other: with thousands of them every difference
between two slides is "significant". Nor are the images of one patient. The unit of a test is
therefore the patient, or the image where no patients are named.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy  # loads its statistics, which take a second, when a test is made

from nuclei.population import OF_WHOLE
from outputs.parquet import read_columns
from outputs.tables import table_writer

DENSITY = "density_per_mm2"
# Columns of nuclei.csv and their units.
MEDIANS = {
    "area_um2": "um2",
    "area_px2": "px2",
    "circularity": "0 to 1",
    "eccentricity": "0 to 1",
    "mean_hematoxylin_od": "optical density",
    "nearest_neighbour_um": "um",
    "nearest_neighbour_px": "px",
}
UNITS = {DENSITY: "1/mm2"} | {f"median_{name}": unit for name, unit in MEDIANS.items()}
GROUP_COLUMNS = (
    *("measure", "unit", "level", "group", "patient", "image", "patients", "images", "nuclei"),
    *("value", "sd", "test", "p_value"),
)
FEWEST = 2  # patients or images of a group that is tested
MOST_ARRANGEMENTS = 10_000  # of the values among the groups; up to so many, p values are exact


@dataclass(frozen=True)
class Measured:
    """An image of a group.

    Attributes:
        image: its name.
        group: of the image.
        patient: whose tissue it shows; None, then of all images, where that is not stated.
        values: (value, number of nuclei that it is of) by name of the measure: its density and the
            medians of its nuclei.
    """

    image: str
    group: str
    patient: str | None
    values: Mapping[str, tuple[float, int]]

    @property
    def unit(self) -> tuple:
        """What is independent of the others: the patient, or the image if none is named."""
        return ("image", self.image) if self.patient is None else ("patient", self.patient)


def measure_image(
    image: str, member: tuple[str, str | None], row: Mapping, table: Path
) -> Measured:
    """Take the measures of an image.

    Args:
        image: its name.
        member: its group and, where it is stated, its patient.
        row: of summary.csv.
        table: nuclei.csv.
    """
    columns = read_columns(table, (*MEDIANS, "touches_border"))
    is_whole, values = columns.pop("touches_border") == 0, {}
    if row.get(DENSITY) is not None:
        values[DENSITY] = float(row[DENSITY]), len(is_whole)
    for name, found in columns.items():
        found = found[np.isfinite(found) & (is_whole | (name not in OF_WHOLE))]
        if len(found):
            values[f"median_{name}"] = float(np.median(found)), len(found)
    return Measured(image, *member, values)


def compare(images: Iterable[Measured]) -> list[dict]:
    """Compare the groups in each measure.

    Returns:
        The rows of groups.csv: for each measure one per group, one per patient where patients are
        named, and one per image. The value of a patient is the mean of its images', that of a
        group the mean of its patients', or images' where none is named; `sd` is the standard
        deviation of these in the sample (n - 1). `p_value` is that of the Mann-Whitney U test,
        two-sided, for two groups, of the Kruskal-Wallis test for more; groups with one value alone
        are left out of it, and have None, as all have where fewer than two groups are left.
    """
    images = list(images)
    of_measures = {name: [each for each in images if name in each.values] for name in UNITS}
    return [row for name, found in of_measures.items() for row in _rows(name, found)]


def write_groups(path: Path, rows: Iterable[dict]):
    """Write groups.csv; rows: see `compare`."""
    with table_writer(path, GROUP_COLUMNS) as add_row:
        for row in rows:
            add_row(row)


def _rows(measure: str, images: list[Measured]) -> list[dict]:
    """Return the rows of one measure, which all these images have."""
    names = sorted({each.group for each in images})
    members = {name: [each for each in images if each.group == name] for name in names}
    units = {name: _by_unit(members[name], measure) for name in names}
    tested = [name for name in names if len(units[name]) >= FEWEST]
    test, p_value = _test([[row["value"] for row in units[name]] for name in tested])
    outcome = {"test": test, "p_value": p_value}
    rows = [_group_row(units[name]) | (outcome if name in tested else {}) for name in names]
    rows += [row for name in names for row in units[name] if row["patient"] is not None]
    of_one = {"level": "image", "images": None}
    rows += [_unit_row([each], measure) | of_one | {"image": each.image} for each in images]
    same = {"measure": measure, "unit": UNITS[measure]}
    return [same | row for row in rows]


def _by_unit(images: list[Measured], measure: str) -> list[dict]:
    """Return a row for each patient of a group, or for each image where none is named."""
    units = {}
    for each in images:
        units.setdefault(each.unit, []).append(each)
    return [_unit_row(of_unit, measure) for of_unit in units.values()]


def _unit_row(images: list[Measured], measure: str) -> dict:
    """Return what images of one group and patient say together."""
    values, nuclei = zip(*(each.values[measure] for each in images), strict=True)
    return {
        "level": "patient",
        "group": images[0].group,
        "patient": images[0].patient,
        "images": len(images),
        "nuclei": sum(nuclei),
        "value": float(np.mean(values)),
    }


def _group_row(units: list[dict]) -> dict:
    values = [unit["value"] for unit in units]
    patients = [unit["patient"] for unit in units if unit["patient"] is not None]
    return {
        "level": "group",
        "group": units[0]["group"],
        "patients": len(patients) or None,
        "images": sum(unit["images"] for unit in units),
        "nuclei": sum(unit["nuclei"] for unit in units),
        "value": float(np.mean(values)),
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
    }


def _test(samples: list[list[float]]) -> tuple[str | None, float | None]:
    """Return name and p value of the test.

    Few values with ties have no exact p value in SciPy's tests, and its approximations go below
    what can be reached at all (1, 1, 1 and 2, 2, 2: .047 where 2 of 20 arrangements are as
    extreme). All arrangements are tried then.
    """
    if len(samples) < 2:
        return None, None
    two, everything = len(samples) == 2, np.concatenate(samples)
    name = "Mann-Whitney U" if two else "Kruskal-Wallis"
    if np.ptp(everything) == 0:  # Kruskal and Wallis have no answer
        return name, 1.0
    sizes = map(len, samples)
    arrangements = math.factorial(len(everything)) // math.prod(map(math.factorial, sizes))
    few, tied = arrangements <= MOST_ARRANGEMENTS, len(np.unique(everything)) < len(everything)
    stats = scipy.stats
    if two:
        every = stats.PermutationMethod(n_resamples=MOST_ARRANGEMENTS)
        how = {"method": every} if few and tied else {}
        return name, float(stats.mannwhitneyu(*samples, **how).pvalue)
    if not few:
        return name, float(stats.kruskal(*samples).pvalue)
    exact = stats.permutation_test(
        samples,
        lambda *groups, axis: stats.kruskal(*groups, axis=axis).statistic,
        n_resamples=MOST_ARRANGEMENTS,
        alternative="greater",
        vectorized=True,
    )
    return name, float(exact.pvalue)
