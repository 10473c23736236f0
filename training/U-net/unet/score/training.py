"""The training of the network that scores candidates: checks, regions, model, record."""

import time
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
from keras import layers
from tqdm import tqdm

from images.errors import counted
from labels.masks import MASKS
from labels.reading import check_labels
from metrics.segmentation import instance_metrics, mean_of, within
from nuclei.candidates.regions import FEATURES
from nuclei.candidates.scoring import load_score
from nuclei.separation import Separation, separate
from program.settings import NUCLEUS_SCORE
from shared.comparing import load_models
from shared.run_folder import check_run_folder, describe, plain
from shared.saving import finish, is_finished, record, save_model, write_json
from shared.setup import check_numbers, shares_of
from unet.data import load_sample
from unet.evaluation import check_sizes, pooling_of
from unet.preparation import print_split
from unet.score.regions import draw_regions
from unet.scoring import predict_maps
from unet.sets.finding import evenly, find_sets

ROOT = Path(__file__).resolve().parents[4]
BATCH_SIZE = 256
PEAK_RATE = 2e-3
COUNTS_AS_FOUND = 0.4, 0.6  # IoU between which a region comes to count as a nucleus
FIGURES = {"aji": "AJI", "pq": "PQ", "f1": "F1", "count_error": "count error"}


def train(arguments: dict):
    """Do what the script promises; `arguments` are those of its `main`."""
    chosen = SimpleNamespace(**arguments, replay_folders=(), check_folders=(), replay_limit=1)
    constants = {name: plain(value) for name, value in arguments.items()}
    model_file = chosen.run_folder / NUCLEUS_SCORE.name
    models = ROOT / "models" if chosen.replace_shipped_model else None
    try:
        check_constants(constants)
        shares = shares_of(chosen.training_folders, chosen.folder_weights)
        sets = find_sets(chosen)
        learned, judged = ([pair.files for pair in each] for each in (sets.learned, sets.judged))
        run = describe(constants, learned, judged, {"unet": chosen.unet})
        check_run_folder(chosen.run_folder, run)
        if is_finished(model_file, models):
            return
        check_sizes([chosen.unet], chosen.unet_microns_per_pixel)
        (unet,) = load_models([chosen.unet], "U-net", "UNET").values()
        check_labels([*sets.learned, *sets.judged], chosen.masks)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from None
    print(f"{counted(len(learned), 'image')} for training, {len(judged)} for validation")
    print_split(sets, chosen.left_out)
    write_json(chosen.run_folder / "run.json", run)
    started = time.time()
    features, overlap, weights = gather(sets, shares, unet, chosen)
    print(f"{counted(len(overlap), 'region')}, {np.mean(overlap > 0.5):.0%} of them nuclei")
    save_model(fitted(features, overlap, weights, chosen), model_file)
    figures = compare(evenly(sets.judged, chosen.validation_limit), unet, model_file, chosen)
    entries = {
        "task": "score of a region of the U-net's maps: its features in, expected overlap out",
        "features": FEATURES,
        "unet_sha256": sha256(chosen.unet.read_bytes()).hexdigest(),
        "validation": figures,
    }
    content = record(model_file, run, time.time() - started, **entries)
    finish(model_file, content, models, "--nucleus-score")


def check_constants(constants: dict):
    """Raise ValueError for the first constant that cannot work, before any image is read."""
    if constants["masks"] not in MASKS:
        raise ValueError(f"MASKS: expected {' or '.join(MASKS)}, found {constants['masks']}")
    counts = ("validation_limit", "views", "hidden", "epochs")
    check_numbers(
        constants,
        least={**dict.fromkeys(counts, 1), "seed": 0},
        multiples={},
        positive=("unet_microns_per_pixel",),
        shares=("validation_share",),
    )


