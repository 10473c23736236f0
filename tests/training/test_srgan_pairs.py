"""Recorded pairs: shift, colours and compression undone; what does not match is refused."""

import cv2
import numpy as np
import pytest
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


def test_two_partners_of_one_name_are_refused(tmp_path):
    for folder in ("10x", "20x"):
        write_picture(tmp_path / folder / "a.png", draw_tissue(40, 40)[0])
    with pytest.raises(ValueError, match="have one name"):
        Partners(tmp_path, 4)
