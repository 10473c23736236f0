"""Properties of the pipeline for any size, window and crowd of nuclei; the networks are in numpy.

Those of single modules stand in their tests: tiles equal the whole (test_tiling), an outline gives
its mask back (test_outputs), degradations keep shape, type and seed (test_srgan_data).
"""

import json

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage.draw import polygon2mask
from tqdm import tqdm

from helpers.label_maps import same_up_to_numbers
from images.opening import open_image
from images.stated_size import StatedSize
from networks.network import Network
from outputs import files
from program.settings import Settings, TileSettings
from program.terminal import Progress
from stages import examining
from stages.analysis import Analysis, Networks

BACKGROUND, NUCLEUS = (230, 180, 210), (95, 60, 140)
UNET_MICRONS = 0.25


class DarkIsNucleus(Network):
    """A U-net in numpy: dark is nucleus, its inside is where the surroundings are dark, too."""

    def predict_middle(self, tiles):
        dark = (tiles.mean(axis=-1) < 150).astype(np.float32)
        inside = ndimage.uniform_filter(dark, (0, 9, 9), mode="constant")
        return np.stack([dark, inside], axis=-1)


UNET = DarkIsNucleus(None, 1, radius=4, pooling=1, record={"microns_per_pixel": UNET_MICRONS})


def draw(height, width, nuclei, seed):
    """Draw discs in pairs that touch, the pairs apart, some cut by the border: RGB and count."""
    random, count = np.random.default_rng(seed), 0
    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    taken = np.zeros((height, width), np.uint8)
    for _ in range(nuclei):
        x, y = (int(random.integers(side)) for side in (width, height))
        radius, angle = int(random.integers(9, 14)), random.uniform(0, 2 * np.pi)
        step = np.array([np.cos(angle), np.sin(angle)]) * 2 * radius
        pair = [(x, y), (int(x + step[0]), int(y + step[1]))]
        around = np.zeros_like(taken)
        for centre in pair:
            cv2.circle(around, centre, radius + 8, 1, -1)
        if not (around & taken).any():
            for centre in pair:
                cv2.circle(image, centre, radius, NUCLEUS, -1)
                count += 1
            taken |= around
    return image, count


def analyse(image, folder, tile):
    """Segment an image at 0.25 um per pixel without super-resolution; return its results."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "image.png"
    Image.fromarray(image).save(path)
    settings = Settings(tiles=TileSettings(tile))
    with open_image(path, stated=StatedSize(UNET_MICRONS)) as opened, tqdm(disable=True) as bar:
        row = Analysis(opened, folder, Networks(None, UNET), settings, Progress(bar, "image")).run()
    features = json.loads((folder / "nuclei.geojson").read_text("utf-8"))["features"]
    return tifffile.imread(folder / "nuclei_labels.tif"), features, row["nuclei"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("write_figure", "write_image"):  # pictures are not what is tested here
            patch.setattr(files, name, lambda *_: None)
        yield tmp_path_factory.mktemp("properties")


sizes = st.integers(1, 260)
images = st.builds(draw, sizes, sizes, st.integers(0, 12), st.integers(0, 10**6))


@settings(max_examples=12, deadline=None)
@given(images, st.integers(24, 300), st.integers(1, 20))
def test_each_nucleus_belongs_to_one_window_whatever_its_size(folder, drawn, window, tile):
    image, _ = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examining, "WINDOW", 2048)
        whole, features, count = analyse(image, folder / "whole", 512)
        patch.setattr(examining, "WINDOW", window)
        labels, window_features, window_count = analyse(image, folder / "windows", 16 * tile)
    assert window_count == count == len(window_features) == len(features) == labels.max(initial=0)
    assert same_up_to_numbers(labels, whole)


@settings(max_examples=12, deadline=None)
@given(images)
def test_outlines_of_a_whole_image_rebuild_its_label_map(folder, drawn):
    image, count = drawn
    labels, features, found = analyse(image, folder / "outlines", 256)
    assert found <= count  # a disc that the border cuts to a speck is dropped
    rebuilt = np.zeros(labels.shape, np.int32)
    for feature in features:
        ring = np.array(feature["geometry"]["coordinates"][0])
        # Coordinates count from the corner of a pixel, the mask from its centre.
        mask = polygon2mask(labels.shape, ring[:, ::-1] - 0.5)
        rebuilt[mask] = int(feature["properties"]["name"])
    np.testing.assert_array_equal(rebuilt, labels)
