"""OME-TIFF: what its XML says is taken from the right image, in sets of files, too."""

import uuid

import numpy as np
import pytest
import tifffile

from helpers.image_samples import read_all, tissue
from images.opening import ImageReadError, open_image

CHANNEL = '<Channel ID="Channel:0" SamplesPerPixel="{0}"/>'
ROOT = '<?xml version="1.0" encoding="UTF-8"?><OME {}>{}</OME>'
SPACE = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
DATA = '<TiffData FirstC="{0}" IFD="{1}" PlaneCount="1"><UUID FileName="{2}">{3}</UUID></TiffData>'
RED, GREEN, BLUE = -16776961, 16711935, 65535  # as OME writes them: RGBA, signed


def uuid_of(name):
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, name)}"


def pixels_xml(shape, content, sizes=""):
    return (
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeC="3" '
        f'SizeX="{shape[1]}" SizeY="{shape[0]}" SizeZ="1" SizeT="1" {sizes}>{content}</Pixels>'
        "</Image>"
    )


def write(path, pixels, images, photometric="rgb"):
    """Write one file with the XML of all images, as Bio-Formats does."""
    xml = ROOT.format(f'{SPACE} UUID="{uuid_of(path.name)}"', "".join(images))
    options = {"description": xml.encode(), "metadata": None, "photometric": photometric}
    tifffile.imwrite(path, pixels, **options)


def write_series(folder):
    """Write two images of another size each to a file of its own, as bfconvert -series does."""
    pictures = {"s_0.ome.tif": tissue(96, 128), "s_1.ome.tif": tissue(64, 80)}
    stated = 'PhysicalSizeX="{0}" PhysicalSizeY="{0}"'
    images = [
        pixels_xml(
            pixels.shape,
            CHANNEL.format(3) + DATA.format(0, 0, name, uuid_of(name)),
            stated.format(size),
        )
        for (name, pixels), size in zip(pictures.items(), (0.5, 0.25), strict=True)
    ]
    for name, pixels in pictures.items():
        write(folder / name, pixels, images)
    return pictures


@pytest.mark.parametrize("is_alone", [False, True])
def test_a_file_of_a_set_of_images_is_its_own_image(tmp_path, is_alone):
    pictures = write_series(tmp_path)
    for name, size in (("s_0.ome.tif", 0.5), ("s_1.ome.tif", 0.25)):
        path = tmp_path / name
        if is_alone:
            path = tmp_path / name[:3] / name
            path.parent.mkdir()
            (tmp_path / name).rename(path)
        with open_image(path) as image:
            assert (image.height, image.width) == pictures[name].shape[:2]
            assert image.microns_per_pixel == size and image.notes == ()
        np.testing.assert_array_equal(read_all(path), pictures[name])


@pytest.mark.parametrize("there", ["the companion", "a companion that is a TIFF", "none", "no XML"])
def test_a_file_without_metadata_is_described_by_its_companion(tmp_path, there):
    pictures = write_series(tmp_path)
    with tifffile.TiffFile(tmp_path / "s_0.ome.tif") as file:
        xml = file.ome_metadata
    companion = "set.ome.tif" if "TIFF" in there else "set.companion.ome"
    if "TIFF" in there:
        tifffile.imwrite(
            tmp_path / companion, tissue(8, 8), description=xml.encode(), metadata=None
        )
    elif there != "none":
        (tmp_path / companion).write_text(xml if there == "the companion" else "text")
    pointer = f'<BinaryOnly MetadataFile="elsewhere/{companion}" UUID="{uuid_of(companion)}"/>'
    for name, size in (("s_0.ome.tif", 0.5), ("s_1.ome.tif", 0.25)):
        write(tmp_path / name, pictures[name], [pointer])
        with open_image(tmp_path / name) as image:
            assert image.microns_per_pixel == (size if "companion" in there else None)
        np.testing.assert_array_equal(read_all(tmp_path / name), pictures[name])


def test_images_of_one_file_have_sizes_of_their_own(tmp_path):
    """Also where an image of which no plane is there stands before them."""
    gone = pixels_xml((64, 80), DATA.format(0, 0, "gone.tif", uuid_of("gone.tif")))
    sizes = 'PhysicalSizeX="{0}" PhysicalSizeY="{0}"'
    own = [DATA.format(0, page, "a.ome.tif", uuid_of("a.ome.tif")) for page in range(2)]
    shapes = ((40, 50), (64, 80))
    images = [
        pixels_xml(shape, CHANNEL.format(3) + data, sizes.format(size))
        for shape, data, size in zip(shapes, own, (1.0, 0.5), strict=True)
    ]
    xml = ROOT.format(f'{SPACE} UUID="{uuid_of("a.ome.tif")}"', "".join([gone, *images]))
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        options = {"photometric": "rgb", "metadata": None}
        file.write(tissue(40, 50), description=xml.encode(), **options)
        file.write(tissue(64, 80), **options)
    with open_image(tmp_path / "a.ome.tif") as image:
        assert (image.width, image.microns_per_pixel) == (80, 0.5)


