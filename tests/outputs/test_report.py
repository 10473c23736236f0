"""The report shows what a run wrote, safely, in one small file that a browser can work with."""

import csv
import json
import re
import shutil
import time
from html.parser import HTMLParser
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
import tifffile
from scipy import ndimage

from outputs.groups import Measured, compare, write_groups
from outputs.png import write_image
from outputs.report import page, previews, tables
from outputs.report.page import write_report
from outputs.tables import table_writer
from outputs.tiff import write_label_tiff, write_pyramid
from pipeline.summary import SUMMARY_COLUMNS
from regions.table import region_columns

HOSTILE = "<img src=x onerror=alert(1)>.png"
AWKWARD = "50% of #1 ünï & co?"  # a folder's name that a link has to encode


class ArrayRaster:
    """An array as the raster that the writers take."""

    def __init__(self, array):
        self.array, self.dtype = array, array.dtype
        self.height, self.width = array.shape[:2]
        self.channels = 1 if array.ndim == 2 else array.shape[2]

    def read(self, x, y, width, height):
        return self.array[y : y + height, x : x + width]


def field(height, width, nuclei, seed=0):
    """Pink tissue with drawn nuclei: (RGB, label map)."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.uint32)
    for label in range(1, nuclei + 1):
        disc = np.zeros((height, width), np.uint8)
        centre = int(rng.integers(width)), int(rng.integers(height))
        cv2.circle(disc, centre, int(rng.integers(4, 9)), 1, -1)
        labels[disc > 0] = label
    image = np.where(labels[..., None] > 0, (110, 60, 140), (230, 170, 205))
    texture = ndimage.gaussian_filter(rng.normal(0, 40, image.shape), (2, 2, 0))
    return np.clip(image + texture, 0, 255).astype(np.uint8), labels


def write_nuclei(path, labels, unit="um2"):
    """The columns of nuclei.csv that the report reads; one nucleus has no eccentricity."""
    with table_writer(path) as add:
        for label in np.unique(labels)[1:]:
            add(
                {
                    "label": label,
                    f"area_{unit}": (labels == label).sum() / 16,
                    "eccentricity": float("nan") if label == 1 else 0.5,
                    "mean_hematoxylin_od": 0.3 + label / 100,
                    "touches_border": int(label == labels.max()),
                }
            )


class Run:
    """A folder as run_folder leaves it, filled image by image."""

    def __init__(self, folder):
        self.folder, self.rows = folder, []
        folder.mkdir()
        self.write_record({})

    def write_record(self, unet_record, generator=True):
        record = {
            "constants": {"tile_size": 256, "microns_per_pixel": None, "unet": "</script><b>"},
            "versions": {"python": "3.11.2", "keras": "3.15.0"},
            "models": {
                "generator": {"sha256": "def456", "record": {}} if generator else None,
                "unet": {"sha256": "abc123", "record": unet_record},
            },
        }
        (self.folder / "run.json").write_text(json.dumps(record), encoding="utf-8")

    def add(self, name, size=(120, 160), nuclei=12, slide=False, **columns):
        """Add a finished image, x4, with everything that belongs to it."""
        folder = self.folder / name.rsplit(".", 1)[0]
        folder.mkdir()
        image, labels = field(*size, nuclei)
        if slide:
            write_pyramid(folder / "super_resolved.ome.tif", ArrayRaster(image), 0.25)
        else:
            write_image(folder / "super_resolved.png", image)
        low = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        write_image(folder / "low_resolution.png", low)
        write_label_tiff(folder / "nuclei_labels.tif", ArrayRaster(labels), 0.25)
        write_nuclei(folder / "nuclei.csv", labels)
        (folder / "nuclei.geojson").write_text("{}")
        height, width = size
        row = {
            "image": name,
            "status": "done",
            "width_in": width // 4,
            "height_in": height // 4,
            "width_out": width,
            "height_out": height,
            "microns_per_pixel_out": 0.25,
            "tissue_mm2": 0.5,
            "nuclei": nuclei,
            "density_per_mm2": 2.0 * nuclei,
            "mean_area_um2": 40.04,
            "sd_area_um2": 5.0,
            "seconds": 1.25,
        } | columns
        (folder / "manifest.json").write_text(json.dumps({"summary": row}), encoding="utf-8")
        self.rows.append(row)
        return folder

    def fail(self, name, error):
        self.rows.append({"image": name, "status": "failed", "error": f"{name}: {error}"})

    def report(self):
        """Write summary and report; return the report's text."""
        with table_writer(self.folder / "summary.csv", SUMMARY_COLUMNS) as add:
            for row in self.rows:
                add(row)
        return write_report(self.folder, self.folder / "summary.csv").read_text("utf-8")


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


