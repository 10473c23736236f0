"""Draw the rooms of the code and what each imports: data/pictures/house.svg.

    python data/draw_house.py

Rooms, files, captions and arrows are read from the source (a room's caption is the docstring of its
`__init__.py`), and the order of the rooms from pyproject.toml. Run it again after adding a file or
an import; a test compares the picture with the tree.
"""

import ast
import re
import textwrap
from dataclasses import dataclass
from html import escape
from pathlib import Path

import tyro

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "data" / "pictures" / "house.svg"

SCRIPTS = "scripts"  # the room on top of each house: files that lie in no package

# --- Layout, in SVG pixels ---
WIDTH, TOP, GAP = 1270, 56, 12
HOUSES = {"training": (20, 330), "Implementation": (470, 570)}  # left side and width of the rooms
LANES = {"training": (366, 20), "Implementation": (1056, 16)}  # first lane and distance of lanes
FILE_SIZE, CAPTION_SIZE = 12.5, 12.5
FILE_LETTER, CAPTION_LETTER = 0.602 * FILE_SIZE, 0.51 * CAPTION_SIZE  # widths
COLOURS = (  # of lanes: neighbours differ in hue and in lightness
    *("#0072b2", "#d55e00", "#009e73", "#a8327e", "#8c6d00", "#5b5bd6"),
    *("#c0392b", "#1b6e6e", "#7a4a21", "#3d3d3d", "#6a8f00"),
)
NOTE = (
    "An arrow points from a room to a room that it imports. All arrows point down, so a change can "
    "affect only the rooms above it. Implementation/ never imports training/; the two share the "
    ".h5 files in models/."
)


@dataclass(frozen=True)
class Room:
    """A folder of modules, or the scripts above all rooms.

    Attributes:
        house: top-level folder.
        name: of the room.
        caption: a line on what it is for.
        files: names of its modules.
        imports: names of the rooms that they import.
    """

    house: str
    name: str
    caption: str
    files: tuple[str, ...]
    imports: frozenset[str]


@dataclass
class Box:
    """A room on the page: its place and its text, already broken into lines."""

    room: Room
    x: float
    y: float
    width: float
    caption: list[str]
    files: list[str]
    importers: int  # rooms of the same house

    @property
    def height(self) -> float:
        text = 34 + 16 * len(self.caption) + 17 * len(self.files)
        return max(text, 22 + 12 * self.importers)

    @property
    def exit(self) -> float:
        """Where its own lane begins: below all arrows that come in, so as not to cross them."""
        return self.y + self.height - 8


def main(picture: Path = PICTURE):
    """Draw the picture.

    Args:
        picture: SVG file to write.
    """
    picture.write_text(draw(read_rooms(ROOT, order_of_rooms())), encoding="utf-8")


def order_of_rooms() -> list[str]:
    """Return the names of all rooms, the last one first, as import-linter enforces it."""
    layers = re.search(
        r"^layers = \[(.*?)\]", (ROOT / "pyproject.toml").read_text("utf-8"), re.M | re.S
    )
    return re.findall(r"\w+", layers[1])


def read_rooms(root: Path, order: list[str]) -> list[Room]:
    """Read all rooms of a checkout, each house from the roof to the ground.

    Raises:
        ValueError: a room is not in the order.
    """
    rooms = []
    for house in HOUSES:
        paths = {}
        for path in sorted((root / house).rglob("*.py")):
            paths.setdefault(_room_of(path), []).append(path)
        unknown = paths.keys() - {SCRIPTS, *order}
        if unknown:
            raise ValueError(f"rooms missing from the layers in pyproject.toml: {unknown}")
        for name in (name for name in (SCRIPTS, *order) if name in paths):
            imported = frozenset().union(*map(_imported, paths[name])) & set(order) - {name}
            about = ast.get_docstring(ast.parse(paths[name][0].read_text("utf-8"))) or ""
            caption = "What a user starts." if name == SCRIPTS else about.split("\n")[0]
            files = tuple(map(_shown, (path for path in paths[name] if path.stem != "__init__")))
            rooms.append(Room(house, name, caption, files, imported))
    return rooms


def _room_of(path: Path) -> str:
    """Return the outermost package around a module, or SCRIPTS where there is none."""
    packages = [folder.name for folder in path.parents if (folder / "__init__.py").exists()]
    return packages[-1] if packages else SCRIPTS


def _shown(path: Path) -> str:
    """Return a module's name, with the folder in which it lies within its room."""
    inner = (path.parent.parent / "__init__.py").exists()
    return f"{path.parent.name}/{path.stem}" if inner else path.stem


