"""Folders of images and labels -> pairs, whatever the layout: see data/README.md.

Files in one folder, or in folders beside each other such as `images/` and `instances/`, belong
together by name; so do images of folders without labels and labels of folders without images, if
their names occur once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from images.masks import without_masks
from labels import names
from labels.forms.coco import coco_images, entry_of
from labels.forms.stacks import IMAGES, MASKS, stack_length
from labels.label_map import naming

LAYOUTS = (
    "images/ with instances/, labels/, annotations/ or masks/ beside it, a.png beside a_mask.png, "
    "a.geojson or a.xml, or another layout of data/README.md"
)


@dataclass(frozen=True)
class Pair:
    """An image and its labels.

    Attributes:
        image: its file; of an image in a stack a path that names both, `images.npy/00012`.
        labels: its label files; several are one mask per nucleus; none = there are no labels.
        left_out: a mask of the area whose nuclei are not known, or None.
        index: number of the image in its stack, or None.
        microns: um per pixel of the image as the user states them; None = what the file says.
    """

    image: Path
    labels: tuple[Path, ...]
    left_out: Path | None = None
    index: int | None = None
    microns: float | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read."""
        image = self.image if self.index is None else self.image.parent
        return (image, *self.labels, *([self.left_out] if self.left_out else []))


@dataclass
class _Place:
    """Files that belong together: of one folder, or of an image and a label folder in one."""

    images: list[Path] = field(default_factory=list)
    labels: list[Path] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)
    roots: tuple[Path, ...] = ()  # below which equal sub-folders belong together


def find_pairs(folder: Path, label_folder: Path | None = None) -> list[Pair]:
    """Find the images of a folder and its sub-folders, and the labels of each.

    Args:
        folder: of the images; of the labels, too, where `label_folder` is None or the same. Then
            every label must have its image.
        label_folder: of the labels, which may be more than the images. Masks among the images are
            passed over.

    Returns:
        Pairs in natural order of the image's path.

    Raises:
        FileNotFoundError: a folder is missing, or there are no images with labels.
        ValueError: an image without labels, labels without an image, or several that fit; all are
            named.
    """
    folder = Path(folder)
    apart = label_folder is not None and Path(label_folder).resolve() != folder.resolve()
    for each in (folder, Path(label_folder)) if apart else (folder,):
        if not each.is_dir():
            raise FileNotFoundError(f"expected the folder {each}, found none")
    stacks = _stacks(folder, Path(label_folder) if apart else folder)
    if apart:
        images = [path for place in _places(folder) for path in _pictures(place)]
        labels, left_out = _labels_below(Path(label_folder))
        places = [_Place(images, labels, left_out, (folder, Path(label_folder)))]
    else:
        places = list(_places(folder))
    if not stacks and not any(place.images for place in places):
        raise FileNotFoundError(f"{folder}: expected {LAYOUTS}; found no images")
    pairs, images, labels, elsewhere = [], [], [], _Place()
    for place in places:
        matched, lonely_images, lonely_labels = _matched(place)
        pairs += matched
        # Beside labels a name that none of them has is a gap, which no other folder's may fill.
        (images if _holds_labels(place) else elsewhere.images).extend(lonely_images)
        (labels if place.images else elsewhere.labels).extend(lonely_labels)
    if apart:
        images, labels = without_masks(images + elsewhere.images)[0], []
    else:
        matched, lonely_images, lonely_labels = _matched(elsewhere)
        pairs, images, labels = pairs + matched, images + lonely_images, labels + lonely_labels
    _refuse_lonely(images, [path for path in labels if _is_surely_label(path)])
    return sorted(pairs + stacks, key=lambda pair: names.natural(pair.image))


def _holds_labels(place: _Place) -> bool:
    return any(_is_surely_label(path) or _coco(path) for path in place.labels)


