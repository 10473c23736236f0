"""Which files of a folder are images."""

import re
from pathlib import Path

_FOREIGN = """txt md rst csv tsv xls xlsx ods doc docx odt ppt pptx pdf htm html json jsonl geojson
    xml yaml yml toml ini cfg db sqlite log dat opt ome qpdata roi py pyc ipynb r m sh bat groovy
    ijm exe lnk zip gz tar 7z rar h5 hdf5 keras npy npz mat pkl md5 sha256 tmp part bak"""
FOREIGN_SUFFIXES = frozenset(f".{name}" for name in _FOREIGN.split())


def find_images(folder: str | Path) -> list[Path]:
    """Return the images and slides directly in `folder`, in natural order (`2.png`, `10.png`).

    Passed over: hidden files, folders (also the companion folder of an MRXS slide), files without a
    suffix and files that by their suffix are something else (`.txt`, `.csv`, `.geojson`, ...). All
    others are listed, so that one that cannot be read is reported and not lost. Raises
    FileNotFoundError, NotADirectoryError, or ValueError where there is no image.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"expected a folder of images, found no {folder}; check the path")
    if not folder.is_dir():
        raise NotADirectoryError(f"expected a folder of images, {folder} is a file; name a folder")
    entries = list(folder.iterdir())
    images = [path for path in entries if _may_be_image(path)]
    if not images:
        raise ValueError(
            f"no images in {folder} ({len(entries)} other entries): expected PNG, TIFF, SVS or "
            "other image files directly in it; copy them there or name another folder"
        )
    return sorted(images, key=_natural)


def _natural(path: Path) -> tuple[list, str]:
    parts = re.split(r"(\d+)", path.name.casefold())
    return [int(part) if part.isdecimal() else part for part in parts], path.name


def _may_be_image(path: Path) -> bool:
    if path.name.startswith((".", "~$")) or path.suffix.lower() in FOREIGN_SUFFIXES:
        return False
    # A dangling link is listed too, so that the missing file is reported.
    return bool(path.suffix) and (path.is_file() or (path.is_symlink() and not path.exists()))
