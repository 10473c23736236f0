"""Speed of the whole pipeline, split by stage: the work behind benchmark.py."""

import json
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import keras
import numpy as np
import psutil

from evaluation.memory import mirrored
from evaluation.network_speed import (
    layer_rows,
    median_time,
    multiplication_rate,
    network_rows,
)
from images.opening import open_image
from images.sizes import StatedSize
from networks.loading import load_network
from networks.network import UNET_MICRONS
from nuclei.measurement import measure
from nuclei.separation import separate
from outputs.png import write_image
from program.processor import chosen_precision
from program.settings import RESULT_MICRONS, MachineSettings, Settings, TileSettings
from stages.analysis import Analysis, Networks
from stages.examining import WINDOW
from tiles.geometry import Window
from trust.confidence import nucleus_confidence
from trust.judgement import judge_window

STAGES = {
    "super-resolving": "super-resolve",
    "segmenting": "segment",
    "measuring": "assess and measure",
    "writing": "write",
}


class StageClock:
    """Stands in for the progress bar and times the stages instead."""

    def __init__(self):
        self.seconds = {"read": 0.0}
        self._begun = "read", time.perf_counter()

    def start(self, stages, stage_size):
        """Count what comes before the first stage as reading: decoding and the thumbnail."""

    def stage(self, title):
        """End the current stage and begin the next; None ends the last."""
        now = time.perf_counter()
        name, start = self._begun
        self.seconds[name] = self.seconds.get(name, 0.0) + now - start
        self._begun = STAGES.get(title, title), now

    def advance(self, pixels):
        """Ignore progress within a stage."""


@dataclass(frozen=True)
class Benchmark:
    """What is measured: the constants of benchmark.py under their own names."""

    image: Path
    megapixels: tuple[float, ...]
    tile_sizes: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    measuring_processes: int
    repeats: int
    enlarge: int
    generator: Path
    unet: Path
    precision: str

    def settings(self, **tiles) -> Settings:
        """Return the settings of a run, with other tiles than the usual ones."""
        machines = MachineSettings(measuring_processes=self.measuring_processes)
        return Settings(tiles=TileSettings(**tiles), machines=machines)


def measure_speed(chosen: Benchmark, report: Path):
    """Measure, print and save as JSON.

    Raises:
        ModelError, ImageReadError, OSError: a model or the image cannot be used.
    """
    precision, repeats = chosen_precision(chosen.precision), chosen.repeats
    networks = {
        "generator": load_network(chosen.generator, "generator", chosen.enlarge, 3, precision),
        "U-net": load_network(chosen.unet, "U-net", 1, 2, precision),
    }
    with open_image(chosen.image) as file:
        tissue = file.read(0, 0, file.width, file.height)
    rates = {kind: multiplication_rate(repeats, kind) for kind in ("float32", "bfloat16")}
    print(f"{platform.processor() or platform.machine()}, {keras.backend.backend()}")
    print(f"networks in {precision}; matrix multiplication in GFLOP/s: ", end="")
    print(", ".join(f"{kind} {value:.0f}" for kind, value in rates.items()))
    content = {"precision": precision, "gflops": rates, "networks": [], "slowest layers": []}
    for name, network in networks.items():
        sizes = chosen.tile_sizes, chosen.batch_sizes
        content["networks"] += network_rows(name, network, *sizes, repeats, rates[precision])
        content["slowest layers"] += layer_rows(name, network, repeats, rates)
    print_rows("bare networks", content["networks"])
    print_rows("layers that lose most time to the rate", content["slowest layers"])
    content["window"] = window_rows(tissue, networks, repeats)
    print_rows("nuclei of one window, in one process", content["window"])
    content |= pipeline_tables(tissue, networks, chosen)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(content, indent=2), encoding="utf-8")
    print(f"\n{report.resolve()}")


