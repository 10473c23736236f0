"""Annotations: what QuPath writes is read; what is wrong is named and costs nothing else."""

import gzip
import json

import pytest

from helpers.annotations import annotation, rectangle, write_annotations
from regions.finding import RegionFiles
from regions.reading import Frame, read_annotations

FRAME = Frame(200, 100)


def read(tmp_path, *features, frame=FRAME, **options):
    return read_annotations(write_annotations(tmp_path / "a.geojson", features), frame, **options)


def test_polygons_holes_names_and_classes(tmp_path):
    with_hole = annotation([rectangle(10, 10, 50, 40), rectangle(20, 20, 10, 10)], "Rim", "Tumor")
    several = annotation(
        [[rectangle(100, 0, 10, 10)], [rectangle(120, 0, 10, 20)]], shape="MultiPolygon"
    )
    derived = annotation([rectangle(0, 90, 10, 10)], "Rim")
    derived["properties"]["classification"] = {"names": ["Tumor", "Positive"]}
    found = read(tmp_path, with_hole, several, derived)
    assert [region.area.area for region in found.regions] == [1900, 300, 100]
    assert [region.name for region in found.regions] == ["Rim", "region 2", "Rim (2)"]
    assert [region.of_class for region in found.regions] == ["Tumor", "", "Tumor: Positive"]
    assert not found.notes and found.ignored.is_empty


def test_the_file_of_an_image_and_files_of_none(tmp_path):
    images = [tmp_path / name for name in ("a.ome.tif", "b.svs", "c.svs")]
    for name in ("a.geojson", "b.svs.geojson.gz", "B2.geojson"):
        (tmp_path / name).touch()
    found = [RegionFiles().of(image) for image in images]
    assert found == [tmp_path / "a.geojson", tmp_path / "b.svs.geojson.gz", None]
    assert RegionFiles().unused(images) == [tmp_path / "B2.geojson"]
    assert RegionFiles(tmp_path).unused(images[1:]) == [
        tmp_path / "B2.geojson",
        tmp_path / "a.geojson",
    ]


def test_regions_of_groups_lie_in_folders_of_their_own(tmp_path):
    images, regions = tmp_path / "images", tmp_path / "regions"
    paths = [images / group / "1.png" for group in ("control", "treated", "third")]
    for name in ("treated/1.geojson", "treated/2.geojson", "1.geojson"):
        (regions / name).parent.mkdir(parents=True, exist_ok=True)
        (regions / name).touch()
    files = RegionFiles(regions, images)
    common = regions / "1.geojson"
    assert [files.of(path) for path in paths] == [common, regions / "treated" / "1.geojson", common]
    assert files.unused(paths) == [regions / "treated" / "2.geojson"]
    assert files.shared(paths) == {common: [paths[0], paths[2]]}


def test_files_of_regions_under_other_endings_are_read_or_named(tmp_path):
    images = [tmp_path / name for name in ("a.png", "b.png", "c.png", "c.tif")]
    for name in ("a.GEOJSON", "b.json", "notes.json", "c.geojson"):
        (tmp_path / name).touch()
    files = RegionFiles()
    assert files.of(images[0]).name.casefold() == "a.geojson"
    assert files.unused(images) == [tmp_path / "b.json"]
    assert files.shared(images) == {tmp_path / "c.geojson": images[2:]}


def test_coordinates_are_those_of_the_original_file(tmp_path):
    frame = Frame(200, 100, left=1000, top=500, size=2)
    (region,) = read(tmp_path, annotation([rectangle(1100, 520, 40, 60)]), frame=frame).regions
    assert region.area.bounds == (50, 10, 70, 40)


def test_a_region_is_cut_at_the_border_of_the_image(tmp_path):
    (region,) = read(tmp_path, annotation([rectangle(150, -50, 500, 100)])).regions
    assert region.area.bounds == (150, 0, 200, 50)


def test_detections_and_cells_are_no_regions(tmp_path):
    ring = [rectangle(0, 0, 9, 9)]
    others = [annotation(ring, kind=kind) for kind in ("detection", "cell", "tile")]
    old = annotation(ring) | {"id": "PathDetectionObject", "properties": {}}
    found = read(tmp_path, *others, old, annotation(ring))
    assert len(found.regions) == 1 and not found.notes
    (note,) = read(tmp_path, *others).notes
    assert "no annotations" in note and "without regions" in note


