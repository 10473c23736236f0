"""Fields cut from a known image are put back where they were cut, whatever their order."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import Stitch_fields
import tifffile
from PIL import Image
from skimage.data import immunohistochemistry

from images.finding import find_images
from images.opening import open_image
from images.stitching import matching
from images.stitching import registration as fs

ROOT = Path(__file__).resolve().parents[2]
MONUSEG = ROOT.parent / "shared" / "data" / "nuclei" / "monuseg_train" / "images"
LIMITS = Stitch_fields.MINIMUM_OVERLAP, Stitch_fields.SMALLEST_CORRELATION
NOISE = 4  # grey levels
JITTER = 10  # pixels by which the stage misses the grid


def drawn_tissue(rng, side=600):
    """Dark blurred nuclei on uneven pink, uint8 RGB."""
    clouds = cv2.GaussianBlur(rng.normal(0, 1, (side, side)).astype(np.float32), (0, 0), 12)
    image = np.float32([225, 170, 205]) + 150 * clouds[..., None]
    for x, y, a, b, angle in rng.uniform((0, 0, 4, 3, 0), (side, side, 9, 7, 180), (900, 5)):
        shade = rng.uniform(60, 130)
        color = (shade + 20, shade - 20, shade + 40)
        cv2.ellipse(image, ((x, y), (2 * a, 2 * b), angle), color, -1)
    return np.clip(cv2.GaussianBlur(image, (0, 0), 1.2), 0, 255).astype(np.uint8)


def pictures():
    yield "drawn", lambda: drawn_tissue(np.random.default_rng(5))
    yield "ihc", immunohistochemistry
    for name in ("TCGA-18-5592-01Z-00-DX1", "TCGA-B0-5698-01Z-00-DX1"):
        path = MONUSEG / f"{name}.webp"
        missing = pytest.mark.skipif(not path.is_file(), reason=f"no {path}")
        reader = lambda path=path: np.asarray(Image.open(path).convert("RGB"))  # noqa: E731
        yield pytest.param(name, reader, marks=missing)


def cut(image, rng, rows=3, columns=3, step=0.5):
    """Fields of an image row by row as (pixels, (x, y)): jitter, brightness +-15 %, noise."""
    height = int((image.shape[0] - 2 * JITTER) / (1 + (rows - 1) * step))
    width = int((image.shape[1] - 2 * JITTER) / (1 + (columns - 1) * step))
    fields = []
    for row in range(rows):
        for column in range(columns):
            x, y = (
                JITTER + int(step * at) + int(rng.integers(-JITTER, JITTER + 1))
                for at in (column * width, row * height)
            )
            field = image[y : y + height, x : x + width] * rng.uniform(0.85, 1.15)
            field = field + rng.normal(0, NOISE, field.shape)
            fields.append((np.clip(np.rint(field), 0, 255).astype(np.uint8), (x, y)))
    return fields


def save(folder, fields, suffix=".png", **options):
    folder.mkdir(exist_ok=True)
    for number, (pixels, _) in enumerate(fields):
        Image.fromarray(pixels).save(folder / f"field {number}{suffix}", **options)
    return folder


def shuffled(fields, rng):
    return [fields[index] for index in rng.permutation(len(fields))]


def solved(folder, grid=None):
    fields, _ = matching.read_fields(find_images(folder), grid)
    pairs = matching.find_pairs(fields, grid, LIMITS)
    return matching.place(fields, pairs, LIMITS)[0]


def largest_miss(positions, fields):
    """Pixels by which a recovered place misses the true one, apart from a common offset."""
    misses = np.array([positions[number] - fields[number][1] for number in positions])
    return np.abs(misses - misses.mean(axis=0)).max()


def psnr(stitched, original):
    """PSNR after the common brightness, which fields alone cannot tell, is matched."""
    stitched, original = stitched.astype(float), original.astype(float)
    gain = (stitched * original).sum(axis=(0, 1)) / (stitched**2).sum(axis=(0, 1))
    return 10 * np.log10(255**2 / np.mean((stitched * gain - original) ** 2))


@pytest.mark.parametrize("name, picture", list(pictures()))
def test_shuffled_fields_become_the_original(tmp_path, name, picture):
    rng, original = np.random.default_rng(1), picture()
    fields = shuffled(cut(original, rng), rng)
    folder, target = save(tmp_path / "fields", fields), tmp_path / "out" / "whole.png"
    assert largest_miss(solved(folder), fields) < 0.5

    assert Stitch_fields.main(folder, target, microns_per_pixel=0.5) == 0
    with open_image(target) as image:
        assert image.microns_per_pixel == pytest.approx(0.5, rel=1e-4)
        stitched = image.read(0, 0, image.width, image.height)
    assert [path.name for path in target.parent.iterdir()] == ["whole.png"]
    x, y = np.min([place for _, place in fields], axis=0)
    height, width = stitched.shape[:2]
    inner = slice(2 * JITTER, height - 2 * JITTER), slice(2 * JITTER, width - 2 * JITTER)
    figure = psnr(stitched[inner], original[y : y + height, x : x + width][inner])
    print(f"{name}: {figure:.1f} dB")
    # Noise of 4 grey levels alone is 36.1 dB; the overlaps average some of it away.
    assert figure > 34


def test_foreign_fields_are_named_and_left_out(tmp_path, capsys):
    rng = np.random.default_rng(2)
    fields = cut(immunohistochemistry(), rng)
    shape = fields[0][0].shape
    other = drawn_tissue(rng)[: shape[0], : shape[1]]
    flat = np.clip(200 + rng.normal(0, NOISE, shape), 0, 255).astype(np.uint8)
    noise = rng.integers(0, 256, shape, np.uint8)
    constant = np.full(shape, 255, np.uint8)
    folder = save(tmp_path / "fields", fields + [(a, None) for a in (other, flat, noise, constant)])
    (folder / "broken.png").write_bytes(b"no picture")

    assert Stitch_fields.main(folder, tmp_path / "whole.png") == 1
    printed = capsys.readouterr()
    left_out = [line for line in printed.err.splitlines() if line.startswith("left out: ")]
    names = [line.split(": ")[1] for line in left_out]
    assert names == ["broken.png", *(f"field {number}.png" for number in (9, 10, 11, 12))]
    assert left_out[0].count("broken.png") == 1
    assert sum("left out" in line for line in printed.out.splitlines()) == 4
    assert "pixel size unknown" in printed.out
    assert largest_miss(solved(folder), {n + 1: f for n, f in enumerate(fields)}) < 0.5


def test_grid_needs_natural_order_and_as_many_files(tmp_path, capsys):
    rng = np.random.default_rng(3)
    fields = cut(drawn_tissue(rng), rng, rows=3, columns=4, step=0.7)
    folder = save(tmp_path / "fields", fields)
    assert largest_miss(solved(folder, grid=(3, 4)), fields) < 0.5
    assert Stitch_fields.main(folder, tmp_path / "whole.png", grid=(3, 3)) == 2
    assert "GRID: 3 x 3 fields expected, 12 files found" in capsys.readouterr().err


def test_two_fields_of_different_sizes(tmp_path):
    image = immunohistochemistry()
    fields = [(image[40:400, 20:300], (20, 40)), (image[100:310, 180:500], (180, 100))]
    folder, target = save(tmp_path / "fields", fields, dpi=(25400, 25400)), tmp_path / "a.png"
    assert largest_miss(solved(folder), fields) < 0.1
    assert Stitch_fields.main(folder, target) == 0
    with open_image(target) as stitched:
        assert (stitched.width, stitched.height) == (480, 360)
        assert stitched.microns_per_pixel == pytest.approx(1.0, rel=1e-3)
        assert (stitched.read(290, 0, 190, 50) == 255).all()  # no field: white as glass
        assert np.abs(stitched.read(0, 0, 150, 360) - image[40:400, 20:170].astype(int)).max() <= 1


def test_large_results_become_ome_tiff(tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    fields = cut(drawn_tissue(rng), rng, rows=1, columns=2)
    folder = save(tmp_path / "fields", fields)
    monkeypatch.setattr(Stitch_fields, "LARGEST_PNG", 1000)
    monkeypatch.setattr(Stitch_fields, "STRIP", 100)
    assert Stitch_fields.main(folder, tmp_path / "a.png", microns_per_pixel=0.25) == 0
    with (
        tifffile.TiffFile(tmp_path / "a.ome.tif") as file,
        open_image(tmp_path / "a.ome.tif") as image,
    ):
        assert file.is_ome and image.microns_per_pixel == pytest.approx(0.25)
        in_strips = image.read(0, 0, image.width, image.height)
    monkeypatch.undo()
    assert Stitch_fields.main(folder, tmp_path / "b.png") == 0
    assert np.array_equal(in_strips, np.asarray(Image.open(tmp_path / "b.png")))


@pytest.mark.parametrize(
    "number, options, message",
    [
        (0, {}, "no images in"),
        (1, {}, "expected two readable fields, found 1"),
        (2, {}, "nothing overlaps: no two of 2 fields share 5% with a correlation of 0.5"),
        (2, {"minimum_overlap": 1.5}, "MINIMUM_OVERLAP: expected a number between 0 and 1"),
        (2, {"grid": (0, 2)}, "GRID: expected (rows, columns)"),
        (2, {"microns_per_pixel": -1.0}, "MICRONS_PER_PIXEL: expected more than 0"),
        (2, {"output_file": Path("whole.jpg")}, "OUTPUT_FILE: expected .png or .ome.tif"),
    ],
)
def test_errors_are_one_line(tmp_path, capsys, number, options, message):
    image = immunohistochemistry()
    apart = [(image[:200, :200], None), (image[250:450, 250:450], None)]
    folder = save(tmp_path / "fields", apart[:number])
    options = {"output_file": tmp_path / "out" / "whole.png"} | options
    assert Stitch_fields.main(folder, **options) == 2
    error = capsys.readouterr().err.split("\r")[-1].strip()
    assert message in error and "\n" not in error
    assert not (tmp_path / "out").exists()


def test_fields_that_do_not_belong_to_one_series(tmp_path, capsys):
    image = immunohistochemistry()
    folder = save(tmp_path / "fields", [(image[:300, :300], None)], dpi=(25400, 25400))
    Image.fromarray(image[:300, 100:400]).save(folder / "b.png", dpi=(50800, 50800))
    assert Stitch_fields.main(folder, tmp_path / "whole.png") == 2
    assert "different pixel sizes: b.png 0.5 um, field 0.png 1 um" in capsys.readouterr().err
    Image.fromarray(image[:300, 100:400]).save(folder / "c.jpg")
    assert Stitch_fields.main(folder, tmp_path / "whole.png") == 2
    assert "different formats" in capsys.readouterr().err
    assert Stitch_fields.main(folder, folder / "whole.png") == 2
    assert "OUTPUT_FILE is in INPUT_FOLDER" in capsys.readouterr().err


def test_interruption_leaves_nothing_behind(tmp_path, capsys, monkeypatch):
    image = immunohistochemistry()
    fields = [(image[:300, :300], None), (image[:300, 150:450], None)]
    folder = save(tmp_path / "fields", fields)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Stitch_fields, "blend", interrupt)
    assert Stitch_fields.main(folder, tmp_path / "out" / "whole.png") == 130
    assert "Interrupted" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_sift_finds_what_phase_correlation_does_not(tmp_path, monkeypatch):
    rng = np.random.default_rng(6)
    fields = cut(immunohistochemistry(), rng)
    monkeypatch.setattr(fs, "candidate_shifts", lambda *_: [])
    positions = solved(save(tmp_path / "fields", fields))
    assert len(positions) == 9
    assert largest_miss(positions, fields) < 0.5


def dirt_on(rng, height, width, amount):
    """Factors (height, width, 1) by which dust on the sensor darkens every field."""
    dust = np.zeros((height, width), np.float32)
    for x, y, radius in rng.integers((20, 20, 4), (width - 20, height - 20, 9), (15, 3)):
        cv2.circle(dust, (int(x), int(y)), int(radius), 1, -1)
    return 1 - amount * cv2.GaussianBlur(dust, (0, 0), 2)[..., None]


@pytest.mark.parametrize("amount", [0.06, 0.25])
def test_dirt_on_the_camera_places_no_field(tmp_path, amount):
    rng = np.random.default_rng(8)
    scene = drawn_tissue(rng, 1000)
    scene[:, 420:] = 238  # glass beside the specimen
    fields = cut(scene, rng, rows=3, columns=4, step=0.7)
    factors = dirt_on(rng, *fields[0][0].shape[:2], amount)
    fields = [(np.rint(pixels * factors).astype(np.uint8), place) for pixels, place in fields]
    positions = solved(save(tmp_path / "fields", fields))
    assert len(positions) == 6  # all that show tissue on more than their border
    assert largest_miss(positions, fields) < 1


def test_a_field_that_was_taken_twice_is_placed_by_its_neighbours(tmp_path):
    rng = np.random.default_rng(9)
    fields = cut(drawn_tissue(rng), rng)
    fields.append(fields[4])
    positions = solved(save(tmp_path / "fields", fields))
    assert len(positions) == 10
    assert largest_miss(positions, fields) < 0.5
    assert len(solved(save(tmp_path / "few", [fields[4], fields[9]]))) == 2


def test_wrong_pairs_are_rejected_and_strangers_kept_apart():
    truth = {number: np.array([50.0 * (number % 3), 50.0 * (number // 3)]) for number in range(9)}
    right = [
        fs.Pair(a, b, tuple(truth[b] - truth[a]), 0.9, 0.4)
        for a in truth
        for b in truth
        if a < b and np.abs(truth[b] - truth[a]).max() <= 50
    ]
    wrong = [fs.Pair(0, 8, (10.0, -30.0), 0.9, 0.4), fs.Pair(3, 5, (60.0, 0.0), 0.6, 0.3)]
    stranger = fs.Pair(9, 10, (5.0, 5.0), 1.0, 1.0)
    positions, kept = fs.solve_positions(range(11), [*wrong, *right, stranger], 3.0)
    assert sorted(positions) == list(range(9))
    assert kept == right
    assert all(np.allclose(positions[n], truth[n], atol=1e-6) for n in truth)


def test_gains_undo_brightness_and_ignore_saturation():
    scene = np.random.default_rng(7).uniform(60, 180, (100, 220, 3))
    factors = np.array([[0.9, 1.0, 1.1], [1.2, 1.0, 0.8], [1.0, 1.05, 0.95]])
    images = [
        (scene[:, 60 * n : 60 * n + 100] * f).round().astype(np.uint8)
        for n, f in enumerate(factors)
    ]
    images[0][:20], images[1][:20] = 255, 255
    positions = {n: np.array([60.0 * n, 0.0]) for n in range(3)}
    pairs = [fs.Pair(n, n + 1, (60.0, 0.0), 1.0, 0.4) for n in range(2)]
    gains = fs.solve_gains(images, positions, pairs)
    brightness = factors * np.array([gains[n] for n in range(3)])
    assert np.allclose(brightness, brightness[0], rtol=2e-3)
    assert np.allclose(np.prod([gains[n] for n in range(3)], axis=0), 1)


def test_help_is_quick_and_complete():
    script = ROOT / "Implementation" / "Stitch_fields.py"
    run = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, timeout=30
    )
    assert run.returncode == 0
    for flag in ("input-folder", "output-file", "grid", "minimum-overlap", "microns-per-pixel"):
        assert f"--{flag}" in run.stdout
