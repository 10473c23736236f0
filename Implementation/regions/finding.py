"""Which file holds the annotated regions of an image."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from images.finding import name_in, short_names, stamp

ENDINGS = (".geojson", ".geojson.gz")
WRITINGS = (*ENDINGS, *(end.upper() for end in ENDINGS))
PLAIN_JSON = ".json"  # GeoJSON may be called so, but so may anything


@dataclass(frozen=True)
class RegionFiles:
    """Where regions are looked for.

    Attributes:
        folder: in which they lie; None = beside each image.
        input_folder: of the images. Regions of `control/a.svs` may lie in `control` of `folder`.
    """

    folder: Path | None = None
    input_folder: Path = Path()

    def of(self, image: Path) -> Path | None:
        """Return the GeoJSON of an image: `slide.svs.geojson` or `slide.geojson` for `slide.svs`.

        QuPath leaves out all of `.ome.tif`: so `slide.geojson` belongs to `slide.ome.tif`, too.

        Args:
            image: the file, or the folder of a slide.

        Returns:
            None where there is none.
        """
        names = [f"{name}{end}" for name in (image.name, *short_names(image)) for end in WRITINGS]
        # macOS and others may store the same letter in different ways.
        names += [normalize(form, name) for form in ("NFC", "NFD") for name in names]
        names = dict.fromkeys(names)  # mostly the same: each costs a look at the disk
        paths = (place / name for place in self._places(image) for name in names)
        return next(filter(_is_file, paths), None)

    def stamp(self, image: Path) -> list | None:
        """Return name, bytes and time of the last change of that file; None where there is none."""
        path = self.of(image)
        return path and [path.name, *stamp(path)]

    def unused(self, images: Iterable[Path]) -> list[Path]:
        """Return the files of regions in these places that belong to none of the images."""
        images = list(images)
        used, names = {path for image in images if (path := self.of(image))}, set()
        for image in images:
            names |= {f"{name}{PLAIN_JSON}" for name in (image.name, *short_names(image))}
        places = dict.fromkeys(place for image in images for place in self._places(image))
        found = (path for each in places if each.is_dir() for path in sorted(each.iterdir()))
        # On some systems a file can be opened under its name in other letters.
        alike = {str(path).casefold(): path for path in used}
        return [
            path
            for path in found
            if (path.name.casefold().endswith(ENDINGS) or path.name in names)
            and not (path in used or _is_same(path, alike.get(str(path).casefold())))
        ]

    def shared(self, images: Iterable[Path]) -> dict[Path, list[Path]]:
        """Return the files that belong to several images, with these."""
        users = defaultdict(list)
        for image in images:
            users[self.of(image)].append(image)
        return {path: of for path, of in users.items() if path and len(of) > 1}

    def _places(self, image: Path) -> list[Path]:
        if self.folder is None:
            return [image.parent]
        name = name_in(image.absolute(), Path(self.input_folder).absolute())
        return list(dict.fromkeys([(Path(self.folder) / name).parent, Path(self.folder)]))


def _is_same(path: Path, other: Path | None) -> bool:
    return other is not None and path.samefile(other)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that the ending makes too long for the system
        return False
