"""Generators and bicubic interpolation compared on sharp images: figures, table and pictures."""

from functools import partial
from typing import NamedTuple

import cv2
import keras
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from images.degradation import degrade_area, degrade_scanner
from images.finding import different_names
from metrics.pictures import bicubic, fidelity, grey_level_difference
from shared.comparing import load_models, write_table
from shared.pictures import find_pictures, read_with_size, save_picture
from srgan.callbacks import centre_crop
from srgan.data import soft_violet, stress_colours
from srgan.models import scale_of
from srgan.perceptual.lpips import build_lpips, build_lpips_vgg19, distance_of_images
from srgan.perceptual.vgg19 import build_vgg19_features
from srgan.prediction import super_resolve

BICUBIC = "bicubic"
PICTURE_CROP = 128  # side of the crops in the picture, in high-resolution pixels
KINDS = ("low_resolution", BICUBIC, "srgan", "high_resolution")  # folders of saved images


class SharpImage(NamedTuple):
    """A uint8 RGB image and its um per pixel, None where the file states none."""

    pixels: np.ndarray
    microns: float | None


def evaluate(
    high_resolution_folder,
    image_names,
    largest_side,
    stress_tests,
    generators,
    vgg19_weights,
    vgg19_layer,
    lpips_weights,
    output_folder,
):
    """Do what SRGAN_evaluate.py promises; see its `main` for the arguments."""
    try:
        refuse_own_images(high_resolution_folder, output_folder)
        images = load_images(high_resolution_folder, image_names, largest_side)
        refuse_other_images(output_folder, images)
        models = load_models(generators, "generator", "GENERATORS")
        scale = common_scale(models)
        distances = perceptual_distances(vgg19_weights, vgg19_layer, lpips_weights)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from None
    methods = {BICUBIC: partial(bicubic, scale=scale)}
    methods |= {name: partial(super_resolve, model) for name, model in models.items()}
    output_folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for variant, change, degradation, degrade in variants(stress_tests, scale):
        folder = output_folder if not rows else None
        rows += judge(
            images, change, degrade, methods, distances, folder, f"{variant}, {degradation}"
        )
    write_table(output_folder / "super_resolution.csv", rows)
    print_table(rows)
    write_picture(output_folder / "comparison.png", images, methods, scale)
    print(f"\ntable, images and comparison.png are in {output_folder}")


def common_scale(models: dict) -> int:
    """Return the scale of all generators.

    Raises:
        ValueError: they differ: figures of x2 and x4 belong into two tables.
    """
    scales = {name: scale_of(model) for name, model in models.items()}
    if len(set(scales.values())) != 1:
        found = ", ".join(f"{name} x{scale}" for name, scale in scales.items())
        raise ValueError(f"expected generators of one scale, found {found or 'none'}")
    return next(iter(scales.values()))


def refuse_own_images(high_resolution_folder, output_folder):
    """Raise ValueError if images to be judged lie where they would be replaced."""
    own = output_folder.resolve()
    inside = [
        path for path in find_pictures(high_resolution_folder) if own in path.resolve().parents
    ]
    if inside:
        raise ValueError(
            f"OUTPUT_FOLDER (--output-folder): expected no image that is to be judged, found "
            f"{inside[0]}, which may be the result of an evaluation and would be replaced; name "
            "another folder"
        )


def refuse_other_images(output_folder, images: dict):
    """Raise ValueError if saved images would lie beside others, which would be scored with them."""
    saved = [path for kind in KINDS for path in sorted((output_folder / kind).glob("*.png"))]
    others = [path for path in saved if path.stem not in images]
    if others:
        raise ValueError(
            f"OUTPUT_FOLDER (--output-folder): expected no images but those of this evaluation, "
            f"found {len(others)} others such as {others[0]}; delete them or name another folder"
        )


def load_images(folder, names, largest_side) -> dict[str, SharpImage]:
    """Read {name: sharp image}, sides cut to multiples of 4 and at most `largest_side`.

    Of images of one stem in two folders the name begins with the folder. Of a slide that is too
    large to be read whole it is a region of tissue.

    Raises:
        OSError, ValueError: no image fits, or one cannot be read.
    """
    found = find_pictures(folder)
    paths = [path for path in found if not names or path.name.startswith(tuple(names))]
    if not paths:
        raise FileNotFoundError(
            f"{folder}: none of {len(found)} images has a name that begins with "
            f"{' or '.join(names)}; change IMAGE_NAMES (--image-names)"
        )
    images = {}
    for path, name in different_names(paths, folder).items():
        (image,), stated = read_with_size(path, 1, largest_side)
        images[name] = SharpImage(centre_crop(image, largest_side), stated.microns)
    return images


def variants(stress_tests: bool, scale: int):
    """List (name of the images, their change, name of the degradation, the degradation)."""
    area = ("area", lambda image, index: degrade_area(image, scale))
    scanner = (
        "scanner",
        lambda image, index: degrade_scanner(image, np.random.default_rng(index), scale),
    )
    cases = [("images", _unchanged, *area), ("images", _unchanged, *scanner)]
    if stress_tests:
        cases += [
            ("other colours", _other_colours, *area),
            ("soft violet", _soft_violet, *area),
            ("soft violet", _soft_violet, *scanner),
            ("enlarged x2", _enlarged(2), *area),
            ("enlarged x3", _enlarged(3), *area),
        ]
    return cases


