"""Final_implementation from folder to results, with networks small enough for a second an image.

The tiny generator is bicubic interpolation and the tiny U-net takes dark for nucleus, so what is
drawn must be found.
"""

import csv
import errno
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import evidence
import Final_implementation
import image_analysis
import image_job
import keras
import networks
import numpy as np
import pytest
import result_files
import tifffile
import tiny_models
import window_stage
from keras import layers
from label_maps import same_up_to_numbers
from networks import Network
from PIL import Image
from raster import Raster
from skimage.data import immunohistochemistry

SCRIPT = Path(Final_implementation.__file__)
BACKGROUND, NUCLEUS = (230, 180, 210), (95, 60, 140)
HEIGHT, WIDTH = 52, 70  # of the drawn low-resolution images; not multiples of anything
RESULTS = {
    "super_resolved.png",
    "nuclei_labels.tif",
    "nuclei.csv",
    "nuclei.geojson",
    "overlay.png",
    "figure.png",
    "consistency.png",
    "confidence.png",
    "sr_confidence.tif",
}


# --- what is drawn and how it is run ---


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder of generator.h5 and Unet.h5."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.save(tiny_models.bicubic_generator(), folder / "generator.h5")
    tiny_models.save(tiny_models.darkness_unet(), folder / "Unet.h5", tiny_models.UNET_MICRONS)
    return folder


cached_network = functools.lru_cache(networks.load_network)  # so that each is traced once


@pytest.fixture
def run(models, tmp_path, monkeypatch):
    """Function that runs main on tmp_path/input and gives its exit status; flags as keywords."""
    monkeypatch.setattr(image_job, "load_network", cached_network)
    # The real ones take half the time of an image; the first test below draws them.
    monkeypatch.setattr(evidence, "write_map", lambda path, *_: Path(path).write_bytes(b"drawn"))
    monkeypatch.setattr(
        result_files, "write_figure", lambda path, *_: Path(path).write_bytes(b"drawn")
    )

    def run_main(output="output", **flags):
        defaults = {
            "input_folder": tmp_path / "input",
            "generator": models / "generator.h5",
            "unet": models / "Unet.h5",
            "microns_per_pixel": 1.0,
        }
        flags = defaults | {"output_folder": tmp_path / output} | flags
        return Final_implementation.main(**flags)

    return run_main


def drawn(height=HEIGHT, width=WIDTH, seed=0):
    """A low-resolution image of ellipses, 1 um per pixel: (uint8 RGB, centres (x, y) at x4)."""
    random = np.random.default_rng(seed)
    image = np.full((4 * height, 4 * width, 3), BACKGROUND, np.uint8)
    centres = []
    for y in range(34, 4 * height - 24, 60):
        for x in range(34, 4 * width - 24, 60):
            centre = x + int(random.integers(-8, 9)), y + int(random.integers(-8, 9))
            axes = int(random.integers(14, 18)), int(random.integers(11, 14))
            angle = float(random.uniform(0, 180))
            cv2.ellipse(image, centre, axes, angle, 0, 360, NUCLEUS, -1)
            centres.append(centre)
    return shrunk(image), np.array(centres)


def crowded(height, width, nuclei, seed=0):
    """A low-resolution image of discs at random places; many touch, many are cut by the border."""
    random = np.random.default_rng(seed)
    image = np.full((4 * height, 4 * width, 3), BACKGROUND, np.uint8)
    for _ in range(nuclei):
        centre = int(random.integers(4 * width)), int(random.integers(4 * height))
        cv2.circle(image, centre, int(random.integers(10, 20)), NUCLEUS, -1)
    return shrunk(image)


