"""What comes before the first step of an SRGAN: checks, images, split, networks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

from images.degradation import SCALES
from shared.machine import use_bfloat16, use_devices
from shared.pictures import find_pictures
from shared.run_folder import describe
from shared.setup import check_numbers, hold_out, refuse_repeats, shares_of
from srgan.data import load_pictures
from srgan.models import build_generator, is_held_to_input, scale_of, take_weights
from srgan.pairs import Partners
from srgan.perceptual.lpips import PerceptualDistance, build_lpips, build_lpips_vgg19
from srgan.perceptual.segmenter import build_segmenter, pooling_of

WEIGHT_FILES = ("initial_generator", "vgg19_weights", "lpips_weights", "unet")
WEIGHTS = (
    "pixel_weight",
    "content_weight",
    "adversarial_weight",
    "nuclei_weight",
    "nuclei_features_weight",
)


@dataclass(frozen=True)
class Plan:
    """What a run trains on, known before an image is read.

    Attributes:
        shares: relative chance of each folder.
        paths: the images of each folder.
        held_out: those for validation.
        partners: recorded low-resolution images.
        run: see `describe`.
    """

    shares: tuple[float, ...]
    paths: list[list[Path]]
    held_out: set[Path]
    partners: Partners
    run: dict


@dataclass(frozen=True)
class Prepared:
    """What both phases need.

    Attributes:
        training, validation: pictures.
        generator: that is trained.
        distance, segmenter: the losses of phase 2, see `SRGAN`.
    """

    training: list
    validation: list
    generator: keras.Model
    distance: Callable
    segmenter: keras.Model | None


def make_plan(chosen, constants: dict) -> Plan:
    """Find the images, and choose those that are held out.

    Raises:
        OSError, ValueError: a folder is empty, an image comes twice or has no partner, or one side
            of the split would be empty.
    """
    folders = chosen.high_resolution_folders
    shares = shares_of(folders, chosen.folder_weights)
    paths = [find_pictures(folder) for folder in folders]
    images = [path for found in paths for path in found]
    refuse_repeats(images)
    by = chosen.validation_names, chosen.validation_share, chosen.seed
    held_out = hold_out(images, *by)
    partners = Partners(chosen.low_resolution_folder, chosen.scale)
    partners.refuse_orphans(images)
    files = [tuple(filter(None, (path, partners.file_of(path)))) for path in images]
    learned = [each for each in files if each[0] not in held_out]
    judged = [each for each in files if each[0] in held_out]
    weights = {name: getattr(chosen, name) for name in WEIGHT_FILES}
    run = describe(constants, learned, judged, weights)
    return Plan(shares, paths, held_out, partners, run)


def prepare(chosen, plan: Plan) -> Prepared:
    """Read the images and build or load the networks.

    Raises:
        OSError, ValueError: an image or weights cannot be used.
    """
    use_devices(chosen.devices, chosen.batch_size)
    if chosen.bfloat16:
        use_bfloat16()
    pictures = load_pictures(plan.paths, plan.shares, plan.held_out, chosen.crop, plan.partners)
    keras.utils.set_random_seed(chosen.seed)
    distance = perceptual_distance(chosen)
    segmenter = start_segmenter(chosen)
    return Prepared(*pictures, start_generator(chosen), distance, segmenter)


def print_plan(chosen, partners: Partners, prepared: Prepared):
    """Print on how many images is trained, and what of them is not as it should be."""
    print(
        f"{len(prepared.training)} images for training, {len(prepared.validation)} for validation"
    )
    if others := partners.of_other_size:
        print(f"{len(others)} of them state another pixel size than 0.25 um ({others[0]}, ...)")
    if chosen.low_resolution_folder:
        print(f"{partners.registered} recorded pairs registered, {len(partners.refused)} left out")
        print("".join(f"  left out: {line}\n" for line in partners.refused), end="")


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
    shapes = ([weight.shape for weight in model.weights] for model in (initial, generator))
    if next(shapes) == next(shapes) and is_held_to_input(initial):
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
