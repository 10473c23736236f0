"""Make the README's pictures from a finished run over the demo images.

    python Implementation/Final_implementation.py && python Implementation/Workflow_figure.py
    python data/make_pictures.py --histo path/to/histo.jpg

strip.jpg: low resolution, bicubic, super-resolved, high resolution (the original, at half the
resolution of the output) and nuclei of one field, side by side. workflow.jpg: the method, smaller.
comparison.jpg is what SRGAN_evaluate.py writes as comparison.png for a folder with histo.jpg in it.
"""

from pathlib import Path

import cv2
import numpy as np
import tyro
from matplotlib.figure import Figure
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "Implementation" / "results"
PICTURES = ROOT / "data" / "pictures"
WORKFLOW_WIDTH = 1600  # pixels
FIELD = (420, 60, 320, 320)  # left, top, width, height in pixels of the super-resolved image


def main(histo: Path, results: Path = RESULTS, pictures: Path = PICTURES):
    """Write strip.jpg and workflow.jpg.

    Args:
        histo: the file histo.jpg of the package stardist.
        results: result folder of a run over the demo images.
        pictures: folder to write to.
    """
    pictures.mkdir(parents=True, exist_ok=True)
    draw_strip(histo, results / "histo", pictures / "strip.jpg")
    workflow = Image.open(results / "workflow.png").convert("RGB")
    workflow.thumbnail((WORKFLOW_WIDTH, WORKFLOW_WIDTH))
    workflow.save(pictures / "workflow.jpg", quality=88)


def draw_strip(histo: Path, results: Path, picture: Path):
    """Draw one field of the demo image in five versions."""
    low, sharp, outlined = (
        _read(results / f"{name}.png") for name in ("low_resolution", "super_resolved", "overlay")
    )
    size = sharp.shape[1::-1]
    panels = {
        "low resolution": cv2.resize(low, size, interpolation=cv2.INTER_NEAREST),
        "bicubic": cv2.resize(low, size, interpolation=cv2.INTER_CUBIC),
        "super-resolved": sharp,
        "high resolution (x2)": cv2.resize(_read(histo), size, interpolation=cv2.INTER_CUBIC),
        "nuclei": outlined,
    }
    left, top, width, height = FIELD
    figure = Figure(figsize=(15, 3.3), layout="constrained")
    for axis, (title, panel) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axis.imshow(panel[top : top + height, left : left + width])
        axis.set_title(title)
        axis.axis("off")
    figure.savefig(picture, dpi=100, pil_kwargs={"quality": 90})


def _read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


if __name__ == "__main__":
    tyro.cli(main)
