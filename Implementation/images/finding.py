"""Which files of a folder are images."""

import os
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from images.errors import printable
from images.formats.dicom import dicom_files, is_dicom, one_per_slide, slides_in

_FOREIGN = """txt md rst rtf csv tsv xls xlsx ods doc docx odt ppt pptx pdf htm html css js
    json jsonl geojson xml yaml yml toml ini cfg conf db sqlite log dat opt ome roi
    py pyc ipynb r m sh bat ps1 groovy ijm exe dll lnk url webloc torrent zip gz bz2
    xz zst tgz tar 7z rar h5 hdf5 keras npy npz mat pkl parquet pt pth onnx md5 sha1
    sha256 asc sig lock swp tmp temp bak orig old avi mp4 mov mkv wmv qpdata qpproj
    backup annotations ndpa ndpis xmp thm tfw jgw pgw ets oex"""
# Downloads, copies, and what a program was writing when it was killed.
_UNFINISHED = "part partial crdownload download opdownload filepart aria2 new"
FOREIGN_SUFFIXES = frozenset(f".{name}" for name in f"{_FOREIGN} {_UNFINISHED}".split())
FOREIGN_ENDS = (":zone.identifier", ".zone.identifier", "~")  # notes of Windows, of editors
FOREIGN_NAMES = ("thumbs.db", "desktop.ini", "dicomdir")
LISTS_OF_PARTS = (".vms", ".vmu")  # Hamamatsu's: text that names the files the slide consists of
OME = ".ome"  # of `a.ome.tif`
DATA_FOLDERS = ("{0.stem}", "_{0.stem}_")  # of `a.mrxs`, of `a.vsi`
MRXS, MRXS_DATA = ".mrxs", (".dat", ".ini")  # what OpenSlide reads in the data folder
HAVE_DATA_FOLDERS = (MRXS, ".vsi")


