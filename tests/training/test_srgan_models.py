"""The SRGAN's networks: what they compute, what they load, and who learns from what."""

from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from keras import layers

from helpers.drawn_tissue import draw_tissue, write_vgg19
from helpers.tiny_models import random_unet
from metrics.pictures import mean_fidelity
from networks.loading import load_network
from shared.saving import save_model
from srgan.models import (
    SRGAN,
    build_discriminator,
    build_generator,
    is_held_to_input,
    more_real_loss,
    negative_psnr,
    scale_of,
    take_weights,
)
from srgan.perceptual.lpips import build_lpips_vgg19
from srgan.perceptual.segmenter import SUREST, build_segmenter, nuclei_losses, pooling_of
from srgan.perceptual.vgg19 import build_vgg19_features
from srgan.spectral import SpectralBound, spectral_norm
from trust.consistency import block_means

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "generator.h5"
WEIGHTS = {
    "pixel_loss": 1.0,
    "content_loss": 0.1,
    "adversarial_loss": 0.01,
    "nuclei_loss": 0.1,
    "nuclei_features_loss": 0.05,
}
TERMS = (*WEIGHTS, "discriminator_loss")


def run(model, image):
    """One uint8 image through a model, as float32."""
    return keras.ops.convert_to_numpy(model(image[None].astype(np.float32)))[0]


def randomise(model, seed=0):
    """Give the last convolution of a generator something to add."""
    residual = model.get_layer("residual")
    rng = np.random.default_rng(seed)
    residual.set_weights([rng.normal(0, 0.02, w.shape) for w in residual.get_weights()])
    return model


def snapshot(network):
    """Every weight by its path, copied."""
    return {w.path: np.array(keras.ops.convert_to_numpy(w)) for w in network.weights}


def moved(network, before):
    """Paths of the weights that changed."""
    return {name for name, w in snapshot(network).items() if not np.array_equal(w, before[name])}


def before_back_projection(model, image):
    """Grey levels of the enlarged image before it is held to the input."""
    inner = keras.Model(model.input, model.get_layer("bicubic_plus_residual").output)
    return np.clip(255 * run(inner, image), 0, 255)


@pytest.fixture(scope="module")
def untrained():
    return build_generator(4, 1)


@pytest.fixture(scope="module")
def distance(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "vgg19.h5"
    write_vgg19(file)
    return build_lpips_vgg19(str(file))


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "Unet.h5"
    unet = random_unet(depth=3)
    last = unet.get_layer("probability_and_distance")
    seen = run(keras.Model(unet.input, last.input), draw_tissue(32, 32)[0])
    seen = seen.reshape(-1, seen.shape[-1])
    kernel = np.random.default_rng(0).normal(0, 1, (2, seen.shape[1])) / (seen.std(axis=0) + 1e-9)
    # Neither sure nor unsure, and alike in all pixels of a block.
    last.set_weights([np.tile(kernel, (2, 2, 1, 1)), -kernel @ seen.mean(axis=0)])
    unet.save(file)
    return build_segmenter(file)


def tiny_srgan(distance, segmenter, weights=WEIGHTS):
    networks = randomise(build_generator(4, 1)), build_discriminator(8, 16)
    srgan = SRGAN(*networks, distance, weights, segmenter)
    srgan.build(None)
    return srgan


# --- Generator ---


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (1, 9), (3, 2), (7, 5), (33, 18)])
def test_untrained_generator_is_bicubic_interpolation(untrained, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    expected = cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    assert run(untrained, image).shape == (4 * shape[0], 4 * shape[1], 3)
    assert np.abs(before_back_projection(untrained, image) - expected).max() <= 1


@pytest.mark.parametrize("shape", [(2, 2), (2, 8), (6, 4), (34, 18)])
def test_untrained_x2_generator_is_bicubic_interpolation(shape):
    generator = build_generator(4, 1, scale=2)
    assert scale_of(generator) == 2
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    expected = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    assert run(generator, image).shape == (2 * shape[0], 2 * shape[1], 3)
    assert np.abs(before_back_projection(generator, image) - expected).max() <= 1


def test_an_x2_generator_starts_with_the_trunk_of_an_x4_one(untrained):
    double = build_generator(4, 1, scale=2)
    assert take_weights(double, untrained) == ["detail", "residual"]
    image = np.random.default_rng(1).uniform(0, 255, (1, 12, 16, 3)).astype(np.float32)
    trunks = [keras.Model(m.input, m.get_layer("trunk_skip").output) for m in (double, untrained)]
    by_mean = image.reshape(1, 6, 2, 8, 2, 3).mean(axis=(2, 4))
    seen = [keras.ops.convert_to_numpy(t(x)) for t, x in zip(trunks, (image, by_mean), strict=True)]
    np.testing.assert_allclose(*seen, atol=1e-5)


def test_a_generator_takes_the_layers_that_fit_and_names_the_others(untrained):
    assert take_weights(build_generator(4, 2), untrained) == ["block2_conv1", "block2_conv2"]
    with pytest.raises(ValueError, match="shares no layer"):
        take_weights(
            build_generator(6, 1), keras.Sequential([keras.Input((None, None, 3)), layers.ReLU()])
        )


@settings(max_examples=25, deadline=None)
@given(
    image=hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))),
)
def test_untrained_generator_is_bicubic_for_any_image(untrained, image):
    expected = cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    assert np.abs(before_back_projection(untrained, image) - expected).max() <= 1


