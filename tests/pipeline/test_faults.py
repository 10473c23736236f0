"""What may go wrong around a run, and what must survive it.

No fault hangs the run, shows a traceback, costs another image or hides behind exit status 0; what
was finished stays as it is, and the same command goes on to what a run without the fault gives.
"""

import contextlib
import csv
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.forked_runs import Runs
from helpers.image_samples import WRITERS, corrupted
from helpers.whole_runs import (
    assert_as_clean,
    bytes_of,
    check_agreement,
    crowded,
    finished_folders,
    put,
    put_images,
    summary,
)
from images.formats import slides
from networks.network import Network
from pipeline.output_folder import folder_name
from program.disk import OutputError, check_room

KILLS = 20


@pytest.fixture
def at_prediction(monkeypatch):
    """Function that has `act` called before prediction number `number` of the runs to come."""

    def register(number, act):
        predict, calls = Network.predict_middle, []

        def watched(network, tiles):
            calls.append(network)
            if len(calls) == number:
                act()
            return predict(network, tiles)

        monkeypatch.setattr(Network, "predict_middle", watched)

    return register


# --- one image fails ---


def test_damaged_files_among_good_ones(run, tmp_path):
    put_images(tmp_path, "a.png", "m.png", "z.png")
    for suffix, writers in WRITERS.items():
        path = tmp_path / "input" / f"damaged.{suffix}"
        writers[0](path, crowded(70, 90, 12))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        changed = corrupted(path.read_bytes(), np.random.default_rng(1))
        path.with_name(f"changed.{suffix}").write_bytes(changed)
    status, printed = run()
    rows = summary(tmp_path / "output")
    assert status == 1 and len(rows) == 3 + 2 * len(WRITERS)
    for name, row in rows.items():
        done = row["status"] == "done"
        assert done == (not row["error"]) and name in printed
        assert done or name in row["error"]
    assert all(rows[name]["status"] == "done" for name in ("a.png", "m.png", "z.png"))
    assert rows["damaged.png"]["status"] == "failed"
    assert check_agreement(tmp_path / "output" / "z") > 0


