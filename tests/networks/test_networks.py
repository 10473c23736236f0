"""networks: margins derived from a model make tiles seamless; foreign models are refused."""

import json
import re
import shutil
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from helpers import tiny_models
from networks.loading import load_network, load_pixel_size_network
from networks.network import Network, averaged_over_mirrorings, blended
from networks.pixel_size import PixelSizeNetwork
from program.records import ModelError
from tiles.geometry import Window
from tiles.seamless import predict_tiles

CONVOLUTION = {"padding": "same", "activation": "relu"}


@pytest.fixture(scope="module")
def saved_generators(tmp_path_factory):
    """Paths of two generators that differ in their weights."""
    folder = tmp_path_factory.mktemp("generators")
    return [
        tiny_models.save(tiny_models.random_generator(seed), folder / f"{seed}.h5")
        for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def generator(saved_generators):
    return generator_of(saved_generators[0])


@pytest.fixture(scope="module")
def saved_unet(tmp_path_factory):
    path = tmp_path_factory.mktemp("unet") / "Unet.h5"
    return tiny_models.save(tiny_models.random_unet(), path)


@pytest.fixture(scope="module")
def unet(saved_unet):
    return load_network(saved_unet, "U-net", 1, 2)


@pytest.fixture
def unet_file(saved_unet, tmp_path):
    """Path of a file that may be changed."""
    return Path(shutil.copy(saved_unet, tmp_path))


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def stitched(network, image, tile, batch_size=1):
    height, width = image.shape[:2]
    channels = network.model.output_shape[-1]
    result = np.full((height * network.scale, width * network.scale, channels), np.nan)
    tiles = predict_tiles(
        network.predict_middle,
        lambda x, y, w, h: image[y : y + h, x : x + w],
        Window(0, 0, width, height),
        network.tiling(tile, batch_size),
    )
    for window, prediction in tiles:
        rows = slice(window.y, window.y + window.height)
        result[rows, window.x : window.x + window.width] = prediction
    assert not np.isnan(result).any()
    return result


def untiled(network, image):
    """The prediction of the whole image at once, mirrored far beyond its border."""
    height, width = image.shape[:2]
    margin = -(-2 * network.radius // 16) * 16
    padding = ((margin, margin + -height % 16), (margin, margin + -width % 16), (0, 0))
    padded = np.pad(image, padding, mode="symmetric")
    start = margin * network.scale
    prediction = network.model.predict_on_batch(padded[None].astype(np.float32))[0]
    return prediction[start : start + height * network.scale, start : start + width * network.scale]


def as_bytes(pixels):
    return np.clip(np.rint(pixels), 0, 255).astype(int)


# --- seamless tiles ---


@pytest.mark.parametrize(
    ("height", "width", "tile"),
    [(97, 75, 16), (97, 75, 32), (97, 75, 48), (97, 75, 256), (9, 70, 32), (3, 2, 16), (1, 1, 16)],
)
def test_stitched_super_resolution_equals_the_untiled_one(generator, height, width, tile):
    image = noise(height, width)
    whole = untiled(generator, image)
    assert whole.std() > 20 or image.size == 3  # the comparison is not one of constants
    found = stitched(generator, image, tile)
    assert found.shape == (4 * height, 4 * width, 3)
    assert np.abs(as_bytes(found) - as_bytes(whole)).max() <= 1


@pytest.mark.parametrize(
    ("height", "width", "tile"),
    [(97, 75, 16), (97, 75, 30), (96, 74, 31), (97, 75, 256), (3, 2, 16), (1, 1, 16)],
)
def test_stitched_x2_super_resolution_equals_the_untiled_one(tmp_path, height, width, tile):
    """Its first convolution has stride 2: tiles and margins must be even."""
    path = tiny_models.save(tiny_models.random_generator(scale=2), tmp_path / "x2.h5")
    network = load_network(path, "generator", 2, 3)
    assert (network.scale, network.pooling) == (2, 2)
    image = noise(height, width)
    whole = untiled(network, image)
    assert whole.std() > 20 or image.size == 3
    found = stitched(network, image, tile)
    assert found.shape == (2 * height, 2 * width, 3)
    assert np.abs(as_bytes(found) - as_bytes(whole)).max() <= 1


@pytest.mark.parametrize(
    ("height", "width", "tile"),
    [(97, 75, 16), (97, 75, 32), (97, 75, 64), (97, 75, 256), (9, 70, 32), (3, 2, 16), (1, 1, 16)],
)
def test_stitched_segmentation_equals_the_untiled_one(unet, height, width, tile):
    image = noise(height, width)
    whole = untiled(unet, image)
    assert whole.std() > 0.01 or image.size == 3
    found = stitched(unet, image, tile)
    assert found.shape == (height, width, 2)
    np.testing.assert_allclose(found, whole, atol=1e-3)


def test_batches_change_nothing(generator, unet):
    image = noise(60, 50)
    for network in (generator, unet):
        single, batched = (stitched(network, image, 16, size) for size in (1, 5))
        np.testing.assert_allclose(single, batched, atol=1e-2)


def test_a_narrower_margin_would_show(generator, unet):
    image = noise(97, 75)
    for network in (generator, unet):
        blind = Network(network.model, network.scale, 0, network.pooling)
        difference = np.abs(stitched(blind, image, 32) - untiled(network, image))
        assert difference.max() > (1 if network is generator else 1e-3)


# --- receptive radius ---


def chain(*steps):
    x = inputs = keras.Input((None, None, 3))
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


def convolution(size, **options):
    return layers.Conv2D(3, size, **({"padding": "same"} | options))


ARCHITECTURES = {
    "generator": tiny_models.random_generator,
    "x2 generator": lambda: tiny_models.random_generator(scale=2),
    "U-net of depth 2": lambda: tiny_models.random_unet(depth=2),
    "U-net of depth 3": lambda: tiny_models.random_unet(depth=3),
    "large kernel": lambda: chain(convolution(9)),
    "even kernel": lambda: chain(convolution(4), convolution(2)),
    "dilated": lambda: chain(convolution(3, dilation_rate=4)),
    "depthwise": lambda: chain(layers.DepthwiseConv2D(5, padding="same")),
    "strided": lambda: chain(convolution(3, strides=2), layers.UpSampling2D(2), convolution(3)),
    "mean pooling": lambda: chain(
        layers.AveragePooling2D(4), convolution(3), layers.UpSampling2D(4)
    ),
    "overlapping pooling": lambda: chain(layers.MaxPooling2D(3, 1, "same"), convolution(3)),
    "transposed, kernel = stride": lambda: chain(
        layers.MaxPooling2D(2), convolution(3), layers.Conv2DTranspose(3, 2, 2, "same")
    ),
    "transposed, overlapping": lambda: chain(
        layers.MaxPooling2D(4),
        layers.Conv2DTranspose(3, 4, 2, "same"),
        layers.Conv2DTranspose(3, 4, 2, "same"),
    ),
    "transposed without a convolution": lambda: chain(
        layers.Conv2DTranspose(3, 8, 4, "same"), layers.AveragePooling2D(4)
    ),
}


@pytest.mark.parametrize("corner", [0, -1], ids=["first corner", "last corner"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_nothing_changes_beyond_the_receptive_radius(tmp_path, name, corner):
    network = loaded_as_it_is(tmp_path, far_seeing(ARCHITECTURES[name](), corner))
    side = -(-(2 * network.radius + 4 * network.pooling + 1) // 16) * 16
    image = np.random.default_rng(0).uniform(0, 100, (side, side, 3))
    before = network.predict(image[None])[0]
    reach = 0
    for offset in range(network.pooling):  # pixels of a pooling cell reach unlike far
        changed = image.copy()
        place = side // 2 + offset
        changed[place, place] = 255
        difference = np.abs(network.predict(changed[None])[0] - before).max(axis=-1)
        changed_pixels = np.argwhere(difference > 1e-5) // network.scale
        reach = max(reach, np.abs(changed_pixels - place).max(initial=0))
    assert 0 < reach <= network.radius
    # A few pixels more are free, as margins are rounded up; much more would cost time.
    assert network.radius <= 1.4 * reach + network.pooling + 3


IDENTITY = (np.ones, np.zeros, np.zeros, np.ones)  # of a batch normalization


def far_seeing(model, corner):
    """A model whose convolutions look at a corner of their kernels first of all.

    With ordinary weights an output's farthest pixels are too faint for float32.
    """
    random = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([f(w.shape) for f, w in zip(IDENTITY, layer.weights, strict=True)])
        elif layer.weights and "conv" in type(layer).__name__.lower() and layer.name != "bicubic":
            kernel = random.uniform(0.01, 0.02, layer.get_weights()[0].shape)
            kernel[corner, corner] += 1
            biases = [np.zeros_like(w) for w in layer.get_weights()[1:]]
            layer.set_weights([kernel / kernel[..., 0].sum(), *biases])
    return model


def loaded_as_it_is(folder, model):
    """A model of any scale and number of channels as Network."""
    side = 64
    scale = model.compute_output_shape((1, side, side, 3))[1] // side
    path = tiny_models.save(model, folder / "model.h5")
    return load_network(path, "model", scale, model.output_shape[-1])


def test_radius_and_pooling_of_the_networks(generator, unet):
    assert (generator.scale, generator.pooling) == (4, 1)
    assert (unet.scale, unet.pooling) == (1, 4)
    # Head, 2 convolutions of a block, trunk end, half and quarter pixels of the tail: 5 or 6. Then
    # back-projection: the pixels of a block, a blur of 5, an enlargement that reaches 2 to 4.
    assert 12 <= generator.radius <= 17
    assert 2 * 2 + 2 * 4 + 2 * 2 <= unet.radius <= 30


def test_radius_grows_with_depth(tmp_path):
    radii = []
    for depth in (2, 3, 4):
        radii.append(loaded_as_it_is(tmp_path, tiny_models.random_unet(depth=depth)).radius)
    assert radii == sorted(set(radii))


# --- loading ---


def refusal(path, kind="U-net", scale=1, channels=2):
    """The message with which a file is refused, checked to be one line that names it."""
    with pytest.raises(ModelError) as caught:
        load_network(path, kind, scale, channels)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{kind}: ") and str(path) in message
    return message


def test_a_pixel_size_is_told_from_a_patch_and_from_its_enlarged_middle():
    class Corner:
        """Tells the first value of each patch as octave."""

        def predict(self, patches, verbose):
            return patches[:, :1, :1, :1]

    patches = np.zeros((3, 33, 40, 3), np.float32)
    patches[:2, :4, :4] = 6
    patches[1:, 8:20, 10:26] = 6  # the middle begins at a quarter, and its pixels are half as large
    told = PixelSizeNetwork(Corner()).octaves(patches)
    assert told == pytest.approx([(6 + 0 + 1) / 2, (6 + 6 + 1) / 2, (0 + 6 + 1) / 2])
    patches[0, :4, :4] = -4  # 0.06 um: half of it the network has never seen
    assert PixelSizeNetwork(Corner()).octaves(patches)[0] == -4


def test_networks_of_maps_and_of_pixel_sizes_are_not_mistaken_for_each_other(unet_file, tmp_path):
    sizes = tiny_models.save(tiny_models.constant_pixel_size(-2.0), tmp_path / "pixel_size.h5")
    assert load_pixel_size_network(sizes).octaves(np.zeros((3, 40, 40, 3))) == pytest.approx(-2.0)
    assert "no known receptive field" in refusal(sizes)
    for path, reason in (
        (unet_file, "expected (None, 1, 1, 1)"),
        (tmp_path / "none.h5", "no file"),
    ):
        with pytest.raises(ModelError, match=rf"^pixel-size network: .*{re.escape(reason)}"):
            load_pixel_size_network(path)


def test_a_missing_file_is_named(tmp_path):
    assert "no file" in refusal(tmp_path / "Unet.h5")


def test_a_folder_is_no_model(tmp_path):
    assert "no file" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a model\n", b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_a_file_that_is_no_hdf5_is_refused(tmp_path, content):
    (tmp_path / "Unet.h5").write_bytes(content)
    assert "not a whole Keras model" in refusal(tmp_path / "Unet.h5")


def test_a_truncated_model_is_refused(unet_file):
    unet_file.write_bytes(unet_file.read_bytes()[:-5000])
    assert "not a whole Keras model" in refusal(unet_file)


def test_an_hdf5_file_of_something_else_is_refused(tmp_path):
    with h5py.File(tmp_path / "Unet.h5", "w") as file:
        file["data"] = np.arange(3)
    assert "not a whole Keras model" in refusal(tmp_path / "Unet.h5")


def test_weights_alone_are_refused(tmp_path):
    model = tiny_models.random_unet()
    model.save_weights(tmp_path / "Unet.weights.h5")
    assert "not a whole Keras model" in refusal(tmp_path / "Unet.weights.h5")


@pytest.mark.parametrize(
    "inputs", [(None, None, 1), (None, None, 4), (64, 64, 3), (None, None, None), (10,)]
)
def test_other_inputs_are_refused(tmp_path, inputs):
    x = keras.Input(inputs)
    y = layers.ReLU()(x)
    path = tiny_models.save(keras.Model(x, y), tmp_path / "Unet.h5")
    assert "expected (None, None, None, 3)" in refusal(path)


def test_several_inputs_are_refused(tmp_path):
    inputs = [keras.Input((None, None, 3)) for _ in range(2)]
    model = keras.Model(inputs, layers.Add()(inputs))
    assert "expected (None, None, None, 3)" in refusal(tiny_models.save(model, tmp_path / "m.h5"))


def test_a_generator_is_no_unet_and_a_unet_no_generator(saved_generators, saved_unet):
    assert "expected x1 into 2" in refusal(saved_generators[0], "U-net", 1, 2)
    assert "expected x4 into 3" in refusal(saved_unet, "generator", 4, 3)


FOREIGN = {
    "enlarges x2": lambda: chain(layers.UpSampling2D(2), layers.Conv2D(2, 3, **CONVOLUTION)),
    "into 5 channels": lambda: chain(layers.Conv2D(5, 3, **CONVOLUTION)),
    "shrinks": lambda: chain(layers.MaxPooling2D(2), layers.Conv2D(2, 3, **CONVOLUTION)),
    "no known receptive field": lambda: chain(
        layers.Conv2D(2, 3, **CONVOLUTION), layers.GroupNormalization(1)
    ),
}


@pytest.mark.parametrize("reason", FOREIGN)
def test_foreign_models_are_refused(tmp_path, reason):
    message = refusal(tiny_models.save(FOREIGN[reason](), tmp_path / "Unet.h5"))
    assert "expected x1 into 2" in message if reason == "shrinks" else reason in message


def test_a_model_that_loses_its_border_is_refused(tmp_path):
    model = chain(layers.Conv2D(4, 3), layers.Conv2D(2, 3))  # "valid", as the first U-net was
    assert "must be padded" in refusal(tiny_models.save(model, tmp_path / "Unet.h5"))


def test_a_model_that_contains_a_model_is_refused(tmp_path):
    model = chain(chain(layers.Conv2D(2, 3, **CONVOLUTION)))
    assert "is a model itself" in refusal(tiny_models.save(model, tmp_path / "Unet.h5"))


def test_a_layer_used_twice_is_refused(tmp_path):
    first = layers.Conv2D(3, 3, padding="same")
    last = layers.Conv2D(2, 1)
    for model in (chain(first, first, last), chain(first, last, layers.Conv2D(3, 1), first, last)):
        message = refusal(tiny_models.save(model, tmp_path / "Unet.h5"))
        assert "used more than once" in message


def test_several_outputs_are_refused(tmp_path):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, [layers.Conv2D(2, 3, padding="same")(inputs) for _ in range(2)])
    refusal(tiny_models.save(model, tmp_path / "Unet.h5"))


def test_a_sequential_model_is_as_good_as_a_functional_one(tmp_path):
    steps = [keras.Input((None, None, 3)), layers.Conv2D(2, 7, padding="same")]
    path = tiny_models.save(keras.Sequential(steps), tmp_path / "Unet.h5")
    assert load_network(path, "U-net", 1, 2).radius == 3


def test_code_inside_a_model_is_not_run(tmp_path):
    mark = tmp_path / "ran"
    name = str(mark)
    code = layers.Lambda(lambda x: __import__("pathlib").Path(name).touch() or x)
    model = chain(code, layers.Conv2D(2, 3, padding="same"))
    path = tiny_models.save(model, tmp_path / "Unet.h5")
    mark.unlink(missing_ok=True)  # building the model has run it
    refusal(path)
    assert not mark.exists()


def test_the_record_beside_the_file_is_read(unet_file):
    assert load_network(unet_file, "U-net", 1, 2).record == {}
    unet_file.with_suffix(".json").write_text(json.dumps({"microns_per_pixel": 0.5}))
    assert load_network(unet_file, "U-net", 1, 2).record == {"microns_per_pixel": 0.5}


@pytest.mark.parametrize("record", ["", "{", "[1, 2]", b"\xff\xfe"])
def test_a_damaged_record_is_named(unet_file, record):
    content = record if isinstance(record, bytes) else record.encode()
    unet_file.with_suffix(".json").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_network(unet_file, "U-net", 1, 2)
    assert str(unet_file.with_suffix(".json")) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_hash_tells_models_apart(saved_generators):
    hashes = {generator_of(saved_generators[seed]).sha256 for seed in (0, 1, 0, 1)}
    assert len(hashes) == 2


# --- blending ---


def generator_of(path):
    return load_network(path, "generator", 4, 3)


def test_a_blend_has_the_interpolated_weights(saved_generators):
    network, other = map(generator_of, saved_generators)
    ours, theirs = (each.model.get_weights() for each in (network, other))
    for share in (0.0, 0.3, 1.0):
        network.model.set_weights(ours)
        blend = blended(network, other, share)
        for a, b, found in zip(ours, theirs, blend.model.get_weights(), strict=True):
            np.testing.assert_allclose(found, (1 - share) * a + share * b, atol=1e-6)


def test_mean_over_mirrorings_turns_with_the_tile(generator):
    network = generator
    tiles = np.random.default_rng(0).integers(0, 256, (1, 64, 48, 3)).astype(np.uint8)
    averaged = averaged_over_mirrorings(network)
    prediction = averaged.predict_middle(tiles)
    plain = network.predict_middle(tiles)
    assert np.abs(prediction - plain).max() > 1  # this network does not see mirrored images alike
    for axes in ((1,), (2,), (1, 2)):
        turned = np.flip(averaged.predict_middle(np.flip(tiles, axes)), axes)
        np.testing.assert_allclose(turned, prediction, atol=1e-3)
    assert network.sha256 in averaged.sha256 and network.sha256 != averaged.sha256


def test_generators_of_unlike_architecture_are_not_blended(generator, tmp_path):
    wider = tiny_models.save(tiny_models.random_generator(filters=5), tmp_path / "wider.h5")
    with pytest.raises(ModelError, match="differ in architecture"):
        blended(generator, generator_of(wider), 0.5)


# --- predict ---


class ResourceExhaustedError(Exception):
    """Named as TensorFlow names it."""


class SmallMachine:
    """A model that runs out of memory above a number of tiles."""

    def __init__(self, most, error=ResourceExhaustedError):
        self.most, self.error, self.sizes = most, error, []

    def predict_on_batch(self, tiles):
        self.sizes.append(len(tiles))
        if len(tiles) > self.most:
            raise self.error("out of memory")
        return tiles * 2


def network_on(machine):
    """A network whose predictions a machine makes."""
    network = Network(machine, 1, 0, 1)
    network.folded = machine
    return network


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
@pytest.mark.parametrize("most", [1, 3, 100])
def test_a_batch_too_large_for_the_memory_is_halved(batch, most):
    model = SmallMachine(most)
    tiles = np.random.default_rng(0).integers(0, 256, (batch, 4, 4, 3), np.uint8)
    np.testing.assert_array_equal(network_on(model).predict(tiles), tiles * 2.0)
    assert model.sizes[0] == batch


def test_one_tile_too_large_for_the_memory_is_an_error():
    with pytest.raises(ResourceExhaustedError):
        network_on(SmallMachine(0)).predict(np.zeros((4, 4, 4, 3), np.uint8))


def test_other_errors_pass_on_at_once():
    model = SmallMachine(1, ValueError)
    with pytest.raises(ValueError, match="out of memory"):
        network_on(model).predict(np.zeros((4, 4, 4, 3), np.uint8))
    assert model.sizes == [4]