def shrunk(image):
    height, width = image.shape[:2]
    return cv2.resize(image, (width // 4, height // 4), interpolation=cv2.INTER_AREA)


def put(folder, name, image, **options):
    folder.mkdir(exist_ok=True)
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(folder / name, **options)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def summary(folder):
    return {row["image"]: row for row in rows_of(folder / "summary.csv")}


def nuclei(folder):
    """Label map, rows of the table and features of one image."""
    features = json.loads((folder / "nuclei.geojson").read_text("utf-8"))["features"]
    return tifffile.imread(folder / "nuclei_labels.tif"), rows_of(folder / "nuclei.csv"), features


def check_agreement(folder):
    """Check that label map, table and GeoJSON tell of the same nuclei; return how many."""
    labels, rows, features = nuclei(folder)
    count = labels.max(initial=0)
    assert labels.dtype == np.uint32
    assert np.unique(labels[labels > 0]).tolist() == list(range(1, count + 1))
    assert [int(row["label"]) for row in rows] == list(range(1, count + 1))
    assert [int(feature["properties"]["name"]) for feature in features] == list(range(1, count + 1))
    height, width = labels.shape
    for row, feature in zip(rows, features, strict=True):
        x, y = float(row["centroid_x_px"]), float(row["centroid_y_px"])
        assert 0 <= x <= width and 0 <= y <= height
        ys, xs = np.nonzero(labels == int(row["label"]))
        assert xs.min() <= x <= xs.max() + 1 and ys.min() <= y <= ys.max() + 1
        assert np.hypot(xs + 0.5 - x, ys + 0.5 - y).min() < 3  # on or near its label
        ring = np.array(feature["geometry"]["coordinates"][0])
        assert (ring >= 0).all() and (ring <= [width, height]).all()
        assert ring[:, 0].min() <= x <= ring[:, 0].max()
        assert ring[:, 1].min() <= y <= ring[:, 1].max()
    return int(count)


def bytes_of(folder, names=("nuclei_labels.tif", "nuclei.csv", "nuclei.geojson")):
    return [(folder / name).read_bytes() for name in names]


class Counter:
    """Wraps a method and counts its calls; before call number `stop_at` it raises `error`."""

    def __init__(self, monkeypatch, owner, name, stop_at=None, error=KeyboardInterrupt):
        self.calls, original = 0, getattr(owner, name)

        def counted(instance, *arguments):
            self.calls += 1
            if self.calls == stop_at:
                raise error
            return original(instance, *arguments)

        monkeypatch.setattr(owner, name, counted)


# --- a whole run ---


@pytest.fixture(scope="module")
def finished(models, tmp_path_factory):
    """A run of two images, as a user does it: (output folder, exit status, drawn centres)."""
    folder = tmp_path_factory.mktemp("finished")
    image, centres = drawn()
    for name in ("first.png", "zweites Präparat.png"):
        put(folder / "input", name, image)
    status = Final_implementation.main(
        input_folder=folder / "input",
        output_folder=folder / "output",
        generator=models / "generator.h5",
        unet=models / "Unet.h5",
        microns_per_pixel=1.0,
    )
    return folder / "output", status, centres


def test_a_run_writes_all_results_and_leaves_nothing_else(finished):
    output, status, _ = finished
    assert status == 0
    assert {"summary.csv", "run.json"} <= {path.name for path in output.iterdir()}
    for name in ("first", "zweites Präparat"):
        found = {path.name for path in (output / name).iterdir()}
        assert found >= RESULTS
        assert not [name for name in found if name.startswith(".") or name.endswith(".raw")]


def test_pictures_have_their_sizes(finished):
    folder = finished[0] / "first"
    for name in ("super_resolved.png", "nuclei_labels.tif", "overlay.png"):
        with Image.open(folder / name) as image:
            assert image.size == (4 * WIDTH, 4 * HEIGHT), name
    with Image.open(folder / "figure.png") as figure:
        assert figure.width > figure.height > 500


def test_all_results_tell_of_the_nuclei_that_were_drawn(finished):
    output, _, centres = finished
    for name in ("first", "zweites Präparat"):
        assert check_agreement(output / name) == len(centres)
        labels, rows, _ = nuclei(output / name)
        assert len(set(labels[centres[:, 1], centres[:, 0]]) - {0}) == len(centres)
        for row in rows:
            place = float(row["centroid_x_px"]), float(row["centroid_y_px"])
            assert np.hypot(*(centres + 0.5 - place).T).min() < 2
            assert float(row["centroid_x_um"]) == pytest.approx(place[0] / 4, rel=1e-3)
            assert float(row["area_um2"]) == pytest.approx(
                (labels == int(row["label"])).sum() / 16, rel=1e-4
            )
            assert 100 * np.pi * 1.3 / 16 < float(row["area_um2"]) < 100 * np.pi * 3.4 / 16
            assert float(row["probability"]) > 0.8
            assert float(row["mean_hematoxylin_od"]) > 0.1


def test_the_super_resolved_image_is_the_enlarged_input(finished):
    with Image.open(finished[0] / "first" / "super_resolved.png") as image:
        found = np.asarray(image).astype(float)
    size = 4 * WIDTH, 4 * HEIGHT
    expected = cv2.resize(drawn()[0], size, interpolation=cv2.INTER_CUBIC)
    inside = slice(16, -16), slice(16, -16)
    assert np.abs(found[inside] - expected[inside]).max() <= 2


def test_the_label_map_states_its_pixel_size(finished):
    with tifffile.TiffFile(finished[0] / "first" / "nuclei_labels.tif") as tiff:
        tags = tiff.pages[0].tags
        pixels, per = tags["XResolution"].value
        assert tags["ResolutionUnit"].value == 3  # centimetre
    assert 1e4 * per / pixels == pytest.approx(0.25, rel=1e-3)


def test_the_summary_has_a_row_for_each_image(finished):
    output, _, centres = finished
    rows = summary(output)
    assert list(rows) == ["first.png", "zweites Präparat.png"]
    for row in rows.values():
        assert row["status"] == "done" and row["error"] == ""
        assert [int(row[name]) for name in ("width_in", "height_in")] == [WIDTH, HEIGHT]
        assert [int(row[name]) for name in ("width_out", "height_out")] == [4 * WIDTH, 4 * HEIGHT]
        assert int(row["nuclei"]) == len(centres)
        areas = [float(nucleus["area_um2"]) for nucleus in nuclei(output / "first")[1]]
        assert float(row["mean_area_um2"]) == pytest.approx(np.mean(areas), rel=1e-3)
        assert float(row["sd_area_um2"]) == pytest.approx(np.std(areas), rel=1e-2)
        mm2 = WIDTH * HEIGHT / 1e6
        assert float(row["tissue_mm2"]) == pytest.approx(mm2, rel=1e-3)
        assert float(row["density_per_mm2"]) == pytest.approx(len(centres) / mm2, rel=1e-3)
        assert float(row["microns_per_pixel_out"]) == 0.25
        assert float(row["seconds"]) > 0


def test_the_run_record_tells_how_to_repeat_the_run(finished, models):
    record = json.loads((finished[0] / "run.json").read_text("utf-8"))
    assert record["constants"]["microns_per_pixel"] == 1.0
    assert record["constants"]["generator"] == str(models / "generator.h5")
    assert set(record["constants"]) >= {"tile_size", "probability_threshold", "input_folder"}
    assert record["models"]["unet"]["record"] == {"microns_per_pixel": 0.25}
    assert all(len(model["sha256"]) == 64 for model in record["models"].values())
    assert record["versions"]["keras"] == keras.__version__


def test_the_terminal_shows_a_line_for_each_image(run, tmp_path, capsys):
    put(tmp_path / "input", "a.png", drawn()[0])
    (tmp_path / "input" / "b.png").write_bytes(b"no image")
    assert run() == 1
    lines = capsys.readouterr().out.strip().splitlines()
    (good,) = [line for line in lines if line.startswith("a.png")]
    (bad,) = [line for line in lines if line.startswith("b.png")]
    assert f"{WIDTH}x{HEIGHT}" in good and f"{4 * WIDTH}x{4 * HEIGHT}" in good and "um2" in good
    assert "failed" in bad and "not an image" in bad


# --- tiles and windows ---


@pytest.fixture
def reference(run, tmp_path):
    """Results of a crowded image in one tile and one window."""
    put(tmp_path / "input", "a.png", crowded(75, 101, 60))
    assert run("reference") == 0
    folder = tmp_path / "reference" / "a"
    assert check_agreement(folder) > 25
    return folder


@pytest.mark.parametrize("tile_size", [16, 48, 64])
def test_results_do_not_depend_on_the_tile_size(run, tmp_path, reference, tile_size):
    assert run(tile_size=tile_size, batch_size=3) == 0
    folder = tmp_path / "output" / "a"
    assert check_agreement(folder) == check_agreement(reference)
    assert same_up_to_numbers(nuclei(folder)[0], nuclei(reference)[0])
    pixels = [np.asarray(Image.open(f / "super_resolved.png"), int) for f in (folder, reference)]
    assert np.abs(pixels[0] - pixels[1]).max() <= 1


@pytest.mark.parametrize("window", [36, 64, 152])
def test_nuclei_at_window_borders_are_counted_once(run, tmp_path, reference, monkeypatch, window):
    monkeypatch.setattr(window_stage, "WINDOW", window)
    assert run() == 0
    folder = tmp_path / "output" / "a"
    assert check_agreement(folder) == check_agreement(reference)
    labels, rows, _ = nuclei(folder)
    expected, expected_rows, _ = nuclei(reference)
    assert same_up_to_numbers(labels, expected)

    def without_label(rows):
        return sorted([(name, row[name]) for name in row if name != "label"] for row in rows)

    assert without_label(rows) == without_label(expected_rows)
    confidences = [tifffile.imread(f / "sr_confidence.tif") for f in (folder, reference)]
    assert np.abs(confidences[0].astype(int) - confidences[1]).max() <= 1
    found, expected = (summary(f.parent)["a.png"] for f in (folder, reference))
    for name in ("colour_difference", "sr_expected_error", "sr_confidence"):
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-3), name


def test_nuclei_cut_by_the_image_are_marked(reference):
    labels, rows, _ = nuclei(reference)
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    marked = {int(row["label"]) for row in rows if row["touches_border"] == "1"}
    assert marked == set(rim.tolist()) - {0} and marked
    assert len(marked) < len(rows)


# --- finished, interrupted and changed ---


def test_a_finished_image_is_skipped(run, tmp_path, monkeypatch, capsys):
    put(tmp_path / "input", "a.png", drawn()[0])
    assert run() == 0
    first = summary(tmp_path / "output")
    predicted = Counter(monkeypatch, Network, "predict_middle")
    put(tmp_path / "input", "b.png", drawn(seed=1)[0])
    capsys.readouterr()
    assert run() == 0
    assert "a.png: finished before" in capsys.readouterr().out
    assert predicted.calls == 2  # b.png: a tile of each network
    assert summary(tmp_path / "output")["a.png"] == first["a.png"]
    assert list(summary(tmp_path / "output")) == ["a.png", "b.png"]


CHANGES = {
    "overwrite": {"overwrite": True},
    "pixel size": {"microns_per_pixel": 1.05},
    "threshold": {"probability_threshold": 0.4},
    "rise": {"seed_rise": 0.4},
    "smallest nucleus": {"smallest_nucleus": 7.0},
    "tile size": {"tile_size": 128},
    "test-time augmentation": {"test_time_augmentation": True},
    "bfloat16": {"precision": "bfloat16"},
    "float32": {"precision": "float32"},  # behind bfloat16, so that only the precision differs
    "no generator": {"super_resolve": False, "microns_per_pixel": 0.25},
}


def test_a_blend_of_two_generators_is_another_model(run, models, tmp_path, monkeypatch):
    put(tmp_path / "input", "a.png", drawn()[0])
    monkeypatch.setattr(image_job, "load_network", networks.load_network)  # blending changes it
    assert run(segment=False) == 0
    other = tiny_models.random_generator(filters=2)
    faithful = tiny_models.save(other, tmp_path / "faithful.h5")
    found = []
    for share in (0.0, 0.5, 1.0):
        assert run(segment=False, faithful_share=share, faithful_generator=faithful) == 0
        picture = tmp_path / "output" / "a" / "super_resolved.png"
        found.append(np.asarray(Image.open(picture), int))
    assert run("alone", segment=False, generator=faithful) == 0
    alone = np.asarray(Image.open(tmp_path / "alone" / "a" / "super_resolved.png"), int)
    np.testing.assert_allclose(found[2], alone, atol=1)
    assert all(np.abs(found[1] - found[end]).mean() > 1 for end in (0, 2))


def test_a_changed_constant_or_model_or_image_is_done_again(run, tmp_path, monkeypatch):
    put(tmp_path / "input", "a.png", drawn()[0])
    assert run() == 0
    predicted = Counter(monkeypatch, Network, "predict_middle")
    assert run(jpeg_quality=90, debug=True) == 0  # nothing has changed
    assert predicted.calls == 0
    for change, flags in CHANGES.items():
        before = predicted.calls
        assert run(**flags) == 0
        assert predicted.calls > before, change
    assert run(**flags) == 0
    before = predicted.calls
    other = tiny_models.darkness_unet(darker_than=140)
    unet = tiny_models.save(other, tmp_path / "Unet.h5", tiny_models.UNET_MICRONS)
    assert run(**flags | {"unet": unet}) == 0
    assert predicted.calls == before + 1
    put(tmp_path / "input", "a.png", drawn(seed=1)[0])
    assert run(**flags | {"unet": unet}) == 0
    assert predicted.calls == before + 2


def test_results_of_other_choices_do_not_stay_behind(run, tmp_path):
    put(tmp_path / "input", "a.png", drawn()[0])
    assert run() == 0
    assert run(segment=False) == 0
    found = {path.name for path in (tmp_path / "output" / "a").iterdir()}
    assert "super_resolved.png" in found
    assert not found & {"nuclei.csv", "nuclei_labels.tif", "nuclei.geojson", "overlay.png"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"summary": {}}'])
def test_a_damaged_manifest_means_not_finished(run, tmp_path, content):
    put(tmp_path / "input", "a.png", drawn()[0])
    assert run(segment=False) == 0
    (tmp_path / "output" / "a" / "manifest.json").write_text(content)
    assert run(segment=False) == 0
    assert summary(tmp_path / "output")["a.png"]["status"] == "done"


TILE = {"tile_size": 16}  # 4 strips of 5 tiles of a drawn image for each network


@pytest.fixture
def uninterrupted(run, tmp_path, monkeypatch):
    """Results and number of raster writes of an image in many tiles."""
    put(tmp_path / "input", "a.png", drawn()[0])
    with monkeypatch.context() as patch:
        written = Counter(patch, Raster, "write")
        assert run("uninterrupted", **TILE) == 0
    return bytes_of(tmp_path / "uninterrupted" / "a"), written.calls


@pytest.mark.parametrize("place", ["first", "early", "middle", "late", "last"])
def test_an_interrupted_image_goes_on_and_gives_the_same(
    run, tmp_path, monkeypatch, uninterrupted, place
):
    expected, writes = uninterrupted
    stop = {"first": 1, "early": 5, "middle": writes // 2, "late": writes - 5, "last": writes}
    with monkeypatch.context() as patch:
        Counter(patch, Raster, "write", stop[place])
        assert run(**TILE) == 130
    folder = tmp_path / "output" / "a"
    assert not (folder / "nuclei.csv").exists()  # nothing unfinished under a final name
    predicted = Counter(monkeypatch, Network, "predict_middle")
    assert run(**TILE) == 0
    assert bytes_of(folder) == expected
    assert not (folder / ".partial").exists()
    # 40 writes of tiles, then those of the evidence and the labels; finished strips of 5 are kept.
    assert predicted.calls == max(0, 40 - 5 * ((stop[place] - 1) // 5))


def test_an_interruption_inside_a_network_loses_one_strip(
    run, tmp_path, monkeypatch, uninterrupted, capsys
):
    with monkeypatch.context() as patch:
        Counter(patch, Network, "predict_middle", 31)
        assert run(**TILE) == 130
    assert "same command" in capsys.readouterr().err
    predicted = Counter(monkeypatch, Network, "predict_middle")
    assert run(**TILE) == 0
    assert predicted.calls == 10
    assert bytes_of(tmp_path / "output" / "a") == uninterrupted[0]


def test_several_interruptions_are_no_worse_than_one(run, tmp_path, monkeypatch, uninterrupted):
    for number in (3, 11, 13):
        with monkeypatch.context() as patch:
            Counter(patch, Network, "predict_middle", number)
            assert run(**TILE) == 130
    assert run(**TILE) == 0
    assert bytes_of(tmp_path / "output" / "a") == uninterrupted[0]


@pytest.mark.parametrize("change", ["constant", "model", "image"])
def test_an_unfinished_image_starts_afresh_after_a_change(run, tmp_path, monkeypatch, change):
    put(tmp_path / "input", "a.png", drawn()[0])
    with monkeypatch.context() as patch:
        Counter(patch, Network, "predict_middle", 31)
        assert run(**TILE) == 130
    flags = dict(TILE)
    if change == "constant":
        flags["probability_threshold"] = 0.4
    elif change == "model":
        other = tiny_models.darkness_unet(darker_than=140)
        flags["unet"] = tiny_models.save(other, tmp_path / "Unet.h5", tiny_models.UNET_MICRONS)
    else:
        put(tmp_path / "input", "a.png", drawn(seed=1)[0])
    predicted = Counter(monkeypatch, Network, "predict_middle")
    assert run(**flags) == 0
    assert predicted.calls == 40
    resumed = bytes_of(tmp_path / "output" / "a")
    assert run("fresh", **flags) == 0
    assert resumed == bytes_of(tmp_path / "fresh" / "a")


def test_files_are_closed_before_they_are_deleted(run, tmp_path, monkeypatch):
    """Windows refuses to delete an open file."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not list open files")
    put(tmp_path / "input", "a.png", drawn()[0])
    open_files = []

    def rmtree(folder, *_, **__):
        for link in Path("/proc/self/fd").iterdir():
            if link.is_symlink():
                target = str(link.readlink())
                open_files.extend([target] if target.startswith(str(folder)) else [])

    with monkeypatch.context() as patch:
        patch.setattr(image_analysis.shutil, "rmtree", rmtree)
        assert run() == 0
    assert (tmp_path / "output" / "a" / ".partial").is_dir()
    assert not open_files


# --- unusual and bad images ---


def test_every_image_is_done_or_named_and_stops_no_other(run, tmp_path, capsys):
    folder = tmp_path / "input"
    image, centres = drawn(44, 44)
    picture = Image.fromarray(image)
    same_nuclei = {
        "plain.png": picture,
        "grey.png": picture.convert("L"),
        "rgba.png": picture.convert("RGBA"),
        "palette.png": picture.quantize(32),
        "cmyk.tif": picture.convert("CMYK"),
        "sixteen bit.png": Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257),
        "same.png": picture,
        "same.bmp": picture,
        "Ünïcödé 组织.png": picture,
        "two  spaces.and.dots.jpeg": picture,
        "no suffix of an image.dat2": picture,
    }
    for name, content in same_nuclei.items():
        put(folder, name, content, format="PNG" if name.endswith("dat2") else None)
    tifffile.imwrite(folder / "sixteen bit rgb.tif", image.astype(np.uint16) * 257)
    same_nuclei["sixteen bit rgb.tif"] = picture
    small = {"pixel.png": image[:1, :1], "narrow.png": image[:3, :40], "tiny.png": image[:5, :3]}
    for name, content in small.items():
        put(folder, name, content)
    whole = (folder / "plain.png").read_bytes()
    bad = {
        "truncated.png": whole[: len(whole) // 2],
        "empty.png": b"",
        "text.png": b"this is no image\n" * 20,
        "head of a tiff.tif": b"II*\0\x08\0\0\0",
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    (folder / "dangling.png").symlink_to(folder / "gone.png")
    bad["dangling.png"] = None
    (folder / "notes.txt").write_text("not to be looked at")
    (folder / "folder.png").mkdir()

    assert run() == 1
    rows = summary(tmp_path / "output")
    assert set(rows) == set(same_nuclei) | set(small) | set(bad)
    for name in same_nuclei:
        assert rows[name]["status"] == "done", rows[name]["error"]
        assert int(rows[name]["nuclei"]) == len(centres), name
    for name, content in small.items():
        assert rows[name]["status"] == "done", rows[name]["error"]
        size = int(rows[name]["width_out"]), int(rows[name]["height_out"])
        assert size == (4 * content.shape[1], 4 * content.shape[0])
    for name in bad:
        assert rows[name]["status"] == "failed"
        assert name in rows[name]["error"] and "\n" not in rows[name]["error"]
        assert not rows[name]["nuclei"]
    done = [path for path in (tmp_path / "output").iterdir() if path.is_dir()]
    assert len(done) == len(same_nuclei) + len(small)
    for path in done:
        check_agreement(path)
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert all(name in printed.out for name in rows)


def test_images_whose_names_differ_little_have_folders_of_their_own(run, tmp_path):
    names = ["a.png", "a.bmp", "A.tif", "a_png.png", "summary.csv.png", "run.json.png"]
    for name in names:
        put(tmp_path / "input", name, drawn()[0])
    assert run(segment=False) == 0
    folders = [path for path in (tmp_path / "output").iterdir() if path.is_dir()]
    assert len(folders) == len({path.name.casefold() for path in folders}) == len(names)
    assert list(summary(tmp_path / "output")) == sorted(names, key=str.casefold)
    assert all((path / "super_resolved.png").is_file() for path in folders)


def test_a_name_in_another_encoding_does_not_stop_the_run(run, tmp_path):
    folder = tmp_path / "input"
    put(folder, "z.png", drawn()[0])
    try:
        (folder / "z.png").with_name(os.fsdecode(b"M\xe4rz.png")).write_bytes(
            (folder / "z.png").read_bytes()
        )
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert run(segment=False) == 0
    assert run(segment=False) == 0  # the second run prints the name
    assert len(rows_of(tmp_path / "output" / "summary.csv")) == 2


def test_an_error_inside_stops_no_other_image(run, tmp_path, monkeypatch):
    for name in ("a.png", "b.png", "c.png"):
        put(tmp_path / "input", name, drawn()[0])
    Counter(monkeypatch, Network, "predict_middle", 3, RuntimeError("two\nlines"))
    assert run() == 1
    rows = summary(tmp_path / "output")
    assert [row["status"] for row in rows.values()] == ["done", "failed", "done"]
    assert rows["b.png"]["error"] == "RuntimeError: two lines"
    assert run() == 0
    assert [row["status"] for row in summary(tmp_path / "output").values()] == ["done"] * 3


def test_a_full_disk_ends_the_run_with_one_line(run, tmp_path, monkeypatch, capsys):
    put(tmp_path / "input", "a.png", drawn()[0])
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    Counter(monkeypatch, Raster, "write", 2, full)
    assert run() == 2
    (line,) = last_lines(capsys)
    assert os.strerror(errno.ENOSPC) in line


def last_lines(capsys):
    """Lines on stderr without the progress bar's."""
    text = capsys.readouterr().err.split("\r")[-1]
    return [line for line in text.splitlines() if line.strip()]


def test_glass_is_left_out(run, tmp_path):
    image, centres = drawn(160, 160)
    centres = centres[centres[:, 0] < 4 * 70]
    image[:, 80:] = 245
    put(tmp_path / "input", "half.png", image)
    put(tmp_path / "input", "glass.png", np.full((160, 160, 3), 245, np.uint8))
    assert run(tile_size=48) == 0
    rows = summary(tmp_path / "output")
    assert 0.4 < float(rows["half.png"]["tissue_mm2"]) / 0.0256 < 0.65
    assert check_agreement(tmp_path / "output" / "half") >= len(centres)
    labels = nuclei(tmp_path / "output" / "half")[0]
    assert len(set(labels[centres[:, 1], centres[:, 0]]) - {0}) == len(centres)
    assert not labels[:, 4 * 84 :].any()
    pixels = np.asarray(Image.open(tmp_path / "output" / "half" / "super_resolved.png"))
    assert (pixels[:, 4 * 130 :] == 255).all()
    # What was painted white is not judged, though the image is not a whole number of tiles wide.
    judged = tifffile.imread(tmp_path / "output" / "half" / "sr_confidence.tif") > 0
    painted = (pixels.reshape(160, 4, 160, 4, 3) == 255).all(axis=(1, 3, 4))
    np.testing.assert_array_equal(judged, ~painted)
    assert rows["glass.png"]["status"] == "done"
    assert rows["glass.png"]["nuclei"] == "0" and float(rows["glass.png"]["tissue_mm2"]) == 0
    assert rows["glass.png"]["density_per_mm2"] == rows["glass.png"]["mean_area_um2"] == ""
    assert check_agreement(tmp_path / "output" / "glass") == 0


def test_a_slide_is_read_at_low_resolution_and_written_as_a_pyramid(run, tmp_path):
    image, centres = drawn()
    (tmp_path / "input").mkdir()
    double = cv2.resize(image, (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_NEAREST)
    resolution = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}  # 0.5 um
    tifffile.imwrite(
        tmp_path / "input" / "slide.tif", double, tile=(64, 64), photometric="rgb", **resolution
    )
    assert run(microns_per_pixel=None, jpeg_quality=0) == 0
    folder = tmp_path / "output" / "slide"
    assert not (folder / "super_resolved.png").exists()
    with tifffile.TiffFile(folder / "super_resolved.ome.tif") as tiff:
        assert tiff.is_ome and 'PhysicalSizeX="0.25"' in tiff.ome_metadata
        pixels = tiff.asarray()
    assert pixels.shape == (4 * HEIGHT, 4 * WIDTH, 3)
    expected = cv2.resize(image, (4 * WIDTH, 4 * HEIGHT), interpolation=cv2.INTER_CUBIC)
    assert np.abs(pixels.astype(float) - expected)[16:-16, 16:-16].max() <= 2
    assert check_agreement(folder) == len(centres)
    assert run(microns_per_pixel=None, read_at_microns_per_pixel=2.0, segment=False) == 0
    assert run(microns_per_pixel=None, read_at_microns_per_pixel=1.4, segment=False) == 0
    assert int(summary(tmp_path / "output")["slide.tif"]["width_in"]) == WIDTH // 1.4


# --- pixel size and switches ---


def test_an_unknown_pixel_size_gives_pixel_units_only(run, tmp_path, capsys):
    image, centres = drawn()
    put(tmp_path / "input", "a.png", image)
    assert run(microns_per_pixel=None) == 0
    folder = tmp_path / "output" / "a"
    assert check_agreement(folder) == len(centres)
    columns = list(nuclei(folder)[1][0])
    assert {"area_px2", "perimeter_px", "major_axis_px", "centroid_x_px"} <= set(columns)
    assert not [name for name in columns if name.endswith(("_um", "_um2"))]
    measurements = nuclei(folder)[2][0]["properties"]["measurements"]
    assert "Area px^2" in measurements and not [name for name in measurements if "µm" in name]
    row = summary(tmp_path / "output")["a.png"]
    assert row["density_per_mm2"] == row["mean_area_um2"] == row["microns_per_pixel_out"] == ""
    assert float(row["mean_area_px2"]) > 100
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("a.png")]
    cells = line.split()
    assert cells[3:5] == [str(len(centres)), "-"] and "px2" in cells


def test_an_unknown_pixel_size_is_said_on_the_terminal(run, tmp_path, capsys):
    put(tmp_path / "input", "known.png", drawn()[0], dpi=(25400, 25400))
    put(tmp_path / "input", "unknown.png", drawn()[0])
    tifffile.imwrite(tmp_path / "input" / "slide.tif", drawn()[0], tile=(64, 64), photometric="rgb")
    assert run(microns_per_pixel=None, segment=False) == 0
    before, after = capsys.readouterr().out.split("Report: ")
    (line,) = before.strip().splitlines()  # before an hour is spent on it
    assert "slide.tif" in line and f"{4 * WIDTH} x {4 * HEIGHT}" in line
    assert "--no-super-resolve --microns-per-pixel" in line
    (line,) = [line for line in after.splitlines() if "No pixel size" in line]
    assert "slide.tif, unknown.png:" in line and "--microns-per-pixel" in line
    assert run(microns_per_pixel=1.0, segment=False) == 0
    assert "pixel size" not in capsys.readouterr().out


def test_the_pixel_size_of_the_file_is_used(run, tmp_path):
    put(tmp_path / "input", "a.png", drawn()[0], dpi=(25400, 25400))  # 1 um per pixel
    assert run(microns_per_pixel=None) == 0
    row = summary(tmp_path / "output")["a.png"]
    assert float(row["microns_per_pixel_out"]) == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize("microns", [2.0, 1.0, 0.6])
def test_another_pixel_size_is_resampled_and_comes_back(run, tmp_path, monkeypatch, microns):
    """The same tissue imaged at another scale: same nuclei, same areas, the image's own size."""
    image, centres = drawn(60, 72)
    size = round(72 / microns), round(60 / microns)
    put(tmp_path / "input", "a.png", cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    predict, seen = Network.predict, {}

    def watched(network, tiles):
        margin = -(-network.radius // network.pooling) * network.pooling
        seen[network.scale] = tiles.shape[2] - 2 * margin
        return predict(network, tiles)

    monkeypatch.setattr(Network, "predict_middle", watched)
    assert run(microns_per_pixel=microns, tile_size=512) == 0
    assert seen[4] == size[0]
    assert seen[1] == pytest.approx(72 / tiny_models.UNET_MICRONS, abs=3)  # the U-net's own
    folder = tmp_path / "output" / "a"
    labels, rows, _ = nuclei(folder)
    assert labels.shape == (4 * size[1], 4 * size[0])
    assert check_agreement(folder) == len(centres)
    for row in rows:
        place = float(row["centroid_x_um"]), float(row["centroid_y_um"])
        assert np.hypot(*(centres / 4 - place).T).min() < 1
    mean = np.mean([float(row["area_um2"]) for row in rows])
    assert mean == pytest.approx(np.pi * 15.5 * 12 / 16, rel=0.25)


def test_without_super_resolution_the_image_is_taken_as_it_is(run, tmp_path):
    image, centres = drawn()
    large = cv2.resize(image, (4 * WIDTH, 4 * HEIGHT), interpolation=cv2.INTER_CUBIC)
    put(tmp_path / "input", "a.png", large)
    assert run(super_resolve=False, microns_per_pixel=0.25, generator=Path("none.h5")) == 0
    folder = tmp_path / "output" / "a"
    assert check_agreement(folder) == len(centres)
    assert nuclei(folder)[0].shape == (4 * HEIGHT, 4 * WIDTH)
    assert not [name for name in evidence.EVIDENCE_FILES if (folder / name).exists()]
    assert "sr_confidence" not in nuclei(folder)[1][0]
    assert not (folder / "super_resolved.png").exists()
    assert (folder / "overlay.png").is_file() and (folder / "figure.png").is_file()


def test_without_segmentation_only_pictures_are_written(run, tmp_path):
    put(tmp_path / "input", "a.png", drawn()[0])
    assert run(segment=False, unet=Path("none.h5")) == 0
    found = {path.name for path in (tmp_path / "output" / "a").iterdir()}
    assert {"super_resolved.png", "figure.png"} <= found
    assert not [name for name in found if name.startswith(("nuclei", "overlay"))]
    assert summary(tmp_path / "output")["a.png"]["nuclei"] == ""


# --- evidence ---


def test_the_summary_says_how_far_super_resolution_keeps_to_its_input(finished):
    for row in summary(finished[0]).values():
        assert 0 < float(row["colour_difference"]) < float(row["colour_difference_p99"]) < 30
        assert 0 < float(row["sr_expected_error"]) < 30 and 0 < float(row["sr_confidence"]) < 1
        assert row["warning"] == ""


def test_each_nucleus_has_a_confidence_in_the_table_and_in_geojson(finished):
    _, rows, features = nuclei(finished[0] / "first")
    for row, feature in zip(rows, features, strict=True):
        measured = feature["properties"]["measurements"]["Super-resolution confidence"]
        assert 0.5 < float(row["sr_confidence"]) < 1  # the drawn nuclei are dark
        assert measured == pytest.approx(float(row["sr_confidence"]))


def test_every_file_of_an_image_carries_the_hashes_of_the_models(finished):
    models = json.loads((finished[0] / "run.json").read_text("utf-8"))["models"]
    hashes = [models[name]["sha256"] for name in ("generator", "unet")]
    folder = finished[0] / "first"
    for name in {path.name for path in folder.iterdir()} - {"nuclei.csv"}:  # a plain table
        content = (folder / name).read_bytes()
        assert all(value.encode() in content for value in hashes), name
    collection = json.loads((folder / "nuclei.geojson").read_text("utf-8"))
    assert collection["type"] == "FeatureCollection"
    assert [collection[f"{name}_sha256"] for name in ("generator", "unet")] == hashes
    row = summary(finished[0])["first.png"]
    assert [row["generator_sha256"], row["unet_sha256"]] == hashes


def test_an_image_unlike_the_training_data_is_done_and_flagged(run, tmp_path, capsys):
    put(tmp_path / "input", "ihc.png", immunohistochemistry()[::4, ::4])
    put(tmp_path / "input", "glass.png", np.full((60, 60, 3), 245, np.uint8))
    assert run() == 0
    rows = summary(tmp_path / "output")
    assert rows["ihc.png"]["warning"].startswith("not H&E")
    assert rows["glass.png"]["warning"] == "blank: no tissue"
    shown = capsys.readouterr().out
    assert "warning: not H&E" in shown and "warning: blank" in shown
    report = (tmp_path / "output" / "report.html").read_text("utf-8")
    assert "not H&amp;E" in report


# --- the same again ---

SAME = ("nuclei_labels.tif", "nuclei.csv", "nuclei.geojson", "sr_confidence.tif")


def test_a_repeated_run_gives_the_same_bytes(run, tmp_path):
    put(tmp_path / "input", "a.png", crowded(75, 101, 60))
    assert run() == run("again") == 0
    folders = [tmp_path / name / "a" for name in ("output", "again")]
    assert bytes_of(folders[0], SAME) == bytes_of(folders[1], SAME)
    tables = [rows_of(folder.parent / "summary.csv") for folder in folders]
    for row in tables[0] + tables[1]:
        del row["seconds"]
    assert tables[0] == tables[1]


def test_a_run_is_repeated_from_its_record(run, tmp_path, capsys):
    put(tmp_path / "input", "a.png", crowded(75, 101, 30))
    assert run(tile_size=32, smallest_nucleus=9.0) == 0
    flags = ["--from-run", str(tmp_path / "output" / "run.json")]
    flags += ["--output-folder", str(tmp_path / "again")]
    assert Final_implementation.command_line(flags) == 0
    folders = [tmp_path / name / "a" for name in ("output", "again")]
    assert bytes_of(folders[0], SAME) == bytes_of(folders[1], SAME)
    records = [json.loads((f.parent / "run.json").read_text("utf-8")) for f in folders]
    different = {k for k, v in records[0]["constants"].items() if records[1]["constants"][k] != v}
    assert different == {"output_folder"}
    assert "Not the same" not in capsys.readouterr().err


def test_a_flag_beside_the_record_counts_more_and_another_model_is_named(run, tmp_path, capsys):
    put(tmp_path / "input", "a.png", drawn()[0])
    assert run(tile_size=32) == 0
    record = tmp_path / "output" / "run.json"
    other = tiny_models.save(tiny_models.random_generator(), tmp_path / "other.h5")
    flags = ["--tile-size", "48", "--generator", str(other), "--from-run", str(record)]
    flags += ["--output-folder", str(tmp_path / "again")]
    assert Final_implementation.command_line(flags) == 0
    repeated = json.loads((tmp_path / "again" / "run.json").read_text("utf-8"))["constants"]
    assert repeated["tile_size"] == 48 and repeated["generator"] == str(other)
    assert "generator: another model than in the earlier run" in capsys.readouterr().err


@pytest.mark.parametrize("recorded", [True, False])  # records of older versions name none
def test_another_precision_than_in_the_earlier_run_is_named(run, tmp_path, capsys, recorded):
    put(tmp_path / "input", "a.png", drawn()[0])
    assert run(precision="float32") == 0
    record = tmp_path / "output" / "run.json"
    if not recorded:
        content = json.loads(record.read_text("utf-8"))
        del content["constants"]["precision"]
        record.write_text(json.dumps(content), encoding="utf-8")
    flags = ["--from-run", str(record), "--output-folder", str(tmp_path / "again")]
    assert Final_implementation.command_line([*flags, "--precision", "bfloat16"]) == 0
    message = "multiplied in bfloat16, in the earlier run in float32"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no file"),
        ("{", "is not the run.json"),
        ('{"constants": 1, "models": {}}', "is not the run.json"),
        ('{"constants": {"tile": 5}, "models": {}}', "another version of this script: tile"),
    ],
)
def test_a_record_that_cannot_be_repeated_is_named_in_one_line(tmp_path, capsys, content, message):
    record = tmp_path / "run.json"
    if content is not None:
        record.write_text(content, encoding="utf-8")
    assert Final_implementation.command_line(["--from-run", str(record)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


# --- what stops a run before it begins ---


def foreign(*steps, channels=3):
    x = inputs = keras.Input((None, None, channels))
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


def no_file(path):
    pass


def text_file(path):
    path.write_text("not a model\n")


def weights_alone(path):
    weights = path.with_name("m.weights.h5")
    tiny_models.random_unet().save_weights(weights)
    weights.replace(path)


def four_channels(path):
    foreign(layers.Conv2D(2, 3, padding="same"), channels=4).save(path)


def x2(path):
    foreign(layers.UpSampling2D(2), layers.Conv2D(3, 3, padding="same")).save(path)


def hidden_code(path):
    foreign(layers.Lambda(lambda x: x), layers.Conv2D(2, 3, padding="same")).save(path)


@pytest.mark.parametrize(
    "make", [no_file, text_file, weights_alone, four_channels, x2, hidden_code]
)
def test_a_model_that_does_not_fit_is_named_in_one_line(run, tmp_path, capsys, make):
    put(tmp_path / "input", "a.png", drawn()[0])
    make(tmp_path / "model.h5")
    for flag, kind in (("unet", "U-net"), ("generator", "generator")):
        capsys.readouterr()
        assert run(**{flag: tmp_path / "model.h5"}) == 2
        (line,) = last_lines(capsys)
        assert line.startswith(f"{kind}: ") and str(tmp_path / "model.h5") in line
    assert not (tmp_path / "output").exists()


def test_a_folder_without_images_ends_the_run_with_one_line(run, tmp_path, capsys):
    assert run() == 2
    (line,) = last_lines(capsys)
    assert str(tmp_path / "input") in line
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "notes.txt").write_text("no image")
    assert run() == 2
    (line,) = last_lines(capsys)
    assert "no images" in line


@pytest.mark.parametrize("blocked", ["output", "output/run.json"])
def test_an_output_that_cannot_be_written_ends_the_run_with_one_line(
    run, tmp_path, capsys, blocked
):
    put(tmp_path / "input", "a.png", drawn()[0])
    if blocked == "output":
        (tmp_path / blocked).write_text("a file where the folder should be")
    else:
        (tmp_path / blocked).mkdir(parents=True)
    assert run() == 2
    (line,) = last_lines(capsys)
    assert str(tmp_path / blocked) in line


@pytest.mark.parametrize(
    "flags",
    [
        {"tile_size": 0},
        {"tile_size": 100},
        {"tile_size": -16},
        {"batch_size": 0},
        {"microns_per_pixel": 0.0},
        {"microns_per_pixel": -1.0},
        {"microns_per_pixel": float("nan")},
        {"read_at_microns_per_pixel": 0.0},
        {"probability_threshold": 0.0},
        {"probability_threshold": 1.5},
        {"seed_rise": 1.0},
        {"faithful_share": 1.5},
        {"jpeg_quality": 101},
        {"region": (0, 0, 0, 10)},
        {"geojson_frame": "level 2"},
        {"precision": "half"},
        {"super_resolve": False, "segment": False},
    ],
)
def test_a_constant_that_cannot_work_is_named(run, capsys, flags):
    assert run(**flags) == 2
    (line,) = last_lines(capsys)
    assert all(name.upper() in line for name in flags)


# --- the script itself ---


def test_the_script_runs_from_any_directory(models, tmp_path):
    put(tmp_path / "my images", "a.png", drawn()[0])
    flags = ["--input-folder", "my images", "--output-folder", "results"]
    flags += ["--generator", str(models / "generator.h5"), "--unet", str(models / "Unet.h5")]
    flags += ["--microns-per-pixel", "1.0", "--tile-size", "64", "--batch-size", "2"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *flags],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert check_agreement(tmp_path / "results" / "a") == len(drawn()[1])
    assert "Traceback" not in done.stderr and "a.png" in done.stdout
