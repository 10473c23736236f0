"""model_files: a model file is data; code, foreign files and absurd sizes are refused unread."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import pytest
from keras import layers

from helpers import tiny_models
from networks import model_files, network
from networks.loading import load_network
from program.records import ModelError
from program.settings import NUCLEUS_SCORE

MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tiny_models.save(tiny_models.random_unet(), tmp_path_factory.mktemp("unet") / "Unet.h5")


@pytest.fixture
def path(whole, tmp_path):
    """A whole U-net, to be tampered with."""
    return Path(shutil.copy(whole, tmp_path))


@pytest.fixture(autouse=True)
def keras_builds_nothing(monkeypatch, request):
    """Fail where a file that is to be refused reaches Keras."""
    if "refus" in request.node.name:

        def built(*_, **__):
            pytest.fail("Keras has opened the file")

        monkeypatch.setattr(network.keras.models, "load_model", built)


def refusal(path):
    with pytest.raises(ModelError) as caught:
        load_network(path, "U-net", 1, 2)
    message = str(caught.value)
    assert message.startswith("U-net: ") and str(path) in message and message.isprintable()
    return message


def tampered(path, change):
    """Change the description of the layers; `change` gets the list of them."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config["config"]["layers"])
        file.attrs["model_config"] = json.dumps(config)
    return path


def convolution(stack, number=0):
    return [layer for layer in stack if layer["class_name"] == "Conv2D"][number]


@pytest.mark.parametrize(
    "name", sorted({path.name for path in MODELS.glob("*.h5")} - {NUCLEUS_SCORE.name})
)
def test_shipped_models_that_see_images_pass(name):
    model_files.check_model_file(MODELS / name)


def test_all_layers_that_tiling_knows_are_allowed(tmp_path):
    x = inputs = keras.Input((None, None, 3))
    for layer in (
        layers.Rescaling(1 / 255),
        layers.ZeroPadding2D(2),
        layers.Cropping2D(2),
        layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
        layers.Conv2D(4, 3, padding="same", groups=2, kernel_regularizer="l2"),
        layers.PReLU(shared_axes=[1, 2]),
        layers.Dropout(0.1),
        layers.AveragePooling2D(2),
        layers.Conv2DTranspose(4, 2, strides=2),
        layers.Activation("sigmoid"),
        layers.LeakyReLU(),
    ):
        x = layer(x)
    y = layers.Subtract()([x, layers.Multiply()([x, x])])
    model = keras.Model(inputs, layers.Conv2D(2, 1)(layers.Concatenate()([x, y])))
    assert load_network(tiny_models.save(model, tmp_path / "m.h5"), "U-net", 1, 2).radius > 2


def test_a_lambda_layer_is_refused(tmp_path):
    x = keras.Input((None, None, 3))
    model = keras.Model(x, layers.Lambda(lambda x: x, name="evil")(x))
    message = refusal(tiny_models.save(model, tmp_path / "m.h5"))
    assert "layer evil (Lambda) holds code, which is never run" in message


