"""LPIPS and its relative on VGG19: the formula by hand, its properties, its weights, its column."""

import csv
import os
import pickle
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pytest
import SRGAN_evaluate

from helpers.drawn_tissue import draw_tissue, write_picture, write_vgg19
from helpers.tiny_models import bicubic_generator, save
from srgan.perceptual.lpips import (
    CROP,
    PerceptualDistance,
    build_lpips,
    build_lpips_vgg19,
    distance_of_images,
)
from srgan.preparation import perceptual_distance

VGG16_WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
HEAD_WIDTHS = (64, 128, 256, 512, 512)


@pytest.fixture(scope="module")
def vgg19_file(tmp_path_factory):
    """Path of a file of random VGG19 weights."""
    path = tmp_path_factory.mktemp("vgg19") / "vgg19.h5"
    write_vgg19(path)
    return str(path)


@pytest.fixture(scope="module")
def vgg16_file(tmp_path_factory):
    """Path of a checkpoint whose convolutions hand their first three channels on."""
    path = tmp_path_factory.mktemp("vgg16") / "vgg16.ckpt"
    convolutions, before = {}, 3
    for index, width in enumerate(VGG16_WIDTHS):
        kernel = np.zeros((3, 3, before, width), np.float32)
        kernel[1, 1, range(3), range(3)] = 1
        convolutions[f"Conv_{index}"] = {"kernel": kernel, "bias": np.zeros(width, np.float32)}
        before = width
    heads = {f"NetLinLayer_{i}": {"Conv_0": {"kernel": head}} for i, head in enumerate(heads_of())}
    path.write_bytes(pickle.dumps({"VGG16_0": convolutions} | heads))
    return path


def heads_of():
    return [
        np.arange(1, width + 1, dtype=np.float32).reshape(1, 1, width, 1) / 100 / layer
        for layer, width in enumerate(HEAD_WIDTHS, start=1)
    ]


def compared(distance, first, second):
    batches = (np.asarray(image, np.float32)[None] for image in (first, second))
    return float(keras.ops.convert_to_numpy(distance(*batches))[0])


def test_the_formula_by_hand():
    distance = PerceptualDistance(
        lambda images, training: [images[..., :2], images[..., 2:]], [(2.0, 5.0), 10.0]
    )
    # Directions (.6, .8) and (0, 1): 2 * .36 + 5 * .04 = .92 in one of two pixels.
    # In the second layer (1, 0) and (0, 1): 10 * 2 in that pixel.
    first = [[[3, 4, 7, 0], [1, 1, 1, 1]]]
    second = [[[0, 5, 0, 2], [2, 2, 9, 9]]]
    assert compared(distance, first, second) == pytest.approx((0.92 + 20) / 2)


def test_it_is_zero_for_the_same_symmetric_and_grows_with_blur(vgg19_file):
    distance = build_lpips_vgg19(vgg19_file)
    image = draw_tissue(32, 40)[0]
    blurred = [cv2.GaussianBlur(image, (0, 0), sigma) for sigma in (0.7, 1.5, 3.0)]
    found = [compared(distance, image, other) for other in (image, *blurred)]
    assert found[0] == 0 and found == sorted(set(found))
    assert compared(distance, blurred[1], image) == pytest.approx(found[2], rel=1e-5)


def test_each_image_of_a_batch_has_its_own_distance(vgg19_file):
    distance = build_lpips_vgg19(vgg19_file)
    first, second = (draw_tissue(16, 16, seed)[0].astype(np.float32) for seed in (1, 2))
    together = distance(np.stack([first, first]), np.stack([first, second]))
    expected = [0, compared(distance, first, second)]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(together), expected, rtol=1e-4)


