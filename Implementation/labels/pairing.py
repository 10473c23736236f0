"""Folders of images and labels -> pairs, whatever the layout: see data/README.md.

Files in one folder, or in folders beside each other such as `images/` and `instances/`, belong
together by name; so do images of folders without labels and labels of folders without images, if
their names occur once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from images.masks import without_masks
from labels import names
from labels.forms.coco import coco_images, entry_of
from labels.forms.stacks import IMAGES, MASKS, stack_length
from labels.label_map import naming
from labels.places import Place, files_below, labels_below, pictures_of, places_below

LAYOUTS = (
    "images/ with instances/, labels/, annotations/ or masks/ beside it, a.png beside a_mask.png, "
    "a.geojson or a.xml, or another layout of data/README.md"
)


class NoLabelsError(ValueError):
    """There are images, and no labels at all."""


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
        NoLabelsError: there are images, but nothing that could be labels.
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
        images = [path for place in places_below(folder) for path in pictures_of(place)]
        labels, left_out = labels_below(Path(label_folder))
        places = [Place(images, labels, left_out, (folder, Path(label_folder)))]
    else:
        places = list(places_below(folder))
    if not stacks and not any(place.images for place in places):
        raise FileNotFoundError(f"{folder}: expected {LAYOUTS}; found no images")
    pairs, images, labels, elsewhere = [], [], [], Place()
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
    labelled = pairs or stacks or any(_holds_labels(place) for place in places)
    error = ValueError if labelled else NoLabelsError
    _refuse_lonely(images, [path for path in labels if _is_surely_label(path)], error)
    return sorted(pairs + stacks, key=lambda pair: names.natural(pair.image))


def _holds_labels(place: Place) -> bool:
    return any(_is_surely_label(path) or _coco(path) for path in place.labels)


def _refuse_lonely(images: list[Path], labels: list[Path], error: type[ValueError]):
    found = {"image without label": images, "label without image": labels}
    parts = [f"{what}: {', '.join(map(str, paths))}" for what, paths in found.items() if paths]
    if parts:
        raise error("; ".join(parts))


def _is_surely_label(path: Path) -> bool:
    return names.is_raster(path) or names.holds_outlines(path)


def _matched(place: Place) -> tuple[list[Pair], list[Path], list[Path]]:
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


def _one_mask_per_nucleus(place: Place) -> Pair | None:
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


def _stacks(folder: Path, label_folder: Path) -> list[Pair]:
    """Find PanNuke's stacks: images.npy, with masks.npy in the same place below masks/."""
    pairs = []
    for images in [path for path in files_below(folder) if path.name == IMAGES]:
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
