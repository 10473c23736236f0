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

from evaluation.speed.memory import mirrored
from evaluation.speed.networks import (
    layer_rows,
    median_time,
    multiplication_rate,
    network_rows,
    rewriting_row,
)
from evaluation.speed.paired_runs import many_against_one, seconds_of_a_further_image
from images.opening import open_image
from images.sizes import StatedSize
from networks.loading import load_network
from networks.network import UNET_MICRONS
from nuclei.measurement import measure
from nuclei.separation import separate
from outputs.png import write_image
from program.processor import chosen_precision
from program.settings import RESULT_MICRONS, Settings, TileSettings
from stages.analysis import Analysis, Networks
from stages.examining import WINDOW
from stages.helper_processes import Helpers
from tiles.geometry import Window
from trust.confidence import nucleus_confidence
from trust.judgement import judge_window

FURTHER_MEGAPIXELS = 4.0  # of the result at most, of the images that are timed in a folder
COMPARED = 4.0  # Mpx of the result whose pixels are said to cost 1
SMALL_MEGAPIXELS = 0.25  # of the result of a small image
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
    small_images: int
    repeats: int
    enlarge: int
    generator: Path
    unet: Path
    precision: str


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
    content["rewriting"] = [
        rewriting_row(name, network, chosen.repeats) for name, network in networks.items()
    ]
    print_rows("what rewriting the networks brings, in float32", content["rewriting"])
    bare = sum(_fastest(content["networks"], name) for name in networks)
    content |= pipeline_tables(tissue, Networks(*networks.values()), chosen, bare)
    if chosen.small_images:
        content["further images"] = further_rows(tissue, content["pipeline"], chosen)
        print_rows("an image in a folder of others", content["further images"])
        content["small images"] = [small_images_row(tissue, chosen)]
        print_rows("whole runs from start to report, by turns", content["small images"])
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(content, indent=2), encoding="utf-8")
    print(f"\n{report.resolve()}")


def _fastest(rows: list[dict], name: str) -> float:
    """Return the seconds per Mpx of a bare network, at the tile and batch that suit it best."""
    return 1 / max(row["Mpx/s"] for row in rows if row["network"] == name)


def small_images_row(tissue: np.ndarray, chosen: Benchmark) -> dict:
    """Time a run of many images of SMALL_MEGAPIXELS against one of as many pixels in one image."""
    areas = SMALL_MEGAPIXELS, chosen.small_images * SMALL_MEGAPIXELS
    sides = tuple(round((1e6 * area) ** 0.5 / chosen.enlarge) for area in areas)
    return many_against_one(tissue, sides, command_line(chosen), chosen.repeats)


def further_rows(tissue: np.ndarray, pipeline: list[dict], chosen: Benchmark) -> list[dict]:
    """Time images of whole runs that have others before them, whose results are written meanwhile.

    pipeline: the rows of single images, from which the time of the networks is taken.
    """
    rows = []
    for single in pipeline:
        if single["Mpx"] > 1.1 * FURTHER_MEGAPIXELS:
            continue
        side = round((1e6 * single["Mpx"]) ** 0.5 / chosen.enlarge)
        words = command_line(chosen)
        seconds = seconds_of_a_further_image(tissue, side, words, chosen.repeats)
        networks = single["super-resolve, s"] + single["segment, s"]
        row = {"Mpx": single["Mpx"], "seconds": seconds, "networks alone, s": networks}
        rows.append(row | {"outside networks": 1 - networks / seconds})
    return rows


def command_line(chosen: Benchmark) -> list[str]:
    """Return the words of a run with the models and choices of this measurement."""
    generator = "generator" if chosen.enlarge == 4 else f"generator-x{chosen.enlarge}"
    flags = {
        generator: chosen.generator,
        "unet": chosen.unet,
        "pixel-size-model": None,  # not a part of what is timed of a single image
        "enlarge": chosen.enlarge,
        "microns-per-pixel": chosen.enlarge * RESULT_MICRONS,
        "measuring-processes": chosen.measuring_processes,
        "precision": chosen.precision,
    }
    return [word for name, value in flags.items() for word in (f"--{name}", str(value))]


def pipeline_tables(
    tissue: np.ndarray, networks: Networks, chosen: Benchmark, bare: float
) -> dict[str, list[dict]]:
    """Time whole analyses by size, and one size by tile and by batch; print the tables.

    bare: seconds per Mpx of both networks alone.
    """
    with Helpers(chosen.measuring_processes) as helpers:
        pipeline = Pipeline(tissue, networks, helpers, chosen.repeats, bare)
        by_size = [pipeline.row(size) for size in chosen.megapixels]
        if COMPARED in chosen.megapixels:
            speed = by_size[chosen.megapixels.index(COMPARED)]["Mpx/s"]
            by_size = [row | {"cost of a pixel": speed / row["Mpx/s"]} for row in by_size]
        print_rows("whole pipeline", by_size)
        middle = sorted(chosen.megapixels)[len(chosen.megapixels) // 2]
        usual = TileSettings().batch_size
        others = [{"tile_size": tile} for tile in chosen.tile_sizes]
        others += [{"batch_size": batch} for batch in chosen.batch_sizes if batch != usual]
        by_tile = [pipeline.row(middle, **tiles) for tiles in others]
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


@dataclass(frozen=True)
class Pipeline:
    """Whole analyses of mirrored copies of an image.

    Attributes:
        tissue: the image, uint8 RGB.
        networks: both networks.
        helpers: measure large images.
        repeats: analyses of which the medians are taken.
        bare: seconds per Mpx of both networks alone.
    """

    tissue: np.ndarray
    networks: Networks
    helpers: Helpers
    repeats: int
    bare: float

    def row(self, megapixels: float, **tiles) -> dict:
        """Time an image of about so many output pixels, with other tiles than the usual ones."""
        scale, settings = self.networks.generator.scale, Settings(tiles=TileSettings(**tiles))
        side = round((megapixels * 1e6) ** 0.5 / scale)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "image.png"
            write_image(path, mirrored(self.tissue, side))
            # The first one is the warm-up.
            runs = [self._timed(path, settings) for _ in range(self.repeats + 1)][1:]
        stages = {name: median(run[name] for run in runs) for name in runs[0]}
        total, size = sum(stages.values()), (scale * side) ** 2 / 1e6
        other = total - stages["super-resolve"] - stages["segment"]
        row = {"Mpx": size, "tile": settings.tiles.tile_size, "batch": settings.tiles.batch_size}
        row |= {"seconds": total, "Mpx/s": size / total}
        row |= {f"{name}, s": seconds for name, seconds in stages.items()}
        row |= {"outside networks": other / total, "bare networks = 1": total / size / self.bare}
        return row | {"peak memory, MB": _peak_memory()}

    def _timed(self, path: Path, settings: Settings) -> dict:
        """Analyse an image once; return the seconds of its stages.

        Tiles are read in a thread while the network works, so `read` is what comes before.
        """
        clock = StageClock()
        microns = self.networks.generator.scale * RESULT_MICRONS
        with open_image(path, stated=StatedSize(microns)) as image:
            Analysis(image, path.parent, self.networks, settings, clock).run(self.helpers)
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
