"""candidates: fragments, their tree, features and score; and the best choice among them."""

from itertools import combinations

import h5py
import keras
import numpy as np
import pytest
from scipy import ndimage

from helpers.drawn_nuclei import disc, ellipse
from nuclei.candidates.fragments import find_fragments
from nuclei.candidates.merging import LARGEST, Tree, merge
from nuclei.candidates.regions import FEATURES, measure_fragments
from nuclei.candidates.scoring import load_score
from nuclei.separation import best_choice
from program.records import ModelError
from program.settings import NUCLEUS_SCORE

MICRONS = 0.25


def measured(labels, distance=None, relief=None):
    """Regions and borders of a label map, probability 1."""
    ones = np.ones(labels.shape, np.float32)
    distance = ones if distance is None else distance
    return measure_fragments(labels, ones, distance, distance if relief is None else relief)


def features_of(mask):
    regions, _ = measured(mask.astype(np.int32))
    return dict(enumerate(regions.features(MICRONS)[0]))


# --- fragments ---


def test_fragments_fill_the_mask_and_each_is_connected():
    random = np.random.default_rng(5)
    smooth = ndimage.gaussian_filter(random.normal(size=(200, 230)), 4)
    mask, distance = smooth > 0, np.clip(smooth / smooth.max(), 0, 1)
    fragments, relief = find_fragments(mask, distance, MICRONS)
    np.testing.assert_array_equal(fragments > 0, mask)
    assert relief.shape == mask.shape and relief.dtype == np.float32
    assert fragments.max() > ndimage.label(mask)[1]
    for number in range(1, fragments.max() + 1):
        assert ndimage.label(fragments == number)[1] == 1


# --- features ---


def test_features_of_an_ellipse_are_those_it_was_drawn_with():
    found = features_of(ellipse((160, 160), (80, 80), (100, 40), 0.4))
    assert found[0] == pytest.approx(np.log(np.pi * 50 * 20 * MICRONS**2), rel=0.01)
    assert found[1] == pytest.approx(1, abs=0.01)
    assert found[2] == pytest.approx(0.4, abs=0.01)
    assert found[15] == 0


def test_features_are_finite_where_everything_is_nucleus():
    mask = np.ones((30, 40), bool)
    distance = np.full(mask.shape, 0.5, np.float32)
    fragments, relief = find_fragments(mask, distance, MICRONS)
    regions, _ = measured(fragments, distance, relief)
    assert np.abs(regions.features(MICRONS)).max() < 20


def test_what_is_no_ellipse_is_told_by_its_area():
    crescent = disc((160, 160), (80, 80), 100) & ~disc((160, 160), (80, 110), 100)
    assert features_of(crescent)[1] < 0.8


def test_a_square_has_the_perimeter_of_one():
    square = np.zeros((60, 60), bool)
    square[20:40, 20:40] = True
    assert features_of(square)[3] == pytest.approx(1)


def test_a_region_at_the_border_of_the_image_says_so():
    half = np.zeros((60, 60), bool)
    half[:20, 20:40] = True
    assert features_of(half)[15] == pytest.approx(20 / 80)


def test_features_do_not_depend_on_where_a_region_lies_or_how_fine_its_pixels_are():
    small = measured(disc((100, 100), (40, 40), 40).astype(np.int32))[0].features(0.5)[0]
    moved = measured(disc((900, 900), (840, 840), 40).astype(np.int32))[0].features(0.5)[0]
    fine = measured(disc((200, 200), (80, 80), 80).astype(np.int32))[0].features(0.25)[0]
    assert len(small) == len(FEATURES)
    np.testing.assert_allclose(moved, small, rtol=1e-4)
    np.testing.assert_allclose(fine, small, rtol=0.03)


