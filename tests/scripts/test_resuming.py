"""What is finished is skipped, what was interrupted goes on, what has changed is done again."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import tiny_models
from helpers.whole_runs import Counter, bytes_of, drawn, put, summary
from networks import loading
from networks.network import Network
from pipeline import worker
from stages import analysis
from tiles.raster import Raster


def test_a_finished_image_is_skipped(run, tmp_path, monkeypatch, capsys):
    put(tmp_path / "input", "a.png", drawn()[0])
    assert run() == 0
    first = summary(tmp_path / "output")
    predicted = Counter(monkeypatch, Network, "predict_middle")
    put(tmp_path / "input", "b.png", drawn(seed=1)[0])
    capsys.readouterr()
    assert run() == 0
    assert "a.png: finished before" in capsys.readouterr().out
    assert predicted.calls == 2  # b.png: a tile of each network
    assert summary(tmp_path / "output")["a.png"] == first["a.png"]
    assert list(summary(tmp_path / "output")) == ["a.png", "b.png"]


def test_an_image_whose_results_are_not_all_there_is_done_again(run, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        put(tmp_path / "input", name, drawn()[0])
    assert run() == 0
    lost = [tmp_path / "output" / "a" / name for name in ("nuclei.csv", "figure.png")]
    before = [path.read_bytes() for path in lost]
    for path in lost:
        path.unlink()
    capsys.readouterr()
    assert run() == 0
    said = capsys.readouterr().out
    assert "a.png: done again, missing: nuclei.csv, figure.png" in said
    assert "b.png: finished before, skipped" in said
    assert [path.read_bytes() for path in lost] == before
    (lost[0].parent / "confidence.png").unlink()
    assert run(segment=False) == 0
    assert "a.png: done again, changed: SEGMENT" in capsys.readouterr().out


CHANGES = {
    "overwrite": {"overwrite": True},
    "pixel size": {"microns_per_pixel": 1.05},
    "threshold": {"probability_threshold": 0.4},
    "overlap": {"least_overlap": 0.4},
    "smallest nucleus": {"smallest_nucleus": 7.0},
    "tile size": {"tile_size": 128},
    "test-time augmentation": {"test_time_augmentation": True},
    "bfloat16": {"precision": "bfloat16"},
    "float32": {"precision": "float32"},  # behind bfloat16, so that only the precision differs
    "no generator": {"super_resolve": False, "microns_per_pixel": 0.25},
}


def test_a_blend_of_two_generators_is_another_model(run, models, tmp_path, monkeypatch):
    put(tmp_path / "input", "a.png", drawn()[0])
    monkeypatch.setattr(worker, "load_network", loading.load_network)  # blending changes it
    assert run(segment=False) == 0
    sharp, faithful = (
        tiny_models.save(tiny_models.random_generator(seed), tmp_path / f"{seed}.h5")
        for seed in (0, 1)
    )
    found = []
    for share in (0.0, 0.5, 1.0):
        flags = {"generator": sharp, "faithful_generator": faithful, "faithful_share": share}
        assert run(segment=False, **flags) == 0
        picture = tmp_path / "output" / "a" / "super_resolved.png"
        found.append(np.asarray(Image.open(picture), int))
    assert run("alone", segment=False, generator=faithful) == 0
    alone = np.asarray(Image.open(tmp_path / "alone" / "a" / "super_resolved.png"), int)
    np.testing.assert_allclose(found[2], alone, atol=1)
    assert all(np.abs(found[1] - found[end]).mean() > 1 for end in (0, 2))


def test_a_changed_constant_or_model_or_image_is_done_again(run, tmp_path, monkeypatch):
    put(tmp_path / "input", "a.png", drawn()[0])
    assert run() == 0
    predicted = Counter(monkeypatch, Network, "predict_middle")
    assert run(jpeg_quality=90, debug=True) == 0  # nothing has changed
    assert predicted.calls == 0
    for change, flags in CHANGES.items():
        before = predicted.calls
        assert run(**flags) == 0
        assert predicted.calls > before, change
    assert run(**flags) == 0
    before = predicted.calls
    other = tiny_models.darkness_unet(darker_than=140)
    unet = tiny_models.save(other, tmp_path / "Unet.h5", tiny_models.UNET_MICRONS)
    assert run(**flags | {"unet": unet}) == 0
    assert predicted.calls == before + 1
    put(tmp_path / "input", "a.png", drawn(seed=1)[0])
    assert run(**flags | {"unet": unet}) == 0
    assert predicted.calls == before + 2


def test_results_of_other_choices_do_not_stay_behind(run, tmp_path):
    put(tmp_path / "input", "a.png", drawn()[0])
    assert run() == 0
    assert run(segment=False) == 0
    found = {path.name for path in (tmp_path / "output" / "a").iterdir()}
    assert "super_resolved.png" in found
    assert not found & {"nuclei.csv", "nuclei_labels.tif", "nuclei.geojson", "overlay.png"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"summary": {}}'])
def test_a_damaged_manifest_means_not_finished(run, tmp_path, content):
    put(tmp_path / "input", "a.png", drawn()[0])
    assert run(segment=False) == 0
    (tmp_path / "output" / "a" / "manifest.json").write_text(content)
    assert run(segment=False) == 0
    assert summary(tmp_path / "output")["a.png"]["status"] == "done"


TILE = {"tile_size": 16}  # 4 strips of 5 tiles of a drawn image for each network


@pytest.fixture
def uninterrupted(run, tmp_path, monkeypatch):
    """Results and number of raster writes of an image in many tiles."""
    put(tmp_path / "input", "a.png", drawn()[0])
    with monkeypatch.context() as patch:
        written = Counter(patch, Raster, "write")
        assert run("uninterrupted", **TILE) == 0
    return bytes_of(tmp_path / "uninterrupted" / "a"), written.calls


@pytest.mark.parametrize("place", ["first", "early", "middle", "late", "last"])
def test_an_interrupted_image_goes_on_and_gives_the_same(
    run, tmp_path, monkeypatch, uninterrupted, place
):
    expected, writes = uninterrupted
    stop = {"first": 1, "early": 5, "middle": writes // 2, "late": writes - 5, "last": writes}
    with monkeypatch.context() as patch:
        Counter(patch, Raster, "write", stop[place])
        assert run(**TILE) == 130
    folder = tmp_path / "output" / "a"
    assert not (folder / "nuclei.csv").exists()  # nothing unfinished under a final name
    predicted = Counter(monkeypatch, Network, "predict_middle")
    assert run(**TILE) == 0
    assert bytes_of(folder) == expected
    assert not (folder / ".partial").exists()
    # 40 writes of tiles, then those of the evidence and the labels; finished strips of 5 are kept.
    assert predicted.calls == max(0, 40 - 5 * ((stop[place] - 1) // 5))


def test_an_interruption_inside_a_network_loses_one_strip(
    run, tmp_path, monkeypatch, uninterrupted, capsys
):
    with monkeypatch.context() as patch:
        Counter(patch, Network, "predict_middle", 31)
        assert run(**TILE) == 130
    assert "same command" in capsys.readouterr().err
    predicted = Counter(monkeypatch, Network, "predict_middle")
    assert run(**TILE) == 0
    assert predicted.calls == 10
    assert bytes_of(tmp_path / "output" / "a") == uninterrupted[0]


def test_several_interruptions_are_no_worse_than_one(run, tmp_path, monkeypatch, uninterrupted):
    for number in (3, 11, 13):
        with monkeypatch.context() as patch:
            Counter(patch, Network, "predict_middle", number)
            assert run(**TILE) == 130
    assert run(**TILE) == 0
    assert bytes_of(tmp_path / "output" / "a") == uninterrupted[0]


@pytest.mark.parametrize("change", ["constant", "model", "image"])
def test_an_unfinished_image_starts_afresh_after_a_change(run, tmp_path, monkeypatch, change):
    put(tmp_path / "input", "a.png", drawn()[0])
    with monkeypatch.context() as patch:
        Counter(patch, Network, "predict_middle", 31)
        assert run(**TILE) == 130
    flags = dict(TILE)
    if change == "constant":
        flags["probability_threshold"] = 0.4
    elif change == "model":
        other = tiny_models.darkness_unet(darker_than=140)
        flags["unet"] = tiny_models.save(other, tmp_path / "Unet.h5", tiny_models.UNET_MICRONS)
    else:
        put(tmp_path / "input", "a.png", drawn(seed=1)[0])
    predicted = Counter(monkeypatch, Network, "predict_middle")
    assert run(**flags) == 0
    assert predicted.calls == 40
    resumed = bytes_of(tmp_path / "output" / "a")
    assert run("fresh", **flags) == 0
    assert resumed == bytes_of(tmp_path / "fresh" / "a")


def test_files_are_closed_before_they_are_deleted(run, tmp_path, monkeypatch):
    """Windows refuses to delete an open file."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not list open files")
    put(tmp_path / "input", "a.png", drawn()[0])
    open_files = []

    def rmtree(folder, *_, **__):
        for link in Path("/proc/self/fd").iterdir():
            if link.is_symlink():
                target = str(link.readlink())
                open_files.extend([target] if target.startswith(str(folder)) else [])

    with monkeypatch.context() as patch:
        patch.setattr(analysis.shutil, "rmtree", rmtree)
        assert run() == 0
    assert (tmp_path / "output" / "a" / ".partial").is_dir()
    assert not open_files