def _imported(path: Path) -> set[str]:
    """Return the top-level names that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def draw(rooms: list[Room]) -> str:
    """Return the SVG."""
    houses = {house: _boxes([r for r in rooms if r.house == house], house) for house in HOUSES}
    boxes = [box for house in houses.values() for box in house]
    height = round(max(box.y + box.height for box in boxes) + 20)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="Helvetica, Arial, sans-serif">',
        "<title>The rooms of the code and what each imports</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for house, (x, _) in HOUSES.items():
        parts.append(f'<text x="{x}" y="38" font-size="20" font-weight="bold">{house}/</text>')
    parts += _note(houses["training"][-1])
    parts += [_box(box) for box in boxes]
    parts += [part for house in HOUSES for part in _arrows(houses, house)]
    return "\n".join([*parts, "</svg>", ""])


def _boxes(rooms: list[Room], house: str) -> list[Box]:
    (x, width), y, boxes = HOUSES[house], TOP, []
    for room in rooms:
        caption = textwrap.wrap(room.caption, int((width - 28) / CAPTION_LETTER))
        names = textwrap.wrap("  ".join(room.files), int((width - 28) / FILE_LETTER))
        importers = sum(room.name in other.imports for other in rooms)
        boxes.append(Box(room, x, y, width, caption, names, importers))
        y += boxes[-1].height + GAP
    return boxes


def _arrows(houses: dict[str, list[Box]], house: str) -> list[str]:
    """Draw the lanes of a house: lower rooms have inner lanes, so that few lines cross."""
    first, distance = LANES[house]
    importing = [box for box in reversed(houses[house]) if box.room.imports]
    lanes = {box.room.name: first + distance * i for i, box in enumerate(importing)}
    targets = {box.room.name: box for other in reversed(houses) for box in houses[other]}
    if house == "training":  # both houses have scripts, and nothing imports those
        targets |= {box.room.name: box for box in houses[house]}
    parts = []
    for number, box in enumerate(importing):
        right, lane = box.x + box.width, lanes[box.room.name]
        lines, heads = [f"M{right:g} {box.exit:g}H{lane:g}"], []
        for name in sorted(box.room.imports):
            target = targets[name]
            sources = [each.room.name for each in importing if name in each.room.imports]
            if target.room.house != house:
                sources.reverse()  # from the left the outer lanes are the nearer ones
            step = (target.height - 22) / max(len(sources), 2)
            y = target.y + 8 + step * (sources.index(box.room.name) + 0.5)
            ours = target.room.house == house
            end, turn = (target.x + target.width, -6) if ours else (target.x, 6)
            lines.append(f"M{lane:g} {box.exit:g}V{y - 6:.1f}q0 6 {turn} 6H{end - turn:g}")
            heads.append(f"M{end:g} {y:.1f}l{-1.5 * turn:g} -4.5v9z")
        colour = _colour(house, number)
        parts += [
            f'<path d="{"".join(lines)}" fill="none" stroke="{colour}" stroke-width="1.7"/>',
            f'<path d="{"".join(heads)}" fill="{colour}"/>',
            f'<circle cx="{right}" cy="{box.exit}" r="3" fill="{colour}"/>',
        ]
    return parts


def _colour(house: str, number: int) -> str:
    return COLOURS[(number + (7 if house == "training" else 0)) % len(COLOURS)]


def _box(box: Box) -> str:
    lines = [
        f'<g id="{box.room.house}-{box.room.name}">',
        f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6" '
        'fill="#f6f4fa" stroke="#55506b" stroke-width="1.2"/>',
        f'<text x="{box.x + 14}" y="{box.y + 22}" font-size="16" font-weight="bold">'
        f"{box.room.name}{'' if box.room.name == SCRIPTS else '/'}</text>",
    ]
    y = box.y + 24
    for line in box.caption:
        y += 16
        lines.append(
            f'<text x="{box.x + 14}" y="{y}" font-size="{CAPTION_SIZE}" fill="#444444">'
            f"{escape(line)}</text>"
        )
    for line in box.files:
        y += 17
        lines.append(
            f'<text x="{box.x + 14}" y="{y}" font-size="{FILE_SIZE}" class="files" '
            f'font-family="Menlo, Consolas, monospace" xml:space="preserve">{line}</text>'
        )
    return "\n".join([*lines, "</g>"])


def _note(lowest: Box) -> list[str]:
    y = lowest.y + lowest.height + 40
    lines = textwrap.wrap(NOTE, int(lowest.width / CAPTION_LETTER))
    return [
        f'<text x="{lowest.x}" y="{y + 18 * i}" font-size="{CAPTION_SIZE}">{line}</text>'
        for i, line in enumerate(lines)
    ]


if __name__ == "__main__":
    tyro.cli(main)
