"""Measure how close a run comes to the limit of this machine.

    python Implementation/benchmark.py

Prints, and saves as JSON:

- the rate of matrix multiplication in both precisions;
- for both networks, and for several tiles and batches, the operations per output pixel, the bare
  speed, its share of that rate, and the cost of the tiles' margins;
- the layers that lose most, and what rewriting the networks brings;
- the cost of separating and measuring nuclei;
- the speed of the whole pipeline by stage, for several image sizes, tiles and batches, against the
  two networks alone, and the peak memory so far, without helper processes;
- what an image takes in a folder of others, and many small images against one large image.

All times are medians of repeated runs, but for whole runs after a warm-up. With --memory it
measures, instead, the peak memory of whole runs, helper processes included, for several sizes of
input; with --compare, the folder of another checkout of this repository, how long a run on the
images beside IMAGE takes here and there, by turns.
Every constant below is also a flag: see --help.
"""

import sys
from pathlib import Path
from typing import Literal

if __package__:  # python -m: the rooms are not on the path then
    sys.exit("Start this script by its path: python Implementation/benchmark.py")

from program.command_line import run

ROOT = Path(__file__).resolve().parents[1]

IMAGE = ROOT / "data" / "samples" / "histo.png"
MEGAPIXELS = (1.0, 4.0, 16.0)  # output pixels
TILE_SIZES = (256, 512, 640)  # pixels of a 10x image
BATCH_SIZES = (1, 4)
MEASURING_PROCESSES = 2  # helpers for large images; 1 = none
SMALL_IMAGES = 10  # of 0.25 output Mpx, timed against one of as many pixels; 0 = no whole runs
REPEATS = 3
ENLARGE = 4  # by which route: 4 from 10x, 2 from 20x
GENERATOR = ROOT / "models" / "generator.h5"  # x4
GENERATOR_X2 = ROOT / "models" / "generator_x2.h5"
UNET = ROOT / "models" / "Unet.h5"
PRECISION = "auto"  # of the networks, as in Final_implementation.py
REPORT = ROOT / "Implementation" / "results" / "benchmark.json"
COMPARE = None  # folder of another checkout: compare whole runs with those of this one
MEMORY = False  # True: measure peak memory instead of speed
MEMORY_SIDES = (1000, 4000)  # pixels of the square inputs for it, 20 bytes on disk per output pixel


def main(
    image: Path = IMAGE,
    megapixels: tuple[float, ...] = MEGAPIXELS,
    tile_sizes: tuple[int, ...] = TILE_SIZES,
    batch_sizes: tuple[int, ...] = BATCH_SIZES,
    measuring_processes: int = MEASURING_PROCESSES,
    small_images: int = SMALL_IMAGES,
    repeats: int = REPEATS,
    enlarge: Literal[2, 4] = ENLARGE,
    generator: Path = GENERATOR,
    generator_x2: Path = GENERATOR_X2,
    unet: Path = UNET,
    precision: Literal["auto", "float32", "bfloat16"] = PRECISION,
    report: Path = REPORT,
    compare: Path | None = COMPARE,
    memory: bool = MEMORY,
    memory_sides: tuple[int, ...] = MEMORY_SIDES,
) -> int:
    """Run the benchmark.

    Args:
        image: an image; mirrored copies of it fill the sizes that are measured.
        megapixels: sizes of the test images in million output pixels.
        tile_sizes: sides of the tiles in pixels of a 10x image; twice as many of a 20x image.
        batch_sizes: tiles per call of a network.
        measuring_processes: helper processes that assess and measure large images; 1 = none.
        small_images: how many small images are timed against a large one; 0 = no whole runs.
        repeats: runs of which the median is reported.
        enlarge: 4 = the route of a 10x image, 2 = that of a 20x image.
        generator: super-resolution model x4 (.h5).
        generator_x2: super-resolution model x2 (.h5).
        unet: nucleus model (.h5).
        precision: precision of the networks' multiplications; auto = bfloat16 if the processor has
            instructions for it, otherwise float32.
        report: JSON file for the figures.
        compare: folder of another checkout whose runs are compared with those of this one.
        memory: measure the peak memory of whole runs instead of speed.
        memory_sides: of the square inputs for that, in pixels.

    Returns:
        Exit status: 0, or 2 if the image or a model cannot be used, or a run fails.
    """
    # Imported here, not above: TensorFlow takes seconds, and --help needs none of it.
    from program.startup import start_keras

    try:
        start_keras()
        from evaluation.speed.memory import measure_memory
        from evaluation.speed.paired_runs import Run, paired_row
        from evaluation.speed.pipeline import Benchmark, measure_speed, print_rows

        if compare:
            runs = Run(image.parent), Run(image.parent, checkout=compare)
            print_rows("whole runs by turns", [paired_row("here / there", *runs, repeats)])
            return 0
        if memory:
            models = {"generator": generator, "generator-x2": generator_x2, "unet": unet}
            measure_memory(image, memory_sides, enlarge, models)
            return 0
        chosen = Benchmark(
            image,
            megapixels,
            tile_sizes,
            batch_sizes,
            measuring_processes,
            small_images,
            repeats,
            enlarge,
            {4: generator, 2: generator_x2}[enlarge],
            unet,
            precision,
        )
        measure_speed(chosen, report)
    except (OSError, ValueError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
