"""Train an SRGAN for x4 super-resolution of H&E images.

Fill HIGH_RESOLUTION_FOLDERS with sharp tissue images (about 0.25 um per pixel, any format) and run

    python training/SRGAN/SRGAN_train.py

Phase 1 pretrains the generator on a pixel loss, phase 2 trains it against a discriminator with a
VGG19 content loss. An interrupted run is started again with the same command and goes on from its
last epoch. A RUN_FOLDER belongs to one set of images and constants. Every constant below is also
a flag: see --help.
"""

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notes; before Keras

import keras
import tyro
from srgan_callbacks import ValidationReport, standard_callbacks
from srgan_data import SCALE, Degradation, SuperResolutionBatches, find_images, load_images
from srgan_epochs import adam
from srgan_models import SRGAN, build_discriminator, build_generator, build_vgg19_features
from srgan_saving import print_end, print_finished_before, record, save_model, write_json
from srgan_setup import (
    check_folder_weights,
    check_numbers,
    check_run_folder,
    describe,
    hold_out,
    plain,
    refuse_repeats,
    use_devices,
)

ROOT = Path(__file__).resolve().parents[2]

# --- Data ---
HIGH_RESOLUTION_FOLDERS = (ROOT / "data" / "high_resolution",)
FOLDER_WEIGHTS = (1.0,)
VALIDATION_NAMES = ()  # () = VALIDATION_SHARE counts
VALIDATION_SHARE = 0.1
CROP = 192  # high-resolution pixels, a multiple of 4; small crops are mostly border
DEGRADATION = Degradation()  # ranges of blur, noise and JPEG

# --- Networks ---
GENERATOR_FILTERS = 96
RESIDUAL_BLOCKS = 8
INITIAL_GENERATOR = None  # a generator.h5 to fine-tune
DISCRIMINATOR_FILTERS = 32  # a multiple of 8
VGG19_WEIGHTS = "imagenet"  # downloaded; or a file
VGG19_LAYER = "block3_conv3"

# --- Training ---
BATCH_SIZE = 4
STEPS_PER_EPOCH = 500
PRETRAINING_EPOCHS = 40
PRETRAINING_RATE = 4e-4  # peak
ADVERSARIAL_EPOCHS = 2
ADVERSARIAL_RATE = 2e-4  # peak
PIXEL_WEIGHT = 1.0
CONTENT_WEIGHT = 0.01
ADVERSARIAL_WEIGHT = 0.001
ADVERSARIAL_SHARE = 0.6  # of the adversarial weights in generator.h5, the rest is pretrained
SEED = 1
DEVICES = 1  # number or "all"; several need KERAS_BACKEND=jax

# --- Output ---
RUN_FOLDER = ROOT / "training" / "SRGAN" / "runs" / "default"  # also holds the checkpoints
REPLACE_SHIPPED_MODELS = False  # True: copy the finished generators into models/