HIDDEN = {
    "layer (TFSMLayer)": lambda layer: layer.update(class_name="TFSMLayer"),
    "layer (os>system)": lambda layer: layer.update(class_name="os>system"),
    "from outside Keras": lambda layer: layer["config"]["kernel_initializer"].update(module="os"),
    "outside Keras": lambda layer: layer.update(registered_name="mine>Conv2D"),
    "holds code": lambda layer: layer["config"].update(
        activation={"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}
    ),
    "no built-in part": lambda layer: layer["config"].update(
        activation={"class_name": "function", "config": "get_file", "module": "keras.utils"}
    ),
    "is a model itself": lambda layer: layer.update(class_name="Sequential"),
}


@pytest.mark.parametrize("reason", HIDDEN)
def test_code_in_a_description_is_refused(path, reason):
    message = refusal(tampered(path, lambda stack: HIDDEN[reason](convolution(stack))))
    assert reason.replace("layer (", "(") in message


ABSURD = {
    "weights": lambda options: options.update(filters=10**9),
    "spans 1000000 pixels": lambda options: options.update(kernel_size=[10**6, 10**6]),
    "spans": lambda options: options.update(dilation_rate=[10**5, 1]),
    "channels first": lambda options: options.update(data_format="channels_first"),
    "layers take": lambda options: options.update(filters=-(10**9)),
}


@pytest.mark.parametrize("reason", ABSURD)
def test_absurd_sizes_are_refused(path, reason):
    message = refusal(tampered(path, lambda stack: ABSURD[reason](convolution(stack)["config"])))
    assert reason in message


def test_weights_that_multiply_from_layer_to_layer_are_refused(path):
    """Each layer's own numbers are small; the kernel between them would take 600 TB."""

    def change(stack):
        for number in (0, 1):
            convolution(stack, number)["config"]["filters"] = 4_000_000

    assert "weights, it holds" in refusal(tampered(path, change))


def test_too_many_layers_are_refused(path):
    message = refusal(tampered(path, lambda stack: stack.extend(stack[-1:] * 3000)))
    assert "layers, more than" in message


def test_a_compressed_bomb_is_refused(path):
    with h5py.File(path, "r+") as file:
        file.create_dataset("model_weights/a", (10**6, 10**6), "f4", chunks=True, compression=9)
    assert path.stat().st_size < 2**20
    assert "claims 1000000" in refusal(path)


def test_weights_in_other_files_are_refused(path, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(400))
    original = path.read_bytes()
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(secret, "a", (4,))
    additions = {
        "a link to another": lambda group: group.update({"a": h5py.ExternalLink(secret, "/a")}),
        "a link to": lambda group: group.update({"a": h5py.SoftLink("/model_weights")}),
        "in another file": lambda group: group.create_dataset(
            "a", (100,), "f4", external=[(str(secret), 0, 400)]
        ),
        "another file": lambda group: group.create_virtual_dataset("a", layout),
        "not numbers": lambda group: group.create_dataset("a", data=["text"]),
    }
    for reason, add in additions.items():
        path.write_bytes(original)
        with h5py.File(path, "r+") as file:
            add(file["model_weights"])
        assert reason in refusal(path)


@pytest.mark.parametrize(
    "config", ["", "[", "[]", "{}", "3", '{"class_name": "Functional"}', "[" * 100_000]
)
def test_a_damaged_description_is_refused(path, config):
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = config
    refusal(path)


def test_a_long_description_and_a_large_file_are_refused(path, monkeypatch):
    monkeypatch.setattr(model_files, "LARGEST_CONFIG", 100)
    assert "description is longer" in refusal(path)
    monkeypatch.setattr(model_files, "LARGEST_FILE", 100)
    assert "larger than" in refusal(path)


DAMAGE = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from networks.model_files import check_model_file
from pathlib import Path

path = Path(sys.argv[2])
content = np.frombuffer(path.read_bytes(), np.uint8)
for seed in range(200):
    rng = np.random.default_rng(seed)
    damaged = content.copy()
    # Most tables lie at the front; half of the hits go there.
    places = rng.integers(len(content) if seed % 2 else 8192, size=rng.integers(1, 9))
    damaged[places] = rng.integers(256, size=len(places))
    path.write_bytes(damaged.tobytes()[: len(damaged) if seed % 3 else rng.integers(len(damaged))])
    try:
        check_model_file(path)
    except Exception as error:  # all of which load_network turns into one line
        print(type(error).__name__)
"""


def test_damaged_model_files_do_not_crash_the_program(path):
    """In a process of its own: HDF5 is a library in C, and a crash would end all tests."""
    arguments = [str(Path(model_files.__file__).parents[1]), str(path)]
    command = [sys.executable, "-c", DAMAGE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("\n") > 50


def test_reading_a_refused_file_takes_no_memory(path):
    if sys.platform != "linux":
        pytest.skip("counts memory as Linux does")
    import resource  # not on Windows

    with h5py.File(path, "r+") as file:
        file.create_dataset("model_weights/a", (30_000, 30_000), "f4", chunks=True, compression=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
    assert path.stat().st_size < 2**20
