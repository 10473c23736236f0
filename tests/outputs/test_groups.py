"""Groups are compared over images, and all nuclei of a run are in one Parquet file."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from outputs import groups, parquet
from outputs.groups import GROUP_COLUMNS, Measured, compare, measure_image
from outputs.parquet import write_nuclei_parquet
from outputs.tables import join_tables, table_writer


def write_table(path, rows):
    with table_writer(path) as add_row:
        for row in rows:
            add_row(row)
    return path


def images(**densities):
    return [
        Measured(f"{group}{number}.png", group, None, {"density_per_mm2": (value, 100)})
        for group, values in densities.items()
        for number, value in enumerate(values)
    ]


def test_the_unit_is_the_image():
    one, other = [1000.0, 1100, 1300, 1250], [1500.0, 1400, 1900]
    rows = compare(images(a=one, b=other))
    assert all(set(row) <= set(GROUP_COLUMNS) for row in rows)
    first, second = (row for row in rows if row["level"] == "group")
    assert (first["group"], first["images"], first["nuclei"]) == ("a", 4, 400)
    assert first["value"] == np.mean(one)
    assert second["sd"] == pytest.approx(np.std(other, ddof=1))
    assert first["test"] == "Mann-Whitney U"
    assert first["p_value"] == stats.mannwhitneyu(one, other, alternative="two-sided").pvalue
    assert [row["value"] for row in rows if row["level"] == "image"] == one + other


def test_three_groups_are_compared_by_kruskal_and_wallis():
    values = [[1.0, 2], [3.0, 4], [5.0, 6]]
    rows = compare(images(**dict(zip("abc", values, strict=True))))
    assert rows[0]["test"] == "Kruskal-Wallis"
    assert rows[0]["p_value"] == pytest.approx(6 / 90)  # of 90 arrangements 6 part them as well
    many = [np.arange(9.0) + shift for shift in (0, 3, 5)]
    rows = compare(images(**dict(zip("abc", many, strict=True))))
    assert rows[0]["p_value"] == stats.kruskal(*many).pvalue
    assert compare(images(a=[1, 1], b=[1, 1], c=[1, 1]))[0]["p_value"] == 1


@pytest.mark.parametrize("groups", [{"a": [1.0, 2, 3]}, {"a": [1.0, 2], "b": [3.0]}])
def test_too_few_images_have_no_test(groups):
    row = compare(images(**groups))[0]
    assert row["p_value"] is None and row["test"] is None


def test_a_group_without_a_measure_or_of_one_image_leaves_the_others_their_test():
    without = [Measured(f"d{number}.png", "d", None, {}) for number in range(3)]
    rows = compare([*images(a=[1.0, 2, 3], b=[5.0, 6, 7], c=[9.0]), *without])
    tests = {row["group"]: row.get("p_value") for row in rows if row["level"] == "group"}
    assert tests == {"a": pytest.approx(0.1), "b": pytest.approx(0.1), "c": None}
    assert rows[0]["test"] == "Mann-Whitney U"


@pytest.mark.parametrize(
    ("values", "p_value"),
    [([[1, 1, 1], [2, 2, 2]], 2 / 20), ([[0] * 4, [5, 6, 7, 8]], 2 / 70), ([[1, 1], [1, 1]], 1)],
)
def test_ties_leave_the_p_value_exact(values, p_value):
    a, b = values
    assert compare(images(a=a, b=b))[0]["p_value"] == pytest.approx(p_value)


def test_the_unit_is_the_patient_where_patients_are_named():
    def of_patient(group, patient, *values):
        names = [f"{group}{patient}{number}" for number in range(len(values))]
        return [
            Measured(name, group, patient, {"density_per_mm2": (value, 10)})
            for name, value in zip(names, values, strict=True)
        ]

    found = [
        *of_patient("a", "1", 1.0, 3.0, 5.0),
        *of_patient("a", "2", 4.0),
        *of_patient("b", "3", 9.0, 11.0),
        *of_patient("b", "4", 20.0),
    ]
    rows = compare(found)
    group = rows[0]
    assert (group["patients"], group["images"], group["nuclei"]) == (2, 4, 40)
    assert group["value"] == 3.5 and group["sd"] == pytest.approx(np.std([3, 4], ddof=1))
    assert group["p_value"] == stats.mannwhitneyu([3, 4], [10, 20]).pvalue
    patients = [row for row in rows if row["level"] == "patient"]
    assert [(row["patient"], row["value"], row["images"]) for row in patients] == [
        ("1", 3, 3),
        ("2", 4, 1),
        ("3", 10, 2),
        ("4", 20, 1),
    ]
    assert [row["image"] for row in rows if row["level"] == "image"] == [e.image for e in found]


def test_an_image_gives_its_density_and_the_medians_of_its_nuclei(tmp_path):
    areas, border = [10.0, 20, 60, 900], [0, 0, 0, 1]
    table = write_table(
        tmp_path / "nuclei.csv",
        [
            {
                "label": n,
                "area_um2": area,
                "circularity": 0.5,
                "nearest_neighbour_um": float("nan") if n == 3 else 5.0,
                "touches_border": cut,
            }
            for n, (area, cut) in enumerate(zip(areas, border, strict=True))
        ],
    )
    found = measure_image("a.png", ("a", None), {"density_per_mm2": "1500"}, table)
    assert found.values == {
        "density_per_mm2": (1500, 4),
        "median_area_um2": (20, 3),  # of whole nuclei
        "median_circularity": (0.5, 3),
        "median_nearest_neighbour_um": (5, 3),
    }
    empty = tmp_path / "empty.csv"
    with table_writer(empty, ["label", "area_um2", "touches_border"]):
        pass
    assert measure_image("b.png", ("a", None), {"density_per_mm2": None}, empty).values == {}


def test_names_of_regions_may_have_several_lines(tmp_path):
    rows = [{"label": n, "area_um2": 1.0, "region": "two\nlines"} for n in range(60_000)]
    table = write_table(tmp_path / "n.csv", rows)
    assert table.stat().st_size > 2**20  # more than Arrow reads at once
    assert len(parquet.read_columns(table, ("area_um2",))["area_um2"]) == len(rows)


def test_coordinates_of_a_large_slide_keep_their_digits(tmp_path):
    values = {"x": 1234567.84, "y": -123456.75, "z": 12345.678, "nan": float("nan")}
    table = write_table(tmp_path / "n.csv", [values | {"a": np.float32(2.5e6)}])
    assert table.read_text("utf-8-sig").splitlines()[1] == "1234567.8,-123456.8,12345.7,,2500000.0"


def test_all_nuclei_of_a_run_are_in_one_parquet_file(tmp_path):
    one = write_table(
        tmp_path / "1.csv",
        [
            {"label": 1, "area_um2": 10.5, "touches_border": 0, "region": "=rim, left"},
            {"label": 2, "area_um2": float("nan"), "touches_border": 1, "region": ""},
        ],
    )
    other = write_table(tmp_path / "2.csv", [{"label": 1, "area_px2": 160, "region": "x"}])
    empty = tmp_path / "3.csv"
    with table_writer(empty, ["label", "area_um2"]):
        pass
    write_nuclei_parquet(tmp_path / "n.parquet", {"a.png": one, "b/ü.png": other, "c.png": empty})
    found = pq.read_table(tmp_path / "n.parquet").to_pydict()
    assert found["image"] == ["a.png", "a.png", "b/ü.png"]
    assert found["label"] == [1, 2, 1] and found["touches_border"] == [0, 1, None]
    assert found["area_um2"][0] == 10.5 and found["area_um2"][2] is None
    assert found["area_px2"] == [None, None, 160]
    assert found["region"] == ["=rim, left", "", "x"]


def test_row_groups_of_parquet_hold_about_equal_numbers_of_nuclei(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS", 100)
    monkeypatch.setattr(parquet, "BLOCK", 200)  # bytes, some 30 rows
    small = write_table(tmp_path / "1.csv", [{"label": n, "area_um2": n / 2} for n in range(40)])
    large = write_table(tmp_path / "2.csv", [{"label": n, "area_um2": n / 2} for n in range(500)])
    tables = {"a.png": small, "b.png": small, "c.png": small, "d.png": large}
    write_nuclei_parquet(tmp_path / "n.parquet", tables)
    file = pq.ParquetFile(tmp_path / "n.parquet").metadata
    sizes = [file.row_group(index).num_rows for index in range(file.num_row_groups)]
    assert all(100 <= size < 150 for size in sizes[:-1]) and sum(sizes) == 620
    found = pq.read_table(tmp_path / "n.parquet").to_pydict()
    assert found["label"] == [*range(40)] * 3 + [*range(500)]
    assert found["image"] == ["a.png"] * 40 + ["b.png"] * 40 + ["c.png"] * 40 + ["d.png"] * 500


def test_joined_tables_have_all_rows_and_columns(tmp_path):
    one = write_table(tmp_path / "1.csv", [{"a": -1.5, "b": "=x"}])
    other = write_table(tmp_path / "2.csv", [{"a": 2, "c": "y"}, {"a": 3, "c": "z"}])
    join_tables([one, other], tmp_path / "all.csv")
    lines = (tmp_path / "all.csv").read_text("utf-8-sig").split()
    assert lines == ["a,b,c", "-1.5,'=x,", "2,,y", "3,,z"]


def test_a_run_without_groups_does_not_wait_for_statistics():
    code = (
        "import sys, pipeline.joining, outputs.report.page; sys.exit('scipy.stats' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(groups.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