def gather(sets, shares, unet, chosen):
    """Return features, overlaps and weights of the regions of all views.

    The regions of each image are saved, so that an interrupted run goes on behind the last one.
    """
    folder = chosen.run_folder / "regions"
    folder.mkdir(parents=True, exist_ok=True)
    features, overlap, weights, number = [], [], [], 0
    for pairs, share in zip(sets.training, shares, strict=True):
        found = []
        kept = [pair for pair in pairs if pair.image not in sets.held_out]
        for pair in tqdm(kept, desc="regions", unit="image", leave=False):
            found.append(_regions_of(pair, folder / f"{number:05d}.npz", unet, number, chosen))
            number += 1
        count = sum(len(each["overlap"]) for each in found)
        for each in found:
            features.append(each["features"])
            overlap.append(each["overlap"])
            weights.append(np.full(len(each["overlap"]), share / max(count, 1)))
    weights = np.concatenate(weights)
    if not len(weights):
        raise SystemExit("TRAINING_FOLDERS: the U-net finds no nucleus in these images")
    return np.concatenate(features), np.concatenate(overlap), weights / weights.mean()


def _regions_of(pair, file: Path, unet, number: int, chosen) -> dict[str, np.ndarray]:
    if not file.is_file():
        microns, rng = chosen.unet_microns_per_pixel, np.random.default_rng((chosen.seed, number))
        sample = load_sample(pair, chosen.masks, microns, keep_labels=True)
        drawn = [
            draw_regions(unet, sample, pooling_of(unet), microns, rng) for _ in range(chosen.views)
        ]
        features, overlap = (np.concatenate(values) for values in zip(*drawn, strict=True))
        unfinished = file.with_name("unfinished.npz")
        np.savez(unfinished, features=features, overlap=overlap)
        unfinished.replace(file)
    with np.load(file) as saved:
        return {name: saved[name] for name in ("features", "overlap")}


def fitted(features: np.ndarray, overlap: np.ndarray, weights: np.ndarray, chosen) -> keras.Model:
    """Return a network that tells the overlap of a region, where it would count as found.

    Args:
        features: (N, 16).
        overlap: (N,), 0..1.
        weights: (N,), of each region.
        chosen: the constants of the script as attributes.
    """
    low, high = COUNTS_AS_FOUND
    targets = overlap * np.clip((overlap - low) / (high - low), 0, 1)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    keras.utils.set_random_seed(chosen.seed)
    hidden = layers.Dense(chosen.hidden, activation="relu", name="hidden")
    out = layers.Dense(1, activation="sigmoid", name="score")
    network = keras.Sequential([keras.Input((len(FEATURES),)), hidden, out], name="nucleus_score")
    steps = chosen.epochs * -(-len(targets) // BATCH_SIZE)
    schedule = keras.optimizers.schedules.CosineDecay(PEAK_RATE, steps)
    network.compile(keras.optimizers.Adam(schedule), "binary_crossentropy")
    network.fit(
        (features - mean) / deviation,
        targets[:, None],
        BATCH_SIZE,
        chosen.epochs,
        verbose=0,
        sample_weight=weights,
    )
    kernel, bias = hidden.get_weights()
    kernel = kernel / deviation[:, None]  # standardizing is part of the hidden layer
    hidden.set_weights([kernel, bias - mean @ kernel])
    return network


def compare(pairs, unet, model_file: Path, chosen) -> dict[str, float]:
    """Print how well nuclei are told apart by the new network and by the one that ships.

    Returns:
        The mean figures of the new one over these images.
    """
    files = {"this one": model_file, "the one that ships": NUCLEUS_SCORE}
    separations = {
        name: Separation(score=load_score(file)) for name, file in files.items() if file.is_file()
    }
    rows = {name: [] for name in separations}
    for pair in tqdm(pairs, desc="validation", leave=False):
        microns = chosen.unet_microns_per_pixel
        sample = load_sample(pair, chosen.masks, microns, keep_labels=True)
        maps = np.moveaxis(predict_maps(unet, sample.image, pooling_of(unet)), -1, 0)
        known = sample.targets[..., 2] > 127
        for name, separation in separations.items():
            nuclei = separate(*maps, microns, separation)
            rows[name].append(instance_metrics(within(sample.labels, known), within(nuclei, known)))
    means = {name: mean_of(figures) for name, figures in rows.items()}
    heading = counted(len(pairs), "image")
    print(f"\n{heading:20}" + "".join(f"{title:>13}" for title in FIGURES.values()))
    for name, figures in means.items():
        print(f"{name:20}" + "".join(f"{figures[key]:>13.3f}" for key in FIGURES))
    if means["this one"]["pq"] < means.get("the one that ships", means["this one"])["pq"]:
        print("By PQ the one that ships is better on these images; keep it, or train on more")
    return {key: float(means["this one"][key]) for key in FIGURES}
