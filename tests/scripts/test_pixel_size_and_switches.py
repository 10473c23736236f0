"""Known, unknown and other pixel sizes; a run without one of its networks."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from helpers import tiny_models
from helpers.whole_runs import HEIGHT, WIDTH, check_agreement, drawn, nuclei, put, summary
from networks.network import Network
from outputs import evidence


def test_an_unknown_pixel_size_gives_pixel_units_only(run, tmp_path, capsys):
    image, centres = drawn()
    put(tmp_path / "input", "a.png", image)
    assert run(microns_per_pixel=None) == 0
    folder = tmp_path / "output" / "a"
    assert check_agreement(folder) == len(centres)
    columns = list(nuclei(folder)[1][0])
    assert {"area_px2", "perimeter_px", "major_axis_px", "centroid_x_px"} <= set(columns)
    assert not [name for name in columns if name.endswith(("_um", "_um2"))]
    measurements = nuclei(folder)[2][0]["properties"]["measurements"]
    assert "Area px^2" in measurements and not [name for name in measurements if "µm" in name]
    row = summary(tmp_path / "output")["a.png"]
    assert row["density_per_mm2"] == row["mean_area_um2"] == row["microns_per_pixel_out"] == ""
    assert float(row["mean_area_px2"]) > 100
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("a.png")]
    cells = line.split()
    assert cells[3:5] == [str(len(centres)), "-"] and "px2" in cells


def test_an_unknown_pixel_size_is_said_on_the_terminal(run, tmp_path, capsys):
    put(tmp_path / "input", "known.png", drawn()[0], dpi=(25400, 25400))
    put(tmp_path / "input", "unknown.png", drawn()[0])
    tifffile.imwrite(tmp_path / "input" / "slide.tif", drawn()[0], tile=(64, 64), photometric="rgb")
    assert run(microns_per_pixel=None, segment=False) == 0
    before, after = capsys.readouterr().out.split("Report: ")
    looking, loading, line = before.strip().splitlines()  # before an hour is spent on it
    assert looking == "Looking at 3 files ..." and loading.startswith("Loading generator.h5")
    assert "slide.tif" in line and f"{4 * WIDTH} x {4 * HEIGHT}" in line
    assert "--microns-per-pixel 0.25" in line
    (line,) = [line for line in after.splitlines() if line.startswith("The pixel size")]
    assert "slide.tif, unknown.png is unknown:" in line and "--microns-per-pixel" in line
    assert run(microns_per_pixel=1.0, segment=False) == 0
    assert "The pixel size" not in capsys.readouterr().out


def test_the_pixel_size_of_the_file_is_used(run, tmp_path):
    put(tmp_path / "input", "a.png", drawn()[0], dpi=(25400, 25400))  # 1 um per pixel
    assert run(microns_per_pixel=None) == 0
    row = summary(tmp_path / "output")["a.png"]
    assert float(row["microns_per_pixel_out"]) == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize(("microns", "scale"), [(2.0, 4), (1.0, 4), (0.6, 2), (0.3, 1)])
def test_another_pixel_size_is_resampled_and_comes_back(run, tmp_path, monkeypatch, microns, scale):
    """The same tissue imaged at another scale: same nuclei, same areas, the image's own size."""
    image, centres = drawn(60, 72)
    size = round(72 / microns), round(60 / microns)
    how = cv2.INTER_AREA if microns >= 1 else cv2.INTER_CUBIC
    put(tmp_path / "input", "a.png", cv2.resize(image, size, interpolation=how))
    predict, seen = Network.predict, {}

    def watched(network, tiles):
        margin = -(-network.radius // network.pooling) * network.pooling
        seen[network.scale] = tiles.shape[2] - 2 * margin
        return predict(network, tiles)

    monkeypatch.setattr(Network, "predict_middle", watched)
    assert run(microns_per_pixel=microns, tile_size=512) == 0
    assert scale == 1 or seen[scale] == pytest.approx(size[0], abs=1)  # even for x2
    assert seen[1] == pytest.approx(72 / tiny_models.UNET_MICRONS, abs=3)  # the U-net's own
    folder = tmp_path / "output" / "a"
    labels, rows, _ = nuclei(folder)
    assert labels.shape == (scale * size[1], scale * size[0])
    assert check_agreement(folder) == len(centres)
    for row in rows:
        place = float(row["centroid_x_um"]), float(row["centroid_y_um"])
        assert np.hypot(*(centres / 4 - place).T).min() < 1
    mean = np.mean([float(row["area_um2"]) for row in rows])
    assert mean == pytest.approx(np.pi * 15.5 * 12 / 16, rel=0.25)


def test_without_super_resolution_the_image_is_taken_as_it_is(run, tmp_path):
    image, centres = drawn()
    large = cv2.resize(image, (4 * WIDTH, 4 * HEIGHT), interpolation=cv2.INTER_CUBIC)
    put(tmp_path / "input", "a.png", large)
    assert run(super_resolve=False, microns_per_pixel=0.25, generator=Path("none.h5")) == 0
    folder = tmp_path / "output" / "a"
    assert check_agreement(folder) == len(centres)
    assert nuclei(folder)[0].shape == (4 * HEIGHT, 4 * WIDTH)
    assert not [name for name in evidence.EVIDENCE_FILES if (folder / name).exists()]
    assert "nucleus_confidence" not in nuclei(folder)[1][0]
    assert not (folder / "super_resolved.png").exists()
    assert (folder / "overlay.png").is_file() and (folder / "figure.png").is_file()


def test_without_segmentation_only_pictures_are_written(run, tmp_path):
    put(tmp_path / "input", "a.png", drawn()[0])
    assert run(segment=False, unet=Path("none.h5")) == 0
    found = {path.name for path in (tmp_path / "output" / "a").iterdir()}
    assert {"super_resolved.png", "figure.png"} <= found
    assert not [name for name in found if name.startswith(("nuclei", "overlay"))]
    assert summary(tmp_path / "output")["a.png"]["nuclei"] == ""