def find_images(folder: str | Path, recursive: bool = False) -> list[Path]:
    """Return the images and slides in `folder`, in natural order (`2.png`, `10.png`).

    Searched is the folder itself, with `recursive` also every folder below it. A DICOM slide counts
    once: as its folder, where it has one of its own (`folder` itself or one directly in it), else
    as the file of its largest level. Passed over: hidden files and folders, the data folder of an
    MRXS or Olympus slide, unfinished downloads, files without a suffix other than DICOM and files
    that by their name are something else (`.txt`, `.geojson`, `.ndpa`, ...). All others are listed,
    so that one that cannot be read is reported and not lost. Masks are listed, too: see `masks.py`.

    Raises FileNotFoundError, NotADirectoryError, or ValueError where there is no image.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"expected a folder of images, found no {folder}; check the path")
    if not folder.is_dir():
        raise NotADirectoryError(f"expected a folder of images, {folder} is a file; name a folder")
    images = list(_images_in(folder, recursive))
    if not images:
        raise ValueError(
            f"no images in {folder} ({sum(1 for _ in folder.iterdir())} other entries): expected "
            f"PNG, TIFF, SVS or other image files {'' if recursive else 'directly '}in it; copy "
            "them there or name another folder"
        )
    return sorted(images, key=lambda path: _natural(path.relative_to(folder)))


def name_of(path: Path) -> str:
    """Name of an image: the file's without its suffix, or that of a slide's folder."""
    return path.name if path.is_dir() else path.stem


def short_names(path: Path) -> list[str]:
    """Names by which tables and annotations know an image: `a.ome` and `a` of `a.ome.tif`."""
    name = name_of(path)
    without = name[: -len(OME)] if name.casefold().endswith(OME) else ""
    return [name, without] if without else [name]


def name_in(path: Path, folder: Path) -> str:
    """Name of an image of a folder, with the sub-folders that it lies in: `control/a.png`."""
    if path != folder and path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    return path.name


def shown_name(path: Path, folder: Path) -> str:
    """Name of an image of a folder in results: printable, and no other image's.

    Where signs of a name cannot be printed, a number made of its bytes tells it from another that
    differs in these signs only.
    """
    name = name_in(path, folder)
    shown = printable(name)
    return shown if shown == name else f"{shown} ({zlib.crc32(os.fsencode(name)):08x})"


def stamp(path: Path) -> list[int]:
    """Bytes and time of the last change (ns) of an image: of all files that a slide consists of.

    Raises OSError where it is gone.
    """
    stats = [each.stat() for each in _files_of(path)]
    return [sum(each.st_size for each in stats), max(each.st_mtime_ns for each in stats)]


def different_ends(paths: Iterable[Path], parts: int = 1) -> dict[Path, str]:
    """Name each path by its end: its last `parts`, or as many more as no other one shares."""
    paths, ends = list(dict.fromkeys(paths)), {}
    for path in paths:
        alike = [other for other in paths if other.parts[-parts:] == path.parts[-parts:]]
        longest, count = max(len(other.parts) for other in alike), parts
        while len(alike) > 1 and count < longest:
            count += 1
            alike = [other for other in alike if other.parts[-count:] == path.parts[-count:]]
        ends[path] = "/".join(path.parts[-count:])
    return ends


def different_names(paths: list[Path], folder: Path) -> dict[Path, str]:
    """Name each image of a folder: its stem, with its folders and suffix where two share one."""
    stems = [name_of(path).casefold() for path in paths]
    names, taken = {}, set()
    for path, stem in zip(paths, stems, strict=True):
        parts = path.relative_to(folder).parts or (path.name,)
        alone = stems.count(stem) == 1
        name = name_of(path) if alone else "_".join(parts).replace(".", "_")
        while name.casefold() in taken:
            name += "_"
        taken.add(name.casefold())
        names[path] = name
    return names


def _images_in(folder: Path, recursive: bool) -> Iterator[Path]:
    entries = sorted(folder.iterdir())
    folders = [path for path in entries if _may_hold_images(path, entries)]
    parts = _parts_of_slides(entries)
    files = [path for path in entries if _may_be_image(path) and path not in parts]
    images, others = one_per_slide(files)
    # A folder of nothing but one slide is that slide.
    yield from [folder] if len(images) == 1 and not others and not folders else images
    for path in folders:
        if recursive:
            yield from _images_in(path, recursive)
        else:
            slides = slides_in(path)
            yield from [path] if len(slides) == 1 else slides


def _natural(path: Path) -> tuple[list, str]:
    parts = re.split(r"(\d+)", str(path).casefold())
    return [int(part) if part.isdecimal() else part for part in parts], str(path)


def _may_be_image(path: Path) -> bool:
    name = path.name.casefold()
    if name.startswith((".", "~$")) or name.endswith(FOREIGN_ENDS) or name in FOREIGN_NAMES:
        return False
    if path.suffix.lower() in FOREIGN_SUFFIXES:
        return False
    if not path.suffix:
        return path.is_file() and is_dicom(path)
    # A dangling link is listed too, so that the missing file is reported.
    return path.is_file() or (path.is_symlink() and not path.exists())


def _may_hold_images(path: Path, beside: list[Path]) -> bool:
    if not path.is_dir() or path.name.startswith((".", "__")):
        return False
    slides = [each for each in beside if each.suffix.lower() in HAVE_DATA_FOLDERS]
    names = {form.format(slide) for slide in slides for form in DATA_FOLDERS}
    return path.name not in names


def _files_of(path: Path) -> list[Path]:
    """Return the files of an image; not those that a run may have written into a slide's folder."""
    if path.is_dir():
        return dicom_files(path)
    files = {path}
    if path.suffix.lower() == MRXS and path.with_suffix("").is_dir():
        inside = path.with_suffix("").iterdir()
        files |= {each for each in inside if each.suffix.lower() in MRXS_DATA}
    files |= _listed_in(path)
    return [each for each in files if each == path or each.is_file()]


def _parts_of_slides(entries: list[Path]) -> set[Path]:
    """Return the images that are but parts of a slide that lies in many files."""
    return {part for path in entries for part in _listed_in(path)}


def _listed_in(path: Path) -> set[Path]:
    """Return the files that a list of parts names; nothing for any other file."""
    if path.suffix.lower() not in LISTS_OF_PARTS or not path.is_file():
        return set()
    lines = path.read_text(encoding="latin-1")[:1_000_000].splitlines()
    return {path.parent / line.partition("=")[2].strip() for line in lines}
