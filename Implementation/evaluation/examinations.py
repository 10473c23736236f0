"""What Evaluate.py does: score the U-net, or one of the examinations that it is asked for."""

from evaluation import did_it_help, pixel_sizes
from evaluation.scores import (
    SHOWN,
    chosen_pairs,
    evaluate,
    print_readings,
    print_table,
    write_rows,
)
from evaluation.trust_tables import print_trust
from evaluation.tuning import tune
from labels.reading import check_labels
from networks import loading
from networks.network import Network, averaged_over_mirrorings
from nuclei.candidates.scoring import load_score
from nuclei.separation import Separation
from program.processor import chosen_precision


def examine(chosen):
    """Do it; `chosen` are the constants of Evaluate.py as attributes.

    Raises:
        OSError, ValueError: images, labels or a model are missing or do not fit.
    """
    unet = _network(chosen, chosen.unet, "U-net", 1, 2)
    if chosen.test_time_augmentation:
        unet = averaged_over_mirrorings(unet)
    if chosen.estimate_sizes:
        _estimate_sizes(chosen, unet)
    elif chosen.did_it_help:
        _ask_whether_it_helps(chosen, unet)
    elif chosen.tune:
        _, rows = tune(_labelled(chosen), unet, *_how(chosen))
        _write(chosen, rows, "choice of thresholds")
    else:
        rows = evaluate(_labelled(chosen), unet, *_how(chosen), chosen.compare_separations)
        print_readings(rows)
        print_table(rows, SHOWN)
        _write(chosen, rows, "image")


def _estimate_sizes(chosen, unet: Network):
    sizes = loading.load_pixel_size_network(chosen.pixel_size_model)
    which = chosen.image_folders, chosen.image_names, chosen.microns_per_pixel
    rows = pixel_sizes.estimate_sizes(*which, sizes, unet, _separation(chosen))
    _write(chosen, rows, "image and size")
    pixel_sizes.print_sizes(rows)


def _ask_whether_it_helps(chosen, unet: Network):
    generators = [
        _network(chosen, chosen.generator, "generator", 4, 3),
        _network(chosen, chosen.generator_x2, "x2 generator", 2, 3),
    ]
    which = chosen.image_folders, chosen.label_folder, chosen.image_names
    pairs = did_it_help.pairs_for_help(*which)
    check_labels(pairs, chosen.masks)
    rows, trust = did_it_help.examine(pairs, generators, unet, *_how(chosen))
    print_readings(rows)
    print_table(rows, did_it_help.SHOWN)
    print_trust(trust)
    _write(chosen, rows, "image and version")


def _network(chosen, path, kind: str, scale: int, channels: int) -> Network:
    precision = chosen_precision(chosen.precision)
    return loading.load_network(path, kind, scale, channels, precision)


def _labelled(chosen) -> dict:
    """Return the pairs of each image folder, whose labels can be read."""
    which = chosen.label_folder, chosen.image_names
    pairs = {folder: chosen_pairs(folder, *which) for folder in chosen.image_folders}
    check_labels([pair for found in pairs.values() for pair in found], chosen.masks)
    return pairs


def _how(chosen) -> tuple:
    """Return how nuclei are separated, the um per pixel that are given, and what masks are."""
    return _separation(chosen), chosen.microns_per_pixel, chosen.masks


def _separation(chosen) -> Separation:
    """Return the thresholds and the network that a user chose."""
    return Separation(
        probability=chosen.probability_threshold,
        least_overlap=chosen.least_overlap,
        smallest_nucleus=chosen.smallest_nucleus,
        score=load_score(chosen.nucleus_score),
    )


def _write(chosen, rows: list[dict], of: str):
    write_rows(chosen.output_file, rows)
    print(f"\nOne row per {of}: {chosen.output_file.resolve()}")
