"""Consistency, confidence and domain: what they say of images whose answer is known."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage
from skimage import data
from skimage.color import deltaE_ciede2000, rgb2lab

from helpers.drawn_tissue import draw_tissue
from nuclei.tissue import tissue_mask
from outputs import evidence
from outputs.png import written_beside
from tiles.geometry import Window, expanded, grid, intersection
from tiles.raster import InMemory, Raster
from trust import confidence as conf
from trust import domain
from trust.consistency import BIN, Tally, block_means, colour_difference
from trust.judgement import JudgedWindow, Judgement, judge_window

SCALE = 4


def enlarged(low):
    return low.repeat(SCALE, axis=0).repeat(SCALE, axis=1)


def tissue(height=96, width=120, seed=0):
    """Low-resolution H&E-like pixels."""
    return draw_tissue(height, width, seed, nuclei=height * width // 150)[0]


# --- consistency ---


def test_the_input_repeated_four_times_differs_in_nothing():
    low = tissue()
    assert colour_difference(low, enlarged(low)).max() < 1e-3


def test_detail_that_averages_out_is_no_difference_but_a_shift_of_colour_is():
    low = np.full((8, 10, 3), (180, 120, 160), np.uint8)
    output = enlarged(low)
    output[::2] += 20
    output[1::2] -= 20
    assert colour_difference(low, output).max() < 1e-3
    output[4:8, 8:12] = (120, 160, 120)
    difference = colour_difference(low, output)
    expected = deltaE_ciede2000(
        rgb2lab(np.array([180, 120, 160]) / 255), rgb2lab(np.array([120, 160, 120]) / 255)
    )
    assert difference[1, 2] == pytest.approx(expected, rel=1e-4)
    assert np.count_nonzero(difference > 1e-3) == 1


def test_block_means_refuse_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="whole number of times 3x2"):
        block_means(np.zeros((8, 13, 3), np.uint8), (2, 3))


@pytest.mark.parametrize("longest", [7, 1000])
def test_a_tally_fed_by_tiles_knows_what_one_look_at_the_whole_tells(longest, monkeypatch):
    monkeypatch.setattr("trust.consistency.LONGEST_MAP", longest)
    values = np.random.default_rng(0).gamma(2, 2, (45, 61)).astype(np.float32)
    tally = Tally(61, 45)
    for w in grid(61, 45, 16):
        tally.add(w.x, w.y, values[w.y : w.y + w.height, w.x : w.x + w.width])
    assert tally.mean == pytest.approx(values.mean(), rel=1e-6)
    assert abs(tally.percentile(99) - np.percentile(values, 99, method="higher")) <= BIN
    step = tally.step
    assert max(tally.map().shape) <= longest
    np.testing.assert_allclose(tally.map()[0, 1], values[:step, step : 2 * step].mean(), rtol=1e-5)


def test_a_tally_without_values_says_so_and_its_map_is_drawn(tmp_path):
    tally = Tally(30, 20)
    assert tally.mean is None and tally.percentile(99) is None
    assert np.isnan(tally.map()).all()
    with written_beside("made by a test") as write:
        evidence.write_map(tmp_path / "map.png", tally.map(), (0, 10), "title", "label", write)
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.text["Software"] == "made by a test"
        assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)


# --- confidence ---


def test_more_drawn_detail_and_more_departure_raise_the_expected_error():
    low = tissue(seed=1)
    plain = enlarged(low)
    detailed = plain.astype(int)
    detailed[::2] += 20
    detailed[1::2] -= 20
    detailed = np.clip(detailed, 0, 255).astype(np.uint8)
    departed = np.clip(plain.astype(int) + 12, 0, 255).astype(np.uint8)
    base = conf.expected_error(low, plain).mean()
    assert conf.expected_error(low, detailed).mean() > base * 1.3
    assert conf.expected_error(low, departed).mean() > base * 1.3


def test_the_same_detail_means_less_error_where_less_was_enlarged():
    """A constant image: no detail, no departure, so that the factors alone remain."""
    flat = np.full((24, 24, 3), 150, np.uint8)
    errors = [
        conf.expected_error(flat, flat.repeat(scale, axis=0).repeat(scale, axis=1)).mean()
        for scale in (4, 2)
    ]
    assert errors[1] / errors[0] == pytest.approx(3.1 / 6.2)


def test_expected_error_of_windows_with_margin_is_that_of_the_whole():
    low = tissue(100, 130)
    output = cv2.GaussianBlur(enlarged(low), (0, 0), 2)
    whole = conf.expected_error(low, output)
    window = Window(40, 30, 50, 40)
    m = conf.MARGIN
    part = np.s_[window.y - m : window.y + window.height + m, window.x - m : window.x + 50 + m]
    wide = np.s_[part[0].start * 4 : part[0].stop * 4, part[1].start * 4 : part[1].stop * 4]
    inner = conf.expected_error(low[part], output[wide])[m:-m, m:-m]
    np.testing.assert_allclose(inner, whole[30:70, 40:90], rtol=1e-4)


def test_white_where_the_input_is_not_counts_as_departure():
    low = tissue(80, 80)
    low[:, 40:] = 235
    white = enlarged(low)
    white[:, 160:] = 255
    expected = conf.expected_error(low, enlarged(low))[:, 60:].mean()
    assert conf.expected_error(low, white)[:, 60:].mean() > 2 * expected


def test_confidence_falls_with_the_error_and_survives_storage():
    errors = np.linspace(0, 31, 50)
    assert (np.diff(conf.confidence(errors)) < 0).all() and conf.confidence(0) == 1
    np.testing.assert_allclose(conf.restored(conf.stored(errors)), errors, atol=1 / 16)


def test_a_faint_nucleus_is_trusted_less_than_a_dark_one_and_neighbours_change_nothing():
    image = np.full((60, 90, 3), 200, np.uint8)
    labels = np.zeros((60, 90), np.int32)
    cv2.circle(labels, (20, 30), 9, 1, -1)
    cv2.circle(labels, (55, 30), 9, 2, -1)
    image[labels == 1], image[labels == 2] = 100, 190
    error = np.full((60, 90), 10, np.float32)
    dark, faint = conf.nucleus_confidence(labels, image, error)["nucleus_confidence"]
    assert dark == pytest.approx(100 / 110, abs=0.01) and faint == pytest.approx(0.5, abs=0.01)
    touching = labels.copy()
    cv2.circle(touching, (38, 30), 8, 3, -1)
    touching[labels > 0] = labels[labels > 0]
    image[touching == 3] = 100
    again = conf.nucleus_confidence(touching, image, error)["nucleus_confidence"]
    np.testing.assert_allclose(again[:2], [dark, faint], atol=0.01)
    swapped = np.array([0, 3, 1, 2])[touching]
    other = conf.nucleus_confidence(swapped, image, error)["nucleus_confidence"]
    np.testing.assert_array_equal(other[[2, 0, 1]], again)


def test_a_neighbour_that_another_window_owns_is_no_surroundings():
    image = np.full((40, 40, 3), 200, np.uint8)
    everything = np.zeros((40, 40), np.int32)
    everything[10:20, 10:20], everything[10:20, 20:30] = 1, 2
    image[everything > 0] = 100
    error = np.full((40, 40), 10, np.float32)
    both = conf.nucleus_confidence(everything, image, error)["nucleus_confidence"]
    owned = np.where(everything == 1, 1, 0)
    alone = conf.nucleus_confidence(owned, image, error, everything == 0)["nucleus_confidence"]
    assert (
        alone[0] == both[0] > conf.nucleus_confidence(owned, image, error)["nucleus_confidence"][0]
    )


def test_a_nucleus_without_surroundings_has_no_confidence_and_none_gives_empty_columns():
    labels = np.ones((9, 9), np.int32)
    image, error = np.zeros((9, 9, 3), np.uint8), np.ones((9, 9), np.float32)
    assert np.isnan(conf.nucleus_confidence(labels, image, error)["nucleus_confidence"]).all()
    assert len(conf.nucleus_confidence(labels * 0, image, error)["nucleus_confidence"]) == 0


# --- both, as a stream ---


def judge(low, output, window, parts):
    """Judge a window as it is done in a run: with a margin."""
    place = expanded(window, conf.MARGIN, Window(0, 0, *low.shape[1::-1]))
    inside = np.s_[place.y : place.y + place.height, place.x : place.x + place.width]
    outer = np.s_[
        SCALE * place.y : SCALE * (place.y + place.height),
        SCALE * place.x : SCALE * (place.x + place.width),
    ]
    return place, *judge_window(low[inside], output[outer], place, window, parts)


@pytest.fixture
def judged(tmp_path):
    """An image super-resolved in all tiles but one: (judgement, errors, low, output)."""
    low = tissue(100, 130)
    output = cv2.GaussianBlur(enlarged(low), (0, 0), 1.5)
    judgement = Judgement(Tally(130, 100), Tally(130, 100))
    with Raster(tmp_path / "errors.raw", 130, 100, 1, np.uint8) as errors:
        for window in grid(130, 100, 64):
            tiles = [w for w in grid(130, 100, 32) if (w.x, w.y) != (64, 32)]
            parts = [part for tile in tiles if (part := intersection(tile, window))]
            found = judge(low, output, window, parts)[1]
            found.save(tmp_path / "window.npz")
            found = JudgedWindow.load(tmp_path / "window.npz")
            judgement.add(found)
            errors.write(window.x, window.y, found.error[..., None])
        yield judgement, errors, low, output


def test_nucleus_confidence_is_contrast_against_contrast_and_error():
    random = np.random.default_rng(5)
    image, labels = draw_tissue(90, 120, seed=3, nuclei=25)
    _, labels = np.unique(labels, return_inverse=True)
    labels = labels.reshape(90, 120).astype(np.int32)
    error = random.uniform(0, 20, labels.shape).astype(np.float32)
    found = conf.nucleus_confidence(labels, image, error)
    grey = image.mean(axis=-1)
    for number in range(1, labels.max() + 1):
        inside = labels == number
        near = ndimage.binary_dilation(inside, np.ones((2 * conf.RING + 1,) * 2))
        ring = near & (labels == 0)
        contrast = max(grey[ring].mean() - grey[inside].mean(), 0)
        expected = error[ring | inside].mean()
        assert found["sr_expected_error"][number - 1] == pytest.approx(expected, rel=1e-5)
        assert found["nucleus_confidence"][number - 1] == pytest.approx(
            contrast / (contrast + expected), rel=1e-4
        )


def test_judging_by_tiles_gives_what_the_whole_gives_and_skips_what_was_skipped(judged):
    judgement, errors, low, output = judged
    skipped = np.zeros(low.shape[:2], bool)
    skipped[32:64, 64:96] = True
    difference = colour_difference(low, output)
    columns = judgement.columns()
    assert columns["colour_difference"] == pytest.approx(difference[~skipped].mean(), rel=1e-3)
    expected = conf.stored(conf.expected_error(low, output))
    seen = conf.restored(expected[~skipped])
    assert columns["sr_expected_error"] == pytest.approx(seen.mean(), rel=1e-2)
    assert columns["sr_confidence"] == pytest.approx(conf.confidence(seen).mean(), rel=1e-2)
    stored = errors.read(0, 0, 130, 100)
    assert (stored[skipped] == 0).all()
    assert np.abs(stored[~skipped].astype(int) - expected[~skipped]).max() <= 1
    assert np.isnan(judgement.confidence.map()[40, 80])


def test_each_output_pixel_has_the_error_of_its_input_pixel(judged):
    _, errors, low, output = judged
    whole = errors.read(0, 0, 130, 100).repeat(4, axis=0).repeat(4, axis=1)
    window = Window(64, 64, 40, 30)
    place, _, fine = judge(low, output, window, [])
    y, x = SCALE * (window.y - place.y), SCALE * (window.x - place.x)
    np.testing.assert_array_equal(fine[y : y + 120, x : x + 160], whole[256:376, 256:416])


def test_a_window_that_was_not_super_resolved_counts_nothing():
    low = tissue(40, 50)
    _, found, _ = judge(low, enlarged(low), Window(0, 0, 50, 40), [])
    judgement = Judgement(Tally(50, 40), Tally(50, 40))
    judgement.add(found)
    assert judgement.columns() == dict.fromkeys(judgement.columns(), None)
    assert not found.error.any()


def test_evidence_files_carry_the_models(judged, tmp_path):
    judgement, errors, _, _ = judged
    note = "generator_sha256 abc"
    with written_beside(note) as write:
        evidence.write_evidence(tmp_path, judgement, errors, 1.0, note, write)
    for name in ("consistency.png", "confidence.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.text["Software"] == note
    with tifffile.TiffFile(tmp_path / "sr_confidence.tif") as tiff:
        assert tiff.pages[0].software == note
        per_cent = tiff.asarray()
    assert per_cent.shape == (100, 130) and per_cent.dtype == np.uint8
    assert (per_cent[32:64, 64:96] == 0).all()
    assert 1 <= per_cent[:32].min() <= per_cent.max() <= 100


# --- domain ---


def warning(image, microns=None, scale=4):
    thumbnail = cv2.resize(
        image, [max(1, side // 8) for side in image.shape[1::-1]], interpolation=cv2.INTER_AREA
    )
    mask = tissue_mask(thumbnail, 0.08)
    return evidence.domain_warning(InMemory(image), mask, 1.0, microns, scale)


def he(height=128, width=160, seed=0):
    """H&E-like pixels as blurred by optics as real ones."""
    return cv2.GaussianBlur(tissue(height, width, seed), (0, 0), 0.7)


@pytest.mark.parametrize("size", [(128, 160), (64, 64), (20, 30), (1, 1), (3, 200)])
def test_drawn_tissue_of_any_size_is_not_flagged(size):
    assert warning(he(*size)) == ""


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("name", ["immunohistochemistry", "astronaut", "camera", "coffee"])
def test_other_stains_and_photographs_are_not_he(name, factor):
    image = getattr(data, name)()
    image = np.dstack([image] * 3) if image.ndim == 2 else image
    small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    assert "not H&E" in warning(small)


def test_noise_blank_saturated_and_blurred_images_are_flagged_with_their_reason():
    random = np.random.default_rng(0)
    shape = (128, 128, 3)
    assert "not H&E" in warning(random.integers(0, 256, shape).astype(np.uint8))
    pink = np.clip(np.array([200, 140, 180]) + random.normal(0, 30, shape), 0, 255).astype(np.uint8)
    assert warning(pink).startswith("noise")
    assert warning(np.full(shape, 240, np.uint8)) == "blank: no tissue"
    assert "no colour" in warning(np.zeros(shape, np.uint8))
    bright = np.clip(he() * 1.5, 0, 255).astype(np.uint8)
    assert "saturated" in warning(bright)
    assert "out of focus" in warning(cv2.GaussianBlur(he(), (0, 0), 4))


def test_small_regions_and_a_small_biopsy_on_a_large_slide_are_not_blank():
    image = he(2000, 2100)
    mask = np.zeros((250, 262), bool)
    mask[100:107, 100:107] = True
    share = float(mask.mean())
    assert share < domain.LEAST_TISSUE
    assert evidence.domain_warning(InMemory(image), mask, share, 1.0, 4) == ""
    assert evidence.domain_warning(InMemory(image), mask, 1.0, 1.0, 4) == "blank: no tissue"
    assert evidence.domain_warning(InMemory(image), ~mask & False, 0.0, 1.0, 4).startswith("blank")
    large = np.zeros((2500, 2620), bool)
    large[1000:1040, 1000:1040] = True
    assert evidence.domain_warning(InMemory(image), large, 1.0, 1.0, 4) == ""


def test_a_stated_pixel_size_far_from_the_training_images_is_flagged():
    for microns in (None, 0.5, 1.0, 2.0):
        assert warning(he(), microns) == ""
    for microns in (0.25, 4.0):
        assert "pixel size" in warning(he(), microns)


def test_an_image_at_full_resolution_is_judged_at_the_size_of_a_low_resolution_one():
    high = enlarged(he(160, 160))
    assert warning(high, 0.25, scale=1) == warning(high, None, scale=1) == ""
    assert "out of focus" in warning(cv2.GaussianBlur(high, (0, 0), 16), 0.25, scale=1)


def test_patches_lie_on_the_tissue_of_a_large_slide():
    mask = np.zeros((500, 800), bool)
    mask[100:140, 600:660] = True
    corners = domain.patch_corners(6400, 4000, mask)
    assert 20 < len(corners) <= domain.MOST_PATCHES
    for x, y in corners:
        assert 4740 <= x <= 5300 and 740 <= y <= 1130
