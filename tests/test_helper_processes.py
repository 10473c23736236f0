"""Helper processes do tasks, lose none when they are killed, and never outlive their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import helper_processes
import image_analysis
import psutil
import pytest
import tiny_models
from drawn_tissue import draw_tissue
from helper_processes import results_of
from helper_tasks import failing_at_three, killed_at_three, process_of
from image_analysis import Analysis, Settings
from image_files import open_image
from networks import load_network
from PIL import Image
from progress import Progress
from tqdm import tqdm

FOLDER = Path(helper_processes.__file__).parent


def test_tasks_are_done_by_helpers_and_gathered_here():
    found = dict(results_of(process_of, lambda key: key + 1, range(8), 2))
    assert {key: double for key, (_, double) in found.items()} == {k: 2 * k + 2 for k in range(8)}
    assert os.getpid() not in {process for process, _ in found.values()}


def test_with_one_process_none_is_started():
    found = dict(results_of(process_of, lambda key: key, range(3), 1))
    assert {process for process, _ in found.values()} == {os.getpid()}


def test_few_tasks_are_in_memory():
    gathered, done = [], []
    for key, _ in results_of(process_of, lambda key: gathered.append(key) or key, range(12), 2):
        done.append(key)
        assert len(gathered) - len(done) < 2 * (1 + helper_processes.WAITING)
    assert sorted(done) == list(range(12))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_the_tasks_of_a_killed_helper_are_done_here():
    parent = os.getpid()
    found = list(results_of(killed_at_three, lambda key: (key, parent), range(8), 2))
    assert sorted(found) == [(key, 2 * key) for key in range(8)]


def test_what_a_task_raises_arrives_and_ends_the_helpers():
    list(results_of(failing_at_three, lambda key: key, range(2), 2))
    before = psutil.Process().children(recursive=True)  # Python's own tracker of resources
    with pytest.raises(ValueError, match="no third"):
        list(results_of(failing_at_three, lambda key: key, range(6), 2))
    assert psutil.Process().children(recursive=True) == before


PARENT = """
import time
import helper_processes
from helper_processes import results_of
if __name__ == "__main__":
    print("ready", flush=True)
    for key, _ in results_of(time.sleep, lambda key: 0.05, range(10_000), 2):
        print(key, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_helpers_end_with_their_parent(tmp_path, number):
    (tmp_path / "parent.py").write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(FOLDER)}
    with subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout.readline() == "ready\n"
        assert parent.stdout.readline()  # helpers are at work
        helpers = psutil.Process(parent.pid).children(recursive=True)
        assert len(helpers) >= 2
        parent.send_signal(number)
        errors = parent.communicate(timeout=30)[1]
    assert errors.count("Traceback") == (number == signal.SIGINT)  # the parent's own, no helper's
    _, alive = psutil.wait_procs(helpers, timeout=10)
    assert not alive


def test_helpers_measure_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(image_analysis, "NUCLEI_WINDOW", 100)
    generator = tiny_models.save(tiny_models.bicubic_generator(), tmp_path / "generator.h5")
    unet = tiny_models.save(tiny_models.darkness_unet(), tmp_path / "Unet.h5", 0.25)
    networks = (
        load_network(generator, "generator", scale=4, channels=3),
        load_network(unet, "U-net", scale=1, channels=2),
    )
    image, _ = draw_tissue(60, 90, nuclei=30)
    Image.fromarray(image).save(tmp_path / "a.png")
    rows, started = [], time.monotonic()
    for processes in (1, 2):
        with open_image(tmp_path / "a.png") as file:
            settings = Settings(microns_per_pixel=1.0, tile_size=32)
            progress = Progress(tqdm(disable=True), "")
            folder = tmp_path / str(processes)
            rows.append(Analysis(file, folder, *networks, settings, progress, processes).run())
    assert rows[0]["nuclei"] == rows[1]["nuclei"] > 10
    assert sum(row["seconds"] for row in rows) <= time.monotonic() - started + 0.2
    names = {file.name for file in (tmp_path / "1").iterdir()}
    assert "nuclei.csv" in names
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name
