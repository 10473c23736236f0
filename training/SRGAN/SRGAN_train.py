"""Train an SRGAN for x4 super-resolution of H&E images.

Fill HIGH_RESOLUTION_FOLDERS with sharp tissue images (about 0.25 um per pixel, any format) and run

    python training/SRGAN/SRGAN_train.py

Phase 1 pretrains the generator on a pixel loss, phase 2 trains it against a discriminator with a
VGG19 content loss. An interrupted run is started again with the same command and goes on from its
last epoch. Every constant below is also a flag: see --help.
"""

import json
import platform
import shutil
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tyro
from srgan_callbacks import ValidationReport, standard_callbacks
from srgan_data import Degradation, SuperResolutionBatches, find_images, read_image
from srgan_models import SRGAN, build_discriminator, build_generator, build_vgg19_features

ROOT = Path(__file__).resolve().parents[2]

# --- Data ---
HIGH_RESOLUTION_FOLDERS = (ROOT / "data" / "high_resolution",)  # searched recursively
FOLDER_WEIGHTS = (1.0,)  # relative share of the crops that come from each folder
VALIDATION_NAMES = ()  # images whose names begin with one of these are kept out for validation
VALIDATION_SHARE = 0.1  # share of the images kept out where VALIDATION_NAMES is empty
CROP = 128  # side of a high-resolution crop in pixels, a multiple of 4
DEGRADATION = Degradation()  # ranges of blur, noise and JPEG

# --- Networks ---
GENERATOR_FILTERS = 96
RESIDUAL_BLOCKS = 8
INITIAL_GENERATOR = None  # a generator.h5 to start from (fine-tuning) instead of a new one
DISCRIMINATOR_FILTERS = 32
VGG19_WEIGHTS = "imagenet"  # or the path of a weights file; "imagenet" lets Keras download them
VGG19_LAYER = "block3_conv3"

# --- Training ---
BATCH_SIZE = 8
STEPS_PER_EPOCH = 250
PRETRAINING_EPOCHS = 31
PRETRAINING_RATE = 4e-4  # peak learning rate, then a cosine down to 1 % of it
ADVERSARIAL_EPOCHS = 4
ADVERSARIAL_RATE = 1e-4
PIXEL_WEIGHT = 1.0  # of the mean absolute error in 0..1
CONTENT_WEIGHT = 0.01  # of the VGG19 feature distance
ADVERSARIAL_WEIGHT = 0.002
ADVERSARIAL_SHARE = 0.6  # of the adversarial weights in generator.h5, the rest is pretrained
SEED = 1

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
    run_folder: Path = RUN_FOLDER,
    replace_shipped_models: bool = REPLACE_SHIPPED_MODELS,
):
    """Train the generator in two phases; see the constants at the top of the script.

    Raises:
        SystemExit: images or VGG19 weights are missing or unusable; nothing was trained.
    """
    constants = {name: _plain(value) for name, value in locals().items()}
    constants["vgg19_weights"] = Path(vgg19_weights).name
    keras.utils.set_random_seed(seed)
    try:
        training, weights, validation = load_images(
            high_resolution_folders, folder_weights, validation_names, validation_share, crop, seed
        )
        features = build_vgg19_features(vgg19_weights, vgg19_layer)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{error}\n{_advice(error)}") from None
    print(f"{len(training)} images for training, {len(validation)} for validation")

    run_folder.mkdir(parents=True, exist_ok=True)
    batches = SuperResolutionBatches(
        list(training.values()), weights, crop, batch_size, steps_per_epoch, degradation, seed
    )
    validation_images = list(validation.values())
    if initial_generator:
        generator = keras.models.load_model(initial_generator, compile=False)
    else:
        generator = build_generator(generator_filters, residual_blocks)
    started = time.time()

    pretrained_file = run_folder / "generator_pretrained.h5"
    if pretrained_file.exists():
        print(f"{pretrained_file} exists: pretraining is finished")
        generator.load_weights(pretrained_file)
    else:
        callbacks = standard_callbacks(
            run_folder, "pretraining", batches, generator, validation_images
        )
        pretrain(generator, batches, pretraining_epochs, pretraining_rate, callbacks)
        generator.save(pretrained_file, include_optimizer=False)

    srgan = SRGAN(
        generator,
        build_discriminator(discriminator_filters),
        features,
        pixel_weight,
        content_weight,
        adversarial_weight,
    )
    callbacks = standard_callbacks(run_folder, "adversarial", batches, generator, validation_images)
    # Another seed: the same crops in the same order again would be the same lesson twice.
    batches.seed = seed + 1
    train_adversarially(srgan, batches, adversarial_epochs, adversarial_rate, callbacks)
    generator.save(run_folder / "generator_adversarial.h5", include_optimizer=False)
    pretrained = keras.models.load_model(pretrained_file, compile=False)
    blend(generator, pretrained, adversarial_share)
    generator.save(run_folder / "generator.h5", include_optimizer=False)

    images = {
        "training_images": [_plain(Path(name)) for name in training],
        "validation_images": [_plain(Path(name)) for name in validation],
    }
    for model in (pretrained, generator):
        name = "generator" if model is generator else "generator_pretrained"
        figures = ValidationReport(model, validation_images, run_folder).figures()
        write_record(run_folder / f"{name}.json", constants, images, figures, time.time() - started)
    if replace_shipped_models:
        publish(run_folder, ROOT / "models")


