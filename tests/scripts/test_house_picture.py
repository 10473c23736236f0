"""The picture of the house shows the rooms, files and imports that the tree has now."""

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import draw_house

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"
ORDER = ["shared", "images", "tiles"]  # of the small house below, the last room first
HINT = "the tree has changed: run python data/draw_house.py"


def drawn_rooms() -> dict[str, Counter]:
    """Return the files that the picture names in each room, by the room's id."""
    groups = ElementTree.parse(draw_house.PICTURE).getroot().iter(f"{SVG}g")
    return {
        group.get("id"): Counter(
            name
            for text in group.iter(f"{SVG}text")
            if text.get("class") == "files"
            for name in text.text.split()
        )
        for group in groups
    }


def rooms_of_the_tree() -> dict[str, Counter]:
    """Return the modules of each package of the tree, and the scripts of both houses."""
    rooms = {}
    for house in ("Implementation", "training"):
        for path in (ROOT / house).rglob("[!_]*.py"):
            is_room = (path.parent / "__init__.py").exists()
            is_inside = (path.parent.parent / "__init__.py").exists()
            folder = path.parent.parent if is_inside else path.parent
            room = folder.name if is_room else "scripts"
            name = path.relative_to(folder).with_suffix("").as_posix() if is_room else path.stem
            rooms.setdefault(f"{house}-{room}", Counter()).update([name])
    return rooms


def test_the_picture_names_every_room_and_file_of_the_tree_and_no_other():
    assert drawn_rooms() == rooms_of_the_tree(), HINT


def test_the_picture_shows_the_imports_of_the_tree():
    fresh = draw_house.draw(draw_house.read_rooms(ROOT, draw_house.order_of_rooms()))
    assert draw_house.PICTURE.read_text("utf-8") == fresh, HINT


def test_an_import_adds_an_arrow(tmp_path):
    for room in ("tiles", "images"):
        folder = tmp_path / "Implementation" / room
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(f'"""The {room}."""\n')
    training = tmp_path / "training" / "shared"
    training.mkdir(parents=True)
    (training / "__init__.py").write_text('"""What both need."""\n')

    def heads():
        return draw_house.draw(draw_house.read_rooms(tmp_path, ORDER)).count("v9z")

    assert heads() == 0
    (tmp_path / "Implementation" / "images" / "opening.py").write_text("import tiles.raster\n")
    assert heads() == 1
    (training / "setup.py").write_text("def late():\n    from images.opening import open_image\n")
    assert heads() == 2


def test_the_picture_is_small_enough_for_a_readme():
    assert draw_house.PICTURE.stat().st_size < 100_000
