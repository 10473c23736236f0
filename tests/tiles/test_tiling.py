"""tiling: pieces are the whole, whatever their size, and the border is a mirror."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiles.geometry import Window, grid, intersection, tiles_meeting
from tiles.resampling import resampled
from tiles.seamless import Tiling, predict_tiles, prefetched, read_padded

sides = st.integers(1, 40)
properties = settings(deadline=None, max_examples=60)


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (height, width, channels))


def extent_of(image):
    return Window(0, 0, image.shape[1], image.shape[0])


def reader(image):
    """A reader that refuses what does not lie inside the image."""

    def read(x, y, width, height):
        assert 0 <= x < x + width <= image.shape[1]
        assert 0 <= y < y + height <= image.shape[0]
        return image[y : y + height, x : x + width]

    return read


# --- grid ---


@properties
@given(sides, sides, st.integers(1, 50))
def test_grid_covers_every_pixel_exactly_once(width, height, tile):
    covered = np.zeros((height, width), int)
    for window in grid(width, height, tile):
        assert 0 < window.width <= tile and 0 < window.height <= tile
        covered[window.y : window.y + window.height, window.x : window.x + window.width] += 1
    assert (covered == 1).all()


@properties
@given(sides, sides, st.integers(1, 50))
def test_grid_goes_row_by_row_from_multiples_of_the_tile(width, height, tile):
    origins = [(window.y, window.x) for window in grid(width, height, tile)]
    assert origins == sorted(origins)
    assert all(y % tile == 0 and x % tile == 0 for y, x in origins)


@properties
@given(sides, sides, st.integers(1, 50), st.integers(1, 50), st.data())
def test_the_tiles_that_meet_a_window_are_those_of_the_grid(width, height, tile, rows, data):
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    window = Window(
        left,
        top,
        data.draw(st.integers(1, width - left)),
        data.draw(st.integers(1, height - top)),
    )
    expected = [t for t in grid(width, height, tile, rows) if intersection(t, window)]
    assert tiles_meeting(window, Window(0, 0, width, height), tile, rows) == expected


# --- read_padded ---


@properties
@given(sides, sides, st.integers(-150, 150), st.integers(-150, 150), sides, sides)
def test_padding_is_numpys_symmetric_one(width, height, x, y, window_width, window_height):
    image = noise(height, width)
    padding = 200  # farther than any window reaches
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode="symmetric")
    rows = slice(y + padding, y + padding + window_height)
    columns = slice(x + padding, x + padding + window_width)
    window = Window(x, y, window_width, window_height)
    found = read_padded(reader(image), extent_of(image), window)
    np.testing.assert_array_equal(found, padded[rows, columns])


def test_one_pixel_pads_to_a_constant():
    image = np.array([[[10, 20, 30]]])
    found = read_padded(reader(image), extent_of(image), Window(-1000, 500, 7, 5))
    assert found.shape == (5, 7, 3)
    assert (found == [10, 20, 30]).all()


def test_padding_reads_labels_without_a_channel_axis():
    labels = np.arange(12).reshape(3, 4)
    found = read_padded(reader(labels), extent_of(labels), Window(-2, -1, 8, 5))
    np.testing.assert_array_equal(found, np.pad(labels, ((1, 1), (2, 2)), mode="symmetric"))


def test_padding_far_outside_reads_no_more_than_the_mirrored_part():
    asked = []

    def read(x, y, width, height):
        asked.append((width, height))
        return np.zeros((height, width, 3))

    read_padded(read, Window(0, 0, 10_000, 10_000), Window(-5, 9_990, 20, 15))
    assert asked[0][0] <= 20 and asked[0][1] <= 15


# --- predict_tiles ---


def local_network(radius, scale, pooling=1, channels=2):
    """A fake network: the mean over (2*radius+1)^2 pixels of each pooling cell's first pixel.

    Like a real one it fills with zeros at the border, so that a margin too narrow shows.
    """

    def predict(batch):
        assert batch.shape[1] % pooling == 0 and batch.shape[2] % pooling == 0
        pooled = batch[:, ::pooling, ::pooling, :channels]
        cells = radius // pooling
        padded = np.pad(pooled, ((0, 0), (cells, cells), (cells, cells), (0, 0)))
        size = 2 * cells + 1
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
        means = windows.mean(axis=(-2, -1))
        return means.repeat(pooling * scale, axis=1).repeat(pooling * scale, axis=2)

    return predict


def stitched(image, predict, tile, margin, multiple, scale, batch_size=1, **options):
    """Result of predict_tiles as one array; pixels that no tile wrote are nan."""
    height, width = image.shape[:2]
    result = np.full((height * scale, width * scale, 2), np.nan)
    tiles = predict_tiles(
        predict,
        reader(image),
        extent_of(image),
        Tiling(tile, margin, multiple, scale, batch_size),
        **options,
    )
    for window, prediction in tiles:
        assert prediction.shape == (window.height, window.width, 2)
        part = result[window.y : window.y + window.height, window.x : window.x + window.width]
        assert np.isnan(part).all()  # no pixel is written twice
        part[:] = prediction
    return result


def untiled(image, predict, margin, scale):
    """The whole image at once, mirrored by the margin and up to whole pooling cells."""
    height, width = image.shape[:2]
    padding = ((margin, margin + -height % 16), (margin, margin + -width % 16), (0, 0))
    whole = predict(np.pad(image, padding, mode="symmetric")[None])[0]
    start = margin * scale
    return whole[start : start + height * scale, start : start + width * scale]


@properties
@given(
    width=sides,
    height=sides,
    tile=st.integers(1, 50),
    radius=st.integers(0, 12),
    pooling=st.sampled_from([1, 2, 4]),
    scale=st.sampled_from([1, 4]),
    batch_size=st.integers(1, 5),
)
def test_tiles_equal_the_whole(width, height, tile, radius, pooling, scale, batch_size):
    image = noise(height, width)
    predict = local_network(radius, scale, pooling)
    found = stitched(image, predict, tile, radius, pooling, scale, batch_size)
    np.testing.assert_allclose(found, untiled(image, predict, 16, scale), atol=1e-9)


def test_a_margin_that_is_too_narrow_does_not_equal_the_whole():
    image, predict = noise(40, 40), local_network(radius=4, scale=1)
    found = stitched(image, predict, tile=16, margin=2, multiple=1, scale=1)
    assert np.abs(found - untiled(image, predict, 16, 1)).max() > 1


def test_all_batches_have_one_shape_no_larger_than_the_image_needs():
    shapes = set()

    def predict(batch):
        shapes.add(batch.shape[1:])
        return batch[..., :2]

    stitched(noise(70, 50), predict, tile=32, margin=5, multiple=4, scale=1)
    assert shapes == {(24 + 16, 28 + 16, 3)}  # three rows of 24 and two columns of 28
    shapes.clear()
    stitched(noise(9, 50), predict, tile=256, margin=5, multiple=4, scale=1)
    assert shapes == {(12 + 16, 52 + 16, 3)}


def test_only_wanted_tiles_are_predicted():
    image, calls = noise(42, 42), []

    def predict(batch):
        calls.append(len(batch))
        return batch[..., :2]

    def wanted(window):  # 42 pixels are three tiles of 14
        return (window.x, window.y) in {(14, 0), (28, 28)}

    found = stitched(image, predict, 16, 3, 1, 1, batch_size=4, wanted=wanted)
    assert calls == [2]
    expected = np.full((42, 42, 2), np.nan)
    for rows, columns in ((slice(0, 14), slice(14, 28)), (slice(28, 42), slice(28, 42))):
        expected[rows, columns] = image[rows, columns, :2]
    np.testing.assert_array_equal(found, expected)


def test_a_prediction_without_a_part_of_the_margin_is_placed_the_same():
    image, predict = noise(50, 70), local_network(radius=3, scale=4)
    whole = stitched(image, predict, 32, 3, 1, 4)
    cut = stitched(image, lambda batch: predict(batch)[:, 5:-5, 5:-5], 32, 3, 1, 4)
    np.testing.assert_array_equal(cut, whole)


# --- resampled ---


@properties
@given(sides, sides, sides, sides, st.integers(0, 10**6))
def test_resampled_pieces_equal_the_whole(width, height, new_width, new_height, seed):
    image, new = noise(height, width), Window(0, 0, new_width, new_height)
    read = resampled(reader(image), extent_of(image), new)
    whole = read(0, 0, new_width, new_height)
    assert whole.shape == (new_height, new_width, 3)
    random = np.random.default_rng(seed)
    x, y = int(random.integers(new_width)), int(random.integers(new_height))
    w, h = int(random.integers(1, new_width - x + 1)), int(random.integers(1, new_height - y + 1))
    np.testing.assert_allclose(read(x, y, w, h), whole[y : y + h, x : x + w], atol=1e-3)


@properties
@given(sides, sides, sides, sides)
def test_resampling_keeps_a_constant(width, height, new_width, new_height):
    image = np.full((height, width, 3), 137, np.uint8)
    new = Window(0, 0, new_width, new_height)
    found = resampled(reader(image), extent_of(image), new)(0, 0, new_width, new_height)
    np.testing.assert_allclose(found, 137, atol=1e-3)


@properties
@given(sides, sides)
def test_resampling_to_the_same_size_changes_nothing(width, height):
    image = noise(height, width)
    found = resampled(reader(image), extent_of(image), extent_of(image))(0, 0, width, height)
    np.testing.assert_allclose(found, image, atol=1e-3)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_shrinking_keeps_the_mean(factor):
    image = np.zeros((120, 120))
    image[40:80, 40:80] = noise(40, 40, 1)[..., 0]  # black around it: the border has no part in it
    new = Window(0, 0, 120 // factor, 120 // factor)
    found = resampled(reader(image), extent_of(image), new)(0, 0, new.width, new.height)
    assert found.mean() == pytest.approx(image.mean(), rel=1e-4)


@pytest.mark.parametrize("new_width", [37, 60, 150, 333])
def test_resampling_neither_shifts_nor_stretches(new_width):
    ramp = np.tile(np.arange(100.0), (4, 1))  # grey level = place of the pixel's centre - 0.5
    found = resampled(reader(ramp), extent_of(ramp), Window(0, 0, new_width, 4))(0, 0, new_width, 4)
    step = 100 / new_width
    expected = (np.arange(new_width) + 0.5) * step - 0.5
    inside = (expected > step) & (expected < 99 - step)
    # Where pixels are merged by a fraction, single weights are a little uneven.
    np.testing.assert_allclose(found[:, inside], expected[None, inside].repeat(4, 0), atol=0.15)


# --- prefetched ---


def test_prefetched_passes_items_on_in_order():
    assert list(prefetched(iter(range(20)))) == list(range(20))
    assert list(prefetched(iter([]))) == []
    assert list(prefetched(iter([None, None]))) == [None, None]


def test_prefetched_passes_an_error_on_in_its_place():
    def items():
        yield 1
        yield 2
        raise OSError("disk")

    received = []
    with pytest.raises(OSError, match="disk"):
        for item in prefetched(items()):
            received.append(item)
    assert received == [1, 2]


def test_prefetched_makes_the_next_items_while_one_is_used():
    second_made = threading.Event()

    def items():
        yield 1
        second_made.set()
        yield 2

    source = prefetched(items())
    assert next(source) == 1
    assert second_made.wait(timeout=10)
    assert list(source) == [2]


def test_prefetched_runs_no_more_than_a_few_items_ahead():
    made = []

    def items():
        for number in range(100):
            made.append(number)
            yield number

    source = prefetched(items(), ahead=2)
    next(source)
    source.close()  # waits for what has begun
    assert len(made) <= 3