def test_the_bits_of_a_camera_are_those_of_the_own_image(tmp_path):
    """So dark a picture that its values alone suggest another white."""
    dim, name = tissue(64, 80) // 5, "s_1.ome.tif"
    images = [
        pixels_xml((64, 80), CHANNEL.format(3) + DATA.format(0, 0, of, uuid_of(of)), bits)
        for of, bits in (("s_0.ome.tif", 'SignificantBits="9"'), (name, 'SignificantBits="12"'))
    ]
    write(tmp_path / name, np.rint(dim / 255 * 4095).astype(np.uint16), images)
    np.testing.assert_array_equal(read_all(tmp_path / name), dim)


@pytest.mark.parametrize("is_alone", [False, True])
def test_planes_in_several_files_are_refused(tmp_path, is_alone):
    names = [f"s_C{number}.ome.tif" for number in range(3)]
    data = "".join(DATA.format(c, 0, name, uuid_of(name)) for c, name in enumerate(names))
    image = pixels_xml((64, 80), CHANNEL.format(1) * 3 + data)
    for name in names[:1] if is_alone else names:
        write(tmp_path / name, tissue(64, 80)[..., 0], [image], "minisblack")
        expected = r"ome\.tif: an OME-TIFF that lacks 2 of the image's 3 planes; export the set"
        with pytest.raises(ImageReadError, match=expected) as caught:
            read_all(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_file_whose_planes_all_lie_in_another_is_refused(tmp_path):
    write_series(tmp_path)
    data = DATA.format(0, 0, "s_0.ome.tif", uuid_of("s_0.ome.tif"))
    images = [pixels_xml((96, 128), CHANNEL.format(3) + data)]
    write(tmp_path / "index.ome.tif", tissue(8, 8), images)
    with pytest.raises(ImageReadError, match="pixels lie in other files; export the set"):
        read_all(tmp_path / "index.ome.tif")


# --- which of three planes is red ---


@pytest.mark.parametrize("by", ["Name", "Color"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_planes_are_ordered_by_the_names_or_colours_of_their_channels(tmp_path, by, order):
    stated = {"Name": ("Red", "green", " B"), "Color": (RED, GREEN, BLUE)}[by]
    channel = {by: [stated[number] for number in order]}
    planes = np.ascontiguousarray(np.moveaxis(tissue(64, 80), -1, 0)[list(order)])
    metadata = {"axes": "CYX", "Channel": channel}
    tifffile.imwrite(
        tmp_path / "a.ome.tif", planes, photometric="minisblack", metadata=metadata, tile=(32, 32)
    )
    np.testing.assert_array_equal(read_all(tmp_path / "a.ome.tif"), tissue(64, 80))
    with open_image(tmp_path / "a.ome.tif") as image:
        assert image.notes == ()


@pytest.mark.parametrize(
    "channel",
    [
        {},
        {"Name": ["DAPI", "FITC", "Cy5"]},
        {"Name": ["red", "red", "blue"]},
        {"Color": [RED, GREEN, -1]},
    ],
)
def test_planes_of_which_nobody_says_the_colours_keep_their_order_and_it_is_said(tmp_path, channel):
    planes = np.ascontiguousarray(np.moveaxis(tissue(64, 80), -1, 0))
    metadata = {"axes": "CYX", "Channel": channel} if channel else {"axes": "CYX"}
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, photometric="minisblack", metadata=metadata)
    np.testing.assert_array_equal(read_all(tmp_path / "a.ome.tif"), tissue(64, 80))
    with open_image(tmp_path / "a.ome.tif") as image:
        assert image.notes == ("three grey channels: taken as red, green and blue",)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (2, 2, 0)])
def test_planes_of_imagej_are_ordered_by_the_colours_it_shows_them_in(tmp_path, order):
    tables = np.zeros((3, 3, 256), np.uint8)
    for table, colour in zip(tables, order, strict=True):
        table[colour] = np.arange(256)
    is_stated = set(order) == {0, 1, 2}
    planes = np.moveaxis(tissue(64, 80), -1, 0)[list(order) if is_stated else [0, 1, 2]]
    metadata = {"axes": "CYX", "mode": "composite", "LUTs": list(tables)}
    tifffile.imwrite(tmp_path / "a.tif", planes.copy(), imagej=True, metadata=metadata)
    np.testing.assert_array_equal(read_all(tmp_path / "a.tif"), tissue(64, 80))
    with open_image(tmp_path / "a.tif") as image:
        assert bool(image.notes) != is_stated
