"""The benchmark measures what it says, and the workflow figure is drawn."""

import json
from functools import partial
from types import SimpleNamespace

import benchmark
import cv2
import numpy as np
import pytest
import Workflow_figure
from keras import Input, Model, layers

from evaluation.speed import paired_runs
from evaluation.speed import pipeline as speed
from evaluation.speed.networks import operations_per_pixel
from evaluation.speed.paired_runs import Run
from helpers.drawn_tissue import draw_tissue, write_picture
from helpers.tiny_models import darkness_unet, random_generator, save
from networks.network import Network
from program.settings import TileSettings


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    image = np.kron(draw_tissue(40, 56, nuclei=4)[0], np.ones((2, 2, 1), np.uint8))
    write_picture(folder / "image.png", image)
    return {
        "image": folder / "image.png",
        "generator": save(random_generator(), folder / "generator.h5"),
        "unet": save(darkness_unet(), folder / "Unet.h5", 0.25),
    }


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_report_holds_rates_shares_and_stages(inputs, tmp_path, precision):
    report = tmp_path / "benchmark.json"
    status = benchmark.main(
        **inputs,
        megapixels=(0.1,),
        tile_sizes=(32,),
        batch_sizes=(1, 2),
        small_images=0,
        repeats=1,
        precision=precision,
        report=report,
    )
    content = json.loads(report.read_text(encoding="utf-8"))
    assert status == 0 and content["precision"] == precision
    assert set(content["gflops"]) == {"float32", "bfloat16"} and min(content["gflops"].values()) > 0
    assert len(content["networks"]) == 4
    for row in content["networks"]:
        rate = row["Mpx/s"] * row["kFLOP/px"] / content["gflops"][precision]
        assert row["share of rate"] == pytest.approx(rate, rel=1e-6)
        assert 0 < row["margin cost"] < 1
        tiled = row["Mpx/s"] * (1 - row["margin cost"])
        assert row["tiled Mpx/s"] == pytest.approx(tiled, rel=1e-6)
    assert {row["network"] for row in content["slowest layers"]} == {"generator", "U-net"}
    assert all(0 < row["share of operations"] <= 1 for row in content["slowest layers"])
    assert [row["network"] for row in content["rewriting"]] == ["generator", "U-net"]
    for row in content["rewriting"]:
        assert row["as trained"] == 1 and min(row["seconds"], row["folded"], row["cut"]) > 0
    assert [row["work"] for row in content["window"]] == [
        "separate",
        "measure",
        "assess nuclei",
        "assess pixels",
    ]
    assert all(row["s/Mpx"] > 0 and row["ms/nucleus"] > 0 for row in content["window"])
    by_tile_and_batch = content["pipeline by tile and batch"]
    assert [(row["tile"], row["batch"]) for row in by_tile_and_batch] == [
        (32, 1),
        (TileSettings().tile_size, 2),
    ]
    (row,) = content["pipeline"]
    stages = {name: value for name, value in row.items() if name.endswith(", s")}
    names = ("read", "super-resolve", "segment", "assess and measure", "write")
    assert list(stages) == [f"{name}, s" for name in names]
    assert min(stages.values()) > 0 and sum(stages.values()) == pytest.approx(row["seconds"])
    assert 0 < row["outside networks"] < 1 and row["peak memory, MB"] > 50
    fastest = {each["network"]: 0.0 for each in content["networks"]}
    for each in content["networks"]:
        fastest[each["network"]] = max(fastest[each["network"]], each["Mpx/s"])
    bare = sum(row["Mpx"] / speed for speed in fastest.values())
    assert row["bare networks = 1"] == pytest.approx(row["seconds"] / bare)
    assert "cost of a pixel" not in row and "small images" not in content  # were not asked for


def test_operations_are_counted_from_the_layers():
    inputs = Input((None, None, 3))
    x = layers.Conv2D(8, 3, padding="same")(inputs)  # 3*3*3*8 multiply-adds per pixel
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(4, 1)(x)  # 8*4, on a quarter of the pixels
    x = layers.UpSampling2D(2)(x)
    x = layers.Conv2DTranspose(2, 2, strides=2)(x)  # 2*2*4*2 per pixel that it takes
    network = Network(Model(inputs, x), scale=2, radius=0, pooling=2)
    multiply_adds = (216 + 32 / 4 + 32) / 4  # per output pixel: four times as many
    assert operations_per_pixel(network) == 2 * multiply_adds