def load_images(folders, folder_weights, validation_names, validation_share, crop, seed):
    """Read all images; split whole images into training and validation.

    Returns:
        ({name: image} for training, relative chance of each to be drawn, {name: image} for
        validation); images are uint8 RGB. Within a folder the chance grows with the area.

    Raises:
        OSError, ValueError: a folder is missing or empty, an image unreadable or too small, or the
            split leaves nothing on one side.
    """
    if len(folders) != len(folder_weights):
        raise ValueError(f"expected {len(folders)} FOLDER_WEIGHTS, found {len(folder_weights)}")
    training, validation, weights = {}, {}, []
    rng = np.random.default_rng(seed)
    for folder, folder_weight in zip(folders, folder_weights, strict=True):
        paths = find_images(folder)
        if not paths:
            raise FileNotFoundError(f"no high-resolution images found in {folder}")
        areas = []
        for path in paths:
            image = read_image(path)
            if min(image.shape[:2]) < crop:
                raise ValueError(f"{path}: {image.shape[1]}x{image.shape[0]} is less than {crop}")
            if validation_names:
                held_out = path.name.startswith(tuple(validation_names))
            else:
                held_out = rng.random() < validation_share
            (validation if held_out else training)[str(path)] = image
            if not held_out:
                areas.append(image.shape[0] * image.shape[1])
        weights += [folder_weight * area / sum(areas) for area in areas]
    if not training or not validation:
        raise ValueError(
            f"the split left {len(training)} images for training and {len(validation)} for "
            "validation: add images, or change VALIDATION_NAMES or VALIDATION_SHARE"
        )
    return training, weights, validation


def pretrain(generator, batches, epochs, learning_rate, callbacks):
    """Phase 1: mean absolute error in grey levels, generator alone."""
    generator.compile(_optimizer(learning_rate, epochs * len(batches)), "mean_absolute_error")
    generator.test_on_batch(*batches[0])  # builds: else JAX and PyTorch draw batches ahead
    # The batches are random already; shuffling them would keep a resumed run from repeating.
    generator.fit(batches, epochs=epochs, callbacks=callbacks, shuffle=False)
    generator.optimizer = None  # holds arrays of the weights, which phase 2 consumes on JAX


def train_adversarially(srgan, batches, epochs, learning_rate, callbacks):
    """Phase 2: generator against discriminator, with VGG19 content and pixel loss."""
    srgan.build(None)
    srgan.compile(_optimizer(learning_rate, epochs * len(batches)))
    srgan.fit(batches, epochs=epochs, callbacks=callbacks, shuffle=False)


def blend(generator, pretrained, share: float):
    """Interpolate in place between adversarial and pretrained weights (Wang et al. 2018, ESRGAN).

    Keeps most of the sharpness of the one and drops most of the invented texture of both.
    """
    pairs = zip(generator.get_weights(), pretrained.get_weights(), strict=True)
    generator.set_weights([share * ours + (1 - share) * theirs for ours, theirs in pairs])


def write_record(path: Path, constants, images, figures, seconds):
    """Write the .json record beside a generator: how it was made and what it reached."""
    record = {
        "model": path.with_suffix(".h5").name,
        "task": "x4 super-resolution of H&E images, RGB 0..255 in and out",
        "input_microns_per_pixel": 1.0,
        "output_microns_per_pixel": 0.25,
        "constants": constants,
        **images,
        "validation": figures,
        "seconds_of_this_run": round(seconds),
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
        },
    }
    path.write_text(json.dumps(record, indent=2), encoding="utf-8")


def publish(run_folder: Path, models: Path):
    """Copy the finished generators and their records into the folder of shipped models."""
    for name in ("generator", "generator_pretrained"):
        for suffix in (".h5", ".json"):
            shutil.copy2(run_folder / (name + suffix), models / (name + suffix))


def _optimizer(peak, steps):
    """Adam with a short warm-up, a cosine down to 1 %, and the average of recent weights."""
    warmup = min(200, max(1, steps // 10))
    schedule = keras.optimizers.schedules.CosineDecay(
        peak / 10, max(1, steps - warmup), alpha=0.01, warmup_target=peak, warmup_steps=warmup
    )
    momentum = 1 - 1 / max(100, steps // 20)  # the average spans a twentieth of the run
    return keras.optimizers.Adam(schedule, use_ema=True, ema_momentum=momentum)


def _plain(value):
    """Return a constant as JSON can hold it."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):  # enough to know it by; records tell nothing of whose disk it is
        return "/".join(value.parts[-3:])
    return vars(value) if isinstance(value, Degradation) else value


def _advice(error):
    if "VGG19" in str(error) or "vgg19" in str(error) or "URL" in str(error):
        return "Set VGG19_WEIGHTS to a weights file of keras.applications.VGG19, or go online."
    return (
        f"Put sharp H&E images (about 0.25 um per pixel) into {HIGH_RESOLUTION_FOLDERS[0]},\n"
        "or set HIGH_RESOLUTION_FOLDERS (--high-resolution-folders). The TCIA patches of\n"
        "doi 10.7937/tcia.2019.4a4dkp9u or any 40x tiles will do; see data/README.md."
    )


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on from the last finished epoch.")
