"""A run on a real Dask cluster on this machine gives what one process gives, whatever dies."""

import csv
import json
import subprocess
import sys
import threading
import time

import Final_implementation
import pytest
from distributed import Client
from PIL import Image

from helpers.drawn_tissue import draw_tissue
from helpers.whole_runs import finished_folders, without_pictures
from pipeline import cluster

RESULTS = ("nuclei_labels.tif", "nuclei.csv", "nuclei.geojson", "super_resolved.png")
TILE_SIZE = 16  # 64 tiles at most make a small image


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Folder of images: two large, one of them from 20x, small ones and a bad one."""
    folder = tmp_path_factory.mktemp("inputs")
    sizes = {"large": (150, 240), "small": (40, 60), "other": (61, 33)}
    for seed, (name, (height, width)) in enumerate(sizes.items()):
        image, _ = draw_tissue(height, width, seed, nuclei=height * width // 600)
        Image.fromarray(image).save(folder / f"{name}.png")
    fine, _ = draw_tissue(240, 300, 3, nuclei=100)
    Image.fromarray(fine).save(folder / "fine.png", dpi=(50800, 50800))  # 0.5 um per pixel
    (folder / "bad.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def run(inputs, models, monkeypatch):
    """Function that analyses the images into a folder, by a scheduler's workers or alone."""
    without_pictures(monkeypatch.setattr)  # workers draw them; they are not compared

    def run_main(output, **flags):
        return Final_implementation.main(
            input_folder=inputs,
            output_folder=output,
            generator=models / "generator.h5",
            generator_x2=models / "generator_x2.h5",
            unet=models / "Unet.h5",
            pixel_size_model=models / "pixel_size.h5",
            tile_size=TILE_SIZE,
            **{"microns_per_pixel": 1.0} | flags,
        )

    return run_main


def start(*command):
    return subprocess.Popen([sys.executable, "-m", "dask", *map(str, command)])


@pytest.fixture
def scheduler(tmp_path):
    """Address of a scheduler and a function that starts one more worker, named by its number."""
    file, processes = tmp_path / "scheduler.json", []
    common = ["--scheduler-file", file, "--no-dashboard"]
    processes.append(start("scheduler", *common, "--host", "127.0.0.1", "--port", "0"))
    wait_for(file.is_file)
    address = json.loads(file.read_text())["address"]

    def worker():
        name = f"worker{len(processes)}"
        options = ["--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--name", name]
        folder = tmp_path / name  # it keeps what it is sent there
        folder.mkdir()
        processes.append(start("worker", *common[:2], *options, "--local-directory", folder))
        return name, processes[-1]

    yield address, worker
    for process in reversed(processes):
        process.kill()
        process.wait()


def wait_for(condition, seconds=240):
    """Wait until a condition holds; fail where it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def rows_of(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return {row.pop("image"): row for row in csv.DictReader(file)}


def test_a_lost_worker_changes_nothing(run, tmp_path, scheduler):
    """Two workers that join after the run has begun; one is killed while it does a piece."""
    address, start_worker = scheduler
    strips = tmp_path / "cluster" / "large" / ".partial" / "pixels"
    seen = {}

    def kill_one():
        (name, victim), _ = start_worker(), start_worker()
        with Client(address, set_as_default=False) as client:

            def is_at_work():
                workers = client.scheduler_info(n_workers=-1)["workers"]
                its = [at for at, worker in workers.items() if worker["name"] == name]
                tasks = client.processing(its) if its else {}
                return len(workers) == 2 and any("do_piece" in t for t in sum(tasks.values(), ()))

            while not run_is_over.is_set():
                if len(list(strips.glob("*.json"))) > 1 and is_at_work():
                    victim.kill()
                    seen["finished"] = len(finished_folders(tmp_path / "cluster"))
                    return
                time.sleep(0.02)

    run_is_over = threading.Event()
    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        assert run(tmp_path / "cluster", scheduler=address) == 1  # for bad.png
    finally:
        run_is_over.set()
        killer.join()
    assert seen["finished"] < 4  # it died before all images were done

    assert run(tmp_path / "single") == 1
    found, expected = (rows_of(tmp_path / end / "summary.csv") for end in ("cluster", "single"))
    names = ["bad.png", "fine.png", "large.png", "other.png", "small.png"]
    assert list(found) == list(expected) == names
    for name, route in (("large.png", "enlarged x4"), ("fine.png", "enlarged x2")):
        assert int(expected[name]["nuclei"]) > 20 and route in expected[name]["route"]
    for image, row in expected.items():
        del row["seconds"], found[image]["seconds"]
        assert row == found[image]
        if row["status"] == "done":
            for name in RESULTS:
                folders = (tmp_path / end / image[:-4] for end in ("cluster", "single"))
                first, second = ((folder / name).read_bytes() for folder in folders)
                assert first == second, (image, name)
    assert not strips.parent.exists()


def test_workers_tell_pixel_sizes_by_the_models_that_were_sent(run, tmp_path, scheduler):
    address, start_worker = scheduler
    start_worker()
    for end, flags in (("cluster", {"scheduler": address}), ("single", {})):
        assert run(tmp_path / end, microns_per_pixel="estimate", **flags) == 1  # for bad.png
    found, expected = (rows_of(tmp_path / end / "summary.csv") for end in ("cluster", "single"))
    assert "by estimate" in expected["large.png"]["route"]
    for image, row in expected.items():
        del row["seconds"], found[image]["seconds"]
        assert row == found[image]


def test_a_scheduler_that_does_not_answer_is_named(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    assert run(tmp_path / "output", scheduler="tcp://127.0.0.1:9") == 2
    assert "tcp://127.0.0.1:9" in capsys.readouterr().err


def test_workers_get_code_and_models_by_content(models):
    class Recording:
        def __init__(self):
            self.names = []

        def register_plugin(self, plugin, name):
            self.names.append(name)

    client = Recording()
    files = {"generator": models / "generator.h5", "unet": models / "Unet.h5"}
    sent = cluster.send_code_and_models(client, files | {"generator_x2": models / "none.h5"})
    assert set(sent.models) == {"generator", "unet"}  # what is missing may not be needed
    assert {sent.code, *sent.models.values()} <= {*client.names}
    assert sent == cluster.send_code_and_models(client, files)  # named by content alone
