"""regions: all regions at once are measured as scikit-image measures them one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nuclei import measure, separate
from regions import region_table
from scipy import ndimage
from skimage.color import rgb2hed
from skimage.measure import regionprops_table

PROPERTIES = (
    "label",
    "area",
    "centroid",
    "bbox",
    "perimeter_crofton",
    "axis_major_length",
    "axis_minor_length",
    "eccentricity",
    "solidity",
    "intensity_mean",
)


def drawn_nuclei(side=400):
    """Label map of some hundred nuclei, many of them touching, some cut by the border."""
    random = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(random.normal(size=(side, side)), 5)
    smooth = np.clip(0.5 + smooth / smooth.std() / 4, 0, 1).astype(np.float32)
    return separate(smooth, np.clip(2 * smooth - 1, 0, 1), 0.25)


def assert_equal_tables(labels, values):
    """Compare both tables; values: (height, width, channels)."""
    table = region_table(labels, values[labels > 0])
    expected = regionprops_table(labels, values, properties=PROPERTIES)
    assert list(table) == list(PROPERTIES)
    for name, found in table.items():
        parts = found.T if found.ndim == 2 else [found]
        names = [f"{name}-{i}" for i in range(len(parts))] if found.ndim == 2 else [name]
        for part, column in zip(parts, names, strict=True):
            np.testing.assert_allclose(part, expected[column], rtol=1e-9, atol=1e-6)


def test_nuclei_are_measured_as_by_regionprops_table():
    labels = drawn_nuclei()
    assert labels.max() > 100
    values = np.random.default_rng(1).uniform(0, 1, (*labels.shape, 2))
    assert_equal_tables(labels, values)


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(
        np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4)
    )
)
def test_any_label_map_is_measured_as_by_regionprops_table(labels):
    """Scattered regions, gaps in the numbering, regions with holes and single pixels."""
    values = np.random.default_rng(1).uniform(0, 1, (*labels.shape, 1))
    assert_equal_tables(labels, values)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64])
def test_the_type_of_the_labels_does_not_matter(dtype):
    labels = drawn_nuclei(100).astype(dtype)
    assert_equal_tables(labels.astype(np.int64), np.zeros((*labels.shape, 1)))
    assert region_table(labels, np.zeros((np.count_nonzero(labels), 1)))["area"].sum() > 0


def test_hematoxylin_is_that_of_rgb2hed():
    labels = drawn_nuclei(200)
    image = np.random.default_rng(2).integers(0, 256, (*labels.shape, 3)).astype(np.uint8)
    image[:50] = 0
    found = measure(labels, image, np.zeros(labels.shape), None)["mean_hematoxylin_od"]
    hematoxylin = rgb2hed(image / 255)[..., 0] * 6  # its unit is six decades of density
    expected = ndimage.mean(hematoxylin, labels, np.arange(1, labels.max() + 1))
    np.testing.assert_allclose(found, expected, atol=1e-6)