STAND_IN = """
import sys
from pathlib import Path
here, words = Path(__file__).parents[1], sys.argv[1:]
images = Path(words[words.index("--input-folder") + 1])
with (here.parent / "runs.txt").open("a") as log:
    print(here.name, images.name, len(list(images.iterdir())), *words[4:], file=log)
sys.exit((here / "broken").exists() and "this one is broken")
"""


@pytest.fixture
def checkouts(tmp_path):
    """Two checkouts whose script only notes that it was run."""
    for name in ("new", "old"):
        script = tmp_path / name / paired_runs.SCRIPT
        script.parent.mkdir(parents=True)
        script.write_text(STAND_IN)
    return tmp_path / "new", tmp_path / "old"


def test_two_checkouts_run_by_turns(inputs, checkouts, monkeypatch, capsys):
    new, old = checkouts
    row = paired_runs.paired_row("a", *(Run(inputs["image"].parent, (), c) for c in checkouts), 3)
    assert row["lowest"] <= row["ratio"] <= row["highest"]
    runs = [line.split()[0] for line in (new.parent / "runs.txt").read_text().splitlines()]
    assert runs == ["new", "old", "old", "new", "new", "old"]
    monkeypatch.setattr(paired_runs, "Run", partial(Run, checkout=new))
    (old / "broken").touch()
    assert benchmark.main(**inputs, compare=old, repeats=1) == 2
    assert "this one is broken" in capsys.readouterr().err


def test_many_small_images_are_held_against_a_large_one(checkouts, monkeypatch):
    new, _ = checkouts
    monkeypatch.setattr(paired_runs, "Run", partial(Run, checkout=new))
    tissue = np.zeros((20, 20, 3), np.uint8)
    row = paired_runs.many_against_one(tissue, (25, 79), ["--enlarge", "4"], 1)
    assert row["runs"] == "10 of 25 px / one of 79 px"
    runs = (new.parent / "runs.txt").read_text().splitlines()
    assert runs == ["new many 10 --enlarge 4", "new one 1 --enlarge 4"]


def test_a_further_image_costs_what_a_run_takes_longer(monkeypatch):
    class Run:
        def __init__(self, images, flags):
            self.images, self.flags = images, flags

        def seconds(self):
            assert self.flags == ("--enlarge", "4")
            return 5.0 + 2.0 * len(list(self.images.iterdir())), 0.0

    monkeypatch.setattr(paired_runs, "Run", Run)
    tissue = np.zeros((20, 20, 3), np.uint8)
    seconds = paired_runs.seconds_of_a_further_image(tissue, 30, ["--enlarge", "4"], 2)
    assert seconds == pytest.approx(2.0)
    single = {"Mpx": 1.0, "super-resolve, s": 0.5, "segment, s": 0.3, "seconds": 3.0}
    monkeypatch.setattr(speed, "command_line", lambda chosen: ["--enlarge", "4"])
    (row,) = speed.further_rows(
        tissue, [single, single | {"Mpx": 16.0}], SimpleNamespace(enlarge=4, repeats=1)
    )
    assert row["outside networks"] == pytest.approx(0.6) and row["seconds"] == pytest.approx(2.0)


def test_a_missing_model_ends_the_benchmark(inputs, tmp_path, capsys):
    assert benchmark.main(**inputs | {"unet": tmp_path / "nowhere.h5"}) == 2
    assert "nowhere.h5" in capsys.readouterr().err


def test_the_workflow_is_drawn(inputs, tmp_path):
    picture = tmp_path / "new" / "workflow.png"
    assert Workflow_figure.main(**inputs, field=64, tile_size=32, picture=picture) == 0
    assert cv2.imread(str(picture)).std() > 20


def test_a_missing_image_ends_the_workflow(inputs, tmp_path, capsys):
    image = tmp_path / "nowhere.png"
    assert Workflow_figure.main(**inputs | {"image": image}, picture=tmp_path / "w.png") == 2
    assert "nowhere.png" in capsys.readouterr().err
