"""Fields to correct: the least confident ones, from all images, that look different."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tifffile

from evaluation.correction_folder import read_label_map
from evaluation.picking import Field, choose, confidence_of, fields_of_run
from helpers.label_maps import same_up_to_numbers
from outputs.tables import table_writer
from pipeline.job import Job, end
from program.settings import Settings
from tiles.geometry import Window


def write_results(folder, nuclei, size=(300, 200)):
    """Write what is read of an image's results; nuclei as (x, y, area, probability)."""
    folder.mkdir(parents=True)
    with table_writer(folder / "nuclei.csv") as add:
        for x, y, area, probability in nuclei:
            place = {"centroid_x_px": float(x), "centroid_y_px": float(y)}
            rest = {"area_um2": area, "mean_hematoxylin_od": 0.3, "probability": probability}
            add(place | rest | {"nucleus_confidence": float("nan")})
    job = Job(Path("a.png"), folder, "", Settings(), {"models": {}})
    sizes = {"width_in": size[0] // 4, "width_out": size[0], "height_out": size[1]}
    end(job, sizes | {"microns_per_pixel_out": 0.25})


def field(image, confidence, look=0.0, x=0):
    return Field(Path(image), Window(x, 0, 9, 9), 10, confidence, (look, 1.0))


def test_fields_lie_in_the_image_and_hold_their_nuclei(tmp_path):
    # Fields of 100 in 300 x 200 pixels: three by two. In one there is nothing.
    places = [(50, 50), (150, 50), (250, 50), (50, 150), (150, 150)]
    nuclei = [(x + d, y, 20.0, 0.5 + d / 100) for x, y in places for d in (-9, 0, 9)]
    write_results(tmp_path / "a", nuclei)
    found = fields_of_run(tmp_path, 100)
    corners = [(f.window.x, f.window.y) for f in found]
    assert corners == [(0, 0), (100, 0), (200, 0), (0, 100), (100, 100)]
    assert {(f.window.width, f.window.height, f.nuclei) for f in found} == {(100, 100, 3)}
    assert found[0].confidence == pytest.approx(0.5)


def test_a_small_image_is_one_field_and_a_nearly_empty_field_is_none(tmp_path):
    many = [(x, y, 20.0, 0.9) for x in range(10, 190, 5) for y in (20, 30)]
    write_results(tmp_path / "a", [*many, (250, 20, 20.0, 0.1)], (300, 40))
    write_results(tmp_path / "b", [(5, 5, 20.0, 0.1)], (90, 40))
    assert [(f.folder.name, f.window) for f in fields_of_run(tmp_path, 100)] == [
        ("a", Window(0, 0, 100, 40)),
        ("a", Window(100, 0, 100, 40)),
        ("b", Window(0, 0, 90, 40)),
    ]


def test_sparse_tissue_beside_dense_keeps_fields_and_images_without_any_are_named(tmp_path, capsys):
    dense = [(x, y, 20.0, 0.9) for x in range(2, 300, 4) for y in range(2, 200, 4)]
    write_results(tmp_path / "dense", dense)
    sparse = [(x, y, 20.0, 0.9) for x in range(20, 300, 50) for y in (40, 60, 140, 160)]
    write_results(tmp_path / "sparse", sparse)
    write_results(tmp_path / "white", [])
    fields = fields_of_run(tmp_path, 100)
    assert Counter(field.folder.name for field in fields) == {"dense": 6, "sparse": 6}
    assert capsys.readouterr().out == "no field, as no nuclei were found: white\n"


@pytest.mark.parametrize(
    ("length", "width", "count"),
    [(1000, 500, 2), (1024, 512, 2), (900, 450, 2), (880, 512, 1), (512, 512, 1), (4000, 500, 8)],
)
def test_fields_shrink_a_little_where_one_more_fits_so(tmp_path, length, width, count):
    write_results(tmp_path / "a", [(x + 0.5, 20, 20.0, 0.9) for x in range(length)], (length, 40))
    windows = [f.window for f in fields_of_run(tmp_path, 512)]
    assert [w.width for w in windows] == [width] * count
    assert windows[0].x == 0 and (count == 1 or windows[-1].x + width == length)
    assert all(a.x + width <= b.x for a, b in itertools.pairwise(windows))


def test_a_folder_without_results_is_refused(tmp_path):
    write_results(tmp_path / "unfinished", [(5, 5, 20.0, 0.1)])
    (tmp_path / "unfinished" / "manifest.json").write_text('{"image": "a.png"}')
    with pytest.raises(ValueError, match=r"RESULTS_FOLDER.*Final_implementation\.py"):
        fields_of_run(tmp_path, 100)


def test_every_image_has_its_share():
    fields = [field(image, 0.1 + number / 10, x=number) for image in "abc" for number in range(6)]
    assert Counter(f.folder.name for f in choose(fields, 5)).most_common(3)[-1][1] == 1
    assert Counter(f.folder.name for f in choose(fields, 6)) == dict.fromkeys("abc", 2)


def test_the_least_confident_is_first_and_the_confident_half_stays_out():
    fields = [field("a", confidence) for confidence in (0.9, 0.3, 0.5, 0.8, 0.2, 0.7)]
    chosen = [f.confidence for f in choose(fields, 3)]
    assert chosen[0] == 0.2 and sorted(chosen) == [0.2, 0.3, 0.5]
    assert len(choose(fields, 9)) == 6


def test_fields_that_look_different_come_before_more_of_the_same():
    fields = [field("a", 0.1, look=0.0), field("a", 0.11, look=0.01), field("a", 0.3, look=5.0)]
    fields += [field("a", 0.9)] * 3
    assert [f.appearance[0] for f in choose(fields, 2)] == [0.0, 5.0]


def test_confidence_is_probability_times_that_of_the_super_resolution():
    assert confidence_of({"probability": "0.8", "nucleus_confidence": "0.5"}) == pytest.approx(0.4)
    for unknown in ({}, {"nucleus_confidence": "nan"}, {"nucleus_confidence": ""}):
        assert confidence_of({"probability": "0.8"} | unknown) == 0.8


@pytest.mark.parametrize("window", [Window(0, 0, 90, 70), Window(20, 25, 50, 40)])
def test_a_part_of_a_label_map_is_read_from_its_tiles(tmp_path, window):
    labels = np.random.default_rng(0).integers(0, 90, (70, 90)).astype(np.uint32) * 1000
    tifffile.imwrite(tmp_path / "l.tif", labels, tile=(32, 32), compression="zlib")
    part = read_label_map(tmp_path / "l.tif", window)
    bottom, right = window.y + window.height, window.x + window.width
    assert same_up_to_numbers(part, labels[window.y : bottom, window.x : right])
    assert part.dtype == np.int32 and part.max() <= 90