def _refuse_lonely(images: list[Path], labels: list[Path]):
    found = {"image without label": images, "label without image": labels}
    parts = [f"{what}: {', '.join(map(str, paths))}" for what, paths in found.items() if paths]
    if parts:
        raise ValueError("; ".join(parts))


def _is_surely_label(path: Path) -> bool:
    return names.is_raster(path) or names.holds_outlines(path)


def _matched(place: _Place) -> tuple[list[Pair], list[Path], list[Path]]:
    """Return (pairs, images without labels, labels without image) of one place.

    Raises:
        ValueError: several labels fit one image, or several images one label.
    """
    one_each = _one_mask_per_nucleus(place)
    if one_each:
        return [one_each], [], []
    by_name, of_many = {}, []
    for path in place.labels:
        collection = _coco(path)
        of_many += [(path, collection)] if collection else []
        for name in [] if collection else names.label_names(path):
            by_name.setdefault(name, []).append(path)
    left_out = {name: path for path in place.left_out for name in names.label_names(path)}
    pairs, lonely, users = [], [], {}
    for image in place.images:
        fitting = [path for name in names.image_names(image) for path in by_name.get(name, [])]
        fitting = [path for path in fitting if _may_belong(image, path, place.roots)]
        fitting = _nearest(image, list(dict.fromkeys(fitting)))
        fitting += [path for path, collection in of_many if image.name in collection]
        if len(fitting) > 1:
            raise ValueError(f"{image}: several labels fit, {_listed(fitting)}; keep one of them")
        if not fitting:
            lonely.append(image)
            continue
        users.setdefault(fitting[0], []).append(image)
        area = next((left_out[n] for n in names.image_names(image) if n in left_out), None)
        pairs.append(Pair(image, (fitting[0],), area))
    for path, images in _users_of_one(users):
        if len(images) > 1:
            raise ValueError(f"{path}: several images fit, {_listed(images)}; keep one of them")
    return pairs, lonely, [path for path in place.labels if path not in users]


def _users_of_one(users: dict[Path, list[Path]]) -> Iterator[tuple[Path, list[Path]]]:
    """Go through (label file, its images): those of each image of a COCO file by themselves."""
    for path, images in users.items():
        collection, of_entry = _coco(path), {}
        for image in images:
            with naming(path):
                key = entry_of(collection, image)["id"] if collection else None
            of_entry.setdefault(key, []).append(image)
        yield from ((path, each) for each in of_entry.values())


def _may_belong(image: Path, label: Path, roots: tuple[Path, ...]) -> bool:
    """Refuse what lies in another sub-folder: `masks/liver/1.png` for `images/skin/1.png`."""
    parts = []
    for path in (image, label):
        root = max(
            (r for r in roots if r in path.parents), key=lambda r: len(r.parts), default=None
        )
        inside = path.parent.relative_to(root).parts if root else ()
        parts.append([part for part in inside if not names.is_role(part)])
    return not all(parts) or parts[0] == parts[1]


def _nearest(image: Path, labels: list[Path]) -> list[Path]:
    """Keep the labels whose folder is called like the image's, where some are (`organ/1.png`)."""
    if len(labels) < 2:
        return labels
    beside = [path for path in labels if path.parent == image.parent]
    alike = [path for path in labels if path.parent.name == image.parent.name]
    cousins = [path for path in labels if path.parent.parent == image.parent.parent]
    return beside or alike or cousins or labels


def _one_mask_per_nucleus(place: _Place) -> Pair | None:
    """Recognise the layout of the Data Science Bowl 2018: one image, a folder of its nuclei."""
    masks = [path for path in place.labels if names.is_raster(path)]
    if len(place.images) != 1 or len(masks) < 2 or len({path.parent for path in masks}) > 1:
        return None
    image = place.images[0]
    beside = masks[0].parent.parent == image.parent.parent and masks[0].parent != image.parent
    named = {name for path in masks for name in names.label_names(path)}
    if not beside or named & set(names.image_names(image)):
        return None
    return Pair(image, tuple(sorted(masks, key=names.natural)))


