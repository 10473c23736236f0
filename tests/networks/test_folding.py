"""folding: a rewritten network gives what the trained one gives, with fewer operations."""

import keras
import numpy as np
import pytest
from keras import Input, Model, layers

from helpers.tiny_models import random_generator, random_unet
from networks.acceleration.folding import folded
from networks.receptive_field import receptive_interval
from srgan.models import build_generator
from tiles.geometry import round_up

HARD_TO_FOLD = {
    "normalization without scale and centre": lambda x: layers.BatchNormalization(
        scale=False, center=False
    )(layers.Conv2D(4, 3, padding="same", use_bias=False)(x)),
    "normalization after a bias and an activation": lambda x: layers.BatchNormalization()(
        layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    ),
    "normalization of a map that is used twice": lambda x: (
        lambda y: layers.Add()([y, layers.BatchNormalization()(y)])
    )(layers.Conv2D(4, 3, padding="same")(x)),
    "normalization of the input": lambda x: layers.BatchNormalization()(x),
    "5x5 convolution of an enlarged map": lambda x: layers.Conv2D(4, 5, padding="same")(
        layers.UpSampling2D(2)(x)
    ),
    "convolution with an activation of two enlarged maps and one that is not": lambda x: (
        layers.Conv2D(4, 3, padding="same", activation="sigmoid")(
            layers.Concatenate()(
                [
                    layers.UpSampling2D(2)(x),
                    layers.Conv2DTranspose(2, 2, strides=2)(x),
                    layers.UpSampling2D(2)(x),
                ]
            )
        )
    ),
    "enlarged x3": lambda x: layers.Conv2D(4, 3, padding="same")(layers.UpSampling2D(3)(x)),
}


@pytest.fixture(autouse=True)
def step_by_step():
    """Predict uncompiled on TensorFlow: each model predicts once, and tracing takes far longer."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def randomized(model):
    """Give every weight a value of its own; variances among them are positive."""
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.05, 0.5, w.shape) for w in model.get_weights()])
    return model


def assert_equal_predictions(model, side, **tolerance):
    batch = np.random.default_rng(1).uniform(0, 255, (2, side, side + 16, 3)).astype(np.float32)
    expected = model.predict_on_batch(batch)
    new = folded(model)
    np.testing.assert_allclose(new.predict_on_batch(batch), expected, **tolerance)
    np.testing.assert_array_equal(model.predict_on_batch(batch), expected)  # untouched
    return new


def test_a_folded_unet_predicts_the_same():
    new = assert_equal_predictions(random_unet(depth=2), 16, atol=1e-4)
    kinds = {type(layer) for layer in new.layers}
    assert not kinds & {layers.UpSampling2D, layers.Concatenate}
    left = [layer.name for layer in new.layers if isinstance(layer, layers.BatchNormalization)]
    assert left == ["block1_norm"]  # it stands behind an activation


@pytest.mark.parametrize("depth", [2, 3])
def test_the_middle_of_a_tile_is_predicted_the_same_from_smaller_maps(depth):
    model = random_unet(depth=depth)
    margin = 16 * 2**depth
    batch = np.random.default_rng(1).uniform(0, 255, (1, 4 * margin, 3 * margin, 3))
    batch = batch.astype(np.float32)
    expected = model.predict_on_batch(batch)[0, margin:-margin, margin:-margin]
    found = folded(model, margin).predict_on_batch(batch)[0]
    left = (found.shape[0] - 2 * margin) // 2
    assert 0 < left < 8
    np.testing.assert_allclose(found[left:-left, left:-left], expected, atol=1e-4)


def middle_and_expected(model, margin, scale=1):
    """Predict a tile's middle by a network folded for it, and the same by the model as it is."""
    batch = np.random.default_rng(1).uniform(0, 255, (1, 3 * margin, 4 * margin, 3))
    batch = batch.astype(np.float32)
    border = margin * scale
    expected = model.predict_on_batch(batch)[0, border:-border, border:-border]
    found = folded(model, margin).predict_on_batch(batch)[0]
    left = (found.shape[0] - expected.shape[0]) // 2
    height, width = expected.shape[:2]
    return found[left : left + height, left : left + width], expected, left


@pytest.mark.parametrize("blocks", [1, 3])
def test_the_middle_of_a_generators_tile_is_predicted_without_most_of_its_margin(blocks):
    model, rng = build_generator(filters=4, residual_blocks=blocks), np.random.default_rng(0)
    for weights in model.trainable_weights:
        weights.assign(rng.normal(0, 0.2, weights.shape))
    margin = int(np.ceil(receptive_interval(model).before))
    found, expected, left = middle_and_expected(model, margin, scale=4)
    assert left <= 1
    np.testing.assert_allclose(found, expected, atol=1e-2)  # of 255 grey levels


