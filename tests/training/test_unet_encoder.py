"""The U-net's encoder: VGG19's own features, frozen or trained further, and the stem beside it."""

import keras
import numpy as np
import pytest

from helpers.drawn_tissue import draw_tissue, write_vgg19
from unet.encoder import encoder_convolutions
from unet.model import build_unet, first_unet

CONVOLUTIONS = [f"block{block}_conv{index}" for block in (1, 2, 3) for index in (1, 2)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Path of a file of random VGG19 weights."""
    path = tmp_path_factory.mktemp("vgg19") / "vgg19.h5"
    write_vgg19(path, CONVOLUTIONS)
    return str(path)


def batch(seed=0, side=32):
    return np.random.default_rng(seed).uniform(0, 255, (2, side, side, 3)).astype(np.float32)


def test_it_sees_what_vgg19_sees_at_half_the_resolution(weights, tmp_path):
    stored = write_vgg19(tmp_path / "weights.h5", CONVOLUTIONS, seed=1)
    unet = build_unet(16, 4, str(tmp_path / "weights.h5"))
    reference = keras.applications.VGG19(False, None, input_shape=(None, None, 3))
    for name, values in stored.items():
        reference.get_layer(name).set_weights(values)
    last = CONVOLUTIONS[-1]
    reference = keras.Model(reference.input, reference.get_layer(last).output)
    inner = keras.Model(unet.input, unet.get_layer(last).output)
    image = draw_tissue(32, 48)[0].astype(np.float32)
    half = image.reshape(16, 2, 24, 2, 3).mean(axis=(1, 3))
    expected = reference.predict_on_batch(keras.applications.vgg19.preprocess_input(half[None]))
    found = inner.predict_on_batch(image[None])
    assert expected.std() > 1
    np.testing.assert_allclose(found, expected, atol=1e-2, rtol=1e-4)


def test_the_stem_sees_what_halving_the_image_hides(weights):
    """A checkerboard of single pixels is even grey at half the resolution."""
    board = np.indices((32, 32)).sum(axis=0)[None, ..., None] % 2 * np.full(3, 255, np.float32)
    grey = np.full_like(board, 127.5)
    unet = build_unet(16, 2, weights)
    for name, differs in (("half", False), ("stem_relu", True)):
        inner = keras.Model(unet.input, unet.get_layer(name).output)
        seen = [inner.predict_on_batch(image) for image in (board, grey)]
        assert (np.abs(seen[0] - seen[1]).max() > 1e-3) == differs, name


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_any_depth_takes_as_many_blocks_as_it_has(weights, depth):
    unet = build_unet(16, depth, weights)
    found = [layer.name for layer in encoder_convolutions(unet)]
    assert found == CONVOLUTIONS[: 2 * (depth - 1)]
    assert unet.predict_on_batch(batch()).shape == (2, 32, 32, 2)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("saved", [True, False])
def test_the_encoder_is_trained_or_frozen_wherever_it_comes_from(frozen, saved, tmp_path):
    path = tmp_path / "Unet.h5"
    build_unet(2, 3).save(path)
    unet = first_unet(2, 3, None, path if saved else None, frozen)
    trained = {layer.name for layer in unet.layers if layer.trainable_weights}
    assert trained.isdisjoint(CONVOLUTIONS) == frozen
    assert {"stem", "bottom_conv1", "up1_conv2", "block1_norm"} <= trained
    assert "rgb_to_vgg19" not in trained


@pytest.mark.parametrize("names", [(), CONVOLUTIONS[:3]])
def test_a_weights_file_that_does_not_reach_far_enough_is_named(tmp_path, names):
    path = tmp_path / "short.h5"
    if names:
        write_vgg19(path, names)
    with pytest.raises(OSError, match=r"short\.h5.*block1_conv1 to block3_conv2"):
        build_unet(16, 4, str(path))
