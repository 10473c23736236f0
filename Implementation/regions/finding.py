"""Which file holds the annotated regions of an image."""

from collections.abc import Iterable
from pathlib import Path
from unicodedata import normalize

from images.finding import short_names, stamp

ENDINGS = (".geojson", ".geojson.gz")


def regions_file(image: Path, folder: Path | None = None) -> Path | None:
    """Return the GeoJSON of an image: `slide.geojson` or `slide.svs.geojson` for `slide.svs`.

    QuPath leaves out the whole of `.ome.tif`: so `slide.geojson` belongs to `slide.ome.tif`, too.

    Args:
        image: the file, or the folder of a slide.
        folder: where it lies; None = beside the image.

    Returns:
        None where there is none.
    """
    folder = image.parent if folder is None else Path(folder)
    names = [f"{name}{end}" for name in (*short_names(image), image.name) for end in ENDINGS]
    # macOS and others may store the same letter in different ways.
    names += [normalize(form, name) for form in ("NFC", "NFD") for name in names]
    return next((folder / name for name in names if _is_file(folder / name)), None)


def unused_files(images: Iterable[Path], folder: Path | None = None) -> list[Path]:
    """Return the GeoJSON files beside images, or in `folder`, that belong to none of them."""
    images = list(images)
    folders = {image.parent for image in images} if folder is None else {Path(folder)}
    used = {regions_file(image, folder) for image in images}
    found = (path for each in folders if each.is_dir() for path in sorted(each.iterdir()))
    return [path for path in found if path.name.endswith(ENDINGS) and path not in used]


def regions_stamp(image: Path, folder: Path | None = None) -> list | None:
    """Return name, bytes and time of the last change of that file; None where there is none."""
    path = regions_file(image, folder)
    return path and [path.name, *stamp(path)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that the ending makes too long for the system
        return False
