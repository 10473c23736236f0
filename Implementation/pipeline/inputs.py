"""Which images a run has, and what their folders of results are called."""

import re
import sys
from itertools import chain, count
from pathlib import Path

from images.errors import counted, some_of
from images.finding import find_images, name_in, name_of, shown_name
from pipeline.group_membership import FOLDERS
from pipeline.job import read_manifest
from pipeline.output_folder import folder_name
from program.settings import Settings
from regions.finding import RegionFiles

RUN_FILES = (  # beside the folders of the images, the first three of every run
    "summary.csv",
    "run.json",
    "report.html",
    "regions.csv",
    "nuclei.parquet",
    "groups.csv",
)


def images_of(settings: Settings) -> list[Path]:
    """List the images of a run; say which files are left out because they are masks.

    Sub-folders are searched where they are the groups. What has results from an earlier run is an
    image and needs no second look.

    Raises:
        OSError, ValueError: there is no folder, or no image in it, or none of regions where one is
            named.
    """
    regions = settings.input.regions_folder
    if regions is not None and not Path(regions).is_dir():
        raise ValueError(f"REGIONS_FOLDER: expected a folder of GeoJSON files, found no {regions}")
    folder, output_folder = settings.input.input_folder, settings.outputs.output_folder
    found = find_images(folder, recursive=settings.comparison.groups == FOLDERS)
    paths = [path for path in found if not _is_result(path, output_folder, folder)]
    if not paths:
        raise ValueError(f"expected images in {folder}, found only the results of earlier runs")
    before = set(_named_before(output_folder).values())
    unknown = [path for path in paths if shown_name(path, folder) not in before]
    if not unknown:
        return paths
    print(f"Looking at {counted(len(unknown), 'file')} ...", flush=True)
    from images.masks import without_masks  # not above: it loads every decoder

    _, masks = without_masks(unknown)
    images = [path for path in paths if path not in masks]
    named = some_of([path.name for path in masks])
    if not images:
        raise ValueError(f"expected images of tissue in {folder}, found masks only ({named})")
    if masks:
        print(f"Left out as masks or label maps: {counted(len(masks), 'file')} ({named})")
    return images


def name_unused_annotations(images: list[Path], settings: Settings):
    """Say which files of annotated regions belong to none of the images, and which to several."""
    files = RegionFiles(settings.input.regions_folder, settings.input.input_folder)
    if unused := files.unused(images):
        names = some_of([path.name for path in unused])
        print(f"Annotations of none of the images: {names}", file=sys.stderr)
    for path, sharing in files.shared(images).items():
        named = some_of([image.name for image in sharing])
        print(
            f"{path.name} is used for several images ({named}); name it as one of them, with its "
            f"ending ({sharing[0].name}.geojson), if it is of that one only",
            file=sys.stderr,
        )


def result_names(paths: list[Path], output_folder: Path, input_folder: Path) -> dict[Path, str]:
    """Give each image its folder, the one that it had before where there is one.

    A new image gets its stem; where that is taken, its name with sub-folders and extension (a.png,
    then a.jpg: `a` and `a_jpg`), and where that is taken, too, a number. So the folder of an image
    does not depend on what is added beside it later. A folder that no run has made is taken: beside
    a.mrxs, `a` holds the slide's own data.
    """
    before = {image: folder for folder, image in _named_before(output_folder).items()}
    shown = {path: shown_name(path, input_folder) for path in paths}
    names = {path: before[name] for path, name in shown.items() if name in before}
    reserved = {*RUN_FILES, *(f"{name}.new" for name in RUN_FILES)}
    taken = reserved | {name.casefold() for name in names.values()}
    taken |= {path.name.casefold() for path in output_folder.glob("*") if _is_foreign(path)}
    for path in paths:
        if path in names:
            continue
        whole = folder_name(re.sub(r"[./]", "_", name_in(path, input_folder)))
        candidates = chain([folder_name(name_of(path)), whole], (f"{whole}_{n}" for n in count(2)))
        names[path] = next(name for name in candidates if name.casefold() not in taken)
        taken.add(names[path].casefold())
    return names


def refuse_other_input(names: list[str], settings: Settings):
    """Stop a run that would take the results of another input folder for its own, or replace them.

    Results are found again by the image's name, so that a project can be moved. But fields of two
    patients may both be called 1.png.

    Args:
        names: of the images of this run.
        settings: of this run.

    Raises:
        ValueError: the folder of the earlier run is still there, and has images of these names.
    """
    folder, output_folder = settings.input.input_folder, settings.outputs.output_folder
    record = read_manifest(output_folder / "run.json").get("constants")
    earlier = record.get("input_folder") if isinstance(record, dict) else None
    if not isinstance(earlier, str) or settings.outputs.overwrite:
        return
    before = set(_named_before(output_folder).values())
    try:
        if not Path(earlier).is_dir() or Path(earlier).samefile(folder):
            return
        same = [name for name in names if name in before and (Path(earlier) / name).exists()]
    except OSError:  # it cannot be looked at: as if it had been moved
        return
    if same:
        raise ValueError(
            f"{output_folder} holds results of images of the same names from {earlier} "
            f"({some_of(same)}); give another OUTPUT_FOLDER (--output-folder), or --overwrite to "
            "replace them"
        )


def _is_foreign(folder: Path) -> bool:
    """Tell whether a path is a folder with content that is not a run's."""
    if not folder.is_dir() or "image" in read_manifest(folder / "manifest.json"):
        return False
    try:
        return any(folder.iterdir())
    except OSError:  # such as lost+found, which only the system may read
        return True


def _is_result(path: Path, output_folder: Path, input_folder: Path) -> bool:
    """Tell whether a file was written by a run, this or another; images may lie beside results."""
    below = path.is_relative_to(output_folder) and output_folder != input_folder
    if below and output_folder.is_relative_to(input_folder):
        return True
    # A folder of results that is named as the input is what the user wants.
    folders = (f for f in path.parents if f != input_folder and f.is_relative_to(input_folder))
    return any("image" in read_manifest(folder / "manifest.json") for folder in folders)


def _named_before(output_folder: Path) -> dict[str, str]:
    """Return the name of the image of each folder of results."""
    manifests = sorted(output_folder.glob("*/manifest.json"))
    images = {path.parent.name: read_manifest(path).get("image") for path in manifests}
    return {folder: image for folder, image in images.items() if isinstance(image, str)}