class Page(HTMLParser):
    """Tags with their attributes, and the texts of table cells."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.cells, self.in_cell = [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.in_cell = tag == "td" or (self.in_cell and tag in ("a", "span"))
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag != "td"

    def handle_data(self, data):
        if self.in_cell:
            self.cells[-1] += data.strip()

    def all(self, tag, **wanted):
        return [a for t, a in self.tags if t == tag and wanted.items() <= a.items()]


def picture(uri):
    """Decode a data URI."""
    kind, data = uri.split(",")
    assert kind == "data:image/webp;base64"
    data = np.frombuffer(previews.base64.b64decode(data), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


def layers(html):
    """The decoded pictures of the first image: super-resolved, low resolution, outlines."""
    return [picture(tag["src"]) for tag in Page(html).all("img")[:3]]


# ---------------------------------------------------------------------------------- content


def test_table_shows_every_image_with_its_figures(run):
    run.add("a.png", nuclei=12)
    run.fail("b.png", "not an image")
    html = run.report()
    cells = Page(html).cells
    assert cells[:7] == ["a.png", "done", "12", "24", "40.0", "5.0", "1.2"]
    assert cells[7:14] == ["b.png", "failed", "-", "-", "-", "-", "-"]
    assert "2 images" in html and "1 failed" in html
    assert "<dd>not an image</dd>" in html


def test_cells_carry_the_exact_number_that_sorting_needs(run):
    run.add("a.png", mean_area_um2=40.04)
    run.fail("b.png", "broken")
    values = [cell.get("data-value") for cell in Page(run.report()).all("td")]
    assert values[4] == "40.04"
    assert values[7:14] == ["b.png", "failed", "", "", "", "", ""]


def test_pixel_units_are_named_where_the_pixel_size_is_unknown(run):
    unknown = ("microns_per_pixel_out", "tissue_mm2", "density_per_mm2")
    unknown += ("mean_area_um2", "sd_area_um2")
    columns = dict.fromkeys(unknown) | {"mean_area_px2": 640.0, "sd_area_px2": 80.0}
    folder = run.add("a.png", **columns)
    write_nuclei(folder / "nuclei.csv", field(120, 160, 12)[1], "px2")
    html = run.report()
    assert "px²" in html and "µm²" not in html
    assert "The pixel size is not known" in html


def test_histograms_state_unit_median_and_count(run):
    labels = np.zeros((10, 10), np.uint32)
    labels[:4, :4], labels[6:, :4], labels[6:, 6:] = 1, 2, 3  # 16 px each: 1 um2
    folder = run.add("a.png")
    write_nuclei(folder / "nuclei.csv", labels)
    html = run.report()
    # The third is cut by the border, the first has no eccentricity.
    assert "Histogram of Area of whole nuclei: 2 nuclei, median 1 µm², 2 in the highest" in html
    assert "Histogram of Eccentricity of whole nuclei: 1 nucleus," in html
    assert "Histogram of Hematoxylin: 3 nuclei" in html
    assert "median 0.32 mean optical density" in html


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (0.0, "0.000"), (0.0004, "0.0004"), (0.0374, "0.037")]
)
def test_a_little_is_not_shown_as_nothing(value, shown):
    assert page._figure(value, 3) == shown


def test_histogram_counts_every_value_once():
    values = np.array([0.0] * 3 + [0.5] * 4 + [1.0] * 5, np.float32)
    drawn = page._histogram(values, "Eccentricity", "", 1.0)
    heights = [100 - float(y) for y in re.findall(r"V([\d.]+)h", drawn["path"])]
    assert heights[0] == 60 and heights[15] == 80 and heights[-1] == 100
    assert sum(heights) == 240
    assert drawn["ticks"][0] == ("0.00", "0") and drawn["ticks"][-1] == ("100.00", "1")


@pytest.mark.parametrize("values", [[0.0], [-0.1, -0.1], [3e-9], [1e6, 1.0]])
def test_histogram_of_odd_values_has_an_axis(values):
    drawn = page._histogram(np.array(values, np.float32), "", "", None)
    assert drawn["count"] == len(values) and 2 <= len(drawn["ticks"]) <= 9


def test_records_of_the_models_are_shown(run):
    images = [f"image {number}" for number in range(50)]
    run.write_record(
        {
            "task": "nuclei",
            "training_images": images,
            "constants": {"training_folders": ["NuInsSeg", "TNBC"]},
            "validation": {"val_dice": 0.81234},
        }
    )
    html = run.report()
    assert "NuInsSeg, TNBC" in html and "50 entries" in html and "abc123" in html
    assert "0.8123" in html and "3.15.0" in html and "There is no record" in html
    assert "can invent" in html and "diagnosis" in html


def test_run_without_super_resolution_or_nuclei_still_has_a_report(run):
    folder = run.add("a.png", density_per_mm2=None, mean_area_um2=None, sd_area_um2=None)
    run.rows[0]["nuclei"] = None
    for name in ("low_resolution.png", "nuclei_labels.tif", "nuclei.csv", "nuclei.geojson"):
        (folder / name).unlink()
    run.write_record({}, generator=False)
    html = run.report()
    assert len(Page(html).all("img")) == 1
    assert not Page(html).all("input")
    assert "Not used in this run." in html and "invent" not in html


def test_a_network_for_pixel_sizes_is_no_super_resolution(run):
    run.add("a.png")
    run.write_record({"constants": {"image_folders": ["MoNuSeg"]}}, generator=False)
    record = json.loads((run.folder / "run.json").read_text("utf-8"))
    record["models"]["pixel_size_model"] = record["models"]["unet"]
    (run.folder / "run.json").write_text(json.dumps(record), "utf-8")
    html = run.report()
    assert "Network for pixel sizes" in html and "MoNuSeg" in html and "invent" not in html


def test_missing_and_broken_pictures_do_not_stop_the_report(run):
    (run.add("a.png") / "super_resolved.png").write_bytes(b"broken")
    (run.add("b.png") / "manifest.json").unlink()
    run.add("c.png")
    html = run.report()
    assert "No preview: super_resolved.png is not a readable picture" in html
    assert len(Page(html).all("img")) == 3


def test_a_warning_is_read_in_the_table_beside_the_status(run):
    run.add("a.png", warning="unlike in colour")
    run.add("b.png")
    page = Page(run.report())
    assert page.cells[1] == "doneWarning: unlike in colour"
    assert page.all("td")[1]["data-value"] == "done, warning"


def test_what_a_good_confidence_is_stands_beside_the_number(run):
    run.add("a.png", sr_confidence=0.7)
    html = run.report()
    assert f"good: from {page.GOOD_CONFIDENCE}" in html
    grey_levels = -10 * np.log([0.9, 0.74, page.GOOD_CONFIDENCE])
    assert np.rint(grey_levels).tolist() == [1, 3, 5]


def test_regions_and_their_classes_are_shown_with_their_image(run, monkeypatch):
    folder = run.add("a.png")
    run.add("b.png")
    row = {"image": "a.png", "level": "region", "region": "=rim <1>", "region_class": "Tumor"}
    with table_writer(folder / "regions.csv", region_columns(0.25)) as add:
        add(row | {"tissue_mm2": 0.1254, "nuclei": 30, "median_area_um2": 41.27})
        add(row | {"level": "class", "region": "", "tissue_mm2": 0.2, "nuclei": 50})
    html = run.report()
    table = html.split('<div class="regions">')[1].split("</table>")[0]
    assert html.count('<div class="regions">') == 1
    names = re.findall('<th scope="row">(.*?)</th>', table)
    assert names == ["=rim &lt;1&gt;", "all of the class"]
    assert Page(table).cells == ["Tumor", "0.125", "30", "41.3", "Tumor", "0.200", "50", "-"]
    assert re.findall('<th scope="col">(\\w+)', table) == [
        *("Region", "Class", "Tissue", "Nuclei", "Median")
    ]
    monkeypatch.setattr(tables, "MOST_REGIONS", 1)
    assert "1 more in regions.csv" in run.report()


def test_maps_are_shown_by_a_switch(run):
    folder = run.add("a.png")
    run.add("b.png")
    map_of = np.repeat(np.linspace(0, 255, 1500, dtype=np.uint8), 3).reshape(1, -1, 3)
    map_of = np.repeat(map_of, 900, axis=0)
    for name in ("density.png", "confidence.png"):
        write_image(folder / name, map_of)
    (folder / "hematoxylin.png").write_bytes(b"broken")
    page = Page(run.report())
    switch = [tag["value"] for tag in page.all("input", type="radio")]
    assert switch == ["Outlines", "Density", "Confidence"]
    shown = page.all("figure", **{"class": "map"})
    assert [tag["data-view"] for tag in shown] == switch[1:] and all("hidden" in t for t in shown)
    maps = [picture(tag["src"]) for tag in page.all("img") if "map of" in tag["alt"]]
    assert [each.shape for each in maps] == [(720, 1200, 3)] * 2


def test_patients_are_what_is_compared_where_they_are_named(run):
    members = [("a", "p1"), ("a", "p1"), ("a", "p2"), ("b", "p3"), ("b", "p4"), ("few", "p5")]
    images = [
        Measured(f"{number}.png", *member, {"density_per_mm2": (float(number), 9)})
        for number, member in enumerate(members)
    ]
    write_groups(run.folder / "groups.csv", compare(images))
    run.add("a.png", white_measured=0)
    run.add("b.png", white_measured=1)
    html = run.report()
    assert "Mann-Whitney U test, without few (fewer than two patients)" in html
    assert [tag["title"] for tag in Page(html).all("i")] == ["p1", "p2", "p3", "p4", "p5"]
    assert "1 of 2 images show no bare glass, so white was assumed" in " ".join(html.split())


def test_groups_are_compared_over_images(run):
    rows = compare(
        Measured(f"{group}{number}.png", group, None, {"density_per_mm2": (value, 10)})
        for group, values in (("=a<b>", (1000.0, 1200)), ("c", (1500.0, 1900)))
        for number, value in enumerate(values)
    )
    write_groups(run.folder / "groups.csv", rows)
    run.add("a.png")
    html = run.report()
    page = Page(html)
    assert "p = 0.33, Mann-Whitney U test." in html
    assert "=a&lt;b&gt;" in html and "<b>" not in html.replace("</script><b>", "")
    points = [float(tag["style"].removeprefix("left:").removesuffix("%")) for tag in page.all("i")]
    assert len(points) == 4 and points == sorted(points)
    assert (points[1] - points[0]) / (points[3] - points[0]) == pytest.approx(200 / 900, rel=0.01)
    (run.folder / "groups.csv").unlink()
    assert 'id="groups"' not in run.report()


# ----------------------------------------------------------------------------------- safety


def test_names_and_errors_are_text(run):
    run.add("</script><script>alert(2)<!--.png".replace("/", "\u2215"))
    run.fail(HOSTILE, "</dd><script>alert(1)</script> \" ' &amp;")
    page = Page(run.report())
    assert not page.all("img", src="x")
    assert len(page.all("script")) == 1
    assert not [name for _, a in page.tags for name in a if name.startswith("on")]
    assert HOSTILE in page.cells


def test_only_the_own_script_may_run_and_nothing_is_loaded(run):
    run.add("a.png")
    html = run.report()
    page = Page(html)
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert "default-src 'none'" in policy and "'sha256-" in policy
    sources = [attrs[n] for _, attrs in page.tags for n in ("src", "href") if n in attrs]
    assert not [s for s in sources if re.match(r"(https?:)?//", s)]
    assert "url(" not in html and "@import" not in html


def test_name_guarded_for_spreadsheets_is_shown_as_it_was(run):
    run.add("=1+1.png")
    html = run.report()
    assert (
        next(csv.DictReader((run.folder / "summary.csv").open(encoding="utf-8-sig")))["image"]
        == "'=1+1.png"
    )
    assert Page(html).cells[0] == "=1+1.png" and len(Page(html).all("img")) == 3


def test_links_lead_to_the_files_of_the_run(run):
    run.add(f"{AWKWARD}.png")
    run.add("slide.svs", slide=True)
    links = [a["href"] for a in Page(run.report()).all("a") if a["href"][0] != "#"]
    assert "50%25%20of%20%231%20%C3%BCn%C3%AF%20%26%20co%3F/nuclei.csv" in links
    assert {link.rsplit("/")[-1] for link in links} >= {
        "nuclei.csv",
        "nuclei.geojson",
        "super_resolved.png",
        "super_resolved.ome.tif",
        "nuclei_labels.tif",
    }
    assert all((run.folder / unquote(link)).is_file() for link in links)


# --------------------------------------------------------------------------------- pictures


def test_pictures_are_the_images_and_outlines_alone(run):
    run.add("a.png")
    image, labels = field(120, 160, 12)
    after, before, outlines = layers(run.report())
    assert after.shape == image.shape and before.shape == (30, 40, 3)
    assert np.abs(after[..., ::-1].astype(int) - image).mean() < 6
    opaque = outlines[..., 3] == 255
    assert opaque.any() and (labels[opaque] > 0).all()
    assert (outlines[opaque] == (0, 255, 205, 255)).all()  # figures.OUTLINE, as BGRA


@pytest.mark.parametrize("step", [1, 3, 7])
def test_labels_are_subsampled_tile_by_tile(tmp_path, step):
    labels = np.random.default_rng(0).integers(0, 99, (1100, 700)).astype(np.uint32)
    write_label_tiff(tmp_path / "labels.tif", ArrayRaster(labels), None)
    tifffile.imwrite(tmp_path / "strips.tif", labels, rowsperstrip=10)
    for name in ("labels.tif", "strips.tif"):
        found = previews._read_labels(tmp_path / name, step)
        np.testing.assert_array_equal(found, labels[::step, ::step])


def test_a_low_level_of_a_pyramid_is_read(tmp_path):
    image = field(1300, 2100, 5)[0]
    write_pyramid(tmp_path / "a.ome.tif", ArrayRaster(image), 0.25)
    assert previews._read_picture(tmp_path / "a.ome.tif", 600).shape == (650, 1050, 3)
    assert previews._read_picture(tmp_path / "a.ome.tif", 2100).shape == (1300, 2100, 3)


def test_large_image_is_shown_reduced_and_says_so(run, monkeypatch):
    monkeypatch.setattr(previews, "PREVIEW_SIDE", 512)
    run.add("slide.svs", size=(1100, 1500), slide=True)
    html = run.report()
    after, before, outlines = layers(html)
    assert after.shape[:2] == outlines.shape[:2] == (367, 500)
    assert before.shape[:2] == (275, 375)
    assert "every pixel stands for 3 x 3 of the full" in html


def test_report_keeps_its_limit_and_shares_it(run, monkeypatch):
    monkeypatch.setattr(page, "LARGEST_REPORT", 400_000)
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    for number in range(12):  # noise cannot be compressed: 12 x 1.4 MB
        write_image(run.add(f"{number}.png", size=(600, 800)) / "super_resolved.png", noise)
    html = run.report()
    sizes = [picture(a["src"]).shape for a in Page(html).all("img")]
    assert len(html.encode()) <= 400_000
    assert len(sizes) == 36 and min(width for _, width, _ in sizes) > 50


def test_table_goes_on_where_sections_end(run, monkeypatch):
    monkeypatch.setattr(page, "MOST_SECTIONS", 2)
    for name in ("a b.png", "c.png", "d e.png"):
        run.add(name)
    html = Page(run.report())
    assert len(html.all("section", id="image-2")) == 1 and not html.all("section", id="image-3")
    assert html.all("a", href="d%20e/")


# ---------------------------------------------------------------------------------- browser

FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run
--disable-background-networking --disable-component-update --disable-sync --hide-scrollbars"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    with webdriver.Chrome(options=options, service=service) as started:
        yield started


@pytest.fixture
def opened(browser, run):
    """A report of four images, open in the browser; afterwards its console must be empty."""
    run.add("b10.png", size=(480, 640), nuclei=40)
    run.add("b9.png", size=(480, 640), nuclei=9)
    run.fail(HOSTILE, "not an image")
    figures = {"median_area_um2": 39.5, "sr_confidence": 0.7, "colour_difference": 0.5}
    folder = run.add("a.png", size=(480, 640), nuclei=100, **figures)
    with table_writer(folder / "regions.csv", region_columns(0.25)) as add:
        add({"level": "region", "region": "rim", "region_class": "Tumor", "mean_circularity": 0.8})
    write_image(folder / "density.png", field(300, 400, 5)[0])
    run.report()
    browser.set_window_size(1280, 900)
    browser.get((run.folder / "report.html").as_uri())
    yield browser
    assert browser.get_log("browser") == []


def one(page, selector):
    return page.find_element("css selector", selector)


def matrix(page):
    """Zoom and shift of the first picture: (scale, x, y)."""
    text = page.execute_script(
        "return getComputedStyle(document.querySelector('.pane img')).transform"
    )
    if text == "none":
        return 1, 0, 0
    scale, _, _, _, x, y = map(float, text[7:-1].split(","))
    return scale, x, y


def wheel(page, delta):
    page.execute_script(
        """const stage = document.querySelector('.stage'), box = stage.getBoundingClientRect();
        stage.dispatchEvent(new WheelEvent('wheel', {deltaY: arguments[0], bubbles: true,
          cancelable: true, clientX: box.left + 10, clientY: box.top + 10}));""",
        delta,
    )


def test_pictures_load_and_names_stay_text(opened):
    assert opened.execute_script(
        "return [...document.images].every(i => i.complete && i.naturalWidth && i.alt)"
    )
    assert HOSTILE in one(opened, "#images").text


def test_table_sorts_by_click_and_by_key(opened):
    def order():
        return opened.execute_script(
            "return [...document.querySelectorAll('tbody td:first-child')].map(c => c.innerText)"
        )

    by_count = one(opened, "#images th:nth-child(3)")
    one(by_count, "button").click()
    assert order() == ["b9.png", "b10.png", "a.png", HOSTILE]
    assert by_count.get_attribute("aria-sort") == "ascending"
    one(by_count, "button").send_keys("\ue007")  # enter
    assert order() == ["a.png", "b10.png", "b9.png", HOSTILE]  # what is missing stays last
    assert by_count.get_attribute("aria-sort") == "descending"
    one(opened, "#images th:first-child button").send_keys(" ")
    assert order() == [HOSTILE, "a.png", "b9.png", "b10.png"]
    assert by_count.get_attribute("aria-sort") is None


def test_slider_moves_the_border_between_the_pictures(opened):
    slider = one(opened, "[type=range]")
    clip = "return getComputedStyle(document.querySelector('.before')).clipPath"
    before = opened.execute_script(clip)
    slider.send_keys("\ue014" * 10)  # arrow right
    assert slider.get_attribute("value") == "60"
    assert slider.get_attribute("aria-valuetext") == "60 % low resolution"
    assert opened.execute_script(clip) != before
    ActionChains = pytest.importorskip("selenium.webdriver").ActionChains  # noqa: N806
    ActionChains(opened).drag_and_drop_by_offset(one(opened, ".divider"), -200, 0).perform()
    assert int(slider.get_attribute("value")) < 40
    assert matrix(opened) == (1, 0, 0)


def test_outlines_are_switched(opened):
    outlines, switch = one(opened, ".outlines"), one(opened, "[type=checkbox]")
    assert outlines.is_displayed()
    switch.send_keys(" ")
    assert not outlines.is_displayed()
    switch.click()
    assert outlines.is_displayed()


def test_maps_are_switched(opened):
    switch, viewer = one(opened, "[value=Density]"), one(opened, ".switch ~ .viewer")
    density = one(opened, ".map[data-view=Density]")
    assert viewer.is_displayed() and not density.is_displayed()
    switch.click()
    assert density.is_displayed() and not viewer.is_displayed()
    one(opened, "[value=Outlines]").click()
    assert viewer.is_displayed() and not density.is_displayed()


def test_picture_zooms_and_moves(opened):
    stage = one(opened, ".stage")
    stage.send_keys("++")
    assert matrix(opened)[0] == pytest.approx(2.25)
    stage.send_keys("\ue014")  # arrow right: 40 px further right, the picture moves left
    zoomed = matrix(opened)
    ActionChains = pytest.importorskip("selenium.webdriver").ActionChains  # noqa: N806
    start = ActionChains(opened).move_to_element_with_offset(stage, 60, 60)
    start.click_and_hold().move_by_offset(30, 20).release().perform()
    assert np.subtract(matrix(opened), zoomed) == pytest.approx([0, 30, 20])
    one(opened, "[data-zoom='0']").click()
    assert matrix(opened) == (1, 0, 0)
    one(opened, "[data-zoom='1.5']").click()
    assert matrix(opened)[0] == pytest.approx(1.5)


def test_wheel_zooms_but_does_not_catch_a_page_that_scrolls(opened):
    wheel(opened, 100)  # whole image: zooming out further is left to the page
    assert matrix(opened)[0] == 1
    wheel(opened, -100)  # still the same gesture
    assert matrix(opened)[0] == 1
    time.sleep(0.4)
    wheel(opened, -100)
    scale, x, y = matrix(opened)
    assert scale == pytest.approx(np.exp(1 / 3), rel=1e-3)
    assert (x, y) == pytest.approx((10 * (1 - scale), 10 * (1 - scale)), abs=1)  # stays there
    wheel(opened, 100)
    assert matrix(opened)[0] == pytest.approx(1)


@pytest.mark.parametrize("width", [1280, 390])
def test_page_is_never_wider_than_the_window(opened, width):
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_status_and_confidence_are_seen_without_scrolling(opened):
    seen = opened.execute_script(
        """return [...document.querySelectorAll('#images thead th')].filter(
          h => h.getBoundingClientRect().right <= h.closest('.scroll').getBoundingClientRect().right
        ).map(h => h.innerText)"""
    )
    assert seen[1].startswith("Status") and any("good: from" in heading for heading in seen)


def test_words_of_a_table_are_not_broken_on_a_phone(opened):
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    heights = opened.execute_script(
        "return [...document.querySelectorAll('.regions th')].map(h => h.clientHeight)"
    )
    assert len(heights) == 4 and max(heights) < 60  # pixels, two lines
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_scale_bar_has_the_length_that_it_states(opened):
    width, text = opened.execute_script(
        """const bar = document.querySelector('.scale-bar');
        return [bar.getBoundingClientRect().width / bar.parentNode.clientWidth, bar.innerText]"""
    )
    assert text == "20 µm"
    assert width == pytest.approx(20 / (640 * 0.25), abs=0.01)


def test_axes_of_groups_have_whole_labels_and_typographic_units(tmp_path):
    values = {"a": (0.5981, 0.7), "b": (0.65, 0.8352)}  # the axis would end just after .85
    images = [
        Measured(f"{value}.png", group, None, {"density_per_mm2": (value, 3)})
        for group, both in values.items()
        for value in both
    ]
    write_groups(tmp_path / "groups.csv", compare(images))
    (measure,) = tables.read_groups(tmp_path / "groups.csv")
    assert measure["unit"] == "per mm²"
    assert [text for _, text in measure["ticks"]] == ["0.6", "0.65", "0.7", "0.75", "0.8"]
    assert all(4 <= float(place) <= 96 for place, _ in measure["ticks"])