def test_generated_values_stay_grey_levels(untrained):
    model = randomise(keras.models.clone_model(untrained))
    residual = model.get_layer("residual")
    residual.set_weights([99 * weights for weights in residual.get_weights()])
    generated = run(model, draw_tissue(12, 10)[0])
    assert generated.min() == 0 and generated.max() == 255


def test_saved_generator_loads_alone_and_is_the_same(tmp_path):
    model = randomise(build_generator(4, 2))
    model.save(tmp_path / "generator.h5")
    loaded = keras.models.load_model(tmp_path / "generator.h5")
    image = draw_tissue(17, 13)[0]
    np.testing.assert_array_equal(run(loaded, image), run(model, image))
    assert np.abs(run(model, image) - run(build_generator(4, 2), image)).max() > 1
    assert not loaded.get_layer("bicubic").trainable


@pytest.mark.parametrize("scale", [2, 4])
def test_saved_generator_is_accepted_where_it_is_used(tmp_path, scale):
    save_model(build_generator(4, 1, scale), tmp_path / "generator.h5")
    network = load_network(tmp_path / "generator.h5", "generator", scale, 3)
    assert network.scale == scale and network.radius < 64


@pytest.fixture(
    params=[
        "untrained",
        pytest.param(
            "shipped",
            marks=pytest.mark.skipif(not SHIPPED.exists(), reason="no models/generator.h5 here"),
        ),
    ]
)
def generator(request, untrained):
    if request.param == "untrained":
        return untrained
    return keras.models.load_model(SHIPPED, compile=False)


@pytest.mark.parametrize("colour", [(245, 245, 245), (128, 128, 128), (228, 178, 208)])
def test_constant_image_stays_constant(generator, colour):
    # A trained trunk sees zeros beyond the border, so every use mirrors the image around itself.
    around = 24
    image = np.full((2 * around + 9, 2 * around + 6, 3), colour, np.uint8)
    inner = run(generator, image)[4 * around : -4 * around, 4 * around : -4 * around]
    assert inner.shape == (36, 24, 3)
    assert np.abs(inner - image[0, 0]).max() <= 1