def test_what_is_ignored_is_no_region(tmp_path):
    found = read(
        tmp_path,
        annotation([rectangle(0, 0, 20, 20)], of_class="Ignore*"),
        annotation([rectangle(10, 0, 20, 20)], of_class="Ignore*"),
        annotation([rectangle(0, 50, 20, 20)], of_class="Tumor"),
    )
    assert [region.of_class for region in found.regions] == ["Tumor"]
    assert found.ignored.area == 600


@pytest.mark.parametrize(
    ("feature", "reason"),
    [
        (annotation([rectangle(300, 0, 20, 20)], "far"), "far is left out: it lies outside"),
        (annotation([[[1, 1], [1, 1], [1, 1], [1, 1]]], "dot"), "dot is left out: it encloses"),
        (annotation([[[1, 1], [2, 2]]], "few"), "few is left out: expected rings of at least"),
        (annotation([[["a", 1], [2, 2], [3, 1]]], "text"), "text is left out: a polygon whose"),
        (annotation([[[1, 1], [None, 2], [3, 1]]], "null"), "null is left out: "),
        (annotation([3, 4], "pin", shape="Point"), "pin is left out: a point or a line"),
        (annotation([], "bare"), "bare is left out"),
        ({"type": "Feature", "geometry": "x", "properties": []}, "region 1 is left out"),
    ],
)
def test_a_region_that_cannot_be_used_is_named_and_the_others_are_read(tmp_path, feature, reason):
    found = read(tmp_path, feature, annotation([rectangle(0, 0, 20, 20)], "good"))
    assert [region.name for region in found.regions] == ["good"]
    (note,) = found.notes
    assert note.startswith("a.geojson: " + reason) and "\n" not in note


def test_the_loops_of_an_outline_that_crosses_itself_are_taken_apart(tmp_path):
    eight = [[[0, 0], [20, 20], [20, 0], [0, 20], [0, 0]]]
    found = read(tmp_path, annotation(eight, "eight"))
    assert found.regions[0].area.area == 200 and found.regions[0].area.is_valid
    assert found.notes == (
        "a.geojson: the outline of eight crosses itself; its loops were taken apart",
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[1, 2]",
        b'"text"',
        b'{"features": 3}',
        b'{"shapes": []}',
        b"[]",
    ],
)
def test_a_file_that_is_broken_empty_or_foreign_is_named_in_a_line(tmp_path, content):
    (tmp_path / "a.geojson").write_bytes(content)
    found = read_annotations(tmp_path / "a.geojson", FRAME)
    (note,) = found.notes
    assert not found.regions and note.startswith("a.geojson: ") and "\n" not in note
    assert note.endswith("the image is measured without regions")


def test_only_where_there_are_regions_can_they_limit_a_run(tmp_path):
    assert read(tmp_path, annotation([rectangle(0, 0, 9, 9)]), limit=True).limit
    far = read(tmp_path, annotation([rectangle(999, 0, 9, 9)]), limit=True)
    assert not far.limit and "REGIONS_ONLY" in far.notes[-1]
    assert read_annotations(None, FRAME, True).notes and not read_annotations(None, FRAME).notes


def test_the_file_bears_the_name_of_the_image(tmp_path):
    image, other = tmp_path / "a.svs", tmp_path / "other"
    other.mkdir()
    assert RegionFiles().of(image) is None and RegionFiles().stamp(image) is None
    (tmp_path / "a.geojson").write_text("{}")
    assert RegionFiles().of(image).name == "a.geojson"
    (tmp_path / "a.svs.geojson").write_text("{}")  # that of no a.tif beside it
    assert RegionFiles().of(image).name == "a.svs.geojson"
    before = RegionFiles().stamp(image)
    (tmp_path / "a.svs.geojson").write_text("{ }")
    assert RegionFiles().stamp(image) != before
    assert RegionFiles(other).of(image) is None
    packed = json.dumps([annotation([rectangle(0, 0, 9, 9)])]).encode()
    (other / "a.geojson.gz").write_bytes(gzip.compress(packed))
    assert len(read_annotations(RegionFiles(other).of(image), FRAME).regions) == 1