def main(
    high_resolution_folders: tuple[Path, ...] = HIGH_RESOLUTION_FOLDERS,
    folder_weights: tuple[float, ...] = FOLDER_WEIGHTS,
    validation_names: tuple[str, ...] = VALIDATION_NAMES,
    validation_share: float = VALIDATION_SHARE,
    crop: int = CROP,
    degradation: Degradation = DEGRADATION,
    generator_filters: int = GENERATOR_FILTERS,
    residual_blocks: int = RESIDUAL_BLOCKS,
    initial_generator: Path | None = INITIAL_GENERATOR,
    discriminator_filters: int = DISCRIMINATOR_FILTERS,
    vgg19_weights: str = VGG19_WEIGHTS,
    vgg19_layer: str = VGG19_LAYER,
    batch_size: int = BATCH_SIZE,
    steps_per_epoch: int = STEPS_PER_EPOCH,
    pretraining_epochs: int = PRETRAINING_EPOCHS,
    pretraining_rate: float = PRETRAINING_RATE,
    adversarial_epochs: int = ADVERSARIAL_EPOCHS,
    adversarial_rate: float = ADVERSARIAL_RATE,
    pixel_weight: float = PIXEL_WEIGHT,
    content_weight: float = CONTENT_WEIGHT,
    adversarial_weight: float = ADVERSARIAL_WEIGHT,
    adversarial_share: float = ADVERSARIAL_SHARE,
    seed: int = SEED,
    devices: int | Literal["all"] = DEVICES,
    run_folder: Path = RUN_FOLDER,
    replace_shipped_models: bool = REPLACE_SHIPPED_MODELS,
):
    """Train the generator in two phases.

    Args:
        high_resolution_folders: folders of sharp images, searched recursively.
        folder_weights: relative share of the crops that come from each folder.
        validation_names: images whose names begin with one of these are kept out for validation.
        validation_share: without names: this share of the images, at least one, drawn at random.
        crop: side of a crop in high-resolution pixels, a multiple of 4.
        degradation: ranges of blur, noise and JPEG that make the low-resolution partners.
        generator_filters: width of the generator.
        residual_blocks: depth of the generator.
        initial_generator: a generator.h5 to start from (fine-tuning) instead of a new one.
        discriminator_filters: width of the discriminator's first layer, a multiple of 8.
        vgg19_weights: imagenet (Keras downloads them) or the path of a weights file.
        vgg19_layer: VGG19 convolution whose activations the content loss compares.
        batch_size: crops per step.
        steps_per_epoch: steps between two validations.
        pretraining_epochs: epochs of phase 1, on the pixel loss alone.
        pretraining_rate: highest learning rate of phase 1; a cosine takes it down to 1 %.
        adversarial_epochs: epochs of phase 2, against the discriminator.
        adversarial_rate: highest learning rate of phase 2.
        pixel_weight: weight, in phase 2, of the mean absolute error in 0..1.
        content_weight: weight of the VGG19 feature distance.
        adversarial_weight: weight of the discriminator's verdict.
        adversarial_share: share of phase 2 in the weights of generator.h5; the rest is phase 1.
        seed: seed of the weights, the split and all crops.
        devices: number of devices that share each batch, or all; several need the JAX backend.
        run_folder: gets models, records, logs, pictures and checkpoints of this one run.
        replace_shipped_models: copy the finished generators into models/.

    Raises:
        SystemExit: a constant, image or VGG19 weights cannot be used, or the run folder holds
            another run; nothing was trained.
    """
    constants = {name: plain(value) for name, value in locals().items()}
    constants["vgg19_weights"] = Path(vgg19_weights).name
    try:
        check_constants(constants)
        paths = [find_images(folder) for folder in high_resolution_folders]
        held_out = split(high_resolution_folders, paths, validation_names, validation_share, seed)
        files = [(path,) for found in paths for path in found]
        run = describe(
            constants,
            [each for each in files if each[0] not in held_out],
            [each for each in files if each[0] in held_out],
        )
        check_run_folder(run_folder, run)
        if (run_folder / "generator.json").is_file():
            print_finished_before(run_folder / "generator.h5")
            if replace_shipped_models:
                publish(run_folder, ROOT / "models")
            return
        use_devices(devices, batch_size)
        training, weights, validation = load_images(paths, folder_weights, held_out, crop)
        keras.utils.set_random_seed(seed)
        features = build_vgg19_features(vgg19_weights, vgg19_layer)
        if initial_generator:
            generator = keras.models.load_model(initial_generator, compile=False)
        else:
            generator = build_generator(generator_filters, residual_blocks)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{error}{_advice(error)}") from None
    print(f"{len(training)} images for training, {len(validation)} for validation")
    write_json(run_folder / "run.json", run)
    batches = SuperResolutionBatches(
        training, weights, crop, batch_size, steps_per_epoch, degradation, seed
    )
    started = time.time()

    callbacks = standard_callbacks(run_folder, "pretraining", batches, generator, validation)
    pretrained_file = run_folder / "generator_pretrained.h5"
    if pretrained_file.exists():
        print(f"{pretrained_file} exists: pretraining is finished")
        generator.load_weights(pretrained_file)
    else:
        pretrain(generator, batches, pretraining_epochs, pretraining_rate, callbacks)
        save_model(generator, pretrained_file)

    discriminator = build_discriminator(discriminator_filters)
    term_weights = pixel_weight, content_weight, adversarial_weight
    srgan = SRGAN(generator, discriminator, features, *term_weights)
    callbacks = standard_callbacks(run_folder, "adversarial", batches, generator, validation)
    # Another seed: the same crops in the same order again would be the same lesson twice.
    batches.seed = seed + 1
    train_adversarially(srgan, batches, adversarial_epochs, adversarial_rate, callbacks)
    save_model(generator, run_folder / "generator_adversarial.h5")
    pretrained = keras.models.load_model(pretrained_file, compile=False)
    blend(generator, pretrained, adversarial_share)
    save_model(generator, run_folder / "generator.h5")

    for model in (pretrained, generator):
        file = pretrained_file if model is pretrained else run_folder / "generator.h5"
        figures = ValidationReport(model, validation, run_folder).figures()
        write_record(file, run, figures, time.time() - started)
    if replace_shipped_models:
        publish(run_folder, ROOT / "models")
    print_end(run_folder / "generator.h5", "--generator", figures)


