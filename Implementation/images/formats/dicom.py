"""Slides in DICOM: many files (levels, label, thumbnail) that are one slide."""

from pathlib import Path

IMAGE_KINDS = ("VOLUME", "LABEL", "OVERVIEW", "THUMBNAIL", "LOCALIZER")  # third part of ImageType
READ = ["ImageType", "SeriesInstanceUID", "TotalPixelMatrixColumns", "TotalPixelMatrixRows"]
MAGIC_AT = 128  # bytes


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does, whatever its name."""
    try:
        with path.open("rb") as file:
            return file.read(MAGIC_AT + 4)[MAGIC_AT:] == b"DICM"
    except OSError:  # gone, or not to be read: opening it will say so
        return False


def slides_in(folder: Path) -> list[Path]:
    """Return the slides among the DICOM files directly in a folder, a file for each.

    It is the largest level of a series, by which OpenSlide finds the rest.
    """
    try:
        paths = dicom_files(folder)
    except OSError:
        return []
    slides, others = one_per_slide(paths)
    return [path for path in slides if path not in others]


def dicom_files(folder: Path) -> list[Path]:
    """Return the DICOM files directly in a folder; OSError where there is no such folder."""
    return sorted(path for path in folder.iterdir() if _may_be_dicom(path))


def one_per_slide(paths: list[Path]) -> tuple[list[Path], set[Path]]:
    """Keep one file of each DICOM slide.

    paths: files of one folder, DICOM or not.

    Returns:
        (the paths without further levels, labels and thumbnails of slides, those among them that
        are no DICOM slide).
    """
    found, others, dropped = {}, set(), set()
    for path in paths:
        header = _header(path) if _may_be_dicom(path) else None
        if header is None:
            others.add(path)
            continue
        series, kind, pixels = header
        best = found.get(series)
        if kind != "VOLUME" or (best and best[1] >= pixels):
            dropped.add(path)
            continue
        if best:
            dropped.add(best[0])
        found[series] = path, pixels
    return [path for path in paths if path not in dropped], others


def _may_be_dicom(path: Path) -> bool:
    suffix = path.suffix.lower()
    # Archives name files by UIDs, the last number of which looks like a suffix.
    named = suffix in ("", ".dcm", ".dicom") or suffix[1:].isdecimal()
    return named and path.is_file() and is_dicom(path)


def _header(path: Path) -> tuple[str, str, int] | None:
    """Return (series, kind of image, pixels) of a file of a slide, None for any other."""
    import pydicom  # not above: only few folders need it

    try:
        data = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=READ)
        kind, pixels = data.ImageType[2], data.TotalPixelMatrixColumns * data.TotalPixelMatrixRows
        return (str(data.SeriesInstanceUID), kind, pixels) if kind in IMAGE_KINDS else None
    except Exception:  # another kind of DICOM, or a damaged file: opening it will say so
        return None
