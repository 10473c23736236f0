"""The U-net's second encoder: VGG19's own features, frozen, and nothing lost when it is added."""

import keras
import numpy as np
import pytest

from helpers.drawn_tissue import draw_tissue, write_vgg19
from unet.model import build_unet, first_unet
from unet.vgg19 import has_vgg19, take_over

CONVOLUTIONS = [f"block{block}_conv{index}" for block in (1, 2, 3) for index in (1, 2)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Path of a file of random VGG19 weights."""
    path = tmp_path_factory.mktemp("vgg19") / "vgg19.h5"
    write_vgg19(path, CONVOLUTIONS)
    return str(path)


def batch(seed=0, side=32):
    return np.random.default_rng(seed).uniform(0, 255, (2, side, side, 3)).astype(np.float32)


def randomized(unet):
    random = np.random.default_rng(0)
    for layer in unet.layers:
        if layer.trainable_weights:
            layer.set_weights([random.uniform(0.05, 0.3, w.shape) for w in layer.get_weights()])
    return unet


def test_it_sees_what_vgg19_sees_at_half_the_resolution(weights, tmp_path):
    stored = write_vgg19(tmp_path / "weights.h5", CONVOLUTIONS, seed=1)
    unet = build_unet(2, 4, str(tmp_path / "weights.h5"))
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


def test_its_own_weights_are_frozen(weights):
    unet = build_unet(2, 4, weights)
    frozen = {layer.name for layer in unet.layers if layer.weights and not layer.trainable}
    assert frozen == {"rgb_to_vgg19", *CONVOLUTIONS}


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_any_depth_takes_as_many_levels_as_it_has(weights, depth):
    unet = build_unet(2, depth, weights)
    levels = [f"vgg19_level{level}" for level in (1, 2, 3)]
    present = [name for name in levels if name in {layer.name for layer in unet.layers}]
    assert present == levels[: depth - 1]
    assert unet.predict_on_batch(batch()).shape == (2, 32, 32, 2)


def test_a_trained_unet_predicts_the_same_once_it_is_added(weights):
    trained, unet = randomized(build_unet(4, 3)), build_unet(4, 3, weights)
    assert np.abs(unet.predict_on_batch(batch()) - trained.predict_on_batch(batch())).max() > 1e-3
    take_over(unet, trained)
    np.testing.assert_array_equal(unet.predict_on_batch(batch()), trained.predict_on_batch(batch()))
    assert has_vgg19(unet) and not has_vgg19(trained)


def test_training_starts_from_a_unet_with_or_without_it(weights, tmp_path):
    plain, seeing = tmp_path / "plain.h5", tmp_path / "seeing.h5"
    randomized(build_unet(2, 2)).save(plain)
    randomized(build_unet(2, 2, weights)).save(seeing)
    for initial in (plain, seeing):
        unet = first_unet(2, 2, weights, initial)
        expected = keras.models.load_model(initial, compile=False).predict_on_batch(batch())
        assert has_vgg19(unet)
        np.testing.assert_array_equal(unet.predict_on_batch(batch()), expected)
    assert not has_vgg19(first_unet(2, 2, None, plain))
    assert has_vgg19(first_unet(2, 2, weights, None))


def test_a_unet_of_another_shape_is_refused(weights):
    with pytest.raises(ValueError):
        take_over(build_unet(2, 2, weights), build_unet(4, 2))


@pytest.mark.parametrize("names", [(), CONVOLUTIONS[:3]])
def test_a_weights_file_that_does_not_reach_far_enough_is_named(tmp_path, names):
    path = tmp_path / "short.h5"
    if names:
        write_vgg19(path, names)
    with pytest.raises(OSError, match=r"short\.h5.*block1_conv1 to block3_conv2"):
        build_unet(2, 4, str(path))
