"""Each image takes the route of its own pixel size, whatever lies beside it in the folder."""

import csv
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import Pick_fields
import pytest
import tifffile

from helpers.whole_runs import BACKGROUND, NUCLEUS, Counter, check_agreement, put, summary
from images.opening import open_image
from networks.network import Network
from nuclei.pixel_size import Estimate
from pipeline import worker
from program.settings import NUCLEUS_SCORE

SIDE = 264  # of the field at 0.25 um per pixel


@pytest.fixture(scope="module")
def field():
    """A field at 40x with a little noise, and the number of its nuclei."""
    random, count = np.random.default_rng(0), 0
    image = np.full((SIDE, SIDE, 3), BACKGROUND, np.uint8)
    for y in range(36, SIDE - 24, 64):
        for x in range(36, SIDE - 24, 64):
            axes = int(random.integers(14, 18)), int(random.integers(11, 14))
            cv2.ellipse(image, (x, y), axes, float(random.uniform(0, 180)), 0, 360, NUCLEUS, -1)
            count += 1
    return np.clip(image + random.normal(0, 4, image.shape), 0, 255).astype(np.uint8), count


def at(image, microns):
    """The field as an objective shows it that gives pixels of so many um."""
    side = round(SIDE * 0.25 / microns)
    how = cv2.INTER_AREA if microns > 0.25 else cv2.INTER_CUBIC
    return cv2.resize(image, (side, side), interpolation=how)


def put_plain(folder, image, microns):
    put(folder, f"{microns:g}.png", at(image, microns), dpi=(25400 / microns,) * 2)


def put_slide(folder, image, microns):
    folder.mkdir(exist_ok=True)
    tifffile.imwrite(
        folder / f"{microns:g}.tif",
        at(image, microns),
        tile=(64, 64),
        photometric="rgb",
        resolution=(10_000 / microns,) * 2,
        resolutionunit="CENTIMETER",
    )


def loaded(capsys):
    """Names of the models that a run says it loads."""
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "Loading" in line]
    return line.removeprefix("Loading ").removesuffix(" ...").split(" and ")


def test_a_folder_may_mix_magnifications(run, tmp_path, field, capsys):
    image, count = field
    for microns in (0.25, 0.5, 1.0):
        put_plain(tmp_path / "input", image, microns)
    put(tmp_path / "input", "unknown.png", at(image, 1.0))
    assert run(microns_per_pixel=None) == 0
    rows = summary(tmp_path / "output")
    routes = {
        "0.25.png": "40x, 0.25 um, not enlarged",
        "0.5.png": "20x, 0.50 um, enlarged x2",
        "1.png": "10x, 1.00 um, enlarged x4",
        "unknown.png": "pixel size unknown, enlarged x4",
    }
    assert {name: row["route"] for name, row in rows.items()} == routes
    printed = capsys.readouterr().out
    report = (tmp_path / "output" / "report.html").read_text("utf-8")
    densities, areas = [], []
    for name, row in rows.items():
        assert int(row["width_out"]) == int(row["height_out"]) == SIDE
        assert check_agreement(tmp_path / "output" / Path(name).stem) == count
        assert routes[name] in printed and routes[name] in report
        if name != "unknown.png":
            densities.append(float(row["density_per_mm2"]))
            areas.append(float(row["mean_area_um2"]))
    assert max(densities) < 1.01 * min(densities) and max(areas) < 1.1 * min(areas)
    record = json.loads((tmp_path / "output" / "run.json").read_text("utf-8"))
    hashes = {name: model["sha256"] for name, model in record["models"].items()}
    assert rows["0.25.png"]["generator_sha256"] == ""
    assert rows["0.5.png"]["generator_sha256"] == hashes["generator_x2"]
    assert rows["1.png"]["generator_sha256"] == hashes["generator"]


