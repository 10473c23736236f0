"""The training of the network that tells pixel sizes: checks, patches, moments, model, record."""

import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
from tqdm import tqdm

from images.errors import counted
from images.finding import different_ends
from pixelsize.model import Perceptron, build_moments
from pixelsize.patches import SIDE, Picture, draw_patch, read_sized_pictures
from shared.pictures import find_pictures
from shared.run_folder import check_run_folder, describe, plain
from shared.saving import finish, is_finished, record, save_model, write_json
from shared.setup import (
    check_numbers,
    hold_out,
    refuse_repeats,
    shares_of,
    sizes_of,
)

ROOT = Path(__file__).resolve().parents[3]
PART = 250  # patches whose moments are saved together
NEAR = (1.5, 2.0)  # factors within which a size counts as told


def train(arguments: dict):
    """Do what the script promises; `arguments` are those of its `main`."""
    chosen = SimpleNamespace(**arguments)
    constants = {name: plain(value) for name, value in arguments.items()}
    constants["vgg19_weights"] = Path(chosen.vgg19_weights).name
    model_file = chosen.run_folder / "pixel_size.h5"
    models = ROOT / "models" if chosen.replace_shipped_model else None
    try:
        check_constants(constants)
        shares = shares_of(chosen.image_folders, chosen.folder_weights)
        sizes = sizes_of(chosen.microns_per_pixel, len(chosen.image_folders))
        paths = [find_pictures(folder) for folder in chosen.image_folders]
        images = [path for found in paths for path in found]
        refuse_repeats(images)
        held_out = hold_out(images, chosen.validation_names, chosen.validation_share, chosen.seed)
        run = describe(
            constants,
            [(path,) for path in images if path not in held_out],
            [(path,) for path in images if path in held_out],
            {"vgg19_weights": chosen.vgg19_weights},
        )
        check_run_folder(chosen.run_folder, run)
        if is_finished(model_file, models):
            return
        groups = read_groups(paths, sizes, held_out)
        described = build_moments(chosen.vgg19_weights)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from None
    print(f"{len(images) - len(held_out)} images for training, {len(held_out)} for validation")
    write_json(chosen.run_folder / "run.json", run)
    started = time.time()
    learned = Moments(described, groups["training"], shares, chosen.seed)
    judged = Moments(described, groups["validation"], shares, chosen.seed + 1)
    moments, octaves, _ = learned.of(chosen.patches, chosen.run_folder / "training_moments")
    seen, truth, folders = judged.of(
        chosen.validation_patches, chosen.run_folder / "validation_moments"
    )
    perceptron = Perceptron(moments, chosen.hidden, chosen.seed)
    perceptron.fit(moments, octaves, chosen.epochs)
    save_model(perceptron.behind(described), model_file)

    errors = perceptron.predict(seen) - truth
    print_figures(errors, folders, chosen.image_folders)
    figures = figures_of(errors)
    entries = {
        "task": "pixel size of H&E tissue: RGB 0..255 in, log2 of um per pixel out",
        "patch": SIDE,
        "validation": figures,
    }
    content = record(model_file, run, time.time() - started, **entries)
    finish(model_file, content, models, "--pixel-size-model")


class Moments:
    """The moments of random patches, which depend only on the images and the seed.

    Args:
        described: see `pixelsize.model.build_moments`.
        groups: pictures of each folder; folders without any are passed over.
        shares: relative share of the patches for each folder.
        seed: of all draws.
    """

    def __init__(self, described: keras.Model, groups: list[list[Picture]], shares, seed: int):
        self.described, self.groups, self.seed = described, groups, seed
        weights = np.array([s * bool(g) for s, g in zip(shares, groups, strict=True)])
        self.chances = weights / weights.sum()

    def of(self, count: int, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return moments (count, n), octaves (count,) and numbers of the folders (count,).

        Each part is saved in `folder`, so that an interrupted run goes on behind the last one.
        """
        folder.mkdir(parents=True, exist_ok=True)
        parts = []
        for index in tqdm(range(-(-count // PART)), desc=folder.name, unit="part", leave=False):
            file = folder / f"{index:04d}.npz"
            if not file.is_file():
                unfinished = file.with_name("unfinished.npz")
                np.savez(unfinished, **self._part(index))
                unfinished.replace(file)
            with np.load(file) as saved:
                parts.append([saved[name] for name in ("moments", "octaves", "folders")])
        return tuple(np.concatenate(values)[:count] for values in zip(*parts, strict=True))

    def _part(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((self.seed, index))
        moments, octaves, folders = [], [], []
        for _ in range(PART):
            folder = rng.choice(len(self.groups), p=self.chances)
            pictures = self.groups[folder]
            patch, octave = draw_patch(pictures[rng.integers(len(pictures))], rng)
            seen = self.described(patch[None].astype(np.float32), training=False)
            moments.append(keras.ops.convert_to_numpy(seen)[0, 0, 0])
            octaves.append(octave)
            folders.append(folder)
        return {
            "moments": np.array(moments, np.float32),
            "octaves": np.array(octaves),
            "folders": np.array(folders),
        }


def read_groups(paths, sizes, held_out) -> dict[str, list[list[Picture]]]:
    """Read all images: the pictures of each folder, for training and for validation."""
    groups, remarks = {"training": [], "validation": []}, Counter()
    for found, given in zip(paths, sizes, strict=True):
        for group in groups.values():
            group.append([])
        for path in found:
            side = "validation" if path in held_out else "training"
            pictures, remark = read_sized_pictures(path, given)
            groups[side][-1] += pictures
            remarks[remark] += bool(remark)
    for remark, count in (+remarks).items():
        print(f"{counted(count, 'image')} {remark}")
    return groups


def check_constants(constants: dict):
    """Raise ValueError for the first constant that cannot work, before any image is read."""
    counts = ("patches", "validation_patches", "hidden", "epochs")
    check_numbers(
        constants,
        least={**dict.fromkeys(counts, 1), "seed": 0},
        multiples={},
        shares=("validation_share",),
    )


def figures_of(errors: np.ndarray) -> dict[str, float]:
    """Return how well sizes are told: shares within factors, and the deviation in octaves."""
    shares = {f"within_{near:g}": float(np.mean(abs(errors) < np.log2(near))) for near in NEAR}
    return shares | {"deviation_in_octaves": float(np.sqrt(np.mean(errors**2)))}


def print_figures(errors: np.ndarray, folders: np.ndarray, names):
    """Print the figures of the validation patches of each folder, and of all."""
    ends = different_ends(names, 2)
    groups = {ends[name]: folders == i for i, name in enumerate(names)}
    groups = {name: chosen for name, chosen in groups.items() if chosen.any()}
    groups["all"] = np.full(len(errors), True)
    width = max(map(len, groups))
    titles = [*(f"within {near:g}" for near in NEAR), "octaves"]
    print(f"\n{'':{width}}{'n':>6}" + "".join(f"{title:>12}" for title in titles))
    for name, chosen in groups.items():
        within, twice, deviation = figures_of(errors[chosen]).values()
        print(f"{name:{width}}{chosen.sum():>6}{within:>12.1%}{twice:>12.1%}{deviation:>12.2f}")
