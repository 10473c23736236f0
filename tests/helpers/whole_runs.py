"""Whole runs of Final_implementation on drawn images: what is drawn, and what came of it."""

import csv
import json
from pathlib import Path

import cv2
import Final_implementation
import numpy as np
import tifffile
from PIL import Image

SCRIPT = Path(Final_implementation.__file__)
BACKGROUND, NUCLEUS = (230, 180, 210), (95, 60, 140)
HEIGHT, WIDTH = 52, 70  # of the drawn low-resolution images; not multiples of anything
RESULTS = {
    "super_resolved.png",
    "nuclei_labels.tif",
    "nuclei.csv",
    "nuclei.geojson",
    "overlay.png",
    "figure.png",
    "consistency.png",
    "confidence.png",
    "sr_confidence.tif",
}


def without_pictures(replace):
    """Leave out figures and maps, which take most of the time of a small image.

    Args:
        replace: `monkeypatch.setattr`, or `setattr` in a process of its own.
    """
    from outputs import evidence, files  # late, as they take seconds
    from stages import assembly

    def stand_in(path, *_):
        Path(path).write_bytes(b"drawn")

    replace(evidence, "write_map", stand_in)
    replace(files, "write_figure", stand_in)
    replace(assembly, "write_maps", lambda *_: None)


def drawn(height=HEIGHT, width=WIDTH, seed=0):
    """A low-resolution image of ellipses, 1 um per pixel: (uint8 RGB, centres (x, y) at x4)."""
    random = np.random.default_rng(seed)
    image = np.full((4 * height, 4 * width, 3), BACKGROUND, np.uint8)
    centres = []
    for y in range(34, 4 * height - 24, 60):
        for x in range(34, 4 * width - 24, 60):
            centre = x + int(random.integers(-8, 9)), y + int(random.integers(-8, 9))
            axes = int(random.integers(14, 18)), int(random.integers(11, 14))
            angle = float(random.uniform(0, 180))
            cv2.ellipse(image, centre, axes, angle, 0, 360, NUCLEUS, -1)
            centres.append(centre)
    return shrunk(image), np.array(centres)


def crowded(height, width, nuclei, seed=0):
    """A low-resolution image of discs at random places; many touch, many are cut by the border."""
    random = np.random.default_rng(seed)
    image = np.full((4 * height, 4 * width, 3), BACKGROUND, np.uint8)
    for _ in range(nuclei):
        centre = int(random.integers(4 * width)), int(random.integers(4 * height))
        cv2.circle(image, centre, int(random.integers(10, 20)), NUCLEUS, -1)
    return shrunk(image)


def shrunk(image):
    height, width = image.shape[:2]
    return cv2.resize(image, (width // 4, height // 4), interpolation=cv2.INTER_AREA)


def put(folder, name, image, **options):
    folder.mkdir(exist_ok=True)
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(folder / name, **options)


def finished_folders(output):
    """Folders of the images that are finished; others have a manifest without results."""
    manifests = sorted(output.glob("*/manifest.json"))
    return [m.parent for m in manifests if "summary" in json.loads(m.read_text("utf-8"))]


def rows_of(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def summary(folder):
    return {row["image"]: row for row in rows_of(folder / "summary.csv")}


def nuclei(folder):
    """Label map, rows of the table and features of one image."""
    features = json.loads((folder / "nuclei.geojson").read_text("utf-8"))["features"]
    return tifffile.imread(folder / "nuclei_labels.tif"), rows_of(folder / "nuclei.csv"), features


def check_agreement(folder):
    """Check that label map, table and GeoJSON tell of the same nuclei; return how many."""
    labels, rows, features = nuclei(folder)
    count = labels.max(initial=0)
    assert labels.dtype == np.uint32
    assert np.unique(labels[labels > 0]).tolist() == list(range(1, count + 1))
    assert [int(row["label"]) for row in rows] == list(range(1, count + 1))
    assert [int(feature["properties"]["name"]) for feature in features] == list(range(1, count + 1))
    height, width = labels.shape
    for row, feature in zip(rows, features, strict=True):
        x, y = float(row["centroid_x_px"]), float(row["centroid_y_px"])
        assert 0 <= x <= width and 0 <= y <= height
        ys, xs = np.nonzero(labels == int(row["label"]))
        assert xs.min() <= x <= xs.max() + 1 and ys.min() <= y <= ys.max() + 1
        assert np.hypot(xs + 0.5 - x, ys + 0.5 - y).min() < 3  # on or near its label
        ring = np.array(feature["geometry"]["coordinates"][0])
        assert (ring >= 0).all() and (ring <= [width, height]).all()
        assert ring[:, 0].min() <= x <= ring[:, 0].max()
        assert ring[:, 1].min() <= y <= ring[:, 1].max()
    return int(count)


def bytes_of(folder, names=("nuclei_labels.tif", "nuclei.csv", "nuclei.geojson")):
    return [(folder / name).read_bytes() for name in names]


class Counter:
    """Wraps a method and counts its calls; before call number `stop_at` it raises `error`."""

    def __init__(self, monkeypatch, owner, name, stop_at=None, error=KeyboardInterrupt):
        self.calls, original = 0, getattr(owner, name)

        def counted(instance, *arguments):
            self.calls += 1
            if self.calls == stop_at:
                raise error
            return original(instance, *arguments)

        monkeypatch.setattr(owner, name, counted)


def last_lines(capsys):
    """Lines on stderr without the progress bar's."""
    text = capsys.readouterr().err.split("\r")[-1]
    return [line for line in text.splitlines() if line.strip()]


def put_images(folder, *names, size=(40, 56)):
    for seed, name in enumerate(names):
        path = folder / "input" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        put(path.parent, path.name, crowded(*size, 12, seed))


def assert_as_clean(run, tmp_path, output=None, names=("a", "b", "c")):
    """Compare the results of a folder with those of a run without any fault."""
    assert run(tmp_path / "clean")[0] == 0
    for name in names:
        folder = (output or tmp_path / "output") / name
        assert bytes_of(folder) == bytes_of(tmp_path / "clean" / name), name
        assert not (folder / ".partial").exists()
