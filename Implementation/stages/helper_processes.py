"""Work done by helper processes, because Python runs on one core at a time in each.

scikit-image measures one nucleus after another in Python, which alone would leave all other cores
of the machine idle.
"""

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path

import cv2

WAITING = 1  # tasks ready for each helper beside the one it does; more only take room
MOST_HELPERS = 61  # that Windows can wait for


def results_of(
    work: Callable, task_of: Callable, keys: Iterable[int], processes: int, folder: Path
) -> Iterator[tuple]:
    """Do tasks in helper processes; yield (key, result) in the order they finish.

    The task of a helper that is killed, for instance where memory runs out, is done here, as are
    all after it.

    Args:
        work: does a task and returns its result; of a module, so that a helper can import it.
        task_of: gathers, in this process, what the task of a key needs. It is called when a helper
            is about to get free, so that few tasks are under way.
        keys: the keys.
        processes: number of helpers; with less than two all is done in this process.
        folder: where tasks lie on their way to a helper.

    Raises:
        Exception: what `work` raises; tasks that were not begun are dropped.
    """
    keys = list(keys)
    processes = min(processes, len(keys), MOST_HELPERS)
    if processes > 1:
        for key, result in _by_helpers(work, task_of, keys, processes, folder):
            keys.remove(key)
            yield key, result
    for key in keys:
        yield key, work(task_of(key))


def _by_helpers(work, task_of, keys, processes, folder):
    """Do what `results_of` promises, but end when a helper is lost or none can be started."""
    under_way = {}
    try:
        # "spawn": a fork would take TensorFlow's threads and locks along in an unknown state.
        pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin_to_help)
    except (OSError, NotImplementedError) as error:  # a system without semaphores
        print(f"no helper processes can be started ({error}); going on in one", file=sys.stderr)
        return
    try:
        with _interrupts_ignored():
            for _ in range(processes):
                pool.submit(int)  # starts one helper
        for key in list(keys):
            # By a file: Python before 3.11.5 hangs where a helper dies while a large task is sent.
            path = folder / f"{key}.task"
            with path.open("wb") as file:
                pickle.dump(task_of(key), file, pickle.HIGHEST_PROTOCOL)
            under_way[pool.submit(_work_from_file, work, path)] = key
            if len(under_way) >= processes * (1 + WAITING):
                yield from _finished(under_way)
        while under_way:
            yield from _finished(under_way)
    except BrokenProcessPool:
        print("a helper process was lost; going on in one", file=sys.stderr)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finished(under_way: dict) -> Iterator[tuple]:
    """Wait for at least one task; yield (key, result) of those that are done."""
    for future in wait(under_way, return_when=FIRST_COMPLETED).done:
        result = future.result()
        yield under_way.pop(future), result


def _work_from_file(work, path: Path):
    with path.open("rb") as file:
        task = pickle.load(file)
    path.unlink()
    return work(task)


@contextmanager
def _interrupts_ignored():
    """Let helpers be born deaf to Ctrl-C, which is this process' to handle."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no other thread may change signals, and none gets Ctrl-C
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin_to_help():
    """Prepare a helper: it never outlives its parent, and takes one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)


def _end_with_parent():
    parent_process().join()
    os._exit(1)