@pytest.mark.parametrize("compression", [None, "jpeg"])
def test_a_slide_that_fails_in_the_middle(run, tmp_path, monkeypatch, at_prediction, compression):
    monkeypatch.setattr(slides, "CACHE_BYTES", 0)  # so that tiles are read when needed
    put_images(tmp_path, "a.png", "c.png")
    slide = tmp_path / "input" / "b.tif"
    tissue = crowded(128, 128, 40, seed=1)
    tifffile.imwrite(slide, tissue, photometric="rgb", tile=(16, 16), compression=compression)
    whole, size = slide.read_bytes(), slide.stat().st_size

    at_prediction(4 + 4 + 10, lambda: os.truncate(slide, size // 3))
    status, _ = run()
    rows = summary(tmp_path / "output")
    assert status == 1
    assert [row["status"] for row in rows.values()] == ["done", "failed", "done"]
    assert rows["b.tif"]["error"].startswith("b.tif: ")
    assert not (tmp_path / "output" / "b" / "nuclei.csv").exists()

    slide.write_bytes(whole)
    assert run()[0] == 0
    assert_as_clean(run, tmp_path)


def test_files_that_vanish_during_the_run(run, tmp_path, at_prediction):
    put_images(tmp_path, "a.png", "b.png", "c.png", "d.png")
    at_prediction(2, lambda: [(tmp_path / "input" / f"{name}.png").unlink() for name in "abc"])
    status, _ = run()
    rows = summary(tmp_path / "output")
    assert status == 1
    # The first was open; no one can take it away.
    assert [row["status"] for row in rows.values()] == ["done", "failed", "failed", "done"]
    assert "not there" in rows["b.png"]["error"]
    assert check_agreement(tmp_path / "output" / "d") > 0


def test_an_image_too_large_for_the_disk_is_refused_before_it_fills_it(run, tmp_path):
    put_images(tmp_path, "a.png", "c.png")
    slide = tmp_path / "input" / "b.tif"
    # As scanners do, its tiles are left out: 26 kB that would become terabytes of white pixels.
    empty = iter([b""] * 1600)
    tifffile.imwrite(
        slide,
        empty,
        shape=(400_000, 400_000, 3),
        dtype=np.uint8,
        photometric="rgb",
        tile=(10_000, 10_000),
        compression="zlib",
    )
    status, _ = run()
    rows = summary(tmp_path / "output")
    assert status == 1
    assert [row["status"] for row in rows.values()] == ["done", "failed", "done"]
    assert "GB at least are needed" in rows["b.tif"]["error"]


def test_room_is_checked_against_the_disk(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    check_room(tmp_path, free // 2)
    with pytest.raises(OutputError, match="make room"):
        check_room(tmp_path, 2 * free + 10**9)


# --- permissions ---


@contextlib.contextmanager
def without_roots_powers():
    """Let permissions count for root, too, as far as this thread goes; skip where it cannot be."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        yield
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("root may do everything")
    libc = ctypes.CDLL(None, use_errno=True)
    header, before = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, before)
    less = (ctypes.c_uint32 * 6)(*before)
    less[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if libc.capset(header, less):
        pytest.skip("this system does not let root give up its powers")
    try:
        yield
    finally:
        libc.capset(header, before)


def test_an_image_that_must_not_be_read(run, tmp_path):
    put_images(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "input" / "b.png").chmod(0)
    with without_roots_powers():
        status, _ = run()
    rows = summary(tmp_path / "output")
    assert status == 1
    assert [row["status"] for row in rows.values()] == ["done", "failed", "done"]
    assert "permission" in rows["b.png"]["error"]
    (tmp_path / "input" / "b.png").chmod(0o600)
    assert run()[0] == 0
    assert_as_clean(run, tmp_path)


def test_an_input_folder_that_must_not_be_read(run, tmp_path):
    put_images(tmp_path, "a.png")
    (tmp_path / "input").chmod(0)
    with without_roots_powers():
        status, printed = run()
    (tmp_path / "input").chmod(0o700)
    assert status == 2 and str(tmp_path / "input") in printed


@pytest.mark.parametrize("folder", ["output", "output/b"])
def test_a_folder_of_results_that_must_not_be_written(run, tmp_path, folder):
    put_images(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder).chmod(0o500)
    with without_roots_powers():
        status, printed = run()
    (tmp_path / folder).chmod(0o700)
    if folder == "output":
        assert status == 2 and str(tmp_path / "output") in printed
    else:
        assert status == 1
        states = [row["status"] for row in summary(tmp_path / "output").values()]
        assert states == ["done", "failed", "done"]
    assert run()[0] == 0
    assert_as_clean(run, tmp_path)


def test_a_file_in_the_place_of_an_images_folder_costs_that_image_only(run, tmp_path):
    put_images(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "b").write_text("a file")
    assert run()[0] == 1
    states = [row["status"] for row in summary(tmp_path / "output").values()]
    assert states == ["done", "failed", "done"]


def test_an_output_folder_that_is_locked_up_during_the_run(run, tmp_path, at_prediction):
    put_images(tmp_path, "a.png", "b.png", "c.png")
    one_image = 4 + 4  # predictions of both networks
    at_prediction(one_image + 2, lambda: (tmp_path / "output").chmod(0o500))
    with without_roots_powers():
        status, printed = run()
    (tmp_path / "output").chmod(0o700)
    assert status == 2 and "run the same command again" in printed
    kept = bytes_of(tmp_path / "output" / "a")
    status, printed = run()
    assert status == 0 and "a.png: finished before" in printed
    assert bytes_of(tmp_path / "output" / "a") == kept
    assert_as_clean(run, tmp_path)


# --- disks ---


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own and the function that sets its size and other options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", folder], check=False)

    if not shutil.which("mount") or mount("size=64k").returncode:
        pytest.skip("only root may mount a disk here")
    yield folder, lambda options: mount(f"remount,{options}")
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_gets_full_keeps_what_is_finished(run, tmp_path, small_disk):
    """Grown step by step, it is full at another place in the pipeline each time."""
    disk, remount = small_disk
    put_images(tmp_path, "a.png", "b.png", "c.png")
    finished, seen = {}, set()
    for kilobytes in (16, 80, 150, 220, 290, 360, 430, 500, 600, 750, 1000):
        remount(f"size={kilobytes}k")
        status, printed = run(disk)
        seen.add(status)
        assert status in (0, 1, 2)
        assert status == 0 or "No space left" in printed or "are needed" in printed, printed
        for name, content in finished.items():
            assert bytes_of(disk / name) == content
        for folder in finished_folders(disk):
            finished[folder.name] = bytes_of(folder)
    assert 2 in seen and finished
    remount("size=64m")
    assert run(disk)[0] == 0
    assert_as_clean(run, tmp_path, disk)


def test_a_disk_that_is_read_only(run, tmp_path, small_disk):
    disk, remount = small_disk
    put_images(tmp_path, "a.png")
    remount("size=8m,ro")
    status, printed = run(disk)
    assert status == 2 and str(disk) in printed
    remount("size=8m,rw")
    assert run(disk)[0] == 0
    before = bytes_of(disk / "a")
    remount("size=8m,ro")
    assert run(disk)[0] == 2
    assert bytes_of(disk / "a") == before


# --- names ---

NAMES = [
    "<img src=x onerror=alert(1)>.png",
    "=HYPERLINK(1).png",
    "a\\..\\..\\outside.png",
    "line\nbreak.png",
    "clear\x1b[2Jscreen.png",
    "\u202ereversed.png",
    "con.png",
    "dots...png",
    "space .png",
    "a&b\"c'd.png",
    "%2e%2e%2foutside.png",
    "x" * 250 + ".png",
    "x" * 250 + ".tif",
    "ä" * 125 + ".png",
]


class Elements(HTMLParser):
    """Collects the elements of a page that could run something, and its text."""

    def __init__(self):
        super().__init__()
        self.handlers, self.text = [], ""

    def handle_starttag(self, tag, attributes):
        self.handlers += [(tag, name) for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data):
        self.text += data


def test_names_stay_inside_the_output_folder_and_are_text(run, tmp_path):
    for name in NAMES:
        put(tmp_path / "input", name, crowded(16, 16, 3), format="PNG")
    before = {path for path in tmp_path.rglob("*") if "output" not in path.parts}
    status, printed = run(segment=False)
    output = tmp_path / "output"
    assert status == 0, printed
    assert before == {path for path in tmp_path.rglob("*") if "output" not in path.parts}
    folders = [path for path in output.iterdir() if path.is_dir()]
    assert len(folders) == len(NAMES)
    for path in folders:
        assert (path / "super_resolved.png").is_file()
        assert path.name.isprintable() and not set(path.name) & set('<>:"/\\|?*')
        assert path.name == path.name.strip(" .") and len(path.name.encode()) < 250
    assert "\x1b[2J" not in printed and "\u202e" not in printed
    with (output / "summary.csv").open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]
    assert "'=HYPERLINK(1).png" in cells
    page = Elements()
    page.feed((output / "report.html").read_text("utf-8"))
    assert not page.handlers and "<img src=x onerror=alert(1)>.png" in page.text


@pytest.mark.parametrize("name", ["..", ".", "", " ", "../..", "/etc", "C:\\x", "nul.txt", "a\0b"])
def test_a_folders_name_never_leads_elsewhere(tmp_path, name):
    found = folder_name(name)
    assert found and (tmp_path / found).resolve().parent == tmp_path.resolve()
    (tmp_path / found).mkdir()


# --- processes ---


@pytest.fixture(scope="module")
def runs():
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    with Runs() as runs:
        yield runs


@pytest.fixture
def many_tiles(models, tmp_path):
    """Flags of a run of three images and a slide that takes many small steps."""
    put_images(tmp_path, "a.png", "b.png", "d.png", size=(64, 80))
    tifffile.imwrite(
        tmp_path / "input" / "c.tif",
        crowded(80, 96, 20, seed=9),
        photometric="rgb",
        tile=(16, 16),
        compression="zlib",
    )
    return {
        "input_folder": tmp_path / "input",
        "microns_per_pixel": 1.0,
        "tile_size": 16,
        "generator": models / "generator.h5",
        "unet": models / "Unet.h5",
        "pixel_size_model": None,
    }


def wait_until(condition, seconds=300):
    """Wait until a condition holds; fail after `seconds` instead of hanging."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def begun(output):
    """Return the function that tells whether a run to come has begun to write."""
    record = output / "run.json"
    before = record.stat().st_mtime_ns if record.exists() else 0
    return lambda: record.exists() and record.stat().st_mtime_ns != before


def test_twenty_kills_at_random_moments_change_nothing(runs, many_tiles, tmp_path):
    log, names = tmp_path / "log", ("a", "b", "c", "d")
    clean = tmp_path / "clean"
    started = begun(clean)
    pid = runs.start(log, output_folder=clean, **many_tiles)
    wait_until(started)
    moment = time.monotonic()
    assert runs.wait(pid) == 0
    duration = time.monotonic() - moment
    expected = {name: bytes_of(clean / name) for name in names}

    def check_finished(output):
        """Compare what says of itself that it is finished; return how many that are."""
        finished = finished_folders(output)
        for folder in finished:
            assert bytes_of(folder) == expected[folder.name]
        return len(finished)

    random, killed, rounds = np.random.default_rng(0), 0, 0
    while killed < KILLS:
        rounds += 1
        output, status = tmp_path / f"round {rounds}", None
        while status != 0:
            started = begun(output)
            pid = runs.start(log, output_folder=output, **many_tiles)
            wait_until(started)
            if killed < KILLS:
                time.sleep(random.uniform(0, duration / 5))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            status = runs.wait(pid)
            assert status in (0, -signal.SIGKILL)
            killed += status != 0
            check_finished(output)
        assert check_finished(output) == len(names)
        for name in names:
            found = {path.name for path in (output / name).iterdir()}
            assert not [name for name in found if name.startswith(".") or name.endswith(".raw")]
        rows, clean_rows = summary(output), summary(clean)
        for name, row in rows.items():
            assert row | {"seconds": ""} == clean_rows[name] | {"seconds": ""}
    assert "Traceback" not in log.read_text("utf-8")


def times_of_files(folder):
    """Return when each file was written; the lock itself may be touched by who finds it taken."""
    files = (path for path in folder.rglob("*") if path.name != ".lock")
    return {path: path.stat().st_mtime_ns for path in files}


def test_the_second_run_into_one_folder_refuses(runs, many_tiles, tmp_path):
    first, second, output = tmp_path / "first", tmp_path / "second", tmp_path / "output"
    started = begun(output)
    pid = runs.start(first, output_folder=output, **many_tiles)
    wait_until(started)
    os.kill(pid, signal.SIGSTOP)
    before = times_of_files(output)
    assert runs.wait(runs.start(second, output_folder=output, **many_tiles)) == 2
    message = second.read_text("utf-8")
    assert f"{output} is being written by another run" in message and "Traceback" not in message
    assert times_of_files(output) == before
    os.kill(pid, signal.SIGCONT)
    assert runs.wait(pid) == 0
    assert check_agreement(output / "c") > 0
    # A killed run leaves the file of its lock, and no lock.
    started = begun(output)
    pid = runs.start(first, output_folder=output, overwrite=True, **many_tiles)
    wait_until(started)
    os.kill(pid, signal.SIGKILL)
    assert runs.wait(pid) == -signal.SIGKILL
    assert runs.wait(runs.start(second, output_folder=output, **many_tiles)) == 0


def test_debug_shows_the_traceback_and_nothing_else_does(runs, many_tiles, tmp_path):
    for path in (tmp_path / "input").iterdir():
        path.unlink()
    (tmp_path / "input" / "a.tif").write_bytes(b"II*\0\x08\0\0\0\x03\0damaged tables" * 9)
    for debug, log in ((False, tmp_path / "quiet"), (True, tmp_path / "debug")):
        pid = runs.start(log, output_folder=tmp_path / "output", debug=debug, **many_tiles)
        assert runs.wait(pid) == 1
        assert ("Traceback" in log.read_text("utf-8")) == debug
        assert "a.tif: " in log.read_text("utf-8")
    assert "tifffile" not in (tmp_path / "quiet").read_text("utf-8")


# --- unfinished work ---


def test_a_kill_while_unfinished_work_is_deleted_leaves_none_that_looks_finished(
    run, tmp_path, monkeypatch
):
    """The state must go before the rasters that it tells of."""
    put_images(tmp_path, "a.png")
    remove = shutil.rmtree

    def killed(path, **_):
        next(Path(path).glob("pixels/*.raw")).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    assert run()[0] == 130
    monkeypatch.setattr(shutil, "rmtree", remove)
    assert run()[0] == 0
    found = np.asarray(Image.open(tmp_path / "output" / "a" / "super_resolved.png"))
    assert run(tmp_path / "clean")[0] == 0
    clean = np.asarray(Image.open(tmp_path / "clean" / "a" / "super_resolved.png"))
    np.testing.assert_array_equal(found, clean)
