"""Unusual and bad images: done or named, and none stops another."""

import errno
import os

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.whole_runs import (
    HEIGHT,
    WIDTH,
    Counter,
    check_agreement,
    drawn,
    last_lines,
    nuclei,
    put,
    rows_of,
    summary,
)
from networks.network import Network
from tiles.raster import Raster


def test_every_image_is_done_or_named_and_stops_no_other(run, tmp_path, capsys):
    folder = tmp_path / "input"
    image, centres = drawn(44, 44)
    picture = Image.fromarray(image)
    same_nuclei = {
        "plain.png": picture,
        "grey.png": picture.convert("L"),
        "rgba.png": picture.convert("RGBA"),
        "palette.png": picture.quantize(32),
        "cmyk.tif": picture.convert("CMYK"),
        "sixteen bit.png": Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257),
        "same.png": picture,
        "same.bmp": picture,
        "Ünïcödé 组织.png": picture,
        "two  spaces.and.dots.jpeg": picture,
        "no suffix of an image.dat2": picture,
    }
    for name, content in same_nuclei.items():
        put(folder, name, content, format="PNG" if name.endswith("dat2") else None)
    tifffile.imwrite(folder / "sixteen bit rgb.tif", image.astype(np.uint16) * 257)
    same_nuclei["sixteen bit rgb.tif"] = picture
    small = {"pixel.png": image[:1, :1], "narrow.png": image[:3, :40], "tiny.png": image[:5, :3]}
    for name, content in small.items():
        put(folder, name, content)
    whole = (folder / "plain.png").read_bytes()
    bad = {
        "truncated.png": whole[: len(whole) // 2],
        "empty.png": b"",
        "text.png": b"this is no image\n" * 20,
        "head of a tiff.tif": b"II*\0\x08\0\0\0",
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    (folder / "dangling.png").symlink_to(folder / "gone.png")
    bad["dangling.png"] = None
    (folder / "notes.txt").write_text("not to be looked at")
    (folder / "folder.png").mkdir()

    assert run() == 1
    rows = summary(tmp_path / "output")
    assert set(rows) == set(same_nuclei) | set(small) | set(bad)
    for name in same_nuclei:
        assert rows[name]["status"] == "done", rows[name]["error"]
        assert int(rows[name]["nuclei"]) == len(centres), name
    for name, content in small.items():
        assert rows[name]["status"] == "done", rows[name]["error"]
        size = int(rows[name]["width_out"]), int(rows[name]["height_out"])
        assert size == (4 * content.shape[1], 4 * content.shape[0])
    for name in bad:
        assert rows[name]["status"] == "failed"
        assert name in rows[name]["error"] and "\n" not in rows[name]["error"]
        assert not rows[name]["nuclei"]
    done = [path for path in (tmp_path / "output").iterdir() if path.is_dir()]
    assert len(done) == len(same_nuclei) + len(small)
    for path in done:
        check_agreement(path)
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert all(name in printed.out for name in rows)


def test_images_whose_names_differ_little_have_folders_of_their_own(run, tmp_path):
    names = ["a.png", "a.bmp", "A.tif", "a_png.png", "summary.csv.png", "run.json.png"]
    for name in names:
        put(tmp_path / "input", name, drawn()[0])
    assert run(segment=False) == 0
    folders = [path for path in (tmp_path / "output").iterdir() if path.is_dir()]
    assert len(folders) == len({path.name.casefold() for path in folders}) == len(names)
    assert list(summary(tmp_path / "output")) == sorted(names, key=str.casefold)
    assert all((path / "super_resolved.png").is_file() for path in folders)


def test_a_name_in_another_encoding_does_not_stop_the_run(run, tmp_path):
    folder = tmp_path / "input"
    put(folder, "z.png", drawn()[0])
    try:
        (folder / "z.png").with_name(os.fsdecode(b"M\xe4rz.png")).write_bytes(
            (folder / "z.png").read_bytes()
        )
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert run(segment=False) == 0
    assert run(segment=False) == 0  # the second run prints the name
    assert len(rows_of(tmp_path / "output" / "summary.csv")) == 2


def test_an_error_inside_stops_no_other_image(run, tmp_path, monkeypatch):
    for name in ("a.png", "b.png", "c.png"):
        put(tmp_path / "input", name, drawn()[0])
    Counter(monkeypatch, Network, "predict_middle", 3, RuntimeError("two\nlines"))
    assert run() == 1
    rows = summary(tmp_path / "output")
    assert [row["status"] for row in rows.values()] == ["done", "failed", "done"]
    assert rows["b.png"]["error"] == "RuntimeError: two lines"
    assert run() == 0
    assert [row["status"] for row in summary(tmp_path / "output").values()] == ["done"] * 3


def test_a_full_disk_ends_the_run_with_one_line(run, tmp_path, monkeypatch, capsys):
    put(tmp_path / "input", "a.png", drawn()[0])
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    Counter(monkeypatch, Raster, "write", 2, full)
    assert run() == 2
    (line,) = last_lines(capsys)
    assert os.strerror(errno.ENOSPC) in line


def test_glass_is_left_out(run, tmp_path):
    image, centres = drawn(160, 160)
    centres = centres[centres[:, 0] < 4 * 70]
    image[:, 80:] = np.random.default_rng(0).integers(236, 240, (160, 80, 1))  # not quite even
    put(tmp_path / "input", "half.png", image)
    put(tmp_path / "input", "glass.png", np.full((160, 160, 3), 245, np.uint8))
    assert run(tile_size=48) == 0
    rows = summary(tmp_path / "output")
    assert 0.4 < float(rows["half.png"]["tissue_mm2"]) / 0.0256 < 0.65
    assert check_agreement(tmp_path / "output" / "half") >= len(centres)
    labels = nuclei(tmp_path / "output" / "half")[0]
    assert len(set(labels[centres[:, 1], centres[:, 0]]) - {0}) == len(centres)
    assert not labels[:, 4 * 84 :].any()
    pixels = np.asarray(Image.open(tmp_path / "output" / "half" / "super_resolved.png"))
    # Glass is what it was, enlarged: no step where the tiles with tissue end.
    expected = cv2.resize(image, (640, 640), interpolation=cv2.INTER_CUBIC)
    inside = np.s_[16:-16, 16:-16]
    assert np.abs(pixels[inside].astype(int) - expected[inside]).max() <= 2
    np.testing.assert_array_equal(pixels[16:-16, 4 * 130 : -16], expected[16:-16, 4 * 130 : -16])
    # It is not assessed, though the image is not a whole number of tiles wide.
    assessed = tifffile.imread(tmp_path / "output" / "half" / "sr_confidence.tif") > 0
    assert assessed[:, :80].all() and not assessed[:, 130:].any()
    assert (assessed.all(axis=0) == assessed.any(axis=0)).all()
    assert rows["glass.png"]["status"] == "done"
    assert rows["glass.png"]["nuclei"] == "0" and float(rows["glass.png"]["tissue_mm2"]) == 0
    assert rows["glass.png"]["density_per_mm2"] == rows["glass.png"]["mean_area_um2"] == ""
    assert check_agreement(tmp_path / "output" / "glass") == 0


def test_a_slide_is_read_at_low_resolution_and_written_as_a_pyramid(run, tmp_path):
    image, centres = drawn()
    (tmp_path / "input").mkdir()
    double = cv2.resize(image, (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_NEAREST)
    resolution = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}  # 0.5 um
    tifffile.imwrite(
        tmp_path / "input" / "slide.tif", double, tile=(64, 64), photometric="rgb", **resolution
    )
    assert run(microns_per_pixel=None, read_at_microns_per_pixel=1.0, jpeg_quality=0) == 0
    folder = tmp_path / "output" / "slide"
    assert not (folder / "super_resolved.png").exists()
    with tifffile.TiffFile(folder / "super_resolved.ome.tif") as tiff:
        assert tiff.is_ome and 'PhysicalSizeX="0.25"' in tiff.ome_metadata
        pixels = tiff.asarray()
    assert pixels.shape == (4 * HEIGHT, 4 * WIDTH, 3)
    expected = cv2.resize(image, (4 * WIDTH, 4 * HEIGHT), interpolation=cv2.INTER_CUBIC)
    assert np.abs(pixels.astype(float) - expected)[16:-16, 16:-16].max() <= 2
    assert check_agreement(folder) == len(centres)
    assert run(microns_per_pixel=None, read_at_microns_per_pixel=2.0, segment=False) == 0
    assert run(microns_per_pixel=None, read_at_microns_per_pixel=1.4, segment=False) == 0
    assert int(summary(tmp_path / "output")["slide.tif"]["width_in"]) == WIDTH // 1.4
