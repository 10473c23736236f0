"""Defaults that depend on whether a U-net is new or fine-tuned, and what fine-tuning changed."""

from pathlib import Path

from labels.pairing import find_pairs
from shared.saving import recorded_microns
from unet.data import UNET_MICRONS

# Of a new U-net, and of one that a handful of fields is to improve.
DEFAULTS = {
    "epochs": (15, 3),
    "learning_rate": (2e-3, 5e-4),
    "validation_share": (0.1, 0.25),
    "tuned_share": (1.0, 0.6),
}
TABLE = {"dice": "Dice", "aji": "AJI", "pq": "PQ", "count_error": "count error"}


def with_defaults(arguments: dict, replayed_by_default: Path) -> dict:
    """Fill in the constants that are None; what the user has set stays.

    Args:
        arguments: of the script's `main`.
        replayed_by_default: folder that is replayed, where it holds labelled images, if the user
            names none and fine-tunes on others.

    Raises:
        ValueError: the U-net that is fine-tuned was trained at another pixel size.
    """
    fine_tuned = arguments["initial_unet"] is not None
    filled = {
        name: choices[fine_tuned] for name, choices in DEFAULTS.items() if arguments[name] is None
    }
    recorded = recorded_microns(arguments["initial_unet"])
    given = arguments["unet_microns_per_pixel"]
    if given is None:
        filled["unet_microns_per_pixel"] = recorded or UNET_MICRONS
    elif recorded and abs(given / recorded - 1) > 0.01:
        raise ValueError(
            f"UNET_MICRONS_PER_PIXEL: expected {recorded:g} um, which INITIAL_UNET was trained at, "
            f"found {given:g}; leave it out"
        )
    if arguments["replay_folders"] is None:
        own = {Path(folder).resolve() for folder in arguments["training_folders"]}
        fits = fine_tuned and arguments["replay_share"] > 0
        fits = fits and replayed_by_default.resolve() not in own
        fits = fits and _holds_pairs(replayed_by_default)
        filled["replay_folders"] = (replayed_by_default,) if fits else ()
    return arguments | filled


def print_comparison(rows: dict[str, tuple[int, dict, dict]]):
    """Print figures before and after: {name of a set: (images, before, after)}."""
    width = max(len(name) for name in rows) + 9
    print(f"\n{'':{width}}{'n':>4}" + "".join(f"{title:>13}" for title in TABLE.values()))
    for name, (count, *both) in rows.items():
        for when, figures in zip(("before", "after"), both, strict=True):
            cells = "".join(f"{figures[figure]:>13.3f}" for figure in TABLE)
            print(f"{f'{name}, {when}':{width}}{count:>4}{cells}")


def _holds_pairs(folder: Path) -> bool:
    try:
        return bool(find_pairs(folder))
    except FileNotFoundError:  # of images, or of the folder; a mistake in it is for the user to see
        return False
