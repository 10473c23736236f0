"""Whole runs of Final_implementation.py, timed by turns: each is held against its neighbour.

A machine that does other things at the same time slows both runs of a pair, not one of them.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from evaluation.speed.memory import mirrored
from outputs.png import write_image

SCRIPT = Path("Implementation", "Final_implementation.py")
HERE = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Run:
    """A run that can be repeated.

    Attributes:
        images: folder of its images.
        flags: further words of its command line.
        checkout: folder of the repository whose script it is.
    """

    images: Path
    flags: tuple[str, ...] = ()
    checkout: Path = HERE

    def seconds(self) -> tuple[float, float]:
        """Run it once; return seconds by the clock, and of all processors (Unix alone, else 0).

        Raises:
            ValueError: it failed; with what it printed.
        """
        with TemporaryDirectory() as folder:
            words = ["--input-folder", self.images, "--output-folder", folder, *self.flags]
            started, before = time.perf_counter(), os.times()
            command = [sys.executable, self.checkout / SCRIPT, *words]
            done = subprocess.run(command, capture_output=True, text=True)
            passed, after = time.perf_counter() - started, os.times()
        if done.returncode:
            raise ValueError(f"the run of {self.checkout} failed: {done.stdout}{done.stderr}")
        used = after.children_user + after.children_system
        return passed, used - before.children_user - before.children_system


def paired_row(name: str, one: Run, other: Run, repeats: int) -> dict:
    """Time two runs by turns; who begins changes from pair to pair.

    Returns:
        Medians of both in seconds, and of their ratios within the pairs: below 1 where `one` is
        faster. The lowest and highest ratio tell how much the machine had else to do.
    """
    pairs = []
    for number in range(repeats):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        seconds = {which: (one, other)[which].seconds() for which in order}
        pairs.append([*seconds[0], *seconds[1]])
    clock, used, other_clock, other_used = np.transpose(pairs)
    ratios = clock / other_clock
    processor = median(used / other_used) if other_used.all() else None
    row = {"runs": name, "seconds": median(clock), "of the other": median(other_clock)}
    row |= {"ratio": median(ratios), "lowest": min(ratios), "highest": max(ratios)}
    return row | {"ratio of processor time": processor}


def seconds_of_a_further_image(
    tissue: np.ndarray, side: int, flags: Iterable[str], repeats: int, further: int = 3
) -> float:
    """Return by how much a run takes longer for each image that its folder holds beside the first.

    Args:
        tissue: uint8 RGB, mirrored copies of which fill the images.
        side: of the images in pixels.
        flags: further words of the command line.
        repeats: pairs of runs, whose median counts.
        further: images beside the first.
    """
    with TemporaryDirectory() as folder:
        several, single = Path(folder) / "several", Path(folder) / "one"
        for path, count in ((several, 1 + further), (single, 1)):
            path.mkdir()
            for number in range(count):
                write_image(path / f"{number}.png", mirrored(tissue, side))
        row = paired_row("", Run(several, tuple(flags)), Run(single, tuple(flags)), repeats)
    return (row["seconds"] - row["of the other"]) / further


def many_against_one(
    tissue: np.ndarray, sides: tuple[int, int], flags: Iterable[str], repeats: int
) -> dict:
    """Hold a run of many small images against one of a single large image with as many pixels.

    Args:
        tissue: uint8 RGB, mirrored copies of which fill the images.
        sides: of the small squares and of the large one, in pixels.
        flags: further words of the command line.
        repeats: pairs of runs.
    """
    small, large = sides
    count = round((large / small) ** 2)
    with TemporaryDirectory() as folder:
        many, single = Path(folder) / "many", Path(folder) / "one"
        for path in (many, single):
            path.mkdir()
        write_image(single / "0.png", mirrored(tissue, large))
        for number in range(count):
            write_image(many / f"{number}.png", mirrored(tissue, small))
        runs = Run(many, tuple(flags)), Run(single, tuple(flags))
        return paired_row(f"{count} of {small} px / one of {large} px", *runs, repeats)
