"""Outlines of QuPath, ImageScope, ImageJ and COCO become the label map that was drawn."""

import gzip
import json
import zipfile

import numpy as np
import pytest
import roifile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from helpers.drawn_tissue import draw_discs, write_picture
from labels.forms.geojson import AS_PREDICTED
from labels.forms.outlines import label_map
from labels.label_map import LabelReadError
from labels.pairing import Pair
from labels.reading import check_labels, read_labels
from metrics.segmentation import best_ious
from nuclei.geojson import geojson_writer, nucleus_feature
from nuclei.outlines import outline

SHAPE = (80, 100)
SQUARE = [[10, 20], [30, 20], [30, 40], [10, 40]]  # x 10..29, y 20..39


def read(path, shape=SHAPE, image="image.png"):
    return read_labels(Pair(path.with_name(image), (path,)), shape)


def refused(path, shape=SHAPE, image="image.png"):
    with pytest.raises(LabelReadError) as error:
        read(path, shape, image)
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


def square(x0=10, y0=20, x1=30, y1=40, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    return mask


# --- This project's own GeoJSON, and back ---


def written(path, labels):
    """Write a label map as the final script does."""
    with geojson_writer(path) as add:
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            if box is not None:
                ring = outline(labels[box] == number, box[1].start, box[0].start)
                add(nucleus_feature(ring, {"label": number}))


@pytest.mark.parametrize("name", ["m.geojson", "m.geojson.gz"])
def test_written_nuclei_come_back(tmp_path, name):
    truth = draw_discs((20, 20, 8), (37, 20, 8), (60, 50, 9), (99, 79, 12), (50, 5, 2), (70, 20, 1))
    written(tmp_path / name, truth)
    labels = read(tmp_path / name)
    assert labels.instances and labels.known is None and labels.note == "outlines (GeoJSON)"
    np.testing.assert_array_equal(labels.map, truth)


@settings(max_examples=40, deadline=None)
@given(noise=hnp.arrays(np.int32, (14, 17), elements=st.integers(0, 2)))
def test_whatever_its_shape_a_nucleus_comes_back(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("shapes") / "m.geojson"
    truth, count = ndimage.label(noise == 1)
    for number, box in enumerate(ndimage.find_objects(truth), start=1):
        hull = ndimage.binary_fill_holes(truth[box] == number)  # GeoJSON is written without holes
        truth[box][hull] = number
    if not count:
        return
    written(path, truth)
    # Told what they are: some of these fill their tiny image.
    labels = read_labels(Pair(path, (path,)), truth.shape, "instances").map
    np.testing.assert_array_equal(labels > 0, truth > 0)
    assert len(np.unique(labels)) == len(np.unique(truth))
    assert best_ious(truth, labels).min() > 0.95


# --- QuPath ---


def feature(coordinates, kind="Polygon", of_class=None, **more):
    properties = {"objectType": "annotation"}
    if of_class is not None:
        properties["classification"] = of_class
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": properties} | more


def write_geojson(path, *features, how="collection"):
    content = {"type": "FeatureCollection", "features": list(features)}
    content = {"collection": content, "list": list(features), "one": features[0] if features else 0}
    path.write_text(json.dumps(content[how]), encoding="utf-8")
    return path


@pytest.mark.parametrize("how", ["collection", "list", "one"])
def test_a_square_is_its_pixels(tmp_path, how):
    path = write_geojson(tmp_path / "m.geojson", feature([[*SQUARE, SQUARE[0]]]), how=how)
    np.testing.assert_array_equal(read(path).map, square())


def test_holes_and_several_parts(tmp_path):
    hole = [[15, 25], [20, 25], [20, 30], [15, 30]]
    island = [[50, 50], [60, 50], [60, 60], [50, 60]]
    path = write_geojson(
        tmp_path / "m.geojson", feature([[SQUARE, hole], [island]], "MultiPolygon")
    )
    expected = (square() & ~square(15, 25, 20, 30)) | square(50, 50, 60, 60)
    np.testing.assert_array_equal(read(path).map, expected)


def test_of_a_cell_the_nucleus_counts(tmp_path):
    nucleus = {"type": "Polygon", "coordinates": [SQUARE]}
    around = [[0, 10], [40, 10], [40, 50], [0, 50]]
    path = write_geojson(tmp_path / "m.json", feature([around], nucleusGeometry=nucleus))
    np.testing.assert_array_equal(read(path).map, square())


def test_points_are_left_out_and_counted(tmp_path):
    path = write_geojson(tmp_path / "m.geojson", feature([SQUARE]), feature([3, 4], "Point"))
    labels = read(path)
    assert labels.map.max() == 1 and "points or lines left out: 1" in labels.note


@pytest.mark.parametrize(
    "of_class",
    [{"name": "Region*"}, {"names": ["Region", "a"]}, {"name": "Labelled"}, "region 2"],
)
def test_a_region_limits_what_is_known(tmp_path, of_class):
    region = [[0, 0], [50, 0], [50, 80], [0, 80]]
    path = write_geojson(
        tmp_path / "m.geojson", feature([region], of_class=of_class), feature([SQUARE])
    )
    labels = read(path)
    np.testing.assert_array_equal(labels.map, square())
    np.testing.assert_array_equal(labels.known, square(0, 0, 50, 80))
    assert "in its regions only" in labels.note


@pytest.mark.parametrize("with_region", [False, True])
def test_what_is_ignored_is_neither_a_nucleus_nor_known(tmp_path, with_region):
    features = [feature([SQUARE]), feature([[[50, 0], [100, 0], [100, 80], [50, 80]]])]
    features[1] = feature(features[1]["geometry"]["coordinates"], of_class={"name": "Ignore*"})
    region = [[40, 0], [100, 0], [100, 80], [40, 80]]
    features += [feature([region], of_class={"name": "Region*"})] * with_region
    labels = read(write_geojson(tmp_path / "m.geojson", *features))
    np.testing.assert_array_equal(labels.map, square())
    np.testing.assert_array_equal(labels.known, square(40 * with_region, 0, 50, 80))
    assert "ignored areas left out" in labels.note


def test_a_region_without_nuclei_is_a_field_without_nuclei(tmp_path):
    path = write_geojson(tmp_path / "m.geojson", feature([SQUARE], of_class={"name": "Region*"}))
    labels = read(path)
    assert not labels.map.any() and labels.known.sum() == 400


AROUND = [[5, 5], [95, 5], [95, 75], [5, 75]]


def typed(kind, coordinates, of_class=None, old=False):
    made = feature([coordinates], of_class=of_class)
    made["properties"] |= {} if old else {"objectType": kind}
    if old:
        del made["properties"]["objectType"]
    return made | ({"id": kind} if old else {})


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("kind", ["detection", "cell"])
def test_annotations_around_detections_are_areas(tmp_path, kind, old):
    of_nuclei = f"Path{kind.title()}Object" if old else kind
    path = write_geojson(
        tmp_path / "m.geojson",
        typed("PathAnnotationObject" if old else "annotation", AROUND, {"name": "Tumor"}, old),
        typed(of_nuclei, SQUARE, old=old),
    )
    labels = read(path)
    np.testing.assert_array_equal(labels.map, square())
    assert labels.note.endswith("annotations that are areas left out: 1")
    assert labels.known is None


def test_annotations_beside_detections_are_nuclei_that_were_added_unless_they_are_large(tmp_path):
    added, large = (
        [[60, 10], [80, 10], [80, 30], [60, 30]],
        [[30, 40], [95, 40], [95, 70], [30, 70]],
    )
    path = write_geojson(
        tmp_path / "m.geojson",
        typed("detection", SQUARE),
        typed("annotation", added),
        typed("annotation", large),
    )
    labels = read(path)
    np.testing.assert_array_equal(labels.map, square() + 2 * square(60, 10, 80, 30))
    assert labels.note.endswith("annotations that are areas left out: 1")


def test_regions_and_ignored_areas_count_beside_detections(tmp_path):
    path = write_geojson(
        tmp_path / "m.geojson",
        typed("annotation", AROUND, {"name": "Region*"}),
        typed("annotation", [[60, 10], [80, 10], [80, 30], [60, 30]], {"name": "Ignore*"}),
        typed("detection", SQUARE),
    )
    labels = read(path)
    np.testing.assert_array_equal(labels.map, square())
    np.testing.assert_array_equal(labels.known, square(5, 5, 95, 75) & ~square(60, 10, 80, 30))
    assert "annotations" not in labels.note


def test_annotations_beside_points_are_nuclei(tmp_path):
    point = feature([3, 4], "Point") | {"properties": {"objectType": "detection"}}
    path = write_geojson(tmp_path / "m.geojson", typed("annotation", SQUARE), point)
    np.testing.assert_array_equal(read(path).map, square())


@pytest.mark.parametrize("kind", ["tile", "tmaCore", "root"])
def test_tiles_and_cores_are_no_nuclei(tmp_path, kind):
    tiles = [typed(kind, AROUND), typed(kind, AROUND, {"name": "Tumor"})]
    path = write_geojson(tmp_path / "m.geojson", *tiles, typed("annotation", SQUARE))
    labels = read(path)
    np.testing.assert_array_equal(labels.map, square())
    assert "tiles or cores left out: 2" in labels.note
    assert "no outlines but 2 tiles" in refused(write_geojson(path, *tiles))


def test_an_area_drawn_around_nuclei_is_not_a_nucleus(tmp_path):
    small = [feature([[[x, 5], [x + 6, 5], [x + 6, 12], [x, 12]]]) for x in range(10, 90, 10)]
    around = feature([[[2, 2], [98, 2], [98, 70], [2, 70]]], of_class={"name": "Tumor"})
    message = refused(write_geojson(tmp_path / "m.geojson", *small, around))
    assert "encloses other nuclei" in message and "Region" in message


def test_outlines_of_another_magnification_are_refused(tmp_path):
    far = [feature([[[x, 500], [x + 9, 500], [x, 520]]]) for x in (200, 300)]
    path = write_geojson(tmp_path / "m.geojson", *far, feature([SQUARE]))
    assert "2 of 3 outlines lie outside the image of 100x80" in refused(path)
    labels = read(write_geojson(tmp_path / "n.geojson", far[0], feature([SQUARE])))
    assert labels.map.max() == 2 and "1 outside the image" in labels.note


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b'{"type": "FeatureColl', "not JSON"),
        (b'{"type": "FeatureCollection", "features": []}', "no outlines"),
        (b'{"type": "FeatureCollection", "features": 3}', "not GeoJSON"),
        (b'{"weights": [1, 2]}', "not GeoJSON"),
        (b'[{"geometry": {"type": "Polygon", "coordinates": [[["a", 1], [2]]]}}]', "pairs"),
        (b'[{"geometry": {"type": "Polygon", "coordinates": [[[1, NaN], [2, 3]]]}}]', "no number"),
        (b"\xff\xfe\x00", "not JSON"),
    ],
)
def test_broken_geojson_is_named(tmp_path, content, words):
    (tmp_path / "m.geojson").write_bytes(content)
    assert words in refused(tmp_path / "m.geojson")


