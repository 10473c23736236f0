"""Measure how much memory a run needs, and how much more for a larger image.

    python Implementation/memory.py

Runs Final_implementation.py as a process of its own on mirrored copies of IMAGE and prints, for
each size, the largest resident memory of that process and its helpers together, TensorFlow's own
included, and the time. The results of these runs are thrown away. Every constant below is also a
flag: see --help.
"""

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import tyro
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "Implementation" / "Final_implementation.py"

IMAGE = ROOT / "data" / "samples" / "histo.png"  # mirrored to the sizes below
SIDES = (1000, 4000)  # pixels of the square inputs, the smallest first
LARGEST_PEAK = 3.0  # GB that no run may pass
LARGEST_GROWTH = 0.1  # by how much, of the smallest input's peak, the largest one's may be higher
GENERATOR = ROOT / "models" / "generator.h5"
UNET = ROOT / "models" / "Unet.h5"
SAMPLING = 0.05  # seconds between two looks at the memory
TEMPORARY_FOLDER = None  # needs 20 bytes per output pixel; None = the system's


def main(
    image: Path = IMAGE,
    sides: tuple[int, ...] = SIDES,
    largest_peak: float = LARGEST_PEAK,
    largest_growth: float = LARGEST_GROWTH,
    generator: Path = GENERATOR,
    unet: Path = UNET,
    temporary_folder: Path | None = TEMPORARY_FOLDER,
) -> int:
    """Measure peak memory for each size of input.

    Args:
        image: picture that is mirrored to the sizes.
        sides: of the square inputs in pixels, the smallest first.
        largest_peak: GB that no run may pass.
        largest_growth: share of the first peak by which the last may be higher.
        generator: super-resolution model (.h5).
        unet: nucleus model (.h5).
        temporary_folder: where the runs write, 20 bytes per output pixel.

    Returns:
        Exit status: 0, or 1 if a run failed or needed more than it may.
    """
    with Image.open(image) as file:
        tissue = np.asarray(file.convert("RGB"))
    peaks = []
    print(f"{'input':>12}{'peak, GB':>12}{'seconds':>12}")
    for side in sides:
        with TemporaryDirectory(dir=temporary_folder) as folder:
            (Path(folder) / "images").mkdir()
            Image.fromarray(mirrored(tissue, side)).save(Path(folder) / "images" / "image.png")
            flags = {
                "input-folder": f"{folder}/images",
                "output-folder": f"{folder}/results",
                "generator": generator,
                "unet": unet,
                "microns-per-pixel": 1.0,
            }
            status, peak, seconds = run(flags, Path(folder) / "terminal.txt")
            if status:
                print((Path(folder) / "terminal.txt").read_text())
                return 1
        print(f"{f'{side}x{side}':>12}{peak:>12.2f}{seconds:>12.0f}", flush=True)
        peaks.append(peak)
    growth = peaks[-1] / peaks[0] - 1
    print(f"growth {growth:.1%}")
    return int(max(peaks) > largest_peak or growth > largest_growth)


def mirrored(tissue: np.ndarray, side: int) -> np.ndarray:
    """Return a square picture of mirrored copies of another, (side, side, 3)."""
    missing = [(0, max(0, side - extent)) for extent in tissue.shape[:2]]
    return np.pad(tissue, [*missing, (0, 0)], "symmetric")[:side, :side]


def run(flags: dict, terminal: Path) -> tuple[int, float, float]:
    """Run Final_implementation.py; return exit status, peak resident memory in GB and seconds.

    What it prints goes to the file `terminal`.
    """
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    started, peak = time.monotonic(), 0
    with terminal.open("w", encoding="utf-8") as file:
        process = psutil.Popen(
            [sys.executable, str(SCRIPT), *words], stdout=file, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            peak = max(peak, resident_bytes(process))
            time.sleep(SAMPLING)
    return process.returncode, peak / 1e9, time.monotonic() - started


def resident_bytes(process: psutil.Process) -> int:
    """Return the resident memory of a process and of all that it has started.

    What they share counts once where the system tells (Linux): a process that is being forked
    would else count like its parent.
    """
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # one has just ended
        for each in [process, *process.children(recursive=True)]:
            memory = each.memory_full_info()
            total += getattr(memory, "pss", memory.rss)
    return total


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
