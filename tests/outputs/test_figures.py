"""Outlines and the side-by-side figure."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from outputs import figures
from outputs.canvas import _round_below, fit, panel_figure, place, save_figure
from outputs.evidence import write_map
from outputs.figures import OUTLINE, Views, _densest_field, draw_outlines, write_figure


def touching_nuclei():
    labels = np.zeros((12, 20), np.uint32)
    labels[2:10, 2:10] = 7
    labels[2:10, 10:18] = 70_000
    return labels


@pytest.mark.parametrize("width", [1, 2])
def test_outlines_stay_inside_and_part_touching_nuclei(width):
    image, labels = np.full((12, 20, 3), 200, np.uint8), touching_nuclei()
    outlined = draw_outlines(image, labels, width=width)
    drawn = (outlined == OUTLINE).all(axis=2)
    assert not drawn[labels == 0].any()
    assert drawn[2:10, 10 - width : 10 + width].all()
    inner = 8 - 2 * width
    assert np.count_nonzero(~drawn & (labels > 0)) == 2 * inner * inner
    np.testing.assert_array_equal(outlined[~drawn], image[~drawn])
    assert (image == 200).all() and outlined.dtype == np.uint8


def test_a_nucleus_at_the_border_stays_open():
    labels = np.zeros((8, 8), int)
    labels[:, :4] = 1
    drawn = (draw_outlines(np.zeros((8, 8, 3), np.uint8), labels) == OUTLINE).all(axis=2)
    assert drawn[:, 3].all() and np.count_nonzero(drawn) == 8


def test_outlines_need_labels_of_the_image_size():
    with pytest.raises(ValueError, match=r"\(8, 8\) and \(8, 9\)"):
        draw_outlines(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9), int))


def test_inset_shows_the_field_with_the_most_nuclei():
    labels = np.zeros((80, 120), int)
    labels[50:53:2, 70:90:2] = np.arange(1, 21).reshape(2, 10)  # twenty nuclei of one pixel
    labels[5:30, 5:40] = 21  # one large nucleus
    image = np.full((80, 120, 3), 200, np.uint8)
    x, y, width, height = _densest_field(image, labels)
    assert (width, height) == (30, 20)
    assert x <= 70 and x + width >= 89 and y <= 50 and y + height >= 53


def test_inset_without_nuclei_shows_the_darkest_field():
    image = np.full((80, 80, 3), 200, np.uint8)
    image[60:80, 40:60] = 50
    for labels in (None, np.zeros((80, 80), int)):
        assert _densest_field(image, labels) == (40, 60, 20, 20)


@given(st.floats(1e-6, 1e9))
def test_scale_bar_lengths_are_round(value):
    length = _round_below(value)
    assert value / 2.5 <= length * (1 + 1e-6) and length <= value * (1 + 1e-6)
    assert f"{length:e}"[0] in "125" and float(f"{length:.0e}") == pytest.approx(length)


def test_a_bar_in_pixels_stands_where_these_pixels_are_shown(tmp_path, monkeypatch):
    titles = []

    def noted(axis, *_):
        titles.append(axis.get_title())

    monkeypatch.setattr(figures, "scale_bar", noted)
    image = np.full((40, 40, 3), 180, np.uint8)
    for microns in (0.25, None):
        write_figure(tmp_path / "f.png", Views(image[::4, ::4], image, None), microns)
    assert titles[::2] == ["Low resolution", "Super-resolved"]


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 2), (64, 96)])
@pytest.mark.parametrize("with_low_resolution", [True, False])
@pytest.mark.parametrize("microns_per_pixel", [0.25, None])
def test_figure_of_any_size(tmp_path, size, with_low_resolution, microns_per_pixel):
    image = np.full((*size, 3), 180, np.uint8)
    low = image[::4, ::4] if with_low_resolution else None
    path = tmp_path / "Übersicht_肝.png"
    write_figure(path, Views(low, image, np.ones(size, int)), microns_per_pixel)
    height, width = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR).shape[:2]
    assert width <= 7.2 * 300 and height <= 9.0 * 300  # fits a page
    with Image.open(path) as picture:  # checks the sums of all chunks, too
        picture.verify()
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_figure_without_segmentation(tmp_path):
    image = np.full((40, 40, 3), 180, np.uint8)
    write_figure(tmp_path / "with.png", Views(None, image, np.zeros((40, 40), int)), 0.25)
    write_figure(tmp_path / "without.png", Views(None, image, None), 0.25)
    shapes = [cv2.imread(str(tmp_path / name)).shape for name in ("with.png", "without.png")]
    assert shapes[0][1] / shapes[0][0] > 1.5 * shapes[1][1] / shapes[1][0]  # one panel fewer


def test_inset_of_a_reduced_image_is_read_at_full_resolution(tmp_path):
    fields = []

    class Detail:
        step = 4

        def __call__(self, field):
            fields.append(field)
            side = 4 * field[2]
            sharp = np.zeros((side, side, 3), np.uint8)
            sharp[::2] = 255  # stripes that no preview could show
            return Views(sharp[::4, ::4], sharp, np.zeros((side, side), int))

    image = np.full((600, 600, 3), 200, np.uint8)
    write_figure(tmp_path / "f.png", Views(image, image, np.zeros((600, 600), int)), 0.25, Detail())
    ((_, _, width, height),) = fields
    assert (width, height) == (120, 120)  # 480 pixels of the full resolution
    picture = cv2.imread(str(tmp_path / "f.png"))
    inset = picture[picture.shape[0] * 6 // 10 : -40, picture.shape[1] * 4 // 10 :][:, :400]
    assert inset.std() > 40


@pytest.mark.parametrize("ratio", [0.1, 0.7, 1.0, 5.0])
def test_pictures_are_placed_dot_by_dot(tmp_path, ratio):
    figure, ((axis,), _) = panel_figure(1, ratio, (2.0, 4.0), 100)
    width, height = fit(axis, 1000, 1000 * ratio)
    assert height / width == pytest.approx(ratio, rel=0.05)
    picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    place(axis, picture)
    save_figure(figure, tmp_path / "f.png")
    written = cv2.imread(str(tmp_path / "f.png"))[..., ::-1]
    box = axis.get_window_extent()
    left, top = round(box.x0), written.shape[0] - round(box.y0) - height
    seen = written[top : top + height, left : left + width]
    inner = np.s_[3:-3, 3:-3]  # without the frame
    np.testing.assert_array_equal(seen[inner], picture[inner])


@pytest.mark.parametrize("size", [(60, 60), (20, 90), (90, 60), (90, 30)])
@pytest.mark.parametrize("panels", [1, 3])
def test_a_long_warning_is_wrapped_above_the_panels(tmp_path, size, panels):
    image, labels = np.full((*size, 3), 180, np.uint8), np.zeros(size, int)
    views = Views(image, image, labels) if panels == 3 else Views(None, image, None)
    write_figure(tmp_path / "f.png", views, 0.25, warning="unlike all that was seen in it " * 15)
    picture = cv2.imread(str(tmp_path / "f.png")).astype(int)
    red = (picture[..., 2] - picture[..., 0] > 60).nonzero()
    assert red[0].min() > 10 and np.ptp(red[0]) > 50  # some lines
    assert red[1].min() > 3 and red[1].max() < picture.shape[1] - 4
    panel = (picture == 180).all(axis=-1).any(axis=1).argmax()
    assert red[0].max() < panel


@pytest.mark.parametrize("ratio", [0.3, 1.5, 3.0])
def test_a_long_title_stays_on_its_figure(tmp_path, ratio):
    values = np.full((round(100 * ratio), 100), 0.5)
    title = "Output, downscaled again, against input: mean 12.34, 99th percentile 56.78"
    write_map(tmp_path / "m.png", values, (0, 1), title, "confidence")
    dark = cv2.imread(str(tmp_path / "m.png"), cv2.IMREAD_GRAYSCALE)[:40] < 100
    rows, columns = dark.nonzero()
    assert rows.min() > 0 and columns.min() > 1 and columns.max() < dark.shape[1] - 2


def test_single_cells_of_a_large_map_are_seen(tmp_path):
    values = np.zeros((1024, 1024))
    values[::64, ::64] = 1
    write_map(tmp_path / "m.png", values, (0, 1), "t", "l")
    inner = cv2.imread(str(tmp_path / "m.png"))[60:-40, 40:700, 2]
    rows, columns = (inner > 60).nonzero()  # cells at the rim may lie outside
    assert len(np.unique(rows // 8)) >= 13 and len(np.unique(columns // 8)) >= 12


def test_coarse_pixels_are_seen_as_they_are(tmp_path):
    low = np.zeros((4, 4, 3), np.uint8)
    low[::2, ::2] = low[1::2, 1::2] = 255
    write_figure(tmp_path / "f.png", Views(low, np.full((16, 16, 3), 128, np.uint8), None), None)
    picture = cv2.imread(str(tmp_path / "f.png"))
    top = picture[: picture.shape[0] // 2, : picture.shape[1] // 2]
    values, counts = np.unique(top[top.shape[0] // 3 : -80, 60:-60], return_counts=True)
    assert counts[(values == 0) | (values == 255)].sum() > 0.98 * counts.sum()  # no blending