def test_a_truncated_compressed_file_is_named(tmp_path):
    content = gzip.compress(json.dumps([feature([SQUARE])]).encode())
    (tmp_path / "m.geojson.gz").write_bytes(content[: len(content) // 2])
    assert "truncated" in refused(tmp_path / "m.geojson.gz")


def test_all_that_cannot_be_used_is_named_at_once(tmp_path):
    pairs = []
    for name in "abcd":
        write_picture(tmp_path / f"{name}.png", np.zeros((*SHAPE, 3), np.uint8))
        path = write_geojson(tmp_path / f"{name}.geojson", feature([SQUARE]))
        pairs.append(Pair(tmp_path / f"{name}.png", (path,)))
    check_labels([*pairs, Pair(tmp_path / "without labels.png", ())])
    for name in "ac":
        with geojson_writer(tmp_path / f"{name}.geojson", {AS_PREDICTED: True}) as add:
            add(nucleus_feature(np.array(SQUARE), {"label": 1}))
    (tmp_path / "d.geojson").write_text("not JSON")
    with pytest.raises(ValueError, match="still as predicted; correct them") as error:
        check_labels(pairs)
    message = str(error.value)
    named = f"{tmp_path / 'a.geojson'}, {tmp_path / 'c.geojson'}: its outlines are still"
    assert message.startswith(named) and message.count("still as predicted") == 1
    assert f"; {tmp_path / 'd.geojson'}: truncated or not JSON" in message
    assert "b.geojson" not in message and "\n" not in message


# --- ImageScope ---


def write_xml(path, *regions):
    """Write regions (attributes, points)."""
    text = "".join(
        f"<Region {attributes}><Vertices>"
        + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
        + "</Vertices></Region>"
        for attributes, points in regions
    )
    path.write_text(
        f'<Annotations MicronsPerPixel="0.25"><Annotation Id="1"><Regions>{text}</Regions>'
        "</Annotation></Annotations>"
    )
    return path


def test_regions_of_imagescope(tmp_path):
    path = write_xml(
        tmp_path / "m.xml",
        ('Type="0" NegativeROA="0"', SQUARE),
        ('Type="0" NegativeROA="1"', [[15, 25], [20, 25], [20, 30], [15, 30]]),
        ('Type="1"', [[50, 50], [60, 50], [60, 60], [50, 60]]),
        ('Type="2"', [[70, 10], [90, 20]]),
        ('Type="4"', [[1, 1], [5, 5]]),
    )
    labels = read(path)
    assert labels.instances and labels.map.max() == 3
    np.testing.assert_array_equal(labels.map == 1, square() & ~square(15, 25, 20, 30))
    np.testing.assert_array_equal(labels.map == 2, square(50, 50, 60, 60))
    assert np.count_nonzero(labels.map == 3) == pytest.approx(np.pi * 10 * 5, rel=0.03)


def test_holes_outside_the_image_cut_nothing(tmp_path):
    far = ('NegativeROA="1"', [[215, 25], [220, 25], [220, 30]])
    path = write_xml(tmp_path / "m.xml", ('Type="0"', SQUARE), far)
    np.testing.assert_array_equal(read(path).map, square())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<Annotations><Annotation>", "not XML"),
        ("", "empty"),
        ("<kml/>", "found XML of kml"),
        ("<Annotations/>", "no regions"),
        ('<Annotations><Region><Vertex X="1"/></Region></Annotations>', "without X and Y"),
    ],
)
def test_broken_xml_is_named(tmp_path, content, words):
    (tmp_path / "m.xml").write_text(content)
    message = refused(tmp_path / "m.xml")
    assert words in message or (words == "empty" and "not XML" in message)