def test_vgg16_sees_the_colours_that_torchvision_sees(vgg16_file):
    colours = np.array([(250, 190, 160), (140, 220, 250)])
    normalised = (colours / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    seen = np.maximum(normalised, 0)
    directions = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    squares = (directions[0] - directions[1]) ** 2
    expected = sum(np.sum(np.ravel(head)[:3] * squares) for head in heads_of())
    images = (np.broadcast_to(colour, (16, 16, 3)) for colour in colours)
    assert compared(build_lpips(vgg16_file), *images) == pytest.approx(expected, rel=1e-4)


def test_phase_two_takes_lpips_itself_where_its_weights_are_given(vgg19_file, vgg16_file):
    images = [draw_tissue(32, 32, seed)[0] for seed in (1, 2)]
    expected = {None: build_lpips_vgg19(vgg19_file), vgg16_file: build_lpips(vgg16_file)}
    found = {}
    for weights, distance in expected.items():
        chosen = SimpleNamespace(vgg19_weights=vgg19_file, lpips_weights=weights)
        found[weights] = compared(perceptual_distance(chosen), *images)
        assert found[weights] == compared(distance, *images)
    assert found[None] != found[vgg16_file]


@pytest.mark.parametrize(
    "content",
    [
        b"no checkpoint",
        b"",
        pickle.dumps({"VGG16_0": {}}),
        pickle.dumps([1, 2]),
        pickle.dumps(os.getcwd),
    ],
)
def test_another_file_is_refused_and_nothing_in_it_is_run(tmp_path, content):
    path = tmp_path / "vgg16.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"vgg16\.ckpt: expected vgg16\.ckpt of the package"):
        build_lpips(path)


def test_it_can_be_a_loss_also_where_nothing_is_seen(vgg19_file):
    distance = build_lpips_vgg19(vgg19_file)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(3, 1)])
    rate = keras.optimizers.Adam(0.02)
    model.compile(rate, loss=lambda truth, made: distance(truth, made), run_eagerly=True)
    target = draw_tissue(16, 16)[0][None].astype(np.float32)
    model.layers[0].set_weights([np.zeros((1, 1, 3, 3)), np.zeros(3)])
    losses = model.fit(target, target, epochs=8, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


@pytest.mark.parametrize(("size", "crops"), [((20, 30), 1), ((CROP, CROP + 1), 2), ((600, 256), 3)])
def test_crops_cover_an_image(size, crops):
    rows, columns = np.indices(size)
    seen = np.zeros(size, int)
    image = np.dstack([rows // 256 * 16 + columns // 256, rows % 256, columns % 256])

    def distance(first, second):
        assert first.shape == (1, *(min(side, CROP) for side in size), 3)
        high, row, column = np.moveaxis(first[0].astype(int), -1, 0)
        seen[high // 16 * 256 + row, high % 16 * 256 + column] += 1
        return np.array([float(np.sum(seen > 0))])

    distance_of_images(distance, image, image)
    assert seen.min() == 1 and seen.max() <= crops


def test_the_table_names_them_apart(tmp_path, vgg19_file, vgg16_file):
    write_picture(tmp_path / "high" / "a.png", draw_tissue(32, 48)[0])
    SRGAN_evaluate.main(
        high_resolution_folder=tmp_path / "high",
        generators=(save(bicubic_generator(), tmp_path / "generator.h5"),),
        vgg19_weights=vgg19_file,
        vgg19_layer="block1_conv1",
        lpips_weights=vgg16_file,
        output_folder=tmp_path / "out",
    )
    with (tmp_path / "out" / "super_resolution.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    figures = ("vgg19_distance", "lpips_vgg19", "lpips")
    assert all(float(row[figure]) > 0 for row in rows for figure in figures)
    assert all(row["lpips"] != row["lpips_vgg19"] for row in rows)


def test_missing_weights_end_at_once(tmp_path):
    write_picture(tmp_path / "high" / "a.png", draw_tissue(32, 32)[0])
    with pytest.raises(SystemExit, match=r"nowhere\.ckpt"):
        SRGAN_evaluate.main(
            high_resolution_folder=tmp_path / "high",
            generators=(save(bicubic_generator(), tmp_path / "generator.h5"),),
            lpips_weights=tmp_path / "nowhere.ckpt",
            output_folder=tmp_path / "out",
        )