def test_only_networks_of_the_routes_are_loaded(run, tmp_path, field, capsys):
    none = {"generator": tmp_path / "none.h5", "generator_x2": tmp_path / "none_x2.h5"}
    put_plain(tmp_path / "input", field[0], 0.25)
    assert run(microns_per_pixel=None, **none) == 0
    assert loaded(capsys) == ["Unet.h5", "nucleus_score.h5"]
    record = json.loads((tmp_path / "output" / "run.json").read_text("utf-8"))
    assert [name for name, model in record["models"].items() if model] == [
        "unet",
        "nucleus_score",
    ]
    assert "Super-resolved" not in (tmp_path / "output" / "report.html").read_text("utf-8")
    put_plain(tmp_path / "input", field[0], 0.5)
    assert run(microns_per_pixel=None, generator=none["generator"]) == 0
    assert loaded(capsys) == ["generator_x2.h5", "Unet.h5", "nucleus_score.h5"]
    put_plain(tmp_path / "input", field[0], 1.0)
    assert run(microns_per_pixel=None, generator=none["generator"]) == 2
    assert "none.h5" in capsys.readouterr().err


def test_another_generator_is_a_reason_to_repeat_its_own_images_only(
    run, models, tmp_path, field, capsys
):
    for microns in (0.25, 0.5, 1.0):
        put_plain(tmp_path / "input", field[0], microns)
    assert run(microns_per_pixel=None) == 0
    other = tmp_path / "other.h5"
    other.write_bytes((models / "generator_x2.h5").read_bytes() + b" ")
    capsys.readouterr()
    assert run(microns_per_pixel=None, generator_x2=other) == 0
    printed = capsys.readouterr().out
    assert "0.5.png: done again, another model" in printed
    assert printed.count("finished before, skipped") == 2


def test_another_score_is_a_reason_to_repeat_all_images_with_nuclei(run, tmp_path, field, capsys):
    for microns in (0.25, 0.5):
        put_plain(tmp_path / "input", field[0], microns)
    assert run(microns_per_pixel=None) == 0
    other = tmp_path / "other.h5"
    other.write_bytes(NUCLEUS_SCORE.read_bytes() + b" ")
    assert run(microns_per_pixel=None, nucleus_score=other) == 0
    assert capsys.readouterr().out.count("done again, another model") == 2
    rows = summary(tmp_path / "output").values()
    expected = hashlib.sha256(other.read_bytes()).hexdigest()
    assert {row["nucleus_score_sha256"] for row in rows} == {expected}


@pytest.mark.parametrize("change", [Path.unlink, Path.touch, lambda path: path.write_text("no")])
def test_a_model_that_changes_during_a_run_changes_nothing(
    run, tmp_path, field, monkeypatch, change
):
    other = tmp_path / "other.h5"
    other.write_bytes(NUCLEUS_SCORE.read_bytes())
    for microns in (0.25, 0.5):
        put_plain(tmp_path / "input", field[0], microns)
    load = worker.load_score

    def loaded_and_changed(path):
        score = load(path)
        change(other)
        return score

    monkeypatch.setattr(worker, "load_score", loaded_and_changed)
    assert run(microns_per_pixel=None, nucleus_score=other) == 0
    assert (tmp_path / "output" / "report.html").is_file()
    assert all(int(row["nuclei"]) > 0 for row in summary(tmp_path / "output").values())


