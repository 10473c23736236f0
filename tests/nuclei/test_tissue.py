"""tissue: glass of any brightness and tint is told from tissue."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nuclei.tissue import Tissue, find_tissue, tissue_mask, white_of

DATA = Path(__file__).parents[2] / "../shared/data"


def glass(height=40, width=60, level=240):
    noise = np.random.default_rng(0).normal(0, 2, (height, width, 3))
    return np.clip(level + noise, 0, 255).astype(np.uint8)


def pink(height=40, width=60):
    noise = np.random.default_rng(1).normal(0, 12, (height, width, 3))
    return np.clip(np.array([225, 170, 200]) + noise, 0, 255).astype(np.uint8)


THRESHOLD = 0.08


@pytest.mark.parametrize("level", [255, 240, 225, 200])
def test_bare_glass_holds_no_tissue(level):
    assert not tissue_mask(glass(level=level), THRESHOLD).any()


def test_an_image_without_glass_is_all_tissue():
    assert tissue_mask(pink(), THRESHOLD).all()
    assert tissue_mask(pink() // 2, THRESHOLD).all()
    assert tissue_mask(glass(level=100), THRESHOLD).all()  # as grey, but too dark for glass
    assert tissue_mask(np.zeros((40, 60, 3), np.uint8), THRESHOLD).all()


def test_half_glass_half_tissue_is_told_apart():
    image = np.hstack([glass(), pink()])
    tissue = tissue_mask(image, THRESHOLD)
    assert tissue.shape == (40, 120)
    assert not tissue[:, :57].any()
    assert tissue[:, 63:].all()


def test_grey_dark_tissue_is_seen_by_its_density():
    image = np.hstack([glass(), glass(level=150)])
    tissue = tissue_mask(image, THRESHOLD)
    assert tissue[:, 63:].all() and not tissue[:, :57].any()


def test_small_gaps_in_tissue_count_as_tissue():
    image = pink()
    image[10:15, 10:15] = 245
    assert tissue_mask(image, THRESHOLD).all()
    image[5:35, 20:50] = 245
    assert not tissue_mask(image, THRESHOLD)[10:30, 25:45].any()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 3)])
def test_tiny_thumbnails_give_a_mask_of_their_size(size):
    assert tissue_mask(np.full((*size, 3), 250, np.uint8), THRESHOLD).shape == size
    assert tissue_mask(np.full((*size, 3), 90, np.uint8), THRESHOLD).all()


# --- white ---

TINTS = [(245, 240, 225), (225, 228, 233), (205, 225, 240), (255, 225, 190), (148, 140, 133)]
DARK_GLASS = (126, 126, 126)


def coloured(colour, height=100, width=150, seed=0):
    noise = np.random.default_rng(seed).normal(0, 0.7, (height, width, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("colour", [*TINTS, DARK_GLASS, (255, 255, 255)])
def test_tinted_and_dark_glass_is_glass_and_its_colour_is_white(colour):
    image = coloured(colour)
    image[40:60, 60:90] = np.array((0.88, 0.66, 0.78)) * colour  # 4 % of tissue
    assert tissue_mask(image, THRESHOLD).mean() == pytest.approx(0.04, abs=0.004)
    assert white_of(image).rgb == pytest.approx(colour, abs=4)
    assert white_of(image).measured


@pytest.mark.parametrize("colour", [(245, 240, 225), DARK_GLASS])
def test_a_little_glass_beside_much_tissue_is_seen(colour):
    image = coloured(np.array((0.88, 0.66, 0.78)) * colour)
    image[:, :23] = coloured(colour)[:, :23]
    assert tissue_mask(image, THRESHOLD).mean() == pytest.approx(127 / 150, abs=0.01)


def test_vignetting_up_to_the_threshold_leaves_glass_glass():
    y, x = np.indices((100, 150))
    distance = np.hypot(y - 50, x - 75) / np.hypot(50, 75)
    shade = (1 - 0.15 * distance**2)[..., np.newaxis]
    image = coloured((245, 240, 225))
    image[40:60, 60:90] = (215, 160, 180)
    shaded = np.rint(image * shade).astype(np.uint8)
    assert tissue_mask(shaded, THRESHOLD).mean() == pytest.approx(0.04, abs=0.004)


@pytest.mark.parametrize("colour", [(225, 170, 200), (240, 208, 228), (150, 110, 130)])
def test_the_colour_of_tissue_is_not_taken_for_the_light(colour):
    white = white_of(coloured(colour))
    red, green, blue = white.rgb
    assert red == green == blue >= 180 and not white.measured
    assert tissue_mask(coloured(colour), THRESHOLD).all()


def test_pale_yellow_tissue_is_not_taken_for_the_light():
    shades = np.random.default_rng(0).normal(0.82, 0.06, (100, 150, 1))
    collagen = (shades * np.array((230, 208, 190))).astype(np.uint8)
    assert tissue_mask(collagen, THRESHOLD).all()


@pytest.mark.parametrize("colour", [*TINTS, DARK_GLASS])
def test_filler_is_neither_the_light_nor_tissue(colour):
    image = coloured(colour)
    image[40:60, 60:90] = np.array((0.88, 0.66, 0.78)) * colour
    image[:, 100:] = 255  # no field of the mosaic lies there
    assert white_of(image).rgb == pytest.approx(colour, abs=4)
    tissue = tissue_mask(image, THRESHOLD)
    assert tissue.mean() == pytest.approx(0.04, abs=0.004) and not tissue[:, 100:].any()


def test_glass_that_is_too_bright_to_record_is_white():
    image = np.full((100, 150, 3), 255, np.uint8)
    image[:, :50] = pink(100, 50)
    assert white_of(image).rgb == (255, 255, 255) and white_of(image).measured
    assert tissue_mask(image, THRESHOLD).mean() == pytest.approx(1 / 3, abs=0.02)


def test_the_white_is_kept_with_the_tissue(tmp_path):
    class Picture:
        width, height = 150, 100

        def read(self, x, y, width, height):
            return coloured(TINTS[0])[y : y + height, x : x + width]

    tissue = find_tissue(Picture(), 8.0, THRESHOLD)
    assert tissue.white.rgb == pytest.approx(TINTS[0], abs=4)
    tissue.save(tmp_path / "tissue.npz")
    again = Tissue.load(tmp_path / "tissue.npz")
    assert again.white == tissue.white and (again.mask == tissue.mask).all()


def shrunk_picture(path, step=32):
    """Read a picture of .25 um per pixel at 8 um."""
    with Image.open(path) as picture:
        return np.array(picture.convert("RGB").reduce(step))


def shares(pattern):
    paths = sorted(DATA.glob(pattern))
    if not paths:
        pytest.skip(f"needs ../shared/data/{pattern}")
    return [tissue_mask(shrunk_picture(path), THRESHOLD).mean() for path in paths]


def test_dense_tumour_fields_are_all_tissue():
    assert min(shares("nuclei/monuseg_train/images/*.webp")) > 0.9
    assert min(shares("samples/histo.jpg")) == 1


def test_the_dark_glass_of_a_microscope_camera_is_glass():
    assert min(shares("nuclei/nuinsseg_mouse/images/mouse_subscapula_*.jpg")) < 0.2  # fat
    assert np.median(shares("nuclei/nuinsseg/train/images/liver_*.jpg")) == 1
