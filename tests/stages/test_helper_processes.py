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
from images.sizes import StatedSize
from program.settings import Settings, TileSettings
from program.terminal import Progress
from stages import examining, helper_processes
from stages.analysis import Analysis
from stages.helper_processes import Helpers

FOLDER = Path(helper_processes.__file__).parents[1]


@pytest.fixture
def two():
    with Helpers(2) as helpers:
        yield helpers


def test_tasks_are_done_by_helpers_and_gathered_here(tmp_path, two):
    found = dict(two.results_of(process_of, lambda key: key + 1, range(8), tmp_path))
    assert {key: double for key, (_, double) in found.items()} == {k: 2 * k + 2 for k in range(8)}
    assert os.getpid() not in {process for process, _ in found.values()}
    assert not list(tmp_path.iterdir())


def test_the_same_helpers_do_all_work_of_a_run_and_end_with_it(tmp_path):
    first, second = set(), set()
    with Helpers(2) as helpers:
        for found in (first, second):
            for _, (process, _) in helpers.results_of(process_of, int, range(20), tmp_path):
                found.add(process)
    assert len(first | second) <= 2
    assert not any(psutil.pid_exists(process) for process in first | second)


@pytest.mark.parametrize(("tasks", "processes"), [(3, 1), (1, 4)])
def test_no_helpers_are_started_for_nothing(tmp_path, monkeypatch, tasks, processes):
    monkeypatch.setattr(helper_processes, "ProcessPoolExecutor", None)
    with Helpers(processes) as helpers:
        found = dict(helpers.results_of(process_of, lambda key: key, range(tasks), tmp_path))
    assert {process for process, _ in found.values()} == {os.getpid()}


def test_few_tasks_are_under_way(tmp_path, two):
    gathered, done = [], []

    def gather(key):
        gathered.append(key)
        return key

    for key, _ in two.results_of(process_of, gather, range(12), tmp_path):
        done.append(key)
        assert len(gathered) - len(done) < 2 * (1 + helper_processes.WAITING)
    assert sorted(done) == list(range(12))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_the_tasks_of_a_killed_helper_are_done_here_and_the_next_by_new_ones(tmp_path, two, capsys):
    parent = os.getpid()

    def task(key):
        return key, parent, bytes(5_000_000)  # more than a pipe takes at once

    found = list(two.results_of(killed_at_three, task, range(8), tmp_path))
    assert sorted(found) == [(key, 2 * key) for key in range(8)]
    assert capsys.readouterr().err == "a helper process was lost; going on in one\n"
    found = dict(two.results_of(process_of, int, range(8), tmp_path))
    assert parent not in {process for process, _ in found.values()}


def test_where_no_helper_can_be_started_all_is_done_here(tmp_path, monkeypatch, two, capsys):
    def refuse(*_, **__):
        raise NotImplementedError("no semaphores")

    monkeypatch.setattr(helper_processes, "ProcessPoolExecutor", refuse)
    found = dict(two.results_of(process_of, lambda key: key, range(4), tmp_path))
    assert {process for process, _ in found.values()} == {os.getpid()}
    assert "no semaphores" in capsys.readouterr().err


def test_what_a_task_raises_arrives_and_no_task_is_left(tmp_path, two):
    begun = []

    def task(key):
        begun.append(key)
        return key

    with pytest.raises(ValueError, match="no third"):
        list(two.results_of(failing_at_three, task, range(100), tmp_path))
    assert len(begun) < 100
    found = dict(two.results_of(process_of, int, range(8), tmp_path))
    assert sorted(found) == list(range(8)) and os.getpid() not in {p for p, _ in found.values()}


PARENT = """
import signal
import sys
import time
from pathlib import Path
from stages.helper_processes import Helpers
if __name__ == "__main__":
    # What runs in the background of a shell, as tests may, is born deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("ready", flush=True)
    folder = Path(sys.argv[1])
    with Helpers(2) as helpers:
        for key, _ in helpers.results_of(time.sleep, lambda key: 0.05, range(10_000), folder):
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
    rows, by_helpers, original = [], [], Helpers._shared
    monkeypatch.setattr(
        Helpers,
        "_shared",
        lambda *arguments: (by_helpers.append(pair) or pair for pair in original(*arguments)),
    )
    started = time.monotonic()
    for processes in (1, 2):
        with (
            open_image(tmp_path / "a.png", stated=StatedSize(1.0)) as file,
            Helpers(processes) as helpers,
        ):
            progress = Progress(tqdm(disable=True), "")
            settings, folder = Settings(tiles=TileSettings(32)), tmp_path / str(processes)
            rows.append(Analysis(file, folder, networks, settings, progress).run(helpers))
    assert rows[0]["nuclei"] == rows[1]["nuclei"] > 10
    assert sum(row["seconds"] for row in rows) <= time.monotonic() - started + 0.2
    assert len(by_helpers) == 12  # windows, in the second run
    names = {file.name for file in (tmp_path / "1").iterdir()}
    assert "nuclei.csv" in names
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name
