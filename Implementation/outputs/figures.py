"""Pictures of a result: outlined nuclei, and the side-by-side figure."""

import math
from typing import NamedTuple

import numpy as np
from matplotlib.patches import Rectangle
from scipy import ndimage

from outputs.canvas import fit, panel_figure, place, save_figure, scale_bar, scaled
from outputs.png import write_image

OUTLINE = (205, 255, 0)  # yellow-green: far from pink and violet, also for colour-blind readers
LARGEST = 7.2, 9.0  # inches, two columns of a journal page
DOTS_PER_INCH = 300
LARGEST_DETAIL = 480  # side of the inset in pixels of a reduced image's full resolution
INSET_FRACTION = 4  # the inset shows 1/4 of the image's width and height


def draw_outlines(image, labels, colour=OUTLINE, width=1):
    """Outline every nucleus; return a uint8 copy of the image (height, width, 3).

    image: RGB uint8 (height, width, 3). labels: integer label map (height, width). The outline
    takes the outermost `width` pixels of each nucleus, so that touching nuclei are separated by a
    line of twice that width; where the border of the image cuts a nucleus, it stays open. Sizes
    that differ raise ValueError.
    """
    image, labels = np.asarray(image), np.asarray(labels)
    if image.shape[:2] != labels.shape:
        raise ValueError(
            f"image and label map must have the same size, found {image.shape[:2]} "
            f"and {labels.shape}"
        )
    outlined = image.astype(np.uint8, copy=True)
    window = 2 * width + 1
    lowest = ndimage.minimum_filter(labels, window, mode="nearest")
    highest = ndimage.maximum_filter(labels, window, mode="nearest")
    outlined[(labels != 0) & (lowest != highest)] = colour
    return outlined


class Views(NamedTuple):
    """A field as the figure shows it, all of the same part.

    Attributes:
        low_resolution: RGB uint8 at any size, or None if the image was not super-resolved.
        picture: RGB uint8 (height, width, 3).
        labels: its label map (height, width), or None if nuclei were not segmented.
    """

    low_resolution: np.ndarray | None
    picture: np.ndarray
    labels: np.ndarray | None


def write_figure(path, views, microns_per_pixel, detail=None, warning="", write=write_image):
    """Write the side-by-side figure of one field (PNG, 300 dpi).

    Panels: low resolution, super-resolved, nuclei outlined; below each, enlarged, the same small
    field, which is the one with the most nuclei.

    Args:
        path: the file.
        views: what it shows.
        microns_per_pixel: side of one pixel of the picture as given here, in micrometres; if None
            (unknown), the scale bar is in pixels.
        detail: if these are reduced previews, a function that returns the Views of a field (x, y,
            width, height) of the preview at full resolution, with the preview's reduction factor as
            attribute `step`; otherwise None.
        warning: printed above the panels.
        write: writes a picture, as `write_image` does.
    """
    panels = _panels(views)
    height, width = views.picture.shape[:2]
    largest = max(1, LARGEST_DETAIL // detail.step) if detail else math.inf
    field = _densest_field(views.picture, views.labels, largest)
    insets = _panels(detail(field)) if detail else panels
    shown = field if detail else (0, 0, width, height)
    above = warning and f"Warning: {warning}"
    figure, axes = panel_figure(len(panels), height / width, LARGEST, DOTS_PER_INCH, above)
    for (whole, inset), (title, image), (_, enlarged) in zip(axes.T, panels, insets, strict=True):
        whole.set_title(title, fontsize=8)
        _show(whole, image, (0, 0, width, height), (0, 0, width, height), views.picture)
        _show(inset, enlarged, shown, field, insets[-1][1])
        _frame(whole, field)
    # A bar in pixels counts those of the result, so it stands in a panel that shows them.
    column = int(microns_per_pixel is None and views.low_resolution is not None)
    for axis, shown_width in ((axes[0, column], width), (axes[1, column], field[2])):
        scale_bar(axis, shown_width, microns_per_pixel)
    save_figure(figure, path, write)


def _panels(views):
    low_resolution, picture, labels = views
    panels = []
    if low_resolution is not None:
        panels.append(("Low resolution", low_resolution))
    panels.append(("Image" if low_resolution is None else "Super-resolved", picture))
    if labels is not None:
        panels.append(("Nuclei", draw_outlines(picture, labels)))
    return panels


def _densest_field(image, labels, largest=math.inf):
    """Window (x, y, width, height) with the most nuclei; without nuclei, the darkest one.

    Its sides are a quarter of the image's, but at most `largest` pixels.
    """
    height, width = image.shape[:2]
    size = tuple(min(max(1, side // INSET_FRACTION), largest) for side in (width, height))
    if labels is not None and np.any(labels):
        areas = np.bincount(labels.ravel())
        # Each nucleus weighs 1, spread over its pixels: of a cut nucleus, the part inside counts.
        weights = 1 / np.maximum(areas, 1)
        weights[0] = 0
        density = weights[labels]
    else:
        density = 255 - image.mean(axis=2)
    total = np.pad(density.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows = total[size[1] :] - total[: -size[1]]
    sums = rows[:, size[0] :] - rows[:, : -size[0]]
    y, x = np.unravel_index(np.argmax(sums), sums.shape)
    return int(x), int(y), *size


def _show(axis, image, covered, field, finest):
    """Show the window `field` of an image that covers `covered`, both (x, y, width, height)."""
    size = fit(axis, *field[2:])
    bounds = [
        ((start - first) * pixels / span, length * pixels / span)
        for start, length, first, span, pixels in zip(
            *(field[:2], field[2:], covered[:2], covered[2:], image.shape[1::-1]), strict=True
        )
    ]
    if image.shape[0] < finest.shape[0]:  # the pixels of the low resolution are seen as they are
        columns, rows = (
            ((np.arange(dots) + 0.5) * length / dots + start).astype(int)
            for (start, length), dots in zip(bounds, size, strict=True)
        )
        place(axis, image[rows[:, None], columns])
        return
    (x, width), (y, height) = ((round(start), max(1, round(length))) for start, length in bounds)
    place(axis, scaled(image[y : y + height, x : x + width], size))


def _frame(axis, field):
    x, y, width, height = field
    for colour, line_width in (("black", 2), ("white", 1)):
        axis.add_patch(
            Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=line_width)
        )
