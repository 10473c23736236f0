"""Results are written while the next image is examined, whatever happens to either."""

import errno
import signal
import threading
import time

from helpers.whole_runs import assert_as_clean, finished_folders, put_images, summary
from stages.analysis import Analysis


def test_the_next_image_is_examined_while_results_are_written(run, tmp_path, monkeypatch):
    put_images(tmp_path, "a.png", "b.png", "c.png")
    prepare, finish = Analysis.prepare, Analysis.finish
    begun, open_files = [], []

    def counted(analysis):
        begun.append(analysis.image.path.name)
        open_files.append(len(begun) - len(finished_folders(tmp_path / "output")))
        return prepare(analysis)

    def patient(analysis):
        number = "abc".index(analysis.image.path.stem)
        waiting = time.monotonic()
        while len(begun) < min(number + 2, 3) and time.monotonic() < waiting + 60:
            time.sleep(0.01)
        assert len(begun) >= min(number + 2, 3), "the next image was not begun"
        return finish(analysis)

    monkeypatch.setattr(Analysis, "prepare", counted)
    monkeypatch.setattr(Analysis, "finish", patient)
    assert run()[0] == 0
    assert begun == ["a.png", "b.png", "c.png"] and max(open_files) <= 2
    assert list(summary(tmp_path / "output")) == begun


def test_results_that_cannot_be_written_cost_no_other_image(run, tmp_path, monkeypatch):
    put_images(tmp_path, "a.png", "b.png", "c.png")
    finish = Analysis.finish

    def failing(analysis):
        if analysis.image.path.stem == "b":
            raise ValueError("no such colour")
        return finish(analysis)

    with monkeypatch.context() as broken:
        broken.setattr(Analysis, "finish", failing)
        status, printed = run()
    assert status == 1 and "no such colour" in printed
    rows = summary(tmp_path / "output").values()
    assert [row["status"] for row in rows] == ["done", "failed", "done"]
    assert run()[0] == 0  # goes on from the finished stages
    assert_as_clean(run, tmp_path)


def interrupting(interrupted):
    """Return a stand-in for `Analysis.prepare` in which Ctrl-C comes at the image b; it is told."""
    prepare = Analysis.prepare

    def prepare_or_interrupt(analysis):
        if analysis.image.path.stem == "b":
            interrupted.set()
            raise KeyboardInterrupt
        return prepare(analysis)

    return prepare_or_interrupt


def test_an_interrupt_finishes_what_is_being_written(run, tmp_path, monkeypatch):
    put_images(tmp_path, "a.png", "b.png", "c.png")
    finish, interrupted = Analysis.finish, threading.Event()

    def patient(analysis):
        assert interrupted.wait(60)
        time.sleep(0.2)
        return finish(analysis)

    with monkeypatch.context() as broken:
        broken.setattr(Analysis, "prepare", interrupting(interrupted))
        broken.setattr(Analysis, "finish", patient)
        status, printed = run()
    assert status == 130
    assert printed.index("Finishing the results of 1/3 a.png") < printed.index("Interrupted")
    assert list(summary(tmp_path / "output")) == ["a.png"]
    status, printed = run()
    assert status == 0 and "a.png: finished before, skipped" in printed
    assert_as_clean(run, tmp_path)


def test_a_second_interrupt_is_a_kill(run, tmp_path, monkeypatch):
    """Else the folder would be free for another run while this one still writes to it."""
    put_images(tmp_path, "a.png", "b.png")
    finish, seen, interrupted = Analysis.finish, [], threading.Event()

    def watching(analysis):
        assert interrupted.wait(60)
        waiting = time.monotonic()
        while signal.getsignal(signal.SIGINT) != signal.SIG_DFL:
            assert time.monotonic() < waiting + 60, "Ctrl-C would still be an exception"
            time.sleep(0.01)
        seen.append(finish(analysis))
        return seen[0]

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Analysis, "prepare", interrupting(interrupted))
    monkeypatch.setattr(Analysis, "finish", watching)
    assert run()[0] == 130
    assert seen and signal.getsignal(signal.SIGINT) == before


def test_a_full_disk_ends_a_run_before_the_next_image(run, tmp_path, monkeypatch):
    put_images(tmp_path, "a.png", "b.png")
    begun = []

    def full(analysis):
        begun.append(analysis.image.path.name)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Analysis, "prepare", full)
    status, printed = run()
    assert status == 2 and "No space left" in printed and begun == ["a.png"]