# --- ImageJ ---


def roi(points, **attributes):
    made = roifile.ImagejRoi.frompoints(np.array(points, float))
    made.roitype = roifile.ROI_TYPE.POLYGON
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def test_regions_of_imagej(tmp_path):
    box = {"left": 50, "top": 50, "right": 60, "bottom": 62}
    rectangle = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, **box)
    line = roi([[1, 1], [9, 9]], roitype=roifile.ROI_TYPE.POLYLINE)
    roifile.roiwrite(tmp_path / "m.zip", [roi(SQUARE), rectangle, line])
    labels = read(tmp_path / "m.zip")
    assert labels.instances and "points or lines left out: 1" in labels.note
    np.testing.assert_array_equal(labels.map, square() + 2 * square(50, 50, 60, 62))


def test_one_region_of_imagej(tmp_path):
    roi(SQUARE).tofile(tmp_path / "m.roi")
    np.testing.assert_array_equal(read(tmp_path / "m.roi").map, square())


def test_what_macos_adds_to_an_archive_is_passed_over(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as file:
        file.writestr("RoiSet/", b"")
        file.writestr("RoiSet/a.roi", roi(SQUARE).tobytes())
        for name in ("__MACOSX/RoiSet/._a.roi", "RoiSet/._a.roi", "RoiSet/.DS_Store"):
            file.writestr(name, b"Mac OS X")
    np.testing.assert_array_equal(read(tmp_path / "m.zip").map, square())


@pytest.mark.parametrize("name", ["m.zip", "m.roi"])
@pytest.mark.parametrize("content", [b"", b"no region", None])
def test_broken_regions_are_named(tmp_path, name, content):
    if content is None:
        roifile.roiwrite(tmp_path / "whole.zip", [roi(SQUARE), roi(SQUARE)])
        content = (tmp_path / "whole.zip").read_bytes()[:300]
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name)


