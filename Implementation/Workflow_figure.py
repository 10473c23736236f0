"""Draw the whole method on one small image: workflow.png, for a paper or a talk.

    python Implementation/Workflow_figure.py

Low-resolution field, its tiles with overlap, super-resolved tiles, stitched field, the U-net's
maps, separated nuclei, measurements. Every constant below is also a flag: see --help.
"""

import sys
from pathlib import Path

if __package__:  # python -m: the rooms are not on the path then
    sys.exit("Start this script by its path: python Implementation/Workflow_figure.py")

from program.command_line import run

ROOT = Path(__file__).resolve().parents[1]

IMAGE = ROOT / "data" / "samples" / "histo.png"
FIELD = 96  # input pixels
TILE_SIZE = 48  # input pixels
GENERATOR = ROOT / "models" / "generator.h5"  # x4, for 10x images
GENERATOR_X2 = ROOT / "models" / "generator_x2.h5"  # for 20x images
UNET = ROOT / "models" / "Unet.h5"
PICTURE = ROOT / "Implementation" / "results" / "workflow.png"


def main(
    image: Path = IMAGE,
    field: int = FIELD,
    tile_size: int = TILE_SIZE,
    generator: Path = GENERATOR,
    generator_x2: Path = GENERATOR_X2,
    unet: Path = UNET,
    picture: Path = PICTURE,
) -> int:
    """Draw the figure.

    Args:
        image: an image that a run would enlarge: 10x, 20x, or without a known pixel size.
        field: side of the field shown, in input pixels; it is taken from the middle of the image.
        tile_size: side of a tile in input pixels; small, so that the picture shows several.
        generator: super-resolution model x4 (.h5).
        generator_x2: super-resolution model x2 (.h5).
        unet: nucleus model (.h5).
        picture: PNG file to write.

    Returns:
        Exit status: 0, or 2 if the image or a model cannot be used.
    """
    # Imported here, not above: TensorFlow takes seconds, and --help needs none of it.
    from program.startup import start_keras

    try:
        start_keras()
        from evaluation.workflow import draw_workflow

        generators = {4: generator, 2: generator_x2}
        draw_workflow(image, field, tile_size, generators, unet, picture)
    except (OSError, ValueError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    print(picture.resolve())
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
