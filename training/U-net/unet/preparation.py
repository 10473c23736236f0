"""What comes before the first step of a U-net: checks, samples, network."""

from collections import Counter
from dataclasses import dataclass
from functools import partial

import keras

from images.errors import counted, some_of
from labels.masks import MASKS
from labels.reading import check_labels
from shared.machine import use_bfloat16, use_devices
from shared.setup import check_numbers
from unet.data import load_sample
from unet.model import first_unet
from unet.sets.finding import Sets, evenly, load_samples, with_replay


@dataclass(frozen=True)
class Prepared:
    """What a run needs, read and built.

    Attributes:
        training, weights: samples and their relative chances.
        validation, check: samples that are scored.
        unet: that is trained.
    """

    training: list
    weights: list
    validation: list
    check: list
    unet: keras.Model


def check_constants(constants: dict):
    """Raise ValueError for the first constant that cannot work, before any image is read."""
    names = (
        "validation_limit",
        "replay_limit",
        "first_filters",
        "batch_size",
        "steps_per_epoch",
        "epochs",
        "crop",
    )
    if constants["masks"] not in MASKS:
        raise ValueError(f"MASKS: expected {' or '.join(MASKS)}, found {constants['masks']}")
    least = {**dict.fromkeys(names, 1), "depth": 2, "seed": 0}
    check_numbers(constants, least, multiples={})
    check_numbers(
        constants,
        least={},
        multiples={"crop": 2 ** constants["depth"]},
        positive=("learning_rate", "unet_microns_per_pixel"),
        shares=("validation_share", "replay_share", "tuned_share"),
    )
    if constants["tuned_share"] < 1 and not constants["initial_unet"]:
        raise ValueError(
            "TUNED_SHARE: below 1 it needs an INITIAL_UNET, whose weights are the rest"
        )
    fits = constants["first_filters"] == 16 and constants["depth"] <= 4
    if constants["vgg19_weights"] and not fits:
        found = f"{constants['first_filters']} and {constants['depth']}"
        raise ValueError(
            f"VGG19_WEIGHTS: expected FIRST_FILTERS 16 and DEPTH 2 to 4, as VGG19, found {found}"
        )
    if constants["initial_unet"] and constants["vgg19_weights"]:
        raise ValueError("VGG19_WEIGHTS: expected None with an INITIAL_UNET, which has weights")
    trained = constants["initial_unet"] or constants["vgg19_weights"]
    if constants["freeze_encoder"] and not trained:
        raise ValueError(
            "FREEZE_ENCODER: expected an INITIAL_UNET or VGG19_WEIGHTS, or the encoder would keep "
            "its random weights"
        )
    if constants["check_folders"] and not constants["initial_unet"]:
        raise ValueError(
            "CHECK_FOLDERS: expected an INITIAL_UNET; what a new U-net has forgotten cannot be told"
        )
    if constants["replay_share"] == 1:
        raise ValueError("REPLAY_SHARE: expected less than 1, or nothing new is learned")


def prepare(chosen, sets: Sets, shares) -> Prepared:
    """Read the images and build or load the U-net.

    Raises:
        OSError, ValueError: an image, labels or weights cannot be used.
    """
    use_devices(chosen.devices, chosen.batch_size)
    if chosen.bfloat16:
        use_bfloat16()
    print_plan(chosen, sets)
    check_labels([*sets.learned, *sets.judged, *sets.check], chosen.masks)
    samples = read_sets(chosen, sets, shares)
    keras.utils.set_random_seed(chosen.seed)
    size = chosen.first_filters, chosen.depth
    weights = chosen.vgg19_weights, chosen.initial_unet
    return Prepared(*samples, first_unet(*size, *weights, chosen.freeze_encoder))


def read_sets(chosen, sets: Sets, shares):
    """Read all images: (training samples, their weights, validation samples, check samples)."""
    read = partial(load_sample, masks=chosen.masks, unet_microns=chosen.unet_microns_per_pixel)
    training, weights, validation = load_samples(
        [*sets.training, *sets.replay],
        with_replay(shares, len(sets.replay), chosen.replay_share),
        sets.validation,
        sets.held_out,
        read,
    )
    check = [read(pair, keep_labels=True) for pair in sets.check]
    return training, weights, evenly(validation, chosen.validation_limit), check


def print_plan(chosen, sets: Sets):
    """Print what is trained, and on what, in a line each."""
    what = f"Fine-tuning {chosen.initial_unet}" if chosen.initial_unet else "A new U-net"
    print(
        f"{what}: {counted(chosen.epochs, 'epoch')} of "
        f"{counted(chosen.steps_per_epoch, 'step')}, learning rate {chosen.learning_rate:g}"
    )
    replayed = sum(map(len, sets.replay))
    own = len(sets.learned) - replayed
    print(f"{counted(own, 'image')} for training, {len(sets.judged)} for validation")
    if replayed:
        names = ", ".join(map(str, chosen.replay_folders))
        print(
            f"{chosen.replay_share:.0%} of the crops are replayed from "
            f"{counted(replayed, 'image')} of {names}"
        )
    elif chosen.initial_unet:
        print("Nothing is replayed: the U-net may forget other tissue (see REPLAY_FOLDERS)")
    print_split(sets, chosen.left_out)


def print_split(sets: Sets, left_out):
    """Print what of the images is not trained on, in a line each; left_out: the list's file."""
    if sets.left_out:
        print(f"{counted(sets.left_out, 'image')} left out of training: see {left_out}")
    if alike := sets.alike():
        print(
            f"{counted(len(alike), 'image')} for training and some that are scored have the same "
            f"names ({some_of(alike)}); if they are of the same tissue, the figures are too good"
        )
    held_out = [pair.image.name for pair in sets.judged]
    more = f" and {len(held_out) - 5} more" if len(held_out) > 5 else ""
    print(f"Held out: {', '.join(held_out[:5])}{more}")


def print_readings(prepared: Prepared):
    """Print how the labels were read, with the number of images."""
    samples = prepared.training + prepared.validation + prepared.check
    for note, count in Counter(sample.note for sample in samples).most_common():
        print(f"{count} labelled by: {note}")