def test_regions_without_area_are_refused(tmp_path):
    roifile.roiwrite(tmp_path / "m.zip", [roi([[1, 1]], roitype=roifile.ROI_TYPE.POINT)])
    assert "none of its 1 regions has an area" in refused(tmp_path / "m.zip")


# --- COCO ---


def write_coco(path, *annotations, **image):
    images = [{"id": 4, "file_name": "train/image.png", "height": 80, "width": 100} | image]
    images.append({"id": 5, "file_name": "other.png"})
    path.write_text(json.dumps({"images": images, "annotations": list(annotations)}))
    return path


def coco(segmentation, image=4, **more):
    return {"id": 1, "image_id": image, "segmentation": segmentation} | more


def runs(mask):
    """COCO's run lengths: 0s and 1s in turn down the columns, 0s first."""
    flat = mask.ravel(order="F").astype(np.int8)
    ends = np.flatnonzero(np.diff(flat)) + 1
    return np.diff([0] * (1 + flat[0]) + [*ends] + [flat.size]).tolist()


def as_text(counts):
    """Encode run lengths as COCO's tools do."""
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = not ((value == 0 and not bits & 16) or (value == -1 and bits & 16))
            text += chr((bits | 32 if more else bits) + 48)
    return text


def test_polygons_of_coco(tmp_path):
    flat = [float(number) for point in SQUARE for number in point]
    second = [50, 50, 60, 50, 60, 60, 50, 60]
    path = write_coco(tmp_path / "m.json", coco([flat]), coco([second]), coco([flat], image=5))
    labels = read(path)
    assert labels.instances and labels.note == "outlines (COCO)" and labels.known is None
    np.testing.assert_array_equal(labels.map, square() + 2 * square(50, 50, 60, 60))