def _coco(path: Path) -> dict[str, list[dict]] | None:
    if not path.name.lower().endswith((".json", ".json.gz")):
        return None
    with naming(path):
        return coco_images(path)


def _places(folder: Path) -> Iterator[_Place]:
    """Walk a tree and tell images from labels by the names of folders and files."""
    below = [path for path in sorted(folder.iterdir()) if path.is_dir() and not names.hidden(path)]
    by_name = {path.name.casefold(): path for path in below}
    images = next((by_name[name] for name in names.IMAGE_FOLDERS if name in by_name), None)
    labels = next((by_name[name] for name in names.LABEL_FOLDERS if name in by_name), None)
    if images and labels:
        # What else lies beside them (overlays, distance maps, ...) is made from them.
        pictures, sidecars = _told_apart(list(_files(images)), all_labels=False)
        left_out = [by_name[name] for name in names.LEFT_OUT_FOLDERS if name in by_name]
        files = [path for path in _files(labels) if _is_label(path)] + [
            path for path in sidecars if not names.is_raster(path)
        ]
        areas = [path for area in left_out for path in _files(area) if names.is_raster(path)]
        yield _Place(pictures, files, areas, (images, labels))
        return
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    files = [path for path in files if not names.hidden(path)]
    yield _Place(*_told_apart(files, names.is_label_folder(folder.name)))
    for each in below:
        yield from _places(each)


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


def _pictures(place: _Place) -> list[Path]:
    """Return the images of a place whose labels lie elsewhere: without masks of its own images.

    There a name with the end of a label is one only if the image of that name lies beside it.
    """
    stems = {name for path in place.images for name in names.image_names(path)}
    doubtful = [path for path in place.labels if names.is_raster(path)]
    kept = [path for path in doubtful if not stems & set(names.label_names(path)[1:])]
    return place.images + kept


def _labels_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return (labels, masks of what to leave out) of a folder that is for labels only."""
    places = list(_places(folder))
    left_out = [path for place in places for path in place.left_out]
    labels = [path for place in places for path in place.labels]
    # Here a name needs no end to be a label's, unless the label of that image lies beside it.
    named = {name for path in labels for name in names.label_names(path)}
    plain = [path for place in places if not place.roots for path in place.images]
    labels += [path for path in plain if not named & set(names.image_names(path))]
    if not left_out:  # beside the folder, as in NuInsSeg
        areas = [folder.parent / name for name in names.LEFT_OUT_FOLDERS]
        left_out = [path for area in areas if area.is_dir() for path in _files(area)]
    return labels, [path for path in left_out if names.is_raster(path)]


def _is_label(path: Path) -> bool:
    return names.is_raster(path) or names.may_hold_labels(path)


def _files(folder: Path) -> Iterator[Path]:
    """Walk the files of a tree, without what is hidden."""
    for path in sorted(folder.iterdir()):
        if names.hidden(path):
            continue
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _stacks(folder: Path, label_folder: Path) -> list[Pair]:
    """Find PanNuke's stacks: images.npy, with masks.npy in the same place below masks/."""
    pairs = []
    for images in [path for path in _files(folder) if path.name == IMAGES]:
        inside = images.relative_to(folder).parent
        swapped = Path(*("masks" if part == "images" else part for part in inside.parts))
        places = (label_folder / inside, label_folder / swapped)
        masks = next((p / MASKS for p in places if (p / MASKS).is_file()), None)
        if masks is None:
            raise ValueError(f"image without label: {images}, expected {places[1] / MASKS}")
        for index in range(stack_length(images, masks)):
            pairs.append(Pair(images / f"{index:05d}", (masks,), index=index))
    return pairs


def _listed(paths: list[Path]) -> str:
    return ", ".join(map(str, paths))
