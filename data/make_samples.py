"""Make the demo images in data/samples: low-resolution versions, at about 1 um per pixel.

    python data/make_samples.py --histo path/to/histo.jpg

`histo.jpg` comes with the Python package stardist (BSD-3-Clause): dense tumour nuclei in H&E at
about 0.5 um per pixel. The second image is scikit-image's `ihc.png` (colon, DAB with a hematoxylin
counterstain, at about 0.5 um per pixel).
"""

from pathlib import Path

import cv2
import numpy as np
import tyro
from PIL import Image
from skimage.data import immunohistochemistry

SAMPLES = Path(__file__).resolve().parent / "samples"
REDUCTION = 2  # from about 0.5 to about 1 um per pixel
MICRONS_PER_PIXEL = 1.0  # of the written images; goes into their metadata


def main(histo: Path, samples: Path = SAMPLES):
    """Write histo.png and ihc.png.

    Args:
        histo: the file histo.jpg of the package stardist.
        samples: folder of the demo images.
    """
    samples.mkdir(parents=True, exist_ok=True)
    tissue = {"histo": np.asarray(Image.open(histo).convert("RGB")), "ihc": immunohistochemistry()}
    for name, image in tissue.items():
        size = [side // REDUCTION for side in image.shape[1::-1]]
        low = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        dots_per_inch = 25400 / MICRONS_PER_PIXEL
        Image.fromarray(low).save(samples / f"{name}.png", dpi=(dots_per_inch, dots_per_inch))


if __name__ == "__main__":
    tyro.cli(main)