def test_borders_are_measured_between_neighbours_over_edges():
    labels = np.zeros((12, 20), np.int32)
    labels[2:10, 2:8], labels[2:10, 8:14], labels[10:12, 14:16] = 1, 2, 3  # 3 touches by a corner
    distance = np.full(labels.shape, 0.5, np.float32)
    distance[:, 7] = 0.25
    relief = distance.copy()
    relief[4, 7:9] = 0.75
    regions, borders = measured(labels, distance, relief)
    assert (borders.first.tolist(), borders.second.tolist()) == ([0], [1])
    assert (borders.length[0], borders.distance[0], borders.saddle[0]) == (8, 8 * 0.25, 0.75)
    np.testing.assert_array_equal(regions.contact, [[8, 2], [8, 2], [0, 0]])


def test_a_column_of_pixels_has_the_borders_of_a_row():
    row = np.array([[1, 1, 2, 2, 0, 3, 3]], np.int32)
    for labels in (row, np.ascontiguousarray(row.T)):
        regions, borders = measured(labels)
        assert borders.length.tolist() == [1]
        np.testing.assert_array_equal(regions.contact[:, 0], [1, 1, 0])
        np.testing.assert_array_equal(regions.sums[:, 8], [0, 1, 1])


# --- the tree ---


def row_of_three(saddles=(0.5, 0.8)):
    """Three regions in a row, summits 1.0, 0.9 and 0.95, and the saddles between them."""
    labels = np.repeat([[1, 2, 3]], 4, axis=0).repeat(4, axis=1).astype(np.int32)
    relief = np.full(labels.shape, 0.1, np.float32)
    relief[0, 1], relief[0, 5], relief[0, 9] = 1.0, 0.9, 0.95
    relief[2, 3:5], relief[2, 7:9] = saddles
    return labels, measured(labels, relief=relief)


def test_the_least_pronounced_border_is_merged_first():
    _, (regions, borders) = row_of_three()
    tree = merge(regions, borders, MICRONS)
    assert tree.parts == [(), (), (), (1, 2), (0, 3)]
    np.testing.assert_allclose(tree.regions.step, [0, 0, 0, 0.1, 0.45], atol=1e-6)
    np.testing.assert_allclose(tree.regions.summit, [1, 0.9, 0.95, 0.95, 1], atol=1e-6)


def test_a_whole_is_measured_as_if_it_were_one_region():
    labels, (regions, borders) = row_of_three()
    tree = merge(regions, borders, MICRONS)
    whole, _ = measured((labels > 0).astype(np.int32))
    np.testing.assert_allclose(tree.regions.sums[-1], whole.sums[0])
    np.testing.assert_array_equal(tree.regions.contact[-1], [0, 0])
    assert tree.regions.inner[-1, 0] == 8  # the edges of both borders


def test_nothing_is_merged_that_is_too_large_for_a_nucleus():
    _, (regions, borders) = row_of_three()
    microns = np.sqrt(LARGEST / 40)  # two of the regions have 32 pixels
    assert len(merge(regions, borders, microns).parts) == 4


# --- the choice ---


def all_choices(tree):
    """Every set of regions that do not overlap."""
    inside = [{region} for region in range(len(tree.parts))]
    for region, parts in enumerate(tree.parts):
        inside[region] = {region}.union(*(inside[part] for part in parts))
    leaves = [{r for r in found if not tree.parts[r]} for found in inside]
    regions = range(len(tree.parts))
    for count in range(len(tree.parts) + 1):
        for chosen in combinations(regions, count):
            if sum(len(leaves[r]) for r in chosen) == len(
                set().union(*(leaves[r] for r in chosen))
            ):
                yield chosen


@pytest.mark.parametrize("seed", range(20))
def test_no_other_choice_is_worth_more(seed):
    random = np.random.default_rng(seed)
    parts, free = [()] * 5, list(range(5))
    for whole in range(5, 5 + random.integers(5)):
        first, second = random.choice(free, 2, replace=False).tolist()
        parts.append((first, second))
        free = [r for r in free if r not in (first, second)] + [whole]
    tree, worth = Tree(None, parts), random.normal(size=len(parts))
    best = max(sum(worth[r] for r in chosen) for chosen in all_choices(tree))
    chosen = best_choice(tree, worth)
    assert tuple(sorted(chosen)) in set(all_choices(tree))
    assert sum(worth[r] for r in chosen) == pytest.approx(best)