@pytest.mark.parametrize(
    ("microns", "flags", "route", "side"),
    [
        (0.125, {}, "80x, 0.12 um, read at 0.25 um, not enlarged", SIDE),
        (0.25, {}, "40x, 0.25 um, not enlarged", SIDE),
        (0.4, {}, "about 25x, 0.40 um, read at 0.50 um, enlarged x2", SIDE),
        (0.46, {}, "20x, 0.46 um, enlarged x2", 2 * round(SIDE * 0.25 / 0.46)),
        (0.25, {"enlarge": 2}, "40x, 0.25 um, read at 0.50 um, enlarged x2", SIDE),
        (
            *(0.25, {"read_at_microns_per_pixel": 1.0}),
            *("40x, 0.25 um, read at 1.00 um, enlarged x4", SIDE),
        ),
        (0.5, {"super_resolve": False}, "20x, 0.50 um, not enlarged", SIDE // 2),
    ],
)
def test_slides_are_read_as_finely_as_the_result_needs(
    run, tmp_path, field, capsys, microns, flags, route, side
):
    image, count = field
    put_slide(tmp_path / "input", image, microns)
    assert run(microns_per_pixel=None, **flags) == 0
    (row,) = summary(tmp_path / "output").values()
    assert row["route"] == route and int(row["nuclei"]) == count
    assert int(row["width_out"]) == pytest.approx(side, abs=2)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("1/1")]
    assert len(said) == 1 and route in said[0]  # before the long work
    as_it_is = "--read-at-microns-per-pixel 1" in said[0]
    assert as_it_is == (row["route"].endswith("not enlarged") and not flags)


def test_tiles_are_as_large_in_the_result_on_all_routes(run, tmp_path, field, monkeypatch):
    predict, seen = Network.predict_middle, []

    def watched(network, tiles):
        seen.append((network.scale, tiles.shape[1] - 2 * network.margin))
        return predict(network, tiles)

    monkeypatch.setattr(Network, "predict_middle", watched)
    for microns in (0.25, 0.5, 1.0):
        put_plain(tmp_path / "input", field[0], microns)
    assert run(microns_per_pixel=None, tile_size=32) == 0
    sides = {scale: side * scale for scale, side in seen}
    assert max(sides.values()) <= 128 and min(sides.values()) > 64


@pytest.mark.parametrize("tile_size", [16, 48])
def test_results_of_x2_do_not_depend_on_the_tile_size(run, tmp_path, field, tile_size):
    put_plain(tmp_path / "input", field[0][:-14, :-10], 0.5)
    assert run("whole", microns_per_pixel=None) == run(microns_per_pixel=None, tile_size=tile_size)
    folders = [tmp_path / name / "0" for name in ("whole", "output")]
    folders = [folder.with_name("0.5") for folder in folders]
    pictures = [cv2.imread(str(folder / "super_resolved.png")).astype(int) for folder in folders]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
    assert check_agreement(folders[0]) == check_agreement(folders[1]) > 0


def test_an_interrupted_x2_image_goes_on_and_gives_the_same(run, tmp_path, field, monkeypatch):
    put_plain(tmp_path / "input", field[0], 0.5)
    flags = {"microns_per_pixel": None, "tile_size": 16}
    assert run("whole", **flags) == 0
    with monkeypatch.context() as patch:
        Counter(patch, Network, "predict_middle", 20)
        assert run(**flags) == 130
    assert run(**flags) == 0
    names = ("nuclei_labels.tif", "nuclei.csv", "super_resolved.png", "sr_confidence.tif")
    for name in names:
        pair = [(tmp_path / end / "0.5" / name).read_bytes() for end in ("whole", "output")]
        assert pair[0] == pair[1], name


def test_fields_of_every_route_are_cut_for_correction(run, tmp_path, field):
    for put_it, microns in ((put_slide, 0.2), (put_plain, 0.5), (put_plain, 1.0)):
        put_it(tmp_path / "input", field[0], microns)
    assert run(microns_per_pixel=None) == 0
    assert Pick_fields.main(tmp_path / "output", tmp_path / "fields", 3, 128) == 0
    pictures = sorted((tmp_path / "fields").glob("*.png"))
    assert len({path.name.split("_x")[0] for path in pictures}) == 3
    for path in pictures:
        with open_image(path) as picture:
            assert picture.microns_per_pixel == pytest.approx(0.25, rel=0.01)


