"""What is settled before a training begins: constants, shares and split."""

import re
from pathlib import Path

import numpy as np

from images.finding import stamp
from labels.names import stem
from shared.run_folder import content_of

# By which fields of one image differ in name: those of `Pick_fields.py`, and QuPath's tiles.
PLACE = re.compile(r"_x\d+_y\d+$|\s*\[(\w+=[\d.]+,?)+\]$")


def check_numbers(constants: dict, least: dict, multiples: dict, positive=(), shares=()):
    """Raise ValueError for the first constant that cannot work, before any image is read.

    Args:
        constants: all constants by the name of their parameter.
        least: smallest allowed values.
        multiples: for each constant the number of which it must be a multiple.
        positive: names of the constants that must be above zero.
        shares: names of the constants that must be from 0 to 1.
    """
    for name, smallest in least.items():
        if constants[name] < smallest:
            raise ValueError(_expected(name, f"at least {smallest}", constants))
    for name, factor in multiples.items():
        if constants[name] % factor:
            raise ValueError(_expected(name, f"a multiple of {factor}", constants))
    for name in positive:
        if not 0 < constants[name] < float("inf"):
            raise ValueError(_expected(name, "a number above 0", constants))
    for name in shares:
        if not 0 <= constants[name] <= 1:
            raise ValueError(_expected(name, "0 to 1", constants))


def shares_of(folders, weights) -> tuple[float, ...]:
    """Return the weight of each folder; all are equal where none is given.

    Raises:
        ValueError: there is no folder, or the weights are not one positive number for each.
    """
    if not folders:
        raise ValueError("expected at least one folder of images, found none")
    weights = tuple(weights) or (1.0,) * len(folders)
    if len(folders) != len(weights):
        raise ValueError(f"expected {len(folders)} FOLDER_WEIGHTS, found {len(weights)}")
    if not all(0 < weight < float("inf") for weight in weights):
        raise ValueError(f"FOLDER_WEIGHTS: expected numbers above 0, found {weights}")
    return weights


def sizes_of(microns, count: int, folders: str = "folders") -> list[float | None]:
    """Return the um per pixel of the images of each folder; None = what they state.

    Args:
        microns: None, one number, or one for each folder.
        count: number of folders.
        folders: what they are, for the message.

    Raises:
        ValueError: there is not one for each folder, or one is not above 0.
    """
    sizes = list(microns) if isinstance(microns, (list, tuple)) else [microns]
    sizes = sizes * count if len(sizes) == 1 else sizes
    if len(sizes) != count or not all(s is None or 0 < s < float("inf") for s in sizes):
        raise ValueError(
            f"MICRONS_PER_PIXEL: expected one number above 0 or {count}, for the {folders}, "
            f"found {microns}"
        )
    return sizes


def hold_out(paths: list[Path], names, share: float, seed: int) -> set[Path]:
    """Choose the images that are kept for validation.

    Where they are drawn, images of one name stay together, since one may be a copy of the other,
    and so do fields of one image (`slide_x0_y512`, QuPath's `slide [x=0,y=512,w=512,h=512]`).

    Args:
        paths: all images.
        names: beginnings of the names of these images; if empty, `share` is used.
        share: part of the images, drawn at random; at least one image, else as near to it as
            those that stay together allow.
        seed: random seed of the draw.

    Raises:
        ValueError: one side of the split would be empty.
    """
    if len(paths) < 2:
        raise ValueError(
            f"found only {paths[0]}: expected at least two images, one for training and one for "
            "validation; add images"
        )
    if names:
        chosen = {path for path in paths if path.name.startswith(tuple(names))}
        if len(chosen) in (0, len(paths)):
            found = "none" if not chosen else "every one"
            raise ValueError(
                f"VALIDATION_NAMES (--validation-names): {found} of {len(paths)} images has a "
                f"name that begins with {' or '.join(names)}; expected some of the names of "
                f"files, such as {paths[0].name}, or add images"
            )
        return chosen
    alike = {}
    for path in paths:
        alike.setdefault(origin(path), []).append(path)
    groups = list(alike.values())
    order = np.random.default_rng(seed).permutation(len(groups))
    drawn = _nearest([groups[index] for index in order], max(1, round(share * len(paths))))
    if len(drawn) == len(groups):
        raise ValueError(
            f"VALIDATION_SHARE {share} of {len(alike)} images leaves none for training (those of "
            "one name, and fields of one image, count as one): lower it, name images with "
            "VALIDATION_NAMES (--validation-names), or add images"
        )
    return {path for group in drawn for path in group}


def origin(path: Path) -> str:
    """Name that an image shares with its copies in other folders and with fields of one image."""
    return PLACE.sub("", stem(path))


def _nearest(groups: list[list], wanted: int) -> list[list]:
    """Return the first groups that bring the number of their members nearer to `wanted`.

    It is at least one: the first of the smallest.
    """
    drawn, count = [], 0
    for group in groups:
        if abs(count + len(group) - wanted) < abs(count - wanted):
            drawn.append(group)
            count += len(group)
    return drawn or [min(groups, key=len)]


def refuse_repeats(paths: list[Path]):
    """Raise ValueError if two paths are one file, or two files hold the same bytes.

    An image given twice would count twice; used for training and for validation, it would make the
    validation figures worthless.
    """
    by_size = {}
    for path in paths:
        by_size.setdefault(stamp(path)[0], []).append(path)
    for alike in by_size.values():
        seen = {}
        for path in alike if len(alike) > 1 else ():
            first = seen.setdefault(content_of(path), path)
            if first is not path:
                raise ValueError(
                    f"{first} and {path} are the same image: keep one of them, either for training "
                    "or for validation"
                )


def _expected(name, what, constants):
    return f"{name.upper()}: expected {what}, found {constants[name]}"
