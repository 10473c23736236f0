"""Regions of interest of ImageJ and Fiji: RoiSet.zip and .roi."""

from pathlib import Path

import numpy as np
import roifile

from labels.forms.outlines import label_map
from labels.label_map import Labels

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
    found = roifile.roiread(path)
    rois = found if isinstance(found, list) else [found]
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
    notes = ["outlines (ImageJ)", remark, f"{lines} points or lines left out" if lines else ""]
    return Labels(drawn, True, ", ".join(filter(None, notes)))
