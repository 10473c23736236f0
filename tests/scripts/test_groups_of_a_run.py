"""Groups of images in whole runs: sub-folders or a table, one Parquet file, a second look."""

import pyarrow.parquet as pq

from helpers.whole_runs import crowded, nuclei, put, rows_of, summary


def test_sub_folders_are_compared(run, tmp_path, capsys):
    folder = tmp_path / "input"
    folder.mkdir()
    for number, (group, count) in enumerate((("control", 12), ("treated", 50))):
        for name in ("a", "b"):
            image = crowded(40, 60, count, seed=10 * number + ord(name))
            put(folder / group, f"{name}.png", image)
    flags = {"groups": "folders", "super_resolve": False, "microns_per_pixel": 0.25}
    assert run("output", **flags) == 0
    output = tmp_path / "output"
    rows = summary(output)
    assert list(rows) == ["control/a.png", "control/b.png", "treated/a.png", "treated/b.png"]
    folders = {path.parent.name for path in output.glob("*/nuclei.csv")}
    assert folders == {"a", "b", "treated_a_png", "treated_b_png"}

    density = [row for row in rows_of(output / "groups.csv") if row["measure"] == "density_per_mm2"]
    assert [row["group"] for row in density if row["level"] == "group"] == ["control", "treated"]
    assert all(row["images"] == "2" and row["test"] == "Mann-Whitney U" for row in density[:2])
    assert float(density[0]["value"]) < float(density[1]["value"])
    assert 'id="groups"' in (output / "report.html").read_text("utf-8")

    table = pq.read_table(output / "nuclei.parquet").to_pydict()
    assert [table["image"].count(name) for name in rows] == [
        int(r["nuclei"]) for r in rows.values()
    ]
    one = nuclei(output / "a")[1]
    assert table["area_um2"][: len(one)] == [float(row["area_um2"]) for row in one]

    # What is compared can change without a second analysis.
    (output / "groups.csv").unlink()
    capsys.readouterr()
    assert run("output", **flags) == 0
    assert capsys.readouterr().out.count("finished before, skipped") == 4
    assert (output / "groups.csv").is_file()

    # Without groups sub-folders are passed over.
    assert run("output", **flags | {"groups": None}) == 2
    assert "expected PNG" in capsys.readouterr().err