@pytest.mark.parametrize("axis", [0, 1])
def test_ramp_shows_no_checkerboard(generator, axis):
    grey = np.rint(np.linspace(40, 230, 96)).astype(np.uint8)
    image = np.repeat(np.broadcast_to(grey, (96, 96)).T[..., None], 3, axis=-1)
    image = np.ascontiguousarray(image.transpose((1, 0, 2)) if axis else image)
    exact = cv2.resize(image.astype(np.float32), None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
    difference = (run(generator, image) - exact)[64:-64, 64:-64]
    for period in (2, 4):
        extent = difference.shape[0] // period
        cells = difference.reshape(extent, period, extent, period, 3)
        pattern = cells.mean(axis=(0, 2))
        assert np.ptp(pattern, axis=(0, 1)).max() <= 0.5


# --- Discriminator ---


@pytest.mark.parametrize("shape", [(16, 16), (32, 32), (40, 24), (33, 65)])
def test_discriminator_judges_each_place_of_any_crop(shape):
    discriminator = build_discriminator(8, 16)
    images = np.random.default_rng(0).uniform(0, 255, (2, *shape, 3)).astype(np.float32)
    logits = keras.ops.convert_to_numpy(discriminator(images))
    assert logits.shape == (2, *(-(-side // 16) for side in shape), 1)
    assert np.isfinite(logits).all() and (logits[0] != logits[1]).all()


def test_the_spectral_norm_is_bounded_from_above_and_tightly():
    rng = np.random.default_rng(0)
    orthogonal = np.linalg.qr(rng.normal(size=(256, 256)))[0]
    one_large = rng.normal(size=(3, 3, 8, 16)) / 20
    one_large[0, 0, 0] += 5
    for kernel in (orthogonal, one_large, one_large.transpose(0, 1, 3, 2), 1e-6 * orthogonal):
        kernel = kernel.astype(np.float32)
        exact = np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), 2)
        assert 0.999 * exact <= float(spectral_norm(kernel)) <= 1.05 * exact
        held = keras.ops.convert_to_numpy(SpectralBound()(kernel))
        assert np.linalg.norm(held.reshape(-1, kernel.shape[-1]), 2) <= 1.001
        if exact < 0.9:  # small ones stay as they are
            np.testing.assert_array_equal(held, kernel)


def test_training_holds_each_kernel_of_the_discriminator():
    discriminator = build_discriminator(8, 16)
    discriminator.compile(keras.optimizers.Adam(1e-2), "mean_absolute_error")
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    discriminator.fit(images, np.full((2, 2, 2, 1), 1e3), epochs=3, verbose=0)
    kernels = [w for w in discriminator.get_weights() if w.ndim == 4]
    assert len(kernels) == 10
    norms = [np.linalg.norm(w.reshape(-1, w.shape[-1]), 2) for w in kernels]
    assert max(norms) <= 1.001 and min(norms) > 0.5


def test_the_loss_of_pretraining_is_the_mean_psnr_of_the_crops():
    rng = np.random.default_rng(3)
    real = rng.integers(100, 150, (3, 16, 16, 3))
    sigmas = np.array([1, 5, 20]).reshape(3, 1, 1, 1)  # a mean error would hear the last one only
    generated = np.rint(real + sigmas * rng.standard_normal(real.shape)).astype(int)
    pairs = zip(real.astype(np.uint8), generated.astype(np.uint8), strict=True)
    expected = -mean_fidelity(pairs)["psnr"]
    assert float(negative_psnr(real.astype("f"), generated.astype("f"))) == pytest.approx(
        expected, abs=0.2
    )


def test_the_loss_of_pretraining_is_finite_where_nothing_is_wrong():
    image = np.full((2, 8, 8, 3), 200.0, np.float32)
    assert float(negative_psnr(image, image)) == pytest.approx(-58.92, abs=0.01)


def test_relativistic_loss_is_that_of_its_equations():
    # Two real places of logits 2 and 0, two generated ones of -1 and 1: means 1 and 0.
    real, generated = np.float32([2, 0]), np.float32([-1, 1])
    sigmoid = 1 / (1 + np.exp(-np.float64([2 - 0, 0 - 0, -1 - 1, 1 - 1])))
    discriminator = -np.mean(np.log(sigmoid[:2])) - np.mean(np.log(1 - sigmoid[2:]))
    generator = -np.mean(np.log(sigmoid[2:])) - np.mean(np.log(1 - sigmoid[:2]))
    assert float(more_real_loss(real, generated)) == pytest.approx(discriminator, rel=1e-5)
    assert float(more_real_loss(generated, real)) == pytest.approx(generator, rel=1e-5)
    assert discriminator < 2 * np.log(2) < generator


# --- VGG19 ---


def test_vgg19_file_sets_the_weights_by_name(tmp_path):
    # The file holds its layers in another order and one more than is needed.
    names = ("block2_conv1", "block1_conv2", "block1_conv1")
    stored = write_vgg19(tmp_path / "weights.h5", names)
    model = build_vgg19_features(str(tmp_path / "weights.h5"), "block1_conv2")
    assert not model.trainable_variables
    (inner,) = (layer for layer in model.layers if isinstance(layer, keras.Model))
    for name in ("block1_conv1", "block1_conv2"):
        for actual, expected in zip(inner.get_layer(name).get_weights(), stored[name], strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_vgg19_features_are_those_of_keras_applications(tmp_path):
    stored = write_vgg19(tmp_path / "weights.h5")
    model = build_vgg19_features(str(tmp_path / "weights.h5"), "block2_conv1")
    reference = keras.applications.VGG19(False, None, input_shape=(None, None, 3))
    for name, weights in stored.items():
        reference.get_layer(name).set_weights(weights)
    reference = keras.Model(reference.input, reference.get_layer("block2_conv1").output)
    image = draw_tissue(16, 20)[0].astype(np.float32)
    prepared = keras.applications.vgg19.preprocess_input(image[None].copy())
    expected = keras.ops.convert_to_numpy(reference(prepared))[0]
    assert expected.std() > 1
    np.testing.assert_allclose(run(model, image), expected, atol=1e-2, rtol=1e-4)


def test_wrong_vgg19_layer_is_named_beside_the_right_ones(tmp_path):
    write_vgg19(tmp_path / "weights.h5")
    with pytest.raises(ValueError, match=r"block3_conv3.*found 'block9_conv9'"):
        build_vgg19_features(str(tmp_path / "weights.h5"), "block9_conv9")


def test_vgg19_file_that_ends_too_early(tmp_path):
    write_vgg19(tmp_path / "weights.h5", ("block1_conv1", "block1_conv2"))
    with pytest.raises(ValueError, match=r"weights\.h5 lack block2_conv1: choose a lower layer"):
        build_vgg19_features(str(tmp_path / "weights.h5"), "block2_conv1")


def test_missing_vgg19_file(tmp_path):
    with pytest.raises(OSError, match=r"VGG19.*nowhere\.h5"):
        build_vgg19_features(str(tmp_path / "nowhere.h5"), "block1_conv2")


def test_vgg19_file_of_another_layout(tmp_path):
    (tmp_path / "picture.h5").write_bytes(b"no HDF5")
    with pytest.raises(OSError, match=r"VGG19.*picture\.h5"):
        build_vgg19_features(str(tmp_path / "picture.h5"), "block1_conv2")
    build_generator(4, 1).save_weights(tmp_path / "other.weights.h5")
    with pytest.raises((OSError, ValueError), match=r"VGG19.*other\.weights\.h5"):
        build_vgg19_features(str(tmp_path / "other.weights.h5"), "block1_conv2")


def test_failed_download_is_an_os_error(monkeypatch):
    build = keras.applications.VGG19

    def offline(**arguments):
        if arguments.get("weights", "imagenet") == "imagenet":
            raise Exception("URL fetch failure on https://example.org/vgg19.h5: None -- offline")
        return build(**arguments)

    monkeypatch.setattr(keras.applications, "VGG19", offline)
    with pytest.raises(OSError, match=r"VGG19.*offline"):
        build_vgg19_features("imagenet", "block1_conv2")


# --- Training ---


def batch(seed=0, size=32):
    rng = np.random.default_rng(seed)
    high = np.stack([draw_tissue(size, size, int(rng.integers(99)))[0] for _ in range(2)])
    low = np.stack([cv2.resize(h, None, fx=1 / 4, fy=1 / 4, interpolation=3) for h in high])
    return low.astype(np.float32), high.astype(np.float32)


@pytest.mark.parametrize("term", TERMS)
def test_each_loss_term_moves_its_own_network_only(distance, segmenter, term):
    keras.utils.set_random_seed(0)
    srgan = tiny_srgan(distance, segmenter)
    srgan.term_weights = {name: float(name == term) for name in TERMS}
    srgan.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    networks = {"generator": srgan.generator, "discriminator": srgan.discriminator}
    before = {name: snapshot(network) for name, network in networks.items()}
    srgan.train_on_batch(*batch())
    changed = {name for name, network in networks.items() if moved(network, before[name])}
    assert changed == {"discriminator" if term == "discriminator_loss" else "generator"}


def test_pretraining_moves_all_of_the_generator_but_its_fixed_filters():
    generator = randomise(build_generator(4, 1))
    before = snapshot(generator)
    generator.compile(keras.optimizers.SGD(1e-2), "mean_absolute_error")
    generator.fit(*batch(), batch_size=1, epochs=1, verbose=0)
    assert moved(generator, before) == {w.path for w in generator.trainable_weights}
    fixed = {path.split("/")[-2] for path in before.keys() - moved(generator, before)}
    assert fixed == {"bicubic", "enlarged_correction", "blur1", "blur2"}


def test_adversarial_fit_moves_both_networks_but_neither_vgg19_nor_the_unet(distance, segmenter):
    srgan = tiny_srgan(distance, segmenter)
    srgan.compile(keras.optimizers.Adam(1e-3), jit_compile=False)  # a graph, but no XLA
    networks = srgan.generator, srgan.discriminator, distance.features, segmenter
    before = [snapshot(network) for network in networks]
    history = srgan.fit(*batch(), batch_size=1, epochs=1, verbose=0).history
    assert moved(networks[0], before[0]) == {w.path for w in networks[0].trainable_weights}
    assert moved(networks[1], before[1]) == set(before[1])
    assert not moved(networks[2], before[2]) and not moved(networks[3], before[3])
    # The reported total is the weighted sum of the reported terms.
    total = sum(srgan.term_weights[name] * history[name][0] for name in TERMS)
    assert history["loss"][0] == pytest.approx(total, rel=1e-4)
    assert all(history[name][0] > 0 for name in TERMS)


def test_a_perfect_generator_is_charged_by_the_discriminator_alone(distance, segmenter):
    srgan = tiny_srgan(distance, segmenter)
    _, high = batch()
    srgan.compute_loss(y=high, y_pred=high)
    results = {name: float(srgan.trackers[name].result()) for name in TERMS}
    charged = {name for name, value in results.items() if value > 1e-6}
    assert charged == {"adversarial_loss", "discriminator_loss"}
    srgan.reset_metrics()
    srgan.compute_loss(y=high, y_pred=high - 51.0)
    results = {name: float(srgan.trackers[name].result()) for name in TERMS}
    assert results["pixel_loss"] == pytest.approx(0.2, rel=1e-4)
    assert all(value > 1e-4 for value in results.values())


# --- Through the segmenter ---


def test_nuclei_losses_are_a_divergence_and_a_relative_difference(segmenter):
    _, high = batch()
    maps, *features = segmenter(high)
    other_maps, *other_features = segmenter(255 - high)
    found = [float(value) for value in nuclei_losses(segmenter, 255 - high, high)]
    p, q = (np.clip(keras.ops.convert_to_numpy(m), SUREST, 1 - SUREST) for m in (maps, other_maps))
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert found[0] == pytest.approx(float(divergence.mean()), rel=1e-3)
    arrays = [keras.ops.convert_to_numpy(a) for a in features]
    others = [keras.ops.convert_to_numpy(a) for a in other_features]
    shares = [np.abs(o - a).mean() / np.abs(a).mean() for a, o in zip(arrays, others, strict=True)]
    assert found[1] == pytest.approx(float(np.mean(shares)), rel=1e-3)
    assert len(features) == 2 and pooling_of(segmenter) == 8


def test_nuclei_losses_are_finite_where_bfloat16_rounds_to_certainty():
    def sure(images, training):
        return [keras.ops.cast(images > 127, "bfloat16"), keras.ops.cast(images, "bfloat16")]

    _, high = batch()
    for other in (high, 255 - high):
        found = [float(value) for value in nuclei_losses(sure, other, high)]
        assert np.isfinite(found).all() and (found[0] > 1) == (other is not high)


def test_a_segmenter_must_be_a_unet(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.h5.*--unet"):
        build_segmenter(tmp_path / "nowhere.h5")
    build_generator(4, 1).save(tmp_path / "generator.h5")
    with pytest.raises(ValueError, match=r"generator\.h5.*up1_relu2"):
        build_segmenter(tmp_path / "generator.h5")


# --- Held to the input ---


@pytest.mark.parametrize("scale", [2, 4])
def test_what_a_generator_invents_cannot_shift_colours(scale):
    generator = build_generator(4, 1, scale)
    generator.get_layer("residual").bias.assign([0.2, -0.1, 0.05])  # 51 grey levels of red
    image = draw_tissue(64, 64)[0] // 2 + 60  # nothing is clipped
    around = slice(16, -16)
    means = block_means(run(generator, image), image.shape[:2])[around, around]
    shift = (means - image[around, around]).mean(axis=(0, 1))
    assert np.abs(shift).max() < 0.5


@pytest.mark.parametrize("scale", [2, 4])
def test_fully_open_gates_give_the_input_back(scale):
    generator = build_generator(4, 1, scale)
    image = draw_tissue(64, 64)[0] // 2 + 60
    lack = {}
    for share, bias in (("none", -20.0), ("all", 0.0)):  # 0: a share of 1
        for band in ("middle", "fine"):
            gate = generator.get_layer(f"{band}_gate")
            gate.bias.assign(np.full(3, bias))
        means = block_means(run(generator, image), image.shape[:2])
        lack[share] = np.abs(means - image)[16:-16, 16:-16].mean()
    assert lack["all"] < lack["none"] / 2


def test_a_generator_of_an_older_version_is_taken_over_whole(untrained):
    new = build_generator(4, 1)
    older = keras.Model(untrained.input, untrained.get_layer("bicubic_plus_residual").output)
    assert not is_held_to_input(older) and is_held_to_input(new)
    assert take_weights(new, randomise(keras.models.clone_model(older))) == [
        "middle_gate",
        "fine_gate",
    ]
