"""Work done by helper processes, because Python runs on one core at a time in each.

Nuclei are separated and measured in many short steps of Python, which alone would leave all other
cores of the machine idle.
"""

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from pathlib import Path

import cv2

from program.interrupts import interrupts

WAITING = 1  # tasks ready for each helper beside the one it does; more only take room
MOST_HELPERS = 61  # that Windows can wait for


class Helpers:
    """The helper processes of a run; each starts when there is first something for it to do.

    In a `with` statement they end with it. One that is killed, for instance where memory runs out,
    takes all others along: what was left of their work is done in this process, and new ones start
    for the next.

    Args:
        processes: their number at most; with less than two all is done in this process.
    """

    def __init__(self, processes: int = 1):
        self.processes = min(processes, MOST_HELPERS)
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end()

    def results_of(
        self, work: Callable, task_of: Callable, keys: Iterable[int], folder: Path
    ) -> Iterator[tuple]:
        """Do tasks; yield (key, result) in the order they finish.

        Args:
            work: does a task and returns its result; of a module, so that a helper can import it.
            task_of: gathers, in this process, what the task of a key needs. It is called when a
                helper is about to get free, so that few tasks are under way.
            keys: the keys.
            folder: where tasks lie on their way to a helper.

        Raises:
            Exception: what `work` raises; tasks that were not begun are dropped.
        """
        keys = list(keys)
        if min(self.processes, len(keys)) > 1:
            for key, result in self._shared(work, task_of, keys, folder):
                keys.remove(key)
                yield key, result
        for key in keys:
            yield key, work(task_of(key))

    def _shared(self, work, task_of, keys, folder):
        """Do what `results_of` promises, but end when a helper is lost or none can be started."""
        try:
            self._pool = pool = self._pool or _new_pool(self.processes)
        except (OSError, NotImplementedError) as error:  # a system without semaphores
            print(f"no helper processes can be started ({error}); going on in one", file=sys.stderr)
            return
        under_way = {}
        try:
            for key in list(keys):
                # By a file: Python before 3.11.5 hangs if a helper dies while it is sent much.
                path = folder / f"{key}.task"
                with path.open("wb") as file:
                    pickle.dump(task_of(key), file, pickle.HIGHEST_PROTOCOL)
                # This may start a helper; Ctrl-C is for this process alone to handle.
                with interrupts(signal.SIG_IGN):
                    task = pool.submit(_work_from_file, work, path)
                under_way[task] = key
                if len(under_way) >= self.processes * (1 + WAITING):
                    yield from _finished(under_way)
            while under_way:
                yield from _finished(under_way)
        except BrokenProcessPool:
            print("a helper process was lost; going on in one", file=sys.stderr)
            self._end()
        finally:
            for task in under_way:
                task.cancel()
            wait(under_way)  # where an error ended this, their folder may be deleted next

    def _end(self):
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


ALONE = Helpers()  # all is done in this process


def _new_pool(processes: int) -> ProcessPoolExecutor:
    # "spawn": a fork would take TensorFlow's threads and locks along in an unknown state.
    return ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin_to_help)


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


def _begin_to_help():
    """Prepare a helper: it never outlives its parent, and takes one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)


def _end_with_parent():
    parent_process().join()
    os._exit(1)