def perceptual_distances(vgg19_weights, vgg19_layer, lpips_weights) -> dict:
    """Return {name of a figure: function of two uint8 images} for which there are weights.

    Raises:
        OSError, ValueError: weights cannot be loaded.
    """
    distances = {}
    if vgg19_weights:
        features = build_vgg19_features(vgg19_weights, vgg19_layer)
        distances["vgg19_distance"] = partial(feature_distance, features)
        alike = build_lpips_vgg19(vgg19_weights)
        distances["lpips_vgg19"] = partial(distance_of_images, alike)
    if lpips_weights:
        distances["lpips"] = partial(distance_of_images, build_lpips(lpips_weights))
    return distances


def judge(images, change, degrade, methods, distances, folder, title) -> list[dict]:
    """Return a row of mean figures for each method on one kind of images and degradation.

    folder: gets the images, those of the last method as `srgan`; None = none are saved.
    """
    figures = {method: [] for method in methods}
    for index, (name, image) in enumerate(tqdm(images.items(), desc=title, leave=False)):
        high = change(image.pixels, index)
        low = degrade(high, index)
        results = {method: enlarge(low) for method, enlarge in methods.items()}
        for method, result in results.items():
            row = fidelity(high, result)
            row["grey_level_difference"] = grey_level_difference(low, result)
            row |= {key: distance(high, result) for key, distance in distances.items()}
            figures[method].append(row)
        if folder:
            *_, last = results.values()
            saved = dict(zip(KINDS, (low, results[BICUBIC], last, high), strict=True))
            save_images(folder, name, saved, image.microns)
    return [
        {"images and degradation": title, "method": method, "n": len(rows)}
        | {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        | {"lowest_gain": _lowest_gain(rows, figures[BICUBIC])}
        for method, rows in figures.items()
    ]


def feature_distance(features, high, result) -> float:
    """Mean absolute difference of VGG19 activations, divided by 12.75 as in the content loss."""
    pair = np.stack([high, result]).astype(np.float32)
    real, generated = keras.ops.convert_to_numpy(features(pair, training=False))
    return float(np.mean(np.abs(real - generated)) / 12.75)


def save_images(folder, name, kinds, microns):
    """Save an image as PNG in a folder of each kind, with its pixel size where that is known.

    kinds: {folder: uint8 RGB image}. microns: um per pixel of the high resolution, or None.
    """
    full = kinds["high_resolution"].shape[0]
    for kind, image in kinds.items():
        (folder / kind).mkdir(exist_ok=True)
        size = microns and microns * full / image.shape[0]
        save_picture(folder / kind / f"{name}.png", image, size)


def print_table(rows):
    """Print the figures; `lowest gain` is the smallest PSNR gain over bicubic of any image."""
    columns = [key for key in rows[0] if key not in ("images and degradation", "method", "n")]
    titles = [column.replace("_", " ") for column in columns]
    print(
        f"\n{'images, degradation':24}{'method':22}{'n':>4}" + "".join(f"{t:>19}" for t in titles)
    )
    for row in rows:
        cells = "".join(f"{row[column]:>19.3f}" for column in columns)
        print(f"{row['images and degradation']:24}{row['method']:22}{row['n']:>4}{cells}")


def write_picture(path, images, methods, scale, rows=4):
    """Draw crops side by side: low resolution, each method, high resolution, with PSNR / SSIM."""
    chosen = list(images.items())[:: max(1, len(images) // rows)][:rows]
    figure = Figure(figsize=(2.4 * (len(methods) + 2), 2.8 * len(chosen)), layout="constrained")
    axes = figure.subplots(len(chosen), len(methods) + 2, squeeze=False)
    for row, (_, (image, _)) in zip(axes, chosen, strict=True):
        low = degrade_area(image, scale)
        panels = {"low resolution": np.kron(low, np.ones((scale, scale, 1), np.uint8))}
        panels |= {method: enlarge(low) for method, enlarge in methods.items()}
        panels["high resolution"] = image
        for axis, (title, panel) in zip(row, panels.items(), strict=True):
            axis.imshow(centre_crop(panel, PICTURE_CROP))
            axis.set(title=title.replace("_", " "), xticks=[], yticks=[])
            if title in methods:
                measured = fidelity(image, panel)
                axis.set_xlabel(f"{measured['psnr']:.2f} dB / {measured['ssim']:.3f}")
    figure.savefig(path, dpi=110)


def _lowest_gain(rows, baseline):
    return min(row["psnr"] - base["psnr"] for row, base in zip(rows, baseline, strict=True))


def _unchanged(image, index):
    return image


def _other_colours(image, index):
    return stress_colours(image, np.random.default_rng(index))


def _soft_violet(image, index):
    return soft_violet(image, np.random.default_rng(index))


def _enlarged(factor):
    def change(image, index):
        middle = centre_crop(image, min(image.shape[:2]) // factor)
        size = tuple(side * factor // 4 * 4 for side in middle.shape[1::-1])
        return cv2.resize(middle, size, interpolation=cv2.INTER_CUBIC)

    return change