def test_behind_a_strided_convolution_maps_are_cut_as_without_one():
    model = random_generator(scale=2)
    margin = round_up(int(np.ceil(receptive_interval(model).before)), 2)
    found, expected, left = middle_and_expected(model, margin, scale=2)
    assert left <= 1
    np.testing.assert_allclose(found, expected, atol=1e-2)  # of 255 grey levels


SIDE_BRANCHES = {
    "of the same size": lambda x: layers.Cropping2D(1)(layers.ZeroPadding2D(1)(x)),
    "from a convolution": lambda x: layers.Cropping2D(1)(
        layers.ZeroPadding2D(1)(layers.Conv2D(4, 3, padding="same")(x))
    ),
    "from an enlarged map": lambda x: layers.MaxPooling2D(2)(
        layers.Cropping2D(2)(layers.ZeroPadding2D(2)(layers.UpSampling2D(2)(x)))
    ),
}


@pytest.mark.parametrize("kind", SIDE_BRANCHES)
def test_a_branch_of_which_it_is_not_known_what_to_cut_is_left_whole(kind):
    inputs = Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    x = layers.Add()([layers.Conv2D(4, 3, padding="same")(x), SIDE_BRANCHES[kind](x)])
    model = randomized(Model(inputs, layers.Conv2D(2, 3, padding="same")(x)))
    found, expected, left = middle_and_expected(model, 4)
    assert left == (4 if kind == "from an enlarged map" else 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "rest"),
    [
        ({"kernel_size": 5}, 1),
        ({"kernel_size": 3, "dilation_rate": 2}, 1),
        ({"kernel_size": 4}, 3),
        ({"kernel_size": (5, 1)}, 3),
    ],
)
def test_convolutions_shrink_their_maps_where_they_do_so_evenly(options, rest):
    inputs = Input((None, None, 3))
    x = layers.Conv2D(4, padding="same", **options)(inputs)
    model = randomized(Model(inputs, layers.Conv2D(2, 3, padding="same")(x)))
    found, expected, left = middle_and_expected(model, 4)
    assert left == rest
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_maps_are_cut_no_closer_than_an_enlargement_looks(interpolation):
    inputs = Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    small = layers.Conv2D(4, 3, padding="same")(layers.MaxPooling2D(2)(x))
    x = layers.Concatenate()([x, layers.UpSampling2D(2, interpolation=interpolation)(small)])
    x = layers.Conv2D(4, 3, padding="same")(x)
    model = randomized(Model(inputs, layers.Conv2D(2, 3, padding="same")(x)))
    found, expected, _ = middle_and_expected(model, 10)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_margin_smaller_than_what_a_convolution_takes_away_is_left():
    inputs = Input((None, None, 3))
    x = layers.ZeroPadding2D(4)(layers.Conv2D(2, 9, padding="valid")(inputs))
    found, expected, left = middle_and_expected(randomized(Model(inputs, x)), 4)
    assert left == 4
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("padding", [0, 2])
def test_a_network_whose_output_is_larger_or_smaller_than_its_input_is_not_cut(padding):
    inputs = Input((None, None, 3))
    x = layers.ZeroPadding2D(padding)(inputs)
    model = randomized(Model(inputs, layers.Conv2D(2, 3, padding="valid")(x)))
    batch = np.random.default_rng(1).uniform(0, 255, (1, 12, 16, 3)).astype(np.float32)
    found = folded(model, 4).predict_on_batch(batch)
    np.testing.assert_allclose(found, model.predict_on_batch(batch), rtol=1e-5)


def test_a_folded_generator_predicts_the_same():
    new = assert_equal_predictions(random_generator(), 12, atol=1e-2)  # of 255 grey levels
    assert not any(isinstance(layer, layers.UpSampling2D) for layer in new.layers)


@pytest.mark.parametrize("kind", HARD_TO_FOLD)
def test_what_cannot_be_folded_stays(kind):
    inputs = Input((None, None, 3))
    model = randomized(Model(inputs, HARD_TO_FOLD[kind](inputs)))
    assert_equal_predictions(model, 8, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"filters": 3, "kernel_size": 16, "strides": 4, "use_bias": False},
        {"filters": 2, "kernel_size": (6, 4), "strides": 2, "activation": "relu"},
        {"filters": 1, "kernel_size": 3, "strides": 3},
    ],
)
def test_a_transposed_convolution_into_few_channels_is_done_block_by_block(options):
    inputs = Input((None, None, 3))
    model = randomized(Model(inputs, layers.Conv2DTranspose(**options)(inputs)))
    convolutions = [type(layer) for layer in folded(model).layers if layer.weights]
    assert convolutions == [layers.Conv2D]
    for side in (1, 7, 12):
        assert_equal_predictions(model, side, rtol=1e-4, atol=1e-4)
