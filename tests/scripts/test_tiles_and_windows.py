"""Results do not depend on how an image is cut into tiles and windows."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.label_maps import same_up_to_numbers
from helpers.whole_runs import check_agreement, crowded, nuclei, put, summary
from stages import examining


@pytest.fixture
def reference(run, tmp_path):
    """Results of a crowded image in one tile and one window."""
    put(tmp_path / "input", "a.png", crowded(75, 101, 60))
    assert run("reference") == 0
    folder = tmp_path / "reference" / "a"
    assert check_agreement(folder) > 25
    return folder


@pytest.mark.parametrize("tile_size", [16, 48, 64])
def test_results_do_not_depend_on_the_tile_size(run, tmp_path, reference, tile_size):
    assert run(tile_size=tile_size, batch_size=3) == 0
    folder = tmp_path / "output" / "a"
    assert check_agreement(folder) == check_agreement(reference)
    assert same_up_to_numbers(nuclei(folder)[0], nuclei(reference)[0])
    pixels = [np.asarray(Image.open(f / "super_resolved.png"), int) for f in (folder, reference)]
    assert np.abs(pixels[0] - pixels[1]).max() <= 1


@pytest.mark.parametrize("window", [36, 64, 152])
def test_nuclei_at_window_borders_are_counted_once(run, tmp_path, reference, monkeypatch, window):
    monkeypatch.setattr(examining, "WINDOW", window)
    assert run() == 0
    folder = tmp_path / "output" / "a"
    assert check_agreement(folder) == check_agreement(reference)
    labels, rows, _ = nuclei(folder)
    expected, expected_rows, _ = nuclei(reference)
    assert same_up_to_numbers(labels, expected)

    def without_label(rows):
        return sorted([(name, row[name]) for name in row if name != "label"] for row in rows)

    assert without_label(rows) == without_label(expected_rows)
    confidences = [tifffile.imread(f / "sr_confidence.tif") for f in (folder, reference)]
    assert np.abs(confidences[0].astype(int) - confidences[1]).max() <= 1
    found, expected = (summary(f.parent)["a.png"] for f in (folder, reference))
    for name in ("colour_difference", "sr_expected_error", "sr_confidence"):
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-3), name


def test_nuclei_cut_by_the_image_are_marked(reference):
    labels, rows, _ = nuclei(reference)
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    marked = {int(row["label"]) for row in rows if row["touches_border"] == "1"}
    assert marked == set(rim.tolist()) - {0} and marked
    assert len(marked) < len(rows)
