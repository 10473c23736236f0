"""All nuclei of an image at once: the few columns that statistics, neighbours and maps need."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nuclei.windows import WindowNuclei

# About 70 bytes a nucleus: those of a slide of a million fit into memory, the whole table may not.
KEPT = (
    *("centroid_x_px", "centroid_y_px", "area_um2", "area_px2", "eccentricity", "circularity"),
    *("mean_hematoxylin_od", "touches_border"),
)
# Size and shape, in whose statistics nuclei that the border of the image cuts have no part.
OF_WHOLE = frozenset(("area_um2", "area_px2", "circularity", "eccentricity"))


def gather(paths: Iterable[Path], columns: Iterable[str]) -> dict[str, np.ndarray]:
    """Read what `KEPT` names of all windows of an image.

    Args:
        paths: of their nuclei, see `WindowNuclei.save`; in their order.
        columns: of the nuclei table.

    Returns:
        One array per column that the table has, float64 (N,), in the order of the labels.
    """
    names = [name for name in columns if name in KEPT]
    parts = [WindowNuclei.load_columns(path, names) for path in paths]
    return {
        name: np.concatenate([np.zeros(0), *(part[name] for part in parts)]).astype(float)
        for name in names
    }


def area_unit(population: dict[str, np.ndarray]) -> str:
    """Return the unit of the areas, "um2" or "px2"."""
    return "um2" if "area_um2" in population else "px2"


def whole(population: dict[str, np.ndarray]) -> np.ndarray:
    """Tell of each nucleus whether it is whole: the border of the image does not cut it."""
    return population["touches_border"] == 0


def area_statistics(areas: np.ndarray, unit: str) -> dict[str, float | None]:
    """Describe the areas of whole nuclei; None where there are too few.

    Args:
        areas: (N,) of the nuclei that count.
        unit: of the areas, for the names.

    Returns:
        Mean; standard deviation of the sample (n - 1); median; IQR, the range from the first to the
        third quartile (linear interpolation); CV, the standard deviation over the mean.
    """
    some, several = len(areas) > 0, len(areas) > 1
    low, median, high = np.percentile(areas, (25, 50, 75)) if some else (None, None, None)
    mean = float(areas.mean()) if some else None
    deviation = float(areas.std(ddof=1)) if several else None
    return {
        f"mean_area_{unit}": mean,
        f"sd_area_{unit}": deviation,
        f"median_area_{unit}": float(median) if some else None,
        f"iqr_area_{unit}": float(high - low) if some else None,
        "cv_area": deviation / mean if several else None,
    }
