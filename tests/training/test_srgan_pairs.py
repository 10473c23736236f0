"""Recorded pairs: shift, colours and compression undone; what does not match is refused."""

import cv2
import numpy as np
import pytest
import tifffile
from skimage import data

from helpers.drawn_tissue import draw_tissue, write_picture
from images.degradation import SCALES, degrade_area
from metrics.pictures import fidelity
from srgan.pairs import Partners, register

WHITE_POINT = np.array([0.9, 1.05, 0.8]), np.array([5, -10, 20])


@pytest.fixture(scope="module")
def tissue():
    """A real image: IHC with a hematoxylin counterstain, (512, 512, 3)."""
    return data.immunohistochemistry()


def recorded(image, scale, quality=85):
    """The image as another microscope would have recorded it: white point, blur, JPEG."""
    gain, offset = WHITE_POINT
    low = degrade_area(cv2.GaussianBlur(image, (0, 0), 0.4 * scale), scale)
    low = np.clip(low * gain + offset, 0, 255).astype(np.uint8)
    code = cv2.imencode(".jpg", low[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shift", [(0, 0), (3, -5), (-14, 9)])
def test_shift_white_point_and_jpeg_are_undone(tissue, scale, shift):
    y, x = (40 + step for step in shift)
    low, high = register(
        recorded(tissue[y : y + 400, x : x + 400], scale), tissue[40:440, 40:440], scale
    )
    assert high.shape == (scale * low.shape[0], scale * low.shape[1], 3)
    assert min(low.shape[:2]) >= (400 - max(map(abs, shift))) // scale - 1
    # Moved by even one high-resolution pixel, the two fit worse.
    fits = [
        fidelity(low[1:-1, 1:-1], degrade_area(np.roll(high, move, (0, 1)), scale)[1:-1, 1:-1])
        for move in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    assert fits[0]["psnr"] == max(fit["psnr"] for fit in fits) > 28
    assert np.abs(high.mean(axis=(0, 1)) - low.mean(axis=(0, 1))).max() < 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda low: low[::-1], id="mirrored"),
        pytest.param(lambda low: cv2.resize(low, None, fx=1.06, fy=1.06), id="other factor"),
        pytest.param(lambda low: 255 - low, id="negative"),
        pytest.param(lambda low: np.full_like(low, 230), id="blank"),
        pytest.param(
            lambda low: cv2.warpAffine(
                low,
                cv2.getRotationMatrix2D((50, 50), 4, 1),
                (100, 100),
                borderMode=cv2.BORDER_REFLECT,
            ),
            id="turned by 4 degrees",
        ),
    ],
)
def test_what_does_not_match_is_refused(tissue, change):
    high = tissue[:400, :400]
    with pytest.raises(ValueError, match=r"recorded images"):
        register(np.ascontiguousarray(change(recorded(high, 4))), high, 4)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("factor", [1.015, 1.03])
def test_a_magnification_that_is_a_little_off_is_refused(tissue, scale, factor):
    high = tissue[:400, :400]
    sides = (round(400 / scale * factor),) * 2
    low = cv2.resize(recorded(high, scale), sides, interpolation=cv2.INTER_AREA)
    with pytest.raises(ValueError, match=r"still shifted .* SCALE as the factor"):
        register(low, high, scale)


@pytest.mark.parametrize("scale", SCALES)
def test_noise_and_strong_compression_refuse_no_true_pair(tissue, scale):
    noise = np.random.default_rng(0).normal(0, 3, tissue.shape)
    noisy = np.clip(tissue + noise * scale, 0, 255).astype(np.uint8)
    for y, x in ((40, 40), (41, 42), (26, 49)):
        low = recorded(noisy[y : y + 400, x : x + 400], scale, quality=50)
        low, _ = register(low, tissue[40:440, 40:440], scale)
        assert min(low.shape[:2]) >= (400 - 14) // scale - 1


@pytest.mark.parametrize(
    "microns, reason",
    [
        pytest.param(1.0, None, id="the factor"),
        pytest.param(1.004, None, id="rounded"),
        pytest.param(1.01, "state 1.01 and 0.25 um per pixel, a factor of 4.04", id="another"),
        pytest.param(None, None, id="not stated"),
    ],
)
def test_stated_pixel_sizes_must_have_the_factor(tmp_path, tissue, microns, reason):
    high, low = tmp_path / "40x" / "a.tif", tmp_path / "10x" / "a.tif"
    write_with_size(high, tissue[:400, :400], 0.25)
    write_with_size(low, recorded(tissue[:400, :400], 4), microns)
    partners = Partners(low.parent, 4)
    pairs = partners.pictures_of(high)
    assert partners.registered == len(pairs) == (reason is None)
    assert [line.split(": ")[0] for line in partners.refused] == ["a.tif"] * (reason is not None)
    assert reason is None or reason in partners.refused[0]


def write_with_size(path, image, microns):
    path.parent.mkdir()
    size = {"resolution": (1e4 / microns,) * 2, "resolutionunit": "CENTIMETER"} if microns else {}
    tifffile.imwrite(path, image, **size)


def test_two_partners_of_one_name_are_refused(tmp_path):
    for folder in ("10x", "20x"):
        write_picture(tmp_path / folder / "a.png", draw_tissue(40, 40)[0])
    with pytest.raises(ValueError, match="have one name"):
        Partners(tmp_path, 4)
