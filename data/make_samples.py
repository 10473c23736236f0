"""Make the demo images in data/samples: low-resolution versions, at about 1 um per pixel.

    python data/make_samples.py --histo path/to/histo.jpg

`histo.jpg` comes with the Python package stardist (BSD-3-Clause): dense tumour nuclei in H&E at
about 0.5 um per pixel. The second image shows the same field as another laboratory might have
stained it: less hematoxylin, more eosin, warmer light.
"""

from pathlib import Path

import cv2
import numpy as np
import tyro
from PIL import Image
from skimage.color import hed2rgb, rgb2hed

SAMPLES = Path(__file__).resolve().parent / "samples"
REDUCTION = 2  # from about 0.5 to about 1 um per pixel
MICRONS_PER_PIXEL = 1.0  # of the written images; goes into their metadata
OTHER_STAIN = (0.72, 1.5, 1.0)  # hematoxylin, eosin and residual of the second image, as shares
OTHER_WHITE = (250, 243, 232)  # its white point, RGB


def main(histo: Path, samples: Path = SAMPLES):
    """Write histo.png and histo_other_stain.png.

    Args:
        histo: the file histo.jpg of the package stardist.
        samples: folder of the demo images.
    """
    samples.mkdir(parents=True, exist_ok=True)
    tissue = np.asarray(Image.open(histo).convert("RGB"))
    for name, image in {"histo": tissue, "histo_other_stain": restained(tissue)}.items():
        size = [side // REDUCTION for side in image.shape[1::-1]]
        low = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        dots_per_inch = 25400 / MICRONS_PER_PIXEL
        Image.fromarray(low).save(samples / f"{name}.png", dpi=(dots_per_inch, dots_per_inch))


def restained(image: np.ndarray) -> np.ndarray:
    """Return uint8 RGB with other amounts of stain (Ruifrok & Johnston 2001), in other light."""
    light = hed2rgb(rgb2hed(image) * OTHER_STAIN)
    return np.rint(np.clip(light, 0, 1) * OTHER_WHITE).astype(np.uint8)


if __name__ == "__main__":
    tyro.cli(main)
