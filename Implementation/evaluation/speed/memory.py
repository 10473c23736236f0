"""How much memory a run needs, and how much more for a larger image."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
from PIL import Image

from program.settings import RESULT_MICRONS

SCRIPT = Path(__file__).resolve().parents[2] / "Final_implementation.py"
IMAGES = 2  # the results of the first are written while the second is predicted
SAMPLING = 0.05  # seconds between two looks at the memory


def measure_memory(
    image: Path, sides: tuple[int, ...], scale: int, models: dict[str, Path]
) -> list[dict]:
    """Run Final_implementation.py on two mirrored copies of an image and watch its memory.

    Args:
        image: picture that is mirrored to the sizes.
        sides: of the square inputs in pixels.
        scale: by which they are enlarged.
        models: the flags of models with their files.

    Returns:
        For each size its `side`, `peak` (largest resident memory of the process and its helpers
        together, TensorFlow's own included, in GB) and `seconds`.

    Raises:
        ValueError: a run failed; with what it printed.
    """
    with Image.open(image) as file:
        tissue = np.asarray(file.convert("RGB"))
    rows = []
    print(f"{'input':>12}{'peak, GB':>12}{'seconds':>12}")
    for side in sides:
        with TemporaryDirectory() as folder:
            inputs = Path(folder) / "images"
            inputs.mkdir()
            for number in range(IMAGES):
                Image.fromarray(mirrored(tissue, side)).save(inputs / f"{number}.png")
            flags = {"input-folder": inputs, "output-folder": Path(folder) / "results"}
            flags |= models | {"microns-per-pixel": scale * RESULT_MICRONS, "enlarge": scale}
            peak, seconds = _run(flags, Path(folder) / "terminal.txt")
        print(f"{f'{side}x{side}':>12}{peak:>12.2f}{seconds:>12.0f}", flush=True)
        rows.append({"side": side, "peak": peak, "seconds": seconds})
    print(f"growth {rows[-1]['peak'] / rows[0]['peak'] - 1:.1%}")
    return rows


def mirrored(tissue: np.ndarray, side: int) -> np.ndarray:
    """Return a square picture of mirrored copies of another, (side, side, 3)."""
    missing = [(0, max(0, side - extent)) for extent in tissue.shape[:2]]
    return np.pad(tissue, [*missing, (0, 0)], "symmetric")[:side, :side]


def _run(flags: dict, terminal: Path) -> tuple[float, float]:
    """Run Final_implementation.py; return peak resident memory in GB and seconds.

    What it prints goes to the file `terminal`.
    """
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    started, peak, before = time.monotonic(), 0, 0
    with terminal.open("w", encoding="utf-8") as file:
        process = psutil.Popen(
            [sys.executable, str(SCRIPT), *words], stdout=file, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            # What lasts for two looks: a process that is just being started (vfork) shows its
            # parent's memory as its own for a moment.
            now = _resident_bytes(process)
            peak, before = max(peak, min(before, now)), now
            time.sleep(SAMPLING)
    if process.returncode:
        raise ValueError(f"the run failed: {terminal.read_text('utf-8')}")
    return peak / 1e9, time.monotonic() - started


def _resident_bytes(process: psutil.Process) -> int:
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