def test_each_fragment_is_held_by_the_region_that_was_chosen():
    tree = Tree(None, [(), (), (), (), (0, 2), (4, 1)])
    np.testing.assert_array_equal(tree.fragments_of([3, 4], 4), [1, -1, 1, 0])


# --- the score ---


def network(*sizes):
    """A Keras model of Dense layers, the last with a sigmoid."""
    keras.utils.set_random_seed(1)
    kinds = ["relu"] * (len(sizes) - 2) + ["sigmoid"]
    dense = [keras.layers.Dense(n, kind) for n, kind in zip(sizes[1:], kinds, strict=True)]
    return keras.Sequential([keras.Input((sizes[0],)), *dense])


def test_numpy_scores_as_keras_does(tmp_path):
    model = network(len(FEATURES), 8, 1)
    model.save(tmp_path / "score.h5")
    features = np.random.default_rng(0).normal(size=(50, len(FEATURES))).astype(np.float32)
    expected = model.predict(features, verbose=0)[:, 0]
    score = load_score(tmp_path / "score.h5")
    np.testing.assert_allclose(score.of(features), expected, atol=1e-6)
    assert score.record == {} and len(score.sha256) == 64


def test_the_shipped_network_is_read_as_keras_reads_it():
    model = keras.models.load_model(NUCLEUS_SCORE, compile=False)
    features = np.random.default_rng(0).normal(size=(50, len(FEATURES))).astype(np.float32)
    score = load_score(NUCLEUS_SCORE)
    np.testing.assert_allclose(
        score.of(features), model.predict(features, verbose=0)[:, 0], atol=1e-5
    )
    assert score.record["features"] == list(FEATURES)


@pytest.mark.parametrize("sizes", [(3, 8, 1), (len(FEATURES), 8, 2)])
def test_a_network_for_something_else_is_refused(sizes, tmp_path):
    network(*sizes).save(tmp_path / "score.h5")
    with pytest.raises(ModelError, match=f"expected some from {len(FEATURES)} features to 1"):
        load_score(tmp_path / "score.h5")


@pytest.mark.parametrize(
    "middle",
    [
        keras.layers.Dense(8, "tanh"),
        keras.layers.LeakyReLU(),
        keras.layers.Rescaling(0.5),
    ],
    ids=["tanh", "leaky", "rescaling"],
)
def test_a_network_that_numpy_would_run_as_another_is_refused(middle, tmp_path):
    first, last = keras.layers.Dense(8, "relu"), keras.layers.Dense(1, "sigmoid")
    keras.Sequential([keras.Input((len(FEATURES),)), first, middle, last]).save(tmp_path / "a.h5")
    with pytest.raises(ModelError, match="not a Keras model of Dense layers"):
        load_score(tmp_path / "a.h5")


@pytest.mark.parametrize("damage", ["a bias of one number", "weights that are no numbers", "names"])
def test_a_damaged_network_is_refused(damage, tmp_path):
    network(len(FEATURES), 8, 1).save(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        layer = next(iter(file["model_weights"].values()))
        bias = layer.attrs["weight_names"][1]
        if damage == "names":
            layer.attrs["weight_names"] = 7
        elif damage == "a bias of one number":
            del layer[bias]
            layer[bias] = np.zeros(1)
        else:
            layer[bias][...] = np.nan
    with pytest.raises(ModelError, match="not a Keras model of Dense layers"):
        load_score(tmp_path / "a.h5")


def test_a_network_that_learned_other_features_is_refused(tmp_path):
    network(len(FEATURES), 8, 1).save(tmp_path / "a.h5")
    (tmp_path / "a.json").write_text('{"features": ["area"]}')
    with pytest.raises(ModelError, match="other features"):
        load_score(tmp_path / "a.h5")


def test_what_is_no_network_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no file"):
        load_score(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no network")
    with pytest.raises(ModelError, match="not a Keras model"):
        load_score(tmp_path / "text.h5")
