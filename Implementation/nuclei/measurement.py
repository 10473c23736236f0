"""Measure every nucleus of a label map."""

import numpy as np
from skimage.color import hed_from_rgb
from skimage.measure import regionprops_table

FAINTEST = 1e-6  # of white; darker counts as this, as in skimage.color.separate_stains
PROPERTIES = (  # of scikit-image's regionprops_table
    "label",
    "centroid",
    "bbox",
    "area",
    "perimeter_crofton",
    "axis_major_length",
    "axis_minor_length",
    "eccentricity",
    "solidity",
    "intensity_mean",
)


def measure(
    labels: np.ndarray,
    image: np.ndarray,
    probability: np.ndarray,
    microns_per_pixel: float | None,
) -> dict[str, np.ndarray]:
    """Measure every nucleus of a label map.

    Args:
        labels: int (height, width), 0 = background.
        image: uint8 RGB (height, width, 3).
        probability: (height, width) in 0..1.
        microns_per_pixel: size of a pixel; None where unknown, then pixel units are written under
            pixel names.

    Returns:
        One array per column, equally long. Lengths in um and areas in um2 (or px and px2);
        `mean_hematoxylin_od` is the decadic optical density of hematoxylin after colour
        deconvolution (Ruifrok & Johnston 2001); `circularity` is 4 pi area / perimeter^2 with
        the Crofton perimeter, 1 for a disc; `probability` is the mean over the nucleus.
    """
    values = np.zeros((*labels.shape, 2), np.float32)
    inside = labels > 0
    values[inside, 0] = _hematoxylin(image[inside])
    values[..., 1] = probability
    properties = regionprops_table(labels, values, PROPERTIES)
    unit, size = ("px", 1.0) if microns_per_pixel is None else ("um", microns_per_pixel)
    area, perimeter = properties["area"], properties["perimeter_crofton"]
    # A centroid is in pixel centres; coordinates count from the image's corner.
    y, x = properties["centroid-0"] + 0.5, properties["centroid-1"] + 0.5
    columns = {"label": properties["label"], "centroid_x_px": x, "centroid_y_px": y}
    if microns_per_pixel is not None:
        columns |= {"centroid_x_um": x * size, "centroid_y_um": y * size}
    return columns | {
        f"area_{unit}2": area * size**2,
        f"perimeter_{unit}": perimeter * size,
        f"major_axis_{unit}": properties["axis_major_length"] * size,
        f"minor_axis_{unit}": properties["axis_minor_length"] * size,
        "eccentricity": properties["eccentricity"],
        "solidity": properties["solidity"],
        "circularity": np.minimum(4 * np.pi * area / np.maximum(perimeter, 1e-9) ** 2, 1.0),
        "mean_hematoxylin_od": properties["intensity_mean-0"],
        "probability": properties["intensity_mean-1"],
        "bbox": np.stack([properties[f"bbox-{i}"] for i in range(4)], axis=-1),
    }


def _hematoxylin(pixels: np.ndarray) -> np.ndarray:
    """Return the decadic optical density of hematoxylin of uint8 RGB (n, 3).

    As skimage.color.rgb2hed deconvolves colours, but by a table: there are only 256 levels.
    """
    density = -np.log10(np.maximum(np.arange(256) / 255, FAINTEST))
    tables = (hed_from_rgb[:, 0, None] * density).astype(np.float32)
    red, green, blue = (table[channel] for table, channel in zip(tables, pixels.T, strict=True))
    return np.maximum(red + green + blue, 0)
