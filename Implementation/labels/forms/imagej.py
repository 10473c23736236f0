"""Regions of interest of ImageJ and Fiji: RoiSet.zip and .roi."""

import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import roifile

from labels.forms.outlines import label_map
from labels.label_map import Labels
from labels.names import hidden

AREAS = {
    roifile.ROI_TYPE.POLYGON,
    roifile.ROI_TYPE.RECT,
    roifile.ROI_TYPE.OVAL,
    roifile.ROI_TYPE.FREEHAND,
    roifile.ROI_TYPE.TRACED,
}


def labels_of_imagej(path: Path, shape: tuple[int, int]) -> Labels:
    """Read every region of interest that has an area as a nucleus.

    Args:
        path: .roi, or .zip of them as the ROI Manager saves it.
        shape: (height, width) of the image.

    Raises:
        ValueError: it holds no area.
    """
    rois = _regions(path)
    # The rings of a composite region are one figure: a ring in a ring is a hole.
    areas = [
        [[np.asarray(ring, float) for ring in roi.coordinates(multi=True)]]
        for roi in rois
        if roi.roitype in AREAS
    ]
    if not areas:
        raise ValueError(f"none of its {len(rois)} regions has an area; outline the nuclei")
    drawn, remark = label_map(areas, shape)
    lines = len(rois) - len(areas)
    notes = ["outlines (ImageJ)", remark, f"points or lines left out: {lines}" if lines else ""]
    return Labels(drawn, True, ", ".join(filter(None, notes)))


def _regions(path: Path) -> list[roifile.ImagejRoi]:
    if not zipfile.is_zipfile(path):
        return [roifile.ImagejRoi.frombytes(path.read_bytes())]
    with zipfile.ZipFile(path) as file:
        # macOS packs folders, and beside each file `__MACOSX/._` with what its system knows of it.
        return [
            roifile.ImagejRoi.frombytes(file.read(name))
            for name in file.namelist()
            if not name.endswith("/")
            and not any(hidden(Path(part)) for part in PurePosixPath(name).parts)
        ]
