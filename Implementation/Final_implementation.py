"""Super-resolve H&E images of any objective to that of 40x and measure every nucleus in them.

Put images or slides into INPUT_FOLDER and run

    python Implementation/Final_implementation.py

Each image is brought to about 0.25 um per pixel, by super-resolution x4 from 10x, x2 from 20x, none
from 40x; its nuclei are outlined, separated and measured, and pictures, tables and QuPath files are
written to OUTPUT_FOLDER. To resume an interrupted run, start it again
with the same command: finished images are skipped, an unfinished one continues where it stopped.
Every constant below is also a flag: see --help. `--from-run run.json` takes the constants of an
earlier run instead; flags given beside it take precedence.
"""

import functools
import sys
from pathlib import Path
from typing import Literal

if __package__:  # python -m: the rooms are not on the path then
    sys.exit("Start this script by its path: python Implementation/Final_implementation.py")

from pipeline.repetition import constants_of_run, path_of_run
from program.command_line import run

ROOT = Path(__file__).resolve().parents[1]

# --- Input and output ---
INPUT_FOLDER = ROOT / "data" / "samples"  # images and slides of any format
OUTPUT_FOLDER = ROOT / "Implementation" / "results"
OVERWRITE = False  # True: redo finished images
REGION = None  # (x, y, width, height) in full-resolution pixels: this part only; None = all
REGIONS_FOLDER = None  # of annotations as GeoJSON (slide1.geojson for slide1.svs); None = beside
# the images
REGIONS_ONLY = False  # True: nothing but the annotated regions is measured

# --- Machines ---
SCHEDULER = None  # None = this process; an address such as "tcp://host:8786" = a Dask cluster
MEASURING_PROCESSES = 2  # helpers for large images, 0.4 GB each; 1 = none; raise it on more cores

# --- Models ---
GENERATOR = ROOT / "models" / "generator.h5"  # x4
FAITHFUL_GENERATOR = ROOT / "models" / "generator_pretrained.h5"
GENERATOR_X2 = ROOT / "models" / "generator_x2.h5"
FAITHFUL_GENERATOR_X2 = ROOT / "models" / "generator_x2_pretrained.h5"
FAITHFUL_SHARE = 0.0  # 0 = GENERATOR: sharp, for looking; 1 = FAITHFUL_GENERATOR, for measuring
UNET = ROOT / "models" / "Unet.h5"
NUCLEUS_SCORE = ROOT / "models" / "nucleus_score.h5"  # tells nuclei from parts and clumps of them
PIXEL_SIZE_MODEL = ROOT / "models" / "pixel_size.h5"  # None = sizes are not checked
SEGMENT = True  # False: super-resolution only
TEST_TIME_AUGMENTATION = False  # True: mean of the U-net over four mirrorings, four times its time
PRECISION = "auto"  # of multiplications; "auto" = bfloat16, at twice the speed, if the processor
# is made for it (on Linux, with TensorFlow), otherwise float32; or always "float32", "bfloat16"

# --- Scale ---
MICRONS_PER_PIXEL = None  # um per pixel of the files at full resolution, for those that do not
# state it themselves; None = unknown there; "estimate" = as the tissue tells
MICRONS_PER_PIXEL_FOR_ALL = False  # True: for all files, whatever they state
READ_AT_MICRONS_PER_PIXEL = None  # um per pixel at which slides are read; None = as finely as the
# result needs
ENLARGE = "auto"  # "auto" = by the pixel size, so that the result has 0.25 um; or always 1, 2 or 4
SUPER_RESOLVE = True  # False: the same as ENLARGE = 1
X2_FROM = 0.35  # um per pixel from which an image is enlarged x2; a finer one is taken as it is
X4_FROM = 0.7  # um per pixel from which it is enlarged x4

# --- Tiles ---
TILE_SIZE = 512  # side of a tile of a 10x image in pixels, a multiple of 16, twice as many of a 20x
# image; smaller tiles need less memory
BATCH_SIZE = 1  # tiles per call of a network; more than 1 helps only on a GPU