def test_a_run_before_there_was_a_choice_is_repeated_as_it_was(run, tmp_path, field):
    """Then all images were enlarged x4, or none."""
    import Final_implementation

    put_plain(tmp_path / "input", field[0], 0.5)
    assert run(microns_per_pixel=None) == 0
    record = tmp_path / "output" / "run.json"
    content = json.loads(record.read_text("utf-8"))
    for super_resolve, route in ((True, "enlarged x4"), (False, "not enlarged")):
        content["results_version"] = 3
        content["constants"]["super_resolve"] = super_resolve
        for name in ("enlarge", "x2_from", "x4_from"):
            content["constants"].pop(name, None)
        record.write_text(json.dumps(content), encoding="utf-8")
        again = tmp_path / f"again {super_resolve}"
        flags = ["--from-run", str(record), "--output-folder", str(again)]
        assert Final_implementation.command_line(flags) == 0
        with (again / "summary.csv").open(encoding="utf-8-sig", newline="") as file:
            (row,) = csv.DictReader(file)
        assert row["route"] == f"20x, 0.50 um, {route}"


def test_a_model_that_cannot_be_loaded_later_fails_its_images_alone(
    run, models, tmp_path, field, monkeypatch
):
    """A generator that vanishes, or does not suit a worker, after the run has begun."""
    for microns in (0.25, 0.5):
        put_plain(tmp_path / "input", field[0], microns)
    monkeypatch.setattr(worker.LoadedNetworks, "_load_generator", lambda *_: 1 / 0)
    monkeypatch.setattr("pipeline.reading.scales_of", lambda jobs: {1})
    assert run(microns_per_pixel=None) == 1
    statuses = {name: row["status"] for name, row in summary(tmp_path / "output").items()}
    assert statuses == {"0.25.png": "done", "0.5.png": "failed"}


@pytest.fixture
def tells(monkeypatch):
    """Function that makes tissue tell a pixel size, in um as the image is read."""

    def make(microns):
        calls = []

        def estimate(*arguments):
            calls.append(arguments)
            return Estimate(microns, microns is not None)

        monkeypatch.setattr(worker.pixel_size, "patches_for", lambda pixels: 1)
        monkeypatch.setattr(worker.pixel_size, "estimate", estimate)
        return calls

    return make


@pytest.mark.parametrize(
    ("stated", "told", "command"),
    [
        (None, 0.26, "--microns-per-pixel 0.25"),
        (None, 0.8, None),
        (None, None, None),
        (1.0, 0.24, "--microns-per-pixel 0.25 --microns-per-pixel-for-all"),
        (0.25, 0.42, None),
    ],
)
def test_a_size_that_the_nuclei_contradict_is_doubted(
    run, tmp_path, field, capsys, tells, models, stated, told, command
):
    tells(told)
    dpi = {"dpi": (25400 / stated,) * 2} if stated else {}
    put(tmp_path / "input", "a.png", at(field[0], stated or 1.0), **dpi)
    assert run(microns_per_pixel=None, pixel_size_model=models / "pixel_size.h5") == 0
    (row,) = summary(tmp_path / "output").values()
    assert row["estimated_microns_per_pixel"] == (f"{told:g}" if told else "")
    printed, after = capsys.readouterr().out.split("Report: ")
    report = (tmp_path / "output" / "report.html").read_text("utf-8")
    for text in (printed, row["warning"], report):
        assert ("the tissue looks as if" in text) == bool(command)
        assert not command or f"run it with {command}" in text
    assert "estimate" not in row["route"]
    # Where no size is known, it is said in any case.
    about = f"a.png (about {told:.2g} um by its tissue) is unknown" if told else "a.png is unknown"
    assert (about in after) == (stated is None)


