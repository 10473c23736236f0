"""Which file holds the annotated regions of an image."""

from pathlib import Path

from images.finding import name_of, stamp

ENDINGS = (".geojson", ".geojson.gz")


def regions_file(image: Path, folder: Path | None = None) -> Path | None:
    """Return the GeoJSON of an image: `slide.geojson` or `slide.svs.geojson` for `slide.svs`.

    Args:
        image: the file, or the folder of a slide.
        folder: where it lies; None = beside the image.

    Returns:
        None where there is none.
    """
    folder = image.parent if folder is None else Path(folder)
    names = (f"{name}{ending}" for name in (name_of(image), image.name) for ending in ENDINGS)
    return next((folder / name for name in names if _is_file(folder / name)), None)


def regions_stamp(image: Path, folder: Path | None = None) -> list | None:
    """Return name, bytes and time of the last change of that file; None where there is none."""
    path = regions_file(image, folder)
    return path and [path.name, *stamp(path)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that the ending makes too long for the system
        return False