# --- Nuclei ---
PROBABILITY_THRESHOLD = 0.5  # a pixel belongs to a nucleus above this probability
LEAST_OVERLAP = 0.15  # expected overlap with a true nucleus (IoU) below which a region is none;
# higher finds fewer, and surer ones
SMALLEST_NUCLEUS = 2.0  # um2; smaller objects are dropped
TISSUE_THRESHOLD = 0.08  # optical density or saturation above which a pixel is tissue, not glass

# --- Maps ---
MAP_SPACING = 50.0  # um between neighbouring values of the maps of density, size and stain
MAP_RADIUS = 100.0  # um; each value is that of the nuclei in a circle of this radius
HOTSPOTS = 5  # the fields with the most nuclei; 0 = none
HOTSPOT_MM2 = 0.2  # mm2 of each, a circle

# --- Groups ---
GROUPS = None  # what to compare: a CSV table with the columns image and group, or "folders": the
# images lie in sub-folders of INPUT_FOLDER, one for each group; None = nothing

# --- Outlines for QuPath ---
GEOJSON_FRAME = "result"  # "result" = pixels of the super-resolved image; "slide" = full-resolution
# pixels of the original file
GEOJSON_GZIP = False  # True: nuclei.geojson.gz instead of nuclei.geojson
GEOJSON_OBJECTS = "detection"  # what QuPath makes of them; "annotation" = can be edited there

# --- Pictures ---
JPEG_QUALITY = 90  # of super_resolved.ome.tif; 0 = lossless
DEBUG = False  # True: show the full traceback of an error


