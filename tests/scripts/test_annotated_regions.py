"""Annotated regions in whole runs: they are counted, ignored, and may limit the run."""

import numpy as np

from helpers.annotations import annotation, rectangle, write_annotations
from helpers.whole_runs import HEIGHT, WIDTH, check_agreement, drawn, nuclei, put, rows_of, summary

HALF = WIDTH // 2
LEFT = annotation([rectangle(0, 0, HALF, HEIGHT)], "left", "Tumor")
RIGHT = annotation([rectangle(HALF, 0, WIDTH - HALF, HEIGHT)], "right", "Stroma")
IGNORED = annotation([rectangle(0, 0, WIDTH, HEIGHT // 2)], of_class="Ignore*")


def test_regions_of_a_run(run, tmp_path, capsys):
    folder = tmp_path / "input"
    for name in ("a", "b", "c"):
        put(folder, f"{name}.png", drawn()[0])
    write_annotations(folder / "a.geojson", [LEFT, RIGHT])
    write_annotations(folder / "b.geojson", [LEFT, RIGHT, IGNORED])
    (folder / "c.geojson").write_text("{")
    assert run() == 0
    output, rows = tmp_path / "output", summary(tmp_path / "output")
    assert "c.geojson: truncated or not JSON" in capsys.readouterr().out
    assert "c.geojson" in rows["c.png"]["warning"] and not (output / "c" / "regions.csv").exists()
    assert rows["c.png"]["nuclei"] == rows["a.png"]["nuclei"]

    count = check_agreement(output / "a")
    table = nuclei(output / "a")[1]
    for row in table:
        side = "left" if float(row["centroid_x_px"]) < 4 * HALF else "right"
        assert row["region"] == side and row["region_class"] == {"left": "Tumor"}.get(
            side, "Stroma"
        )
    regions = rows_of(output / "a" / "regions.csv")
    assert [row["region"] for row in regions] == ["left", "right", "", ""]
    assert sum(int(row["nuclei"]) for row in regions[:2]) == count == len(table)
    mm2 = sum(float(row["tissue_mm2"]) for row in regions[:2])
    assert np.isclose(mm2, float(rows["a.png"]["tissue_mm2"]), rtol=0.01)
    assert rows_of(output / "regions.csv") == regions + rows_of(output / "b" / "regions.csv")
    (feature, *_) = nuclei(output / "a")[2]
    assert feature["properties"]["metadata"]["region"] == table[0]["region"]

    assert 0 < check_agreement(output / "b") < count
    assert all(float(row["centroid_y_px"]) > 2 * HEIGHT for row in nuclei(output / "b")[1])
    assert np.isclose(float(rows["b.png"]["tissue_mm2"]), mm2 / 2, rtol=0.01)

    # A change of the annotations counts, and what limits the run is all that is found.
    write_annotations(folder / "a.geojson", [LEFT])
    assert run(regions_only=True) == 0
    assert "its annotated regions have changed" in capsys.readouterr().out
    assert check_agreement(output / "a") == int(regions[0]["nuclei"])
    row = summary(output)["a.png"]
    assert np.isclose(float(row["tissue_mm2"]), HALF * HEIGHT / 1e6, rtol=0.01)
    assert float(row["density_per_mm2"]) > 0
    assert "REGIONS_ONLY" in summary(output)["c.png"]["warning"]
