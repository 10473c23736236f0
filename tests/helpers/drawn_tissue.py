"""Drawn tissue and random VGG19 weights, so that training runs offline on known images."""

import cv2
import h5py
import numpy as np

VGG19_SHAPES = {
    "block1_conv1": (3, 3, 3, 64),
    "block1_conv2": (3, 3, 64, 64),
    "block2_conv1": (3, 3, 64, 128),
    "block2_conv2": (3, 3, 128, 128),
    "block3_conv1": (3, 3, 128, 256),
    "block3_conv2": (3, 3, 256, 256),
    "block3_conv3": (3, 3, 256, 256),
    "block3_conv4": (3, 3, 256, 256),
}


def draw_tissue(height, width, seed=0, nuclei=12):
    """Draw purple discs on pink: (uint8 RGB, int32 label map with 0 = background)."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.int32)
    for label in range(1, nuclei + 1):
        centre = int(rng.integers(width)), int(rng.integers(height))
        cv2.circle(labels, centre, int(rng.integers(3, 7)), label, -1)
    image = np.where(labels[..., None] > 0, (110, 60, 140), (230, 170, 205))
    image = image + rng.normal(0, 6, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), labels


def draw_discs(*circles, shape=(80, 100)):
    """Draw (x, y, radius) discs into a label map: int32, 0 = background."""
    labels = np.zeros(shape, np.int32)
    for label, (x, y, radius) in enumerate(circles, start=1):
        cv2.circle(labels, (x, y), radius, label, -1)
    return labels


def write_picture(path, image):
    """Write RGB or grey values of any depth; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if image.ndim == 3:
        image = image[..., ::-1]
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


def write_pair(folder, name, seed, size=(42, 50)):
    """Draw tissue into `images` and its label map into `instances` of a folder."""
    image, labels = draw_tissue(*size, seed)
    write_picture(folder / "images" / f"{name}.png", image)
    write_picture(folder / "instances" / f"{name}.png", labels.astype(np.uint16))


def write_vgg19(path, layer_names=tuple(VGG19_SHAPES), seed=0):
    """Write random VGG19 weights in the layout of the files that Keras downloads; return them."""
    rng = np.random.default_rng(seed)
    weights = {}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layer_names]
        for name in layer_names:
            shape = VGG19_SHAPES[name]
            kernel = rng.normal(0, (2 / np.prod(shape[:3])) ** 0.5, shape).astype(np.float32)
            weights[name] = [kernel, rng.normal(0, 0.1, shape[-1]).astype(np.float32)]
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{part}:0".encode() for part in ("W", "b")]
            for part, values in zip(("W", "b"), weights[name], strict=True):
                group[f"{name}/{part}:0"] = values
    return weights
