"""precision: bfloat16 where the processor is made for it, and hardly another result."""

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from helpers import tiny_models
from networks.acceleration.folding import folded
from program import processor
from program.processor import chosen_precision

ROOT = Path(__file__).resolve().parents[2]
FLAGS = "processor\t: 0\nflags\t\t: fpu avx2 avx512f {}\n"


@pytest.fixture
def this_processor(tmp_path, monkeypatch):
    """Return a function that gives this machine another processor."""

    def choose(flags):
        file = tmp_path / "cpuinfo"
        file.write_text(FLAGS.format(flags), encoding="utf-8")
        monkeypatch.setattr(processor, "PROCESSOR", file)

    return choose


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16"])
def test_a_processor_with_instructions_for_it_multiplies_in_bfloat16(this_processor, flag):
    this_processor(flag)
    expected = "bfloat16" if keras.backend.backend() == "tensorflow" else "float32"
    assert chosen_precision() == expected


def test_a_processor_without_them_computes_in_float32(this_processor):
    this_processor("avx512_vnni")
    assert chosen_precision() == "float32"


def test_a_system_that_does_not_say_computes_in_float32(monkeypatch, tmp_path):
    monkeypatch.setattr(processor, "PROCESSOR", tmp_path / "none")
    assert chosen_precision() == "float32"


@pytest.mark.parametrize("wish", ["float32", "bfloat16"])
def test_a_wish_is_followed_on_any_processor(this_processor, wish):
    this_processor("avx512_vnni")
    assert chosen_precision(wish) == wish


@pytest.mark.parametrize(
    ("name", "side", "largest", "mean"),
    [("generator.h5", 48, 1.5, 0.05), ("Unet.h5", 128, 0.05, 0.002)],
)
def test_the_shipped_networks_predict_nearly_the_same(name, side, largest, mean):
    model = keras.models.load_model(ROOT / "models" / name, compile=False)
    tissue = np.asarray(Image.open(ROOT / "data" / "samples" / "histo.png").convert("RGB"))
    batch = tissue[None, :side, :side].astype(np.float32)
    expected = np.asarray(folded(model).predict_on_batch(batch))
    found = np.asarray(folded(model, precision="bfloat16").predict_on_batch(batch))
    assert found.dtype == np.float32
    difference = np.abs(found - expected)
    assert 0 < difference.max() < largest
    assert difference.mean() < mean


def test_the_ends_of_a_network_stay_in_float32():
    new = folded(tiny_models.random_generator(), precision="bfloat16")
    convolutions = [layer for layer in new.layers if isinstance(layer, keras.layers.Conv2D)]
    kinds = {layer.name: layer.compute_dtype for layer in convolutions}
    assert kinds["residual_tail_x4_activation"] == kinds["bicubic"] == "float32"
    assert any(kind == "bfloat16" for kind in kinds.values())
    assert new.get_layer("bicubic_plus_residual").compute_dtype == "float32"


def test_a_first_convolution_that_only_mixes_colours_does_not_count():
    unet = keras.models.load_model(ROOT / "models" / "Unet.h5", compile=False)
    new = folded(unet, precision="bfloat16")
    kinds = {layer.name: layer.compute_dtype for layer in new.layers}
    exact = {name for name, kind in kinds.items() if kind == "float32" and "conv" in name}
    assert exact == {"block1_conv1_rgb_to_vgg19"}
    assert kinds["stem_to_unit_range"] == kinds["probability_and_distance"] == "float32"
    assert kinds["block1_conv2_block1_conv1"] == "bfloat16"