def pipeline_tables(tissue, networks, chosen: Benchmark) -> dict[str, list[dict]]:
    """Time whole analyses by size, and one size by tile and by batch; print the tables."""
    ready, repeats = Networks(*networks.values()), chosen.repeats
    by_size = [
        pipeline_row(tissue, size, ready, repeats, chosen.settings()) for size in chosen.megapixels
    ]
    print_rows("whole pipeline", by_size)
    middle = sorted(chosen.megapixels)[len(chosen.megapixels) // 2]
    usual = TileSettings().batch_size
    others = [{"tile_size": tile} for tile in chosen.tile_sizes]
    others += [{"batch_size": batch} for batch in chosen.batch_sizes if batch != usual]
    by_tile = [
        pipeline_row(tissue, middle, ready, repeats, chosen.settings(**tiles)) for tiles in others
    ]
    print_rows("whole pipeline by tile and batch", by_tile)
    return {"pipeline": by_size, "pipeline by tile and batch": by_tile}


def window_rows(tissue, networks, repeats: int) -> list[dict]:
    """Time what is done to a window of nuclei, function by function."""
    side = WINDOW // networks["generator"].scale
    low, window = mirrored(tissue, side), Window(0, 0, side, side)
    pixels = networks["generator"].predict(low[None])[0].round().astype(np.uint8)
    probability, distance = np.moveaxis(networks["U-net"].predict(pixels[None])[0], -1, 0)
    labels = separate(probability, distance, UNET_MICRONS)
    error = np.ones(labels.shape, np.float32)
    megapixels = labels.size / 1e6
    works = {
        "separate": lambda: separate(probability, distance, UNET_MICRONS),
        "measure": lambda: measure(labels, pixels, probability, UNET_MICRONS),
        "assess nuclei": lambda: nucleus_confidence(labels, pixels, error),
        "assess pixels": lambda: judge_window(low, pixels, window, window, [window]),
    }
    rows = []
    for name, work in works.items():
        seconds = median_time(work, repeats)
        per_nucleus = seconds * 1e3 / max(1, labels.max())
        rows.append({"work": name, "s/Mpx": seconds / megapixels, "ms/nucleus": per_nucleus})
    return rows


def pipeline_row(
    tissue, megapixels: float, networks: Networks, repeats: int, settings: Settings
) -> dict:
    """Time a whole analysis of a mirrored image of about so many output pixels."""
    scale = networks.generator.scale
    side = round((megapixels * 1e6) ** 0.5 / scale)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "image.png"
        write_image(path, mirrored(tissue, side))
        # The first one is the warm-up.
        runs = [_timed_run(path, networks, settings) for _ in range(repeats + 1)][1:]
    stages = {name: median(run[name] for run in runs) for name in runs[0]}
    total = sum(stages.values())
    pixels = (scale * side) ** 2
    other = total - stages["super-resolve"] - stages["segment"]
    row = {"Mpx": pixels / 1e6} | {"tile": settings.tiles.tile_size}
    row |= {"batch": settings.tiles.batch_size, "seconds": total, "Mpx/s": pixels / 1e6 / total}
    row |= {f"{name}, s": seconds for name, seconds in stages.items()}
    return row | {"outside networks": other / total, "peak memory, MB": _peak_memory()}


def _timed_run(path: Path, networks: Networks, settings: Settings) -> dict:
    """Analyse an image once; return the seconds of its stages.

    Tiles are read in a thread while the network works, so `read` is what comes before.
    """
    clock = StageClock()
    microns = networks.generator.scale * RESULT_MICRONS
    with open_image(path, stated=StatedSize(microns)) as image:
        Analysis(image, path.parent, networks, settings, clock).run()
    clock.stage(None)
    return clock.seconds


def print_rows(title: str, rows: list[dict]):
    """Print a table of numbers under their names."""
    cells = [list(rows[0])]
    cells += [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in r.values()] for r in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}")
    for row in cells:
        print("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))


def _peak_memory() -> float:
    """Largest resident memory of this process so far, in MB."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource  # on Unix alone

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
