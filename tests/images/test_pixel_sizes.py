"""Pixel sizes as other programs state them, and sizes that no microscope image has."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.cases import CASES, needs_cases
from helpers.image_samples import SVS, tissue
from images.opening import ImageReadError, open_image
from images.sizes import microns_per_unit, refuse_coarse_size


def microns(path):
    with open_image(path) as image:
        return image.microns_per_pixel


@needs_cases
def test_a_decimal_comma_of_a_program_of_the_field():
    assert microns(CASES / "images" / "strip_comma.tif") == 1.0


@pytest.mark.parametrize("tile", [None, (64, 64)])
@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("MPP = 0,2500", 0.25),
        ("MPP = 1,9840", 1.984),
        ("MPP=0,5", 0.5),
        ("MPP = 0.2520", 0.252),
        ("MPP = ", None),
        ("MPP = 1.2.3", None),
        ("AppMag = 20", None),
    ],
)
def test_decimal_commas_of_aperio(tmp_path, tile, entry, expected):
    description = SVS.format(96, 80).replace("MPP = 0.5", entry)
    options = {"tile": tile, "compression": "jpeg"} if tile else {}
    tifffile.imwrite(
        tmp_path / "a.svs",
        tissue(80, 96),
        photometric="rgb",
        description=description,
        metadata=None,
        **options,
    )
    assert microns(tmp_path / "a.svs") == (expected and pytest.approx(expected))


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        *((unit, 1.0) for unit in ("um", "µm", "μm", "micron", "Microns", "micrometer")),
        *(
            (unit, 1.0)
            for unit in ("Micrometers", "micrometre", " micrometres ", "\\u00B5m", "Âµm")
        ),
        *((unit, 1e-4) for unit in ("Å", "\u212b", "angstrom", "Angstroms")),
        *((unit, 1e-6) for unit in ("pm", "picometer")),
        *((unit, 1e-3) for unit in ("nm", "nanometers")),
        *((unit, 1e3) for unit in ("mm", "millimetres")),
        *((unit, 1e4) for unit in ("cm", "Centimeter")),
        *((unit, 1e6) for unit in ("m", "meters")),
        *((unit, 25400) for unit in ("in", "inch", "inches", '"')),
        *(
            (unit, None)
            for unit in ("pixel", "pixels", "reference frame", "", "s", "px", "furlong")
        ),
    ],
)
def test_units_of_length(unit, expected):
    assert microns_per_unit(unit) == expected


XML = """<?xml version="1.0" encoding="UTF-8"?><{0}OME {1}><{0}Image ID="Image:0"><{0}Pixels
 ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="96" SizeY="80" SizeC="3" SizeZ="1"
 SizeT="1" {2}><{0}Channel ID="Channel:0:0" SamplesPerPixel="3"/><{0}TiffData IFD="0"
 PlaneCount="1"/></{0}Pixels></{0}Image></{0}OME>"""
NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


@pytest.mark.parametrize(
    ("prefix", "namespace"),
    [("", f'xmlns="{NAMESPACE}"'), ("ome:", f'xmlns:ome="{NAMESPACE}"'), ("", "")],
)
@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ('PhysicalSizeX="0.25" PhysicalSizeY="0.25"', 0.25),
        (
            'PhysicalSizeX="2500" PhysicalSizeXUnit="Å" PhysicalSizeY="250" PhysicalSizeYUnit="nm"',
            0.25,
        ),
        ('PhysicalSizeX="0,25" PhysicalSizeY="0,25"', 0.25),
        ('PhysicalSizeX="0.25"', 0.25),
        ('PhysicalSizeX="250000" PhysicalSizeXUnit="pm"', 0.25),
        ('PhysicalSizeX="0.25" PhysicalSizeXUnit="pixel"', None),
        ('PhysicalSizeX="0.25" PhysicalSizeY="0.5"', None),
    ],
)
def test_sizes_in_ome_of_any_writing(tmp_path, prefix, namespace, sizes, expected):
    tifffile.imwrite(
        tmp_path / "a.tif",
        tissue(80, 96),
        photometric="rgb",
        description=XML.format(prefix, namespace, sizes).encode(),
        metadata=None,
    )
    assert microns(tmp_path / "a.tif") == (expected and pytest.approx(expected))


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("micrometer", 0.5), ("angstrom", None), ("\\u00B5m", 0.5), ("inch", None), ("pixel", None)],
)
def test_units_of_imagej(tmp_path, unit, expected):
    options = {"imagej": True, "resolution": (2, 2), "metadata": {"unit": unit}}
    tifffile.imwrite(tmp_path / "a.tif", tissue(80, 96)[..., 0], **options)
    assert microns(tmp_path / "a.tif") == expected


# --- sizes of desktop scanners ---


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize(("dpi", "refused"), [(2400, True), (4000, True), (25400, False)])
def test_a_size_of_a_desktop_scanner_is_refused_with_the_flag_that_helps(
    tmp_path, name, dpi, refused
):
    Image.fromarray(tissue(40, 50)).save(tmp_path / name, dpi=(dpi, dpi))
    stated = microns(tmp_path / name)
    assert stated == pytest.approx(25400 / dpi, rel=1e-3)
    if not refused:
        refuse_coarse_size(tmp_path / name, stated, is_slide=False)
        return
    with pytest.raises(ImageReadError, match=f"({dpi} dpi).*--microns-per-pixel") as caught:
        refuse_coarse_size(tmp_path / name, stated, is_slide=False)
    assert str(caught.value).startswith(name) and "\n" not in str(caught.value)


def test_slides_and_unknown_sizes_are_not_refused(tmp_path):
    refuse_coarse_size(tmp_path / "a.png", None, is_slide=False)
    refuse_coarse_size(tmp_path / "a.svs", 8.0, is_slide=True)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.uint8))
    assert microns(tmp_path / "a.tif") is None
