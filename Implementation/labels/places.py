"""The folders of a set, and which of their files are images and which labels, by their names."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from labels import names
from labels.forms.stacks import IMAGES, MASKS


@dataclass
class Place:
    """Files that belong together: of one folder, or of an image and a label folder in one."""

    images: list[Path] = field(default_factory=list)
    labels: list[Path] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)
    roots: tuple[Path, ...] = ()  # below which equal sub-folders belong together


def places_below(folder: Path) -> Iterator[Place]:
    """Walk a tree and tell images from labels by the names of folders and files."""
    below = [path for path in sorted(folder.iterdir()) if path.is_dir() and not names.hidden(path)]
    by_name = {path.name.casefold(): path for path in below}
    images = next((by_name[name] for name in names.IMAGE_FOLDERS if name in by_name), None)
    labels = next((by_name[name] for name in names.LABEL_FOLDERS if name in by_name), None)
    if images and labels:
        # What else lies beside them (overlays, distance maps, ...) is made from them.
        pictures, sidecars = _told_apart(list(files_below(images)), all_labels=False)
        left_out = [by_name[name] for name in names.LEFT_OUT_FOLDERS if name in by_name]
        files = [path for path in files_below(labels) if _is_label(path)] + [
            path for path in sidecars if not names.is_raster(path)
        ]
        areas = [path for area in left_out for path in files_below(area) if names.is_raster(path)]
        yield Place(pictures, files, areas, (images, labels))
        return
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    files = [path for path in files if not names.hidden(path)]
    yield Place(*_told_apart(files, names.is_label_folder(folder.name)))
    for each in below:
        yield from places_below(each)


def _told_apart(files: list[Path], all_labels: bool) -> tuple[list[Path], list[Path]]:
    """Return (images, labels) among files of one folder."""
    labels = [
        path
        for path in files
        if names.may_hold_labels(path)
        or (names.is_raster(path) and (all_labels or len(names.label_names(path)) > 1))
    ]
    images = [path for path in files if names.is_raster(path) and path not in labels]
    return images, [path for path in labels if path.name not in (IMAGES, MASKS)]


def pictures_of(place: Place) -> list[Path]:
    """Return the images of a place whose labels lie elsewhere: without masks of its own images.

    There a name with the end of a label is one only if the image of that name lies beside it.
    """
    stems = {name for path in place.images for name in names.image_names(path)}
    doubtful = [path for path in place.labels if names.is_raster(path)]
    kept = [path for path in doubtful if not stems & set(names.label_names(path)[1:])]
    return place.images + kept


def labels_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return (labels, masks of what to leave out) of a folder that is for labels only."""
    places = list(places_below(folder))
    left_out = [path for place in places for path in place.left_out]
    labels = [path for place in places for path in place.labels]
    # Here a name needs no end to be a label's, unless the label of that image lies beside it.
    named = {name for path in labels for name in names.label_names(path)}
    plain = [path for place in places if not place.roots for path in place.images]
    labels += [path for path in plain if not named & set(names.image_names(path))]
    if not left_out:  # beside the folder, as in NuInsSeg
        areas = [folder.parent / name for name in names.LEFT_OUT_FOLDERS]
        left_out = [path for area in areas if area.is_dir() for path in files_below(area)]
    return labels, [path for path in left_out if names.is_raster(path)]


def _is_label(path: Path) -> bool:
    return names.is_raster(path) or names.may_hold_labels(path)


def files_below(folder: Path) -> Iterator[Path]:
    """Walk the files of a tree, without what is hidden."""
    for path in sorted(folder.iterdir()):
        if names.hidden(path):
            continue
        if path.is_dir():
            yield from files_below(path)
        else:
            yield path