def check_constants(constants: dict):
    """Raise ValueError for the first constant that cannot work, before any image is read."""
    check_folder_weights(constants["high_resolution_folders"], constants["folder_weights"])
    least = dict.fromkeys(("generator_filters", "residual_blocks", "discriminator_filters"), 1)
    least |= dict.fromkeys(("batch_size", "steps_per_epoch"), 1)
    least |= dict.fromkeys(("pretraining_epochs", "adversarial_epochs"), 1)
    least |= {"crop": 16, "seed": 0}  # the discriminator halves a crop four times
    least |= dict.fromkeys(("pixel_weight", "content_weight", "adversarial_weight"), 0)
    check_numbers(
        constants,
        least,
        multiples={"crop": SCALE, "discriminator_filters": 8},
        positive=("pretraining_rate", "adversarial_rate"),
        shares=("validation_share", "adversarial_share"),
    )


def split(folders, paths, names, share: float, seed: int) -> set[Path]:
    """Choose the images of all folders that are kept out for validation.

    Args:
        folders: the folders.
        paths: the list of images of each.
        names, share, seed: see `hold_out`.

    Raises:
        OSError, ValueError: a folder is empty, an image comes twice or one side would be empty.
    """
    for folder, found in zip(folders, paths, strict=True):
        if not found:
            raise FileNotFoundError(f"no high-resolution images found in {folder}")
    everything = [path for found in paths for path in found]
    refuse_repeats(everything)
    return hold_out(everything, names, share, seed)


def pretrain(generator, batches, epochs, learning_rate, callbacks):
    """Phase 1: mean absolute error in grey levels, generator alone."""
    generator.compile(adam(learning_rate, epochs * len(batches)), "mean_absolute_error")
    generator.evaluate(*batches[0], verbose=0)  # builds: else JAX and PyTorch draw batches ahead
    # The batches are random already; shuffling them would keep a resumed run from repeating.
    generator.fit(batches, epochs=epochs, callbacks=callbacks, shuffle=False)
    generator.optimizer = None  # holds arrays of the weights, which phase 2 consumes on JAX


def train_adversarially(srgan, batches, epochs, learning_rate, callbacks):
    """Phase 2: generator against discriminator, with VGG19 content and pixel loss."""
    srgan.build(None)
    srgan.compile(adam(learning_rate, epochs * len(batches)))
    srgan.fit(batches, epochs=epochs, callbacks=callbacks, shuffle=False)


def blend(generator, pretrained, share: float):
    """Interpolate in place between adversarial and pretrained weights (Wang et al. 2018, ESRGAN).

    Keeps most of the sharpness of the one and drops most of the invented texture of both.
    """
    pairs = zip(generator.get_weights(), pretrained.get_weights(), strict=True)
    generator.set_weights([share * ours + (1 - share) * theirs for ours, theirs in pairs])


def write_record(model: Path, run, figures, seconds):
    """Write the .json record beside a generator."""
    entries = {
        "task": "x4 super-resolution of H&E images, RGB 0..255 in and out",
        "input_microns_per_pixel": 1.0,
        "output_microns_per_pixel": 0.25,
        "validation": figures,
    }
    write_json(model.with_suffix(".json"), record(model, run, seconds, **entries))


def publish(run_folder: Path, models: Path):
    """Copy the finished generators and their records into the folder of shipped models."""
    for name in ("generator", "generator_pretrained"):
        for suffix in (".h5", ".json"):
            shutil.copy2(run_folder / (name + suffix), models / (name + suffix))


def _advice(error) -> str:
    if "VGG19" in str(error):
        return "\nSet VGG19_WEIGHTS to a weights file of keras.applications.VGG19, or go online."
    if "no high-resolution images" in str(error):
        return (
            "\nPut sharp H&E images (about 0.25 um per pixel) there, or set\n"
            "HIGH_RESOLUTION_FOLDERS (--high-resolution-folders). The TCIA patches of\n"
            "doi 10.7937/tcia.2019.4a4dkp9u or any 40x tiles will do; see data/README.md."
        )
    return ""


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on from the last finished epoch.")
