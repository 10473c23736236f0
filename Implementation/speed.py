"""Speed of the machine, the networks and the pipeline: the work behind benchmark.py."""

import json
import platform
import resource
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import keras
import numpy as np
from image_analysis import Analysis, Settings
from image_files import open_image
from networks import Network, load_network, operations_per_pixel
from outputs import write_image

MATRIX_SIDE = 3000
NETWORK_PIXELS = 2_000_000  # output pixels of one timing of a bare network, about


class StageClock:
    """Stands in for the progress bar and times the stages instead."""

    def __init__(self):
        self.seconds, self._begun = {}, None

    def start(self, stages, stage_size):
        """Begin with what comes before the first stage."""
        self.stage("prepare")

    def stage(self, title):
        """End the current stage and begin the next; None ends the last."""
        now = time.perf_counter()
        if self._begun:
            name, start = self._begun
            self.seconds[name] = self.seconds.get(name, 0.0) + now - start
        self._begun = (title, now)

    def advance(self, pixels):
        """Ignore progress within a stage."""


def benchmark(image, megapixels, tile_sizes, batch_sizes, repeats, generator, unet, report):
    """Measure, print and save; see benchmark.py for the arguments.

    Raises:
        ModelError, ImageReadError, OSError: a model or the image cannot be used.
    """
    networks = {
        "generator": load_network(generator, "generator", scale=4, channels=3),
        "U-net": load_network(unet, "U-net", scale=1, channels=2),
    }
    with open_image(image) as file:
        tissue = file.read(0, 0, file.width, file.height)
    rate = multiplication_rate(repeats)
    print(f"{platform.processor() or platform.machine()}, {keras.backend.backend()}")
    print(f"matrix multiplication: {rate:.0f} GFLOP/s")
    bare = [
        row
        for name, network in networks.items()
        for row in network_rows(name, network, tile_sizes, batch_sizes, repeats, rate)
    ]
    print_rows("bare networks", bare)
    whole = [pipeline_row(tissue, size, networks, repeats) for size in megapixels]
    print_rows("whole pipeline", whole)
    content = {"gflops": rate, "networks": bare, "pipeline": whole}
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(content, indent=2), encoding="utf-8")
    print(f"\n{report}")


def multiplication_rate(repeats: int) -> float:
    """Rate of float32 matrix multiplication through the networks' own backend, in GFLOP/s."""
    matrix = keras.random.normal((MATRIX_SIDE, MATRIX_SIDE))
    seconds = _median_time(
        lambda: keras.ops.convert_to_numpy(keras.ops.matmul(matrix, matrix)[:1, :1]), repeats
    )
    return 2 * MATRIX_SIDE**3 / seconds / 1e9


def network_rows(name, network: Network, tile_sizes, batch_sizes, repeats, rate) -> list[dict]:
    """Time a bare network for each tile (in input pixels of the pipeline) and batch size."""
    operations = operations_per_pixel(network)
    rows = []
    for tile in tile_sizes:
        margin = -(-network.radius // network.pooling) * network.pooling
        inner = tile if network.scale > 1 else tile * 4
        side = inner + 2 * margin
        for batch in batch_sizes:
            tiles = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
            pixels = batch * (side * network.scale) ** 2
            calls = max(1, round(NETWORK_PIXELS / pixels))
            seconds = _median_time(lambda t=tiles, c=calls: _call(network, t, c), repeats) / calls
            rows.append(
                {
                    "network": name,
                    "tile": tile,
                    "batch": batch,
                    "kFLOP/px": operations / 1e3,
                    "Mpx/s": pixels / seconds / 1e6,
                    "share of rate": pixels * operations / seconds / 1e9 / rate,
                    "margin cost": 1 - (inner / side) ** 2,
                }
            )
    return rows


def pipeline_row(tissue, megapixels: float, networks, repeats: int) -> dict:
    """Time a whole analysis of a mirrored image of about so many output pixels."""
    side = round((megapixels * 1e6) ** 0.5 / 4)
    missing = [(0, max(0, side - extent)) for extent in tissue.shape[:2]]
    mirrored = np.pad(tissue, [*missing, (0, 0)], "symmetric")[:side, :side]
    runs = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "image.png"
        write_image(path, mirrored)
        for _ in range(repeats + 1):  # the first one is the warm-up
            clock = StageClock()
            with open_image(path) as image:
                settings = Settings(microns_per_pixel=1.0)
                Analysis(image, Path(folder), *networks.values(), settings, clock).run()
            clock.stage(None)
            runs.append(clock.seconds)
    stages = {name: median(run[name] for run in runs[1:]) for name in runs[0]}
    total = sum(stages.values())
    pixels = (4 * side) ** 2
    other = total - stages["super-resolving"] - stages["segmenting"]
    row = {"Mpx": pixels / 1e6, "seconds": total, "Mpx/s": pixels / 1e6 / total}
    row |= {f"{name}, s": seconds for name, seconds in stages.items()}
    return row | {"outside networks": other / total, "peak memory, MB": _peak_memory()}


def print_rows(title: str, rows: list[dict]):
    """Print a table of numbers under their names."""
    print(f"\n{title}")
    print("".join(f"{name:>18}" for name in rows[0]))
    for row in rows:
        cells = (f"{v:>18.3g}" if isinstance(v, float) else f"{v:>18}" for v in row.values())
        print("".join(cells))


def _call(network, tiles, calls):
    for _ in range(calls):
        network.predict(tiles)


def _median_time(work, repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def _peak_memory() -> float:
    """Largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