def main(
    input_folder: Path = INPUT_FOLDER,
    output_folder: Path = OUTPUT_FOLDER,
    overwrite: bool = OVERWRITE,
    region: tuple[int, int, int, int] | None = REGION,
    regions_folder: Path | None = REGIONS_FOLDER,
    regions_only: bool = REGIONS_ONLY,
    scheduler: str | None = SCHEDULER,
    measuring_processes: int = MEASURING_PROCESSES,
    generator: Path = GENERATOR,
    faithful_generator: Path = FAITHFUL_GENERATOR,
    generator_x2: Path = GENERATOR_X2,
    faithful_generator_x2: Path = FAITHFUL_GENERATOR_X2,
    faithful_share: float = FAITHFUL_SHARE,
    unet: Path = UNET,
    nucleus_score: Path = NUCLEUS_SCORE,
    pixel_size_model: Path | None = PIXEL_SIZE_MODEL,
    segment: bool = SEGMENT,
    test_time_augmentation: bool = TEST_TIME_AUGMENTATION,
    precision: Literal["auto", "float32", "bfloat16"] = PRECISION,
    microns_per_pixel: float | Literal["estimate"] | None = MICRONS_PER_PIXEL,
    microns_per_pixel_for_all: bool = MICRONS_PER_PIXEL_FOR_ALL,
    read_at_microns_per_pixel: float | None = READ_AT_MICRONS_PER_PIXEL,
    enlarge: Literal["auto", 1, 2, 4] = ENLARGE,
    super_resolve: bool = SUPER_RESOLVE,
    x2_from: float = X2_FROM,
    x4_from: float = X4_FROM,
    tile_size: int = TILE_SIZE,
    batch_size: int = BATCH_SIZE,
    probability_threshold: float = PROBABILITY_THRESHOLD,
    least_overlap: float = LEAST_OVERLAP,
    smallest_nucleus: float = SMALLEST_NUCLEUS,
    tissue_threshold: float = TISSUE_THRESHOLD,
    map_spacing: float = MAP_SPACING,
    map_radius: float = MAP_RADIUS,
    hotspots: int = HOTSPOTS,
    hotspot_mm2: float = HOTSPOT_MM2,
    groups: str | None = GROUPS,
    geojson_frame: Literal["result", "slide"] = GEOJSON_FRAME,
    geojson_gzip: bool = GEOJSON_GZIP,
    geojson_objects: Literal["detection", "annotation"] = GEOJSON_OBJECTS,
    jpeg_quality: int = JPEG_QUALITY,
    debug: bool = DEBUG,
    from_run: Path | None = None,
) -> int:
    """Super-resolve, segment and measure every image of a folder.

    Args:
        input_folder: folder of images and slides.
        output_folder: gets a folder per image, summary.csv and run.json.
        overwrite: redo finished images.
        region: x, y, width and height in full-resolution pixels of the part to process; None =
            all.
        regions_folder: folder of annotated regions, a GeoJSON file for each image under its name;
            None = beside the images.
        regions_only: measure nothing but the annotated regions of an image that has some.
        scheduler: address of a Dask cluster that does the work; None = this process.
        measuring_processes: helper processes that assess and measure a large image, window by
            window; 1 = none, as on the workers of a cluster.
        generator: super-resolution model x4 (.h5), for 10x images.
        faithful_generator: second super-resolution model, trained on the pixel loss alone.
        generator_x2: super-resolution model x2, for 20x images.
        faithful_generator_x2: its partner that was trained on the pixel loss alone.
        faithful_share: share of the faithful models in the blend of both models' weights, 0 to 1.
        unet: nucleus model (.h5).
        nucleus_score: network (.h5) that tells which regions of the U-net's maps are nuclei.
        pixel_size_model: network that tells pixel sizes (.h5), by which stated sizes are checked
            and unknown ones estimated; None = neither.
        segment: find and measure nuclei.
        test_time_augmentation: average the U-net over four mirrorings of each tile.
        precision: precision of the networks' multiplications; auto = bfloat16 if the processor has
            instructions for it, otherwise float32.
        microns_per_pixel: um per pixel, at full resolution, of the files that state no pixel size;
            None = unknown; estimate = 1, 0.5, 0.25, ... as the tissue tells. A file
            whose own size differs by more than 5 % keeps it and is named.
        microns_per_pixel_for_all: use that number for all files, whatever they state.
        read_at_microns_per_pixel: um per pixel at which slides are read; None = as finely as the
            result needs.
        enlarge: how far images are enlarged; auto = as far as brings each one to about 0.25 um per
            pixel, by its pixel size; x4 where that is unknown.
        super_resolve: off = enlarge 1: images are segmented as they are.
        x2_from: um per pixel from which auto enlarges x2.
        x4_from: um per pixel from which auto enlarges x4.
        tile_size: side of a tile of a 10x image in pixels, a multiple of 16; tiles of other images
            are as large in the result.
        batch_size: tiles per call of a network.
        probability_threshold: a pixel belongs to a nucleus above this probability.
        least_overlap: a region whose expected overlap (intersection over union) with a true nucleus
            is smaller is not taken for one; higher finds fewer, and surer ones.
        smallest_nucleus: um2; smaller objects are dropped.
        tissue_threshold: optical density or saturation above which a pixel is tissue.
        map_spacing: um between neighbouring values of the maps of density, size and stain.
        map_radius: um; each value of a map is that of the nuclei in a circle of this radius.
        hotspots: how many of the fields with the most nuclei are listed.
        hotspot_mm2: mm2 of such a field.
        groups: CSV table with the columns image and group, or "folders" for the sub-folders of the
            input folder: groups of images to compare.
        geojson_frame: coordinates of nuclei.geojson: pixels of the result, or of the original
            slide at full resolution.
        geojson_gzip: compress nuclei.geojson.
        geojson_objects: what nuclei are in QuPath: detections, which it handles by the million, or
            annotations, which can be edited.
        jpeg_quality: of super_resolved.ome.tif, 1 to 100; 0 = lossless.
        debug: show the full traceback of an error.
        from_run: run.json of an earlier run; on the command line its constants replace the defaults
            of all other flags. Models and packages that differ now are named.

    Returns:
        Exit status: 0, or 1 if an image failed, 2 if nothing could be started, 130 if interrupted.
    """
    constants = {n: v.absolute() if isinstance(v, Path) else v for n, v in locals().items()}
    del constants["from_run"]
    if groups not in (None, "folders"):
        constants["groups"] = str(Path(groups).absolute())
    # Imported here, not above: --help needs none of it.
    from pipeline.run import run_folder

    return run_folder(constants, from_run)


def command_line(arguments: list[str]) -> int:
    """Run `main` with flags; with --from-run, the constants of that run are the defaults."""
    earlier = path_of_run(arguments)
    try:
        constants = constants_of_run(earlier, main) if earlier else {}
    except (OSError, ValueError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    return run(functools.partial(main, **constants), arguments)


if __name__ == "__main__":
    sys.exit(command_line(sys.argv[1:]))
