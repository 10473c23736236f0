"""raster: what is written to disk reads back, and previews are block means."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiles.raster import Raster, preview


def samples(height, width, channels, dtype, seed=0):
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype)


@pytest.mark.parametrize(
    ("channels", "dtype"), [(3, np.uint8), (2, np.uint8), (1, np.uint32), (1, np.uint8)]
)
def test_raster_reads_back_what_was_written(tmp_path, channels, dtype):
    pixels = samples(23, 31, channels, dtype)
    with Raster(tmp_path / "a.raw", 31, 23, channels, dtype) as raster:
        for y in range(0, 23, 7):
            for x in range(0, 31, 9):
                raster.write(x, y, pixels[y : y + 7, x : x + 9])
        for x, y, width, height in ((0, 0, 31, 23), (5, 3, 11, 17), (30, 22, 1, 1), (4, 4, 0, 3)):
            found = raster.read(x, y, width, height)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, pixels[y : y + height, x : x + width])


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_writes_change_their_own_rectangle_only(tmp_path_factory, data):
    width, height = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    w, h = data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))
    path = tmp_path_factory.mktemp("raster") / "a.raw"
    before, part = samples(height, width, 3, np.uint8), samples(h, w, 3, np.uint8, seed=1)
    with Raster(path, width, height, 3, np.uint8) as raster:
        raster.write(0, 0, before)
        raster.write(x, y, part)
        expected = before.copy()
        expected[y : y + h, x : x + w] = part
        np.testing.assert_array_equal(raster.read(0, 0, width, height), expected)


def test_a_new_raster_is_black_and_a_stored_one_is_kept(tmp_path):
    with Raster(tmp_path / "a.raw", 9, 5, 1, np.uint32) as raster:
        assert not raster.read(0, 0, 9, 5).any()
        raster.write(2, 1, np.full((2, 3), 70_000, np.uint32))
    with Raster(tmp_path / "a.raw", 9, 5, 1, np.uint32) as raster:
        assert raster.read(0, 0, 9, 5).sum() == 6 * 70_000


def test_a_new_raster_takes_no_disk_space(tmp_path):
    with Raster(tmp_path / "a.raw", 100_000, 10_000, 3, np.uint8):
        stat = (tmp_path / "a.raw").stat()
    assert stat.st_size == 3_000_000_000
    if not hasattr(stat, "st_blocks"):
        pytest.skip("this system does not tell the space a file takes")
    assert stat.st_blocks * 512 < 10_000_000


@pytest.mark.parametrize(
    "rectangle",
    [(-1, 0, 2, 2), (0, -1, 2, 2), (8, 0, 2, 2), (0, 4, 2, 2), (0, 0, 10, 1), (0, 0, -1, 1)],
)
def test_rectangles_outside_are_refused(tmp_path, rectangle):
    x, y, width, height = rectangle
    with Raster(tmp_path / "a.raw", 9, 5, 3, np.uint8) as raster:
        with pytest.raises(ValueError, match=r"leaves the 9x5 raster"):
            raster.read(x, y, width, height)
        if width > 0:
            with pytest.raises(ValueError, match=r"leaves the 9x5 raster"):
                raster.write(x, y, np.zeros((height, width, 3), np.uint8))
        assert not raster.read(0, 0, 9, 5).any()


# --- preview ---


def block_means(pixels, factor):
    height, width = pixels.shape[:2]
    return np.stack(
        [
            [
                pixels[y : y + factor, x : x + factor].mean(axis=(0, 1))
                for x in range(0, width, factor)
            ]
            for y in range(0, height, factor)
        ]
    )


@pytest.mark.parametrize("factor", [1, 2, 3, 7, 100])
def test_preview_is_the_mean_of_each_block(tmp_path, factor):
    pixels = samples(23, 31, 3, np.uint8)
    with Raster(tmp_path / "a.raw", 31, 23, 3, np.uint8) as raster:
        raster.write(0, 0, pixels)
        found = preview(raster, factor)
    assert found.dtype == np.uint8
    assert found.shape == (math.ceil(23 / factor), math.ceil(31 / factor), 3)
    np.testing.assert_allclose(found, block_means(pixels, factor), atol=0.5)


@pytest.mark.parametrize("factor", [1, 2, 3, 7, 100])
def test_preview_of_labels_invents_no_label(tmp_path, factor):
    labels = samples(23, 31, 1, np.uint32)
    with Raster(tmp_path / "a.raw", 31, 23, 1, np.uint32) as raster:
        raster.write(0, 0, labels)
        found = preview(raster, factor, "first")
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found, labels[::factor, ::factor])


def test_preview_reads_a_strip_at_a_time():
    class Source:
        width, height = 50, 200
        largest = 0

        def read(self, x, y, width, height):
            self.largest = max(self.largest, height)
            return np.full((height, width, 3), 9, np.uint8)

    source = Source()
    assert (preview(source, 8) == 9).all()
    assert source.largest == 64


@pytest.mark.parametrize("reduce", ["mean", "first"])
def test_a_preview_holds_one_strip_at_a_time(reduce):
    class Strips:
        width, height = 4000, 4000

        def read(self, x, y, width, height):
            return np.zeros((height, width, 3), np.uint8)  # 192 kB for 16 rows

    tracemalloc.start()
    preview(Strips(), 16, reduce)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6  # of 48 MB
