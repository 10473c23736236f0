"""Helper processes do tasks, lose none when they are killed, and never outlive their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image
from tqdm import tqdm

from helpers import tiny_models
from helpers.drawn_tissue import draw_tissue
from helpers.helper_tasks import failing_at_three, killed_at_three, process_of
from images.opening import open_image
from images.stated_size import StatedSize
from program.settings import MachineSettings, Settings, TileSettings
from program.terminal import Progress
from stages import examining, helper_processes
from stages.analysis import Analysis
from stages.helper_processes import results_of

FOLDER = Path(helper_processes.__file__).parents[1]


def test_tasks_are_done_by_helpers_and_gathered_here(tmp_path):
    found = dict(results_of(process_of, lambda key: key + 1, range(8), 2, tmp_path))
    assert {key: double for key, (_, double) in found.items()} == {k: 2 * k + 2 for k in range(8)}
    assert os.getpid() not in {process for process, _ in found.values()}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("tasks", "processes"), [(3, 1), (1, 4)])
def test_no_helpers_are_started_for_nothing(tmp_path, tasks, processes):
    found = dict(results_of(process_of, lambda key: key, range(tasks), processes, tmp_path))
    assert {process for process, _ in found.values()} == {os.getpid()}


def test_few_tasks_are_under_way(tmp_path):
    gathered, done = [], []

    def gather(key):
        gathered.append(key)
        return key

    for key, _ in results_of(process_of, gather, range(12), 2, tmp_path):
        done.append(key)
        assert len(gathered) - len(done) < 2 * (1 + helper_processes.WAITING)
    assert sorted(done) == list(range(12))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_the_tasks_of_a_killed_helper_are_done_here(tmp_path, capsys):
    parent = os.getpid()

    def task(key):
        return key, parent, bytes(5_000_000)  # more than a pipe takes at once

    found = list(results_of(killed_at_three, task, range(8), 2, tmp_path))
    assert sorted(found) == [(key, 2 * key) for key in range(8)]
    assert capsys.readouterr().err == "a helper process was lost; going on in one\n"


def test_where_no_helper_can_be_started_all_is_done_here(tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise NotImplementedError("no semaphores")

    monkeypatch.setattr(helper_processes, "ProcessPoolExecutor", refuse)
    found = dict(results_of(process_of, lambda key: key, range(4), 2, tmp_path))
    assert {process for process, _ in found.values()} == {os.getpid()}
    assert "no semaphores" in capsys.readouterr().err


def test_what_a_task_raises_arrives_and_ends_the_helpers(tmp_path):
    list(results_of(failing_at_three, lambda key: key, range(2), 2, tmp_path))
    before = psutil.Process().children(recursive=True)  # Python's own tracker of resources
    with pytest.raises(ValueError, match="no third"):
        list(results_of(failing_at_three, lambda key: key, range(6), 2, tmp_path))
    assert psutil.Process().children(recursive=True) == before


PARENT = """
import signal
import sys
import time
from pathlib import Path
from stages.helper_processes import results_of
if __name__ == "__main__":
    # What runs in the background of a shell, as tests may, is born deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("ready", flush=True)
    for key, _ in results_of(time.sleep, lambda key: 0.05, range(10_000), 2, Path(sys.argv[1])):
        print(key, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups to signal")
@pytest.mark.parametrize(("name", "working"), [("KILL", True), ("INT", True), ("INT", False)])
def test_helpers_end_with_their_parent(tmp_path, name, working):
    """Ctrl-C reaches the whole group, at work or while the helpers start; kill -9 one process."""
    (tmp_path / "parent.py").write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(FOLDER)}
    with subprocess.Popen(
        [sys.executable, tmp_path / "parent.py", tmp_path],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout.readline() == "ready\n"
        while len(psutil.Process(parent.pid).children()) < 3:  # two, and a tracker of resources
            time.sleep(0.01)
        helpers = psutil.Process(parent.pid).children(recursive=True)
        if working:
            assert parent.stdout.readline() in ("0\n", "1\n")  # whoever was first
        if name == "KILL":
            parent.kill()
        else:
            time.sleep(0.1)  # the last helper is on its way
            os.killpg(parent.pid, signal.SIGINT)
        errors = parent.communicate(timeout=30)[1]
    assert errors.count("Traceback") == (name == "INT")  # the parent's own, no helper's
    _, alive = psutil.wait_procs(helpers, timeout=10)
    assert not alive


def test_helpers_measure_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(examining, "WINDOW", 100)
    networks = tiny_models.loaded_networks(tmp_path)
    image, _ = draw_tissue(60, 90, nuclei=30)
    Image.fromarray(image).save(tmp_path / "a.png")
    rows, by_helpers, original = [], [], helper_processes._by_helpers
    monkeypatch.setattr(
        helper_processes,
        "_by_helpers",
        lambda *arguments: (by_helpers.append(pair) or pair for pair in original(*arguments)),
    )
    started = time.monotonic()
    for processes in (1, 2):
        with open_image(tmp_path / "a.png", stated=StatedSize(1.0)) as file:
            machines = MachineSettings(measuring_processes=processes)
            settings = Settings(tiles=TileSettings(32), machines=machines)
            progress = Progress(tqdm(disable=True), "")
            folder = tmp_path / str(processes)
            rows.append(Analysis(file, folder, networks, settings, progress).run())
    assert rows[0]["nuclei"] == rows[1]["nuclei"] > 10
    assert sum(row["seconds"] for row in rows) <= time.monotonic() - started + 0.2
    assert len(by_helpers) == 12  # windows, in the second run
    names = {file.name for file in (tmp_path / "1").iterdir()}
    assert "nuclei.csv" in names
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name
