"""What the OME-XML of a TIFF says of the image that a page belongs to."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import tifffile

PRIMARIES = {"red": 0, "r": 0, "green": 1, "g": 1, "blue": 2, "b": 2}
PRIMARY_COLOURS = {0xFF0000: 0, 0x00FF00: 1, 0x0000FF: 2}  # 24 bits of red, green and blue


def ome_pixels(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> ElementTree.Element:
    """Return the Pixels element whose TiffData points to a page; an empty one where none does.

    tif: the file that holds the page. Its XML may describe images of further files, too, or name a
        companion that does.
    """
    nothing = ElementTree.Element("Pixels")
    own = _parsed((tif.is_ome and tif.ome_metadata) or "")
    images = [each for each in _described(tif, own).iter() if _name(each) == "Pixels"]
    ours = own.get("UUID"), tif.filename.casefold()
    found = [each for each in images if any(_points_to(data, page, ours) for data in each)]
    # Of one image alone the pages are, whatever a program that renamed or cut the file left behind.
    return (found or (images if len(images) == 1 else [nothing]))[0]


def colour_order(pixels: ElementTree.Element) -> list[int] | None:
    """Return the numbers of the red, the green and the blue channel of Pixels.

    None where neither names nor colours of three channels say exactly these.
    """
    channels = [each for each in pixels if _name(each) == "Channel"]
    names = [PRIMARIES.get(each.get("Name", "").strip().casefold()) for each in channels]
    colours = [_primary(each.get("Color", "")) for each in channels]
    return order_of(names) or order_of(colours)


def order_of(primaries: list[int | None]) -> list[int] | None:
    """Return where 0, 1 and 2 stand in a list of just these, None for any other list."""
    is_whole = len(primaries) == 3 and set(primaries) == {0, 1, 2}
    return [primaries.index(primary) for primary in range(3)] if is_whole else None


def _parsed(xml: str | bytes) -> ElementTree.Element:
    """Return the root of an XML text; an empty element where it is none."""
    try:
        return ElementTree.fromstring(xml)
    except (ElementTree.ParseError, TypeError, ValueError):
        return ElementTree.Element("none")


def _described(tif: tifffile.TiffFile, own: ElementTree.Element) -> ElementTree.Element:
    """Return the XML that describes a file: its own, or that of the companion which that names."""
    names = [each.get("MetadataFile", "") for each in own if _name(each) == "BinaryOnly"]
    if not names:
        return own
    companion = Path(tif.filehandle.dirname) / Path(names[0]).name  # never in another folder
    try:
        if companion.suffix.casefold() in (".tif", ".tiff"):
            with tifffile.TiffFile(companion) as other:
                return _parsed(other.ome_metadata or "")
        return _parsed(companion.read_bytes())
    except (OSError, ValueError):
        return own


def _points_to(
    data: ElementTree.Element, page: tifffile.TiffPage, ours: tuple[str | None, str]
) -> bool:
    """Whether a TiffData names a page of the file with the UUID and the name `ours`."""
    if _name(data) != "TiffData":
        return False
    uuid = next((each for each in data if _name(each) == "UUID"), None)
    if uuid is not None:
        own_uuid, own_name = ours
        named = uuid.get("FileName", "").casefold() == own_name
        if not (uuid.text == own_uuid if own_uuid else named):
            return False
    try:
        first = int(data.get("IFD", 0))
        count = int(data.get("PlaneCount", data.get("NumPlanes", 1 if "IFD" in data.attrib else 0)))
    except ValueError:
        return False
    return first <= page.index and (not count or page.index < first + count)  # 0: all that follow


def _primary(colour: str) -> int | None:
    """Return 0, 1 or 2 for pure red, green or blue as OME writes it: RGBA in a signed number."""
    try:
        return PRIMARY_COLOURS.get((int(colour) >> 8) & 0xFFFFFF)
    except ValueError:
        return None


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