def test_an_estimate_is_used_only_where_it_is_asked_for(
    run, tmp_path, field, tells, models, capsys
):
    flags = {"microns_per_pixel": "estimate", "pixel_size_model": models / "pixel_size.h5"}
    tells(0.27)
    put(tmp_path / "input", "unknown.png", at(field[0], 0.25))
    put_plain(tmp_path / "input", field[0], 0.5)
    put_slide(tmp_path / "input", field[0], 0.125)
    assert run(**flags) == 0
    names = ["generator_x2.h5", "Unet.h5", "nucleus_score.h5", "pixel_size.h5"]
    assert loaded(capsys) == names
    routes = {name: row["route"] for name, row in summary(tmp_path / "output").items()}
    assert routes["unknown.png"] == "40x, 0.25 um by estimate, not enlarged"
    assert routes["0.5.png"] == "20x, 0.50 um, enlarged x2"
    assert routes["0.125.tif"] == "80x, 0.12 um, read at 0.25 um, not enlarged"
    tells(0.49)
    assert run("all", **flags, microns_per_pixel_for_all=True) == 0
    rows = summary(tmp_path / "all")
    assert rows["unknown.png"]["route"] == "20x, 0.50 um by estimate, enlarged x2"
    assert rows["0.125.tif"]["route"] == "40x, 0.25 um by estimate, not enlarged"  # read at half
    assert rows["unknown.png"]["microns_per_pixel_out"] == "0.25"
    record = json.loads((tmp_path / "all" / "run.json").read_text("utf-8"))
    assert (
        record["models"]["generator_x2"] and record["constants"]["microns_per_pixel"] == "estimate"
    )
    assert Pick_fields.main(tmp_path / "all", tmp_path / "fields", 3, 128) == 0


def test_an_interrupted_image_keeps_its_estimate(run, tmp_path, field, tells, models, monkeypatch):
    put(tmp_path / "input", "a.png", at(field[0], 0.5))
    flags = {"microns_per_pixel": "estimate", "tile_size": 16}
    flags["pixel_size_model"] = models / "pixel_size.h5"
    tells(0.5)
    with monkeypatch.context() as patch:
        Counter(patch, Network, "predict_middle", 20)
        assert run(**flags) == 130
    calls = tells(1.0)  # another processor may tell another one
    predicted = Counter(monkeypatch, Network, "predict_middle")
    assert run(**flags) == 0
    assert not calls and predicted.calls > 0
    (row,) = summary(tmp_path / "output").values()
    assert row["route"] == "20x, 0.50 um by estimate, enlarged x2"
    assert run(**flags, overwrite=True) == 0
    assert calls


def test_an_estimate_is_made_of_patches_by_both_networks(run, tmp_path, field, models):
    put(tmp_path / "input", "nuclei.png", at(field[0], 0.25))
    put(tmp_path / "input", "none.png", np.full((200, 200, 3), 240, np.uint8))
    flags = {"microns_per_pixel": "estimate", "pixel_size_model": models / "pixel_size.h5"}
    assert run(**flags) == 0
    rows = summary(tmp_path / "output")
    assert rows["nuclei.png"]["route"] == "40x, 0.25 um by estimate, not enlarged"
    assert rows["none.png"]["route"] == "pixel size unknown, enlarged x4"
    assert rows["none.png"]["estimated_microns_per_pixel"] == ""


@pytest.mark.parametrize(
    ("flags", "reason"),
    [({"segment": False}, "SEGMENT"), ({"pixel_size_model": None}, "PIXEL_SIZE_MODEL")],
)
def test_what_is_not_checked_is_not_estimated(run, tmp_path, field, models, flags, reason, capsys):
    flags = {"pixel_size_model": models / "pixel_size.h5"} | flags
    put_plain(tmp_path / "input", field[0], 0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.pixel_size, "estimate", lambda *_: 1 / 0)
        patch.setattr(worker.pixel_size, "patches_for", lambda pixels: 1)
        assert run(microns_per_pixel=None, **flags) == 0
    assert run("estimated", microns_per_pixel="estimate", **flags) == 2
    assert reason in capsys.readouterr().err


def test_small_images_are_not_asked(run, tmp_path, field, models, monkeypatch):
    monkeypatch.setattr(worker.pixel_size, "estimate", lambda *_: 1 / 0)
    put_plain(tmp_path / "input", field[0], 0.5)
    assert run(microns_per_pixel=None, pixel_size_model=models / "pixel_size.h5") == 0
