"""Pieces are complete or not there, and who does them in which order changes nothing."""

import numpy as np
import pytest
from PIL import Image
from tqdm import tqdm

from helpers import tiny_models
from helpers.drawn_tissue import draw_tissue
from images.opening import open_image
from images.sizes import StatedSize
from program.settings import Settings, TileSettings
from program.terminal import Progress
from stages import examining
from stages.analysis import Analysis
from stages.pieces import Pieces, StripRaster, appearing
from stages.predicting import MAPS, PICTURE

RESULTS = ("nuclei_labels.tif", "nuclei.csv", "nuclei.geojson", "super_resolved.png")


def test_a_file_appears_when_it_is_complete(tmp_path):
    with pytest.raises(KeyboardInterrupt), appearing(tmp_path / "a") as path:
        path.write_text("half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with appearing(tmp_path / "a") as path:
        path.write_text("whole")
        assert not (tmp_path / "a").exists()
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "whole"


def test_a_piece_is_finished_with_its_record(tmp_path):
    pieces = Pieces(tmp_path, ".raw")
    pieces.path(3).write_bytes(b"data")
    assert not pieces.is_finished(3)
    pieces.finish(3, {"nuclei": 7})
    assert pieces.is_finished(3) and not pieces.is_finished(2)
    assert Pieces(tmp_path, ".raw").record(3) == {"nuclei": 7, "bytes": 4}
    pieces.finish(4, {"nuclei": 0})
    assert pieces.is_finished(4)


def test_a_piece_whose_data_a_loss_of_power_took_is_not_finished(tmp_path):
    pieces = Pieces(tmp_path, ".raw")
    for number in range(3):
        pieces.path(number).write_bytes(b"data")
        pieces.finish(number, {})
    pieces.path(0).unlink()
    pieces.path(1).write_bytes(b"da")
    (tmp_path / "000002.json").write_text("")
    assert not any(map(pieces.is_finished, range(3)))


@pytest.mark.parametrize("samples", [PICTURE, MAPS])
def test_predictions_are_stored_rounded_and_cut(samples):
    levels = np.array([-3.0, -0.4, 0.49, 0.51, 100.2, 254.6, 255.4, 300.0], np.float32)
    values = np.repeat(levels[:, None, None], samples.channels, axis=2) / samples.gain
    part = np.tile(values, (1, 6, 1))[:, 1:4]  # does not lie in one piece
    expected = np.array([0, 0, 0, 1, 100, 255, 255, 255], np.uint8)
    stored = samples.stored(part)
    assert stored.shape == (8, 3, samples.channels) and stored.dtype == np.uint8
    assert (stored == expected[:, None, None]).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_strips_read_back_as_one_raster(tmp_path, channels):
    shape = (23, 31) if channels == 1 else (23, 31, channels)
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    raster = StripRaster(Pieces(tmp_path, ".raw"), 31, 23, channels, np.uint8, 10)
    assert raster.strip_heights() == [10, 10, 3]
    for number in (2, 0, 1):
        with raster.new_strip(number) as strip:
            strip.write(0, 0, image[10 * number : 10 * number + 10].reshape(-1, 31, channels))
    for x, y, width, height in [(0, 0, 31, 23), (5, 9, 7, 2), (30, 22, 1, 1), (3, 10, 9, 10)]:
        found = raster.read(x, y, width, height)
        np.testing.assert_array_equal(found, image[y : y + height, x : x + width])


def test_pieces_in_any_order_give_the_same_bytes(tmp_path, monkeypatch):
    """Each piece by an analysis of its own, as if by another process; each done twice."""
    monkeypatch.setattr(examining, "WINDOW", 100)
    networks = tiny_models.loaded_networks(tmp_path)
    image, _ = draw_tissue(60, 90, nuclei=30)
    Image.fromarray(image).save(tmp_path / "a.png")

    def analysis(folder):
        settings = Settings(tiles=TileSettings(32))
        return Analysis(file, folder, networks, settings, Progress(tqdm(disable=True), ""))

    random = np.random.default_rng(0)
    shared = tmp_path / "shared"
    with open_image(tmp_path / "a.png", stated=StatedSize(1.0)) as file:
        row = analysis(tmp_path / "alone").run()
        with pytest.raises(RuntimeError, match="run it again"):
            analysis(shared).resume()
        first = analysis(shared)
        first.prepare()
        assert [len(stage.sizes) for stage in first.stages] == [2, 2, 12]
        for number, stage in enumerate(first.stages):
            for piece in random.permutation(len(stage.sizes)):
                another = analysis(shared)
                another.resume()
                stage.work(stage.task(int(piece)))  # by one that was lost, as is thought
                another.stages[number].do(int(piece))
        last = analysis(shared)
        last.resume()
        shared_row = last.finish()
    assert row["nuclei"] == shared_row["nuclei"] > 10
    for name in RESULTS:
        assert (shared / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name