@pytest.mark.parametrize("text", [False, True])
def test_run_lengths_of_coco(tmp_path, text):
    truth = draw_discs((20, 20, 8), (60, 40, 12), (0, 79, 9))
    counts = [runs(truth == number) for number in (1, 2, 3)]
    counts = [as_text(each) for each in counts] if text else counts
    path = write_coco(
        tmp_path / "m.json", *(coco({"counts": each, "size": [80, 100]}) for each in counts)
    )
    np.testing.assert_array_equal(read(path).map, truth)


def lengths(*masks):
    return [coco({"counts": runs(mask), "size": [80, 100]}) for mask in masks]


@pytest.mark.parametrize("with_polygon", [False, True])
def test_the_smaller_of_two_objects_of_coco_is_seen(tmp_path, with_polygon):
    large, small = lengths(square(5, 5, 45, 60), square())
    if with_polygon:
        small = coco([[float(number) for point in SQUARE for number in point]])
    for objects in ([large, small], [small, large]):
        labels = read(write_coco(tmp_path / f"{objects[0] is large}.json", *objects)).map
        assert sorted(np.bincount(labels.ravel())[1:]) == [400, 40 * 55 - 400]


def test_objects_of_coco_without_a_pixel_are_counted(tmp_path):
    path = write_coco(tmp_path / "m.json", *lengths(square(), square(), square() & False))
    labels = read(path)
    assert "2 without a pixel of their own" in labels.note and labels.map.astype(bool).sum() == 400


def test_an_object_of_coco_around_others_is_refused(tmp_path):
    nuclei = [square(x, 20, x + 8, 28) for x in range(10, 90, 12)]
    path = write_coco(tmp_path / "m.json", *lengths(square(2, 2, 98, 78), *nuclei))
    assert "encloses other nuclei" in refused(path)
    around = ~np.any(nuclei, axis=0)  # as programs that part an image write its background
    path = write_coco(tmp_path / "n.json", *lengths(around, *nuclei))
    assert "as background does" in refused(path)


def test_a_crowd_is_not_known(tmp_path):
    crowd = coco({"counts": runs(square(0, 0, 30, 80)), "size": [80, 100]}, iscrowd=1)
    labels = read(write_coco(tmp_path / "m.json", crowd))
    np.testing.assert_array_equal(labels.known, ~square(0, 0, 30, 80))
    assert not labels.map.any() and "crowds" in labels.note
    flat = [float(number) for point in SQUARE for number in point]
    nucleus = coco([[50, 50, 60, 50, 60, 60, 50, 60]])
    labels = read(write_coco(tmp_path / "m.json", coco([flat], iscrowd=1), nucleus))
    np.testing.assert_array_equal(labels.known, ~square())
    np.testing.assert_array_equal(labels.map, square(50, 50, 60, 60))


def test_broken_coco_is_named(tmp_path):
    path = tmp_path / "m.json"
    assert "no outline" in refused(write_coco(path, coco([])))
    short = coco({"counts": [7, 3], "size": [80, 100]})
    assert "do not add up" in refused(write_coco(path, short))
    assert "truncated run" in refused(write_coco(path, coco({"counts": "o", "size": [80, 100]})))
    assert "64x64 pixels, its image 100x80" in refused(write_coco(path, width=64, height=64))
    assert "nothing about a.png" in refused(write_coco(path), image="a.png")
    path.write_text('{"images": [{"id": 1}], "annotations": []}')
    assert "not COCO" in refused(path)


# --- Drawing ---


def test_the_smaller_of_two_outlines_is_seen():
    small = [[15, 25], [20, 25], [20, 30], [15, 30]]
    rings = [[[np.array(small)]], [[np.array(SQUARE)]]]
    for order in (rings, rings[::-1]):
        labels, remark = label_map(order, SHAPE)
        assert sorted(np.bincount(labels.ravel())[1:]) == [25, 375] and not remark


def test_outlines_without_a_pixel_are_counted():
    sliver = np.array([[5.6, 5.6], [5.9, 5.6], [5.9, 5.9]])
    labels, remark = label_map([[[np.array(SQUARE)]], [[sliver]]], SHAPE)
    assert labels.max() == 1 and remark == "1 without a pixel of their own"
