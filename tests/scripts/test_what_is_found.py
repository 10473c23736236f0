"""What a run takes for its images: slides once, from their bounds; no masks, no wrong sizes."""

import json
import shutil

import numpy as np
from PIL import Image
from shapely.geometry import shape

from helpers.cases import CASES, needs_cases
from helpers.whole_runs import drawn, last_lines, put, summary


@needs_cases
def test_a_dicom_slide_is_done_once_and_named_after_its_folder(run, tmp_path, capsys):
    for target in ("input/case 1.2", "other"):
        shutil.copytree(CASES / "dicom", tmp_path / target)
    put(tmp_path / "input", "a.png", drawn()[0])
    flags = {"super_resolve": False, "read_at_microns_per_pixel": 1.0, "microns_per_pixel": None}
    assert run(**flags) == 0
    assert sorted(summary(tmp_path / "output")) == ["a.png", "case 1.2"]
    assert (tmp_path / "output" / "case 1.2" / "manifest.json").is_file()
    assert run(output="second", input_folder=tmp_path / "other", **flags) == 0
    assert (tmp_path / "second" / "other" / "manifest.json").is_file()
    capsys.readouterr()
    assert run(output="second", input_folder=tmp_path / "other", **flags) == 0
    assert "finished before" in capsys.readouterr().out
    with (tmp_path / "other" / "slide_label.dcm").open("ab") as file:
        file.write(bytes(2))
    assert run(output="second", input_folder=tmp_path / "other", **flags) == 0
    assert "finished before" not in capsys.readouterr().out


def ring_points(path):
    features = json.loads(path.read_text(encoding="utf-8"))["features"]
    assert features
    return np.concatenate([shape(each["geometry"]).exterior.coords for each in features])


@needs_cases
def test_coordinates_on_a_slide_count_from_its_bounds(run, tmp_path):
    (tmp_path / "input").mkdir()
    shutil.copyfile(CASES / "images" / "leica.scn", tmp_path / "input" / "leica.scn")
    flags = {"super_resolve": False, "microns_per_pixel": None, "region": (64, 32, 512, 384)}
    points = {}
    for frame in ("result", "slide"):
        assert run(output=frame, geojson_frame=frame, **flags) == 0
        points[frame] = ring_points(tmp_path / frame / "leica" / "nuclei.geojson")
    np.testing.assert_allclose(points["slide"], points["result"] + (64, 32), atol=0.01)
    assert points["slide"].max(axis=0).tolist() <= [576, 416]


def test_masks_beside_images_are_left_out_and_said(run, tmp_path, capsys):
    image, _ = drawn(44, 44)
    mask = Image.fromarray((image.mean(axis=-1) < 150).astype(np.uint8) * 255)
    put(tmp_path / "input", "1_crop.png", image)
    put(tmp_path / "input", "1_labeled_mask_corrected.png", mask)
    assert run() == 0
    assert list(summary(tmp_path / "output")) == ["1_crop.png"]
    assert "masks or label maps: 1 file (1_labeled_mask_corrected.png)" in capsys.readouterr().out
    (tmp_path / "input" / "1_crop.png").unlink()
    assert run(output="second") == 2
    (line,) = last_lines(capsys)
    assert "found masks only (1_labeled_mask_corrected.png)" in line


def test_a_size_of_a_desktop_scanner_is_refused_before_anything_is_computed(run, tmp_path, capsys):
    put(tmp_path / "input", "a.png", drawn(44, 44)[0])
    picture = Image.open(tmp_path / "input" / "a.png")
    picture.save(tmp_path / "input" / "a.png", dpi=(2400, 2400))
    assert run(microns_per_pixel=None) == 1
    row = summary(tmp_path / "output")["a.png"]
    assert "found 10.6 um (2400 dpi)" in row["error"] and "--microns-per-pixel" in row["error"]
    assert not (tmp_path / "output" / "a").exists()
    assert run(output="second", microns_per_pixel_for_all=True) == 0
