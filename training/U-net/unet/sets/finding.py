"""Folders -> the samples that a training learns from, is validated on and is checked on."""

from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from labels.pairing import Pair, find_pairs
from shared.setup import hold_out, origin, refuse_repeats, sizes_of
from unet.sets.left_out import LeftOut, read_left_out


@dataclass(frozen=True)
class Sets:
    """The pairs of all folders.

    Attributes:
        training: pairs of each training folder.
        validation: pairs of the validation folders.
        replay: pairs of each folder of older images that are mixed in; those that share their name
            with an image that is judged may be its original and are not among them.
        check: pairs that are scored before and after.
        held_out: images of the training folders that are for validation.
        left_out: how many images of the folders that are trained on are left out, see `LeftOut`.
    """

    training: list[list[Pair]]
    validation: list[Pair]
    replay: list[list[Pair]]
    check: list[Pair]
    held_out: set[Path]
    left_out: int = 0

    @property
    def learned(self) -> list[Pair]:
        """All that is trained on."""
        own = [pair for pair in chain(*self.training) if pair.image not in self.held_out]
        return [*own, *chain(*self.replay)]

    @property
    def judged(self) -> list[Pair]:
        """All that is validated on."""
        held_out = [pair for pair in chain(*self.training) if pair.image in self.held_out]
        return [*self.validation, *held_out]

    def alike(self) -> list[str]:
        """Return names of images that are trained on and share them with one that is scored."""
        scored = {origin(pair.image) for pair in [*self.judged, *self.check]}
        return [pair.image.name for pair in self.learned if origin(pair.image) in scored]


def find_sets(chosen) -> Sets:
    """Pair the images of all folders and choose those that are held out.

    Args:
        chosen: the constants of the script as attributes.

    Raises:
        OSError, ValueError: see `pairs_of_folders`, `split` and `read_left_out`; or an image is in
            two sets, or none is left to train on.
    """
    left_out = read_left_out(chosen.left_out)
    training, validation = pairs_of_folders(
        chosen.training_folders, chosen.validation_folders, chosen.microns_per_pixel
    )
    replayed = [find_pairs(folder) for folder in chosen.replay_folders]
    check = [pair for folder in chosen.check_folders for pair in find_pairs(folder)]
    check = evenly(check, chosen.validation_limit)
    share, names = chosen.validation_share, chosen.validation_names
    others = [*validation, *chain(*replayed), *check]
    held_out = split(training, validation, names, share, chosen.seed, others)
    kept = without(left_out, training, held_out)
    judged = {origin(path) for path in held_out}
    judged |= {origin(pair.image) for pair in [*validation, *check]}
    kept_to_replay = without(left_out, replayed)
    replay = [
        evenly([pair for pair in pairs if origin(pair.image) not in judged], chosen.replay_limit)
        for pairs in kept_to_replay
    ]
    if not any(pair.image not in held_out for pair in chain(*kept)):
        raise ValueError(f"{chosen.left_out} leaves no image to train on: add images")
    before, after = ([*training, *replayed], [*kept, *kept_to_replay])
    count = sum(map(len, before)) - sum(map(len, after))
    return Sets(kept, validation, replay, check, held_out, count)


def without(left_out: LeftOut, pairs: list[list[Pair]], held_out=()) -> list[list[Pair]]:
    """Return the pairs of each folder without those that are left out; what is held out stays."""
    return [
        [pair for pair in found if pair.image in held_out or pair not in left_out]
        for found in pairs
    ]


def pairs_of_folders(training_folders, validation_folders, microns):
    """Find the pairs of all folders and note the pixel sizes that are given for them.

    Args:
        training_folders, validation_folders: the folders.
        microns: um per pixel: None, one number, or a number for each of the folders in order.

    Returns:
        (a list of pairs for each training folder, the pairs of the validation folders).

    Raises:
        OSError, ValueError: see `find_pairs`; or not as many numbers as folders.
    """
    folders = [*training_folders, *validation_folders]
    sizes = sizes_of(microns, len(folders), "training and then the validation folders")
    pairs = [
        [replace(pair, microns=size) for pair in find_pairs(folder)]
        for folder, size in zip(folders, sizes, strict=True)
    ]
    count = len(training_folders)
    return pairs[:count], [pair for found in pairs[count:] for pair in found]


def split(pairs, judged_pairs, names, share: float, seed: int, others=()) -> set[Path]:
    """Choose the images of the training folders that are kept out for validation.

    Args:
        pairs: the pairs of each training folder.
        judged_pairs: the pairs of the validation folders.
        names, share, seed: see `hold_out`; not needed where there are validation folders.
        others: all further pairs of the run, none of which may come twice either.

    Raises:
        ValueError: an image comes twice, or one side would be empty.
    """
    everything = [pair for found in pairs for pair in found]
    # A stack counts once for each time it is named.
    all_pairs = [*everything, *(others or judged_pairs)]
    refuse_repeats([pair.files[0] for pair in all_pairs if not pair.index])
    images = [pair.image for pair in everything]
    return hold_out(images, names, share, seed) if names or not judged_pairs else set()


def load_samples(pairs, folder_weights, judged_pairs, held_out, read):
    """Read all pairs.

    Args:
        pairs: the pairs of each training folder.
        folder_weights: relative chance of each folder.
        judged_pairs: the pairs of the validation folders.
        held_out: those images of the training folders that are for validation, too.
        read: `load_sample` with what holds for all images.

    Returns:
        (training samples, relative chance of each to be drawn, validation samples). Within a
        folder all images are drawn equally often.

    Raises:
        OSError, ValueError: an image or mask is unreadable, or they do not fit.
    """
    training, weights = [], []
    validation = [read(pair, keep_labels=True) for pair in judged_pairs]
    for found, folder_weight in zip(pairs, folder_weights, strict=True):
        validation += [read(p, keep_labels=True) for p in found if p.image in held_out]
        kept = [pair for pair in found if pair.image not in held_out]
        for pair in kept:
            training.append(read(pair))
            weights.append(folder_weight / len(kept))
    return training, weights, validation


def evenly(items: list, limit: int) -> list:
    """Return at most so many items, from all over a list."""
    if len(items) <= limit:
        return list(items)
    return [items[index] for index in np.linspace(0, len(items) - 1, limit).astype(int)]


def with_replay(shares, replayed: int, replay_share: float) -> list[float]:
    """Return the weights of the training folders and, behind them, of the replayed ones.

    Args:
        shares: relative weights of the training folders.
        replayed: number of replayed folders, which share equally.
        replay_share: part of all crops that is taken from these, 0 to 1.
    """
    if not replayed:
        return list(shares)
    own = [(1 - replay_share) * share / sum(shares) for share in shares]
    return own + [replay_share / replayed] * replayed
