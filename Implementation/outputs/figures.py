"""Pictures of a result: outlined nuclei, and the side-by-side figure."""

import math

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from scipy import ndimage

from outputs.png import write_image

OUTLINE = (205, 255, 0)  # yellow-green: far from pink and violet, also for colour-blind readers
FIGURE_WIDTH, FIGURE_HEIGHT = 7.2, 9.0  # inches at most, two columns of a journal page
TITLE_HEIGHT = 0.35  # inches
DOTS_PER_INCH = 300
LARGEST_DETAIL = 480  # side of the inset in pixels of a reduced image's full resolution
INSET_FRACTION = 4  # the inset shows 1/4 of the image's width and height
LONGEST_BAR = 0.3  # of the panel's width


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


def write_figure(
    path,
    low_resolution,
    super_resolved,
    labels,
    microns_per_pixel,
    detail=None,
    software_note=None,
    warning="",
):
    """Write the side-by-side figure of one field (PNG, 300 dpi).

    Panels: low resolution, super-resolved, nuclei outlined; below each, enlarged, the same small
    field, which is the one with the most nuclei. low_resolution: RGB uint8 of the same field at any
    size, or None if the image was not super-resolved. super_resolved: RGB uint8 (height, width, 3).
    labels: its label map (height, width), or None if nuclei were not segmented. microns_per_pixel:
    side of one pixel of `super_resolved` as given here, in micrometres; if None (unknown), the
    scale bar is in pixels. detail: if these are reduced previews, a function that returns the same
    three for a field (x, y, width, height) of the preview at full resolution, with the preview's
    reduction factor as attribute `step`; otherwise None. software_note: content of the PNG's
    Software field. warning: printed above the panels.
    """
    panels = _panels(low_resolution, super_resolved, labels)
    height, width = super_resolved.shape[:2]
    largest = max(1, LARGEST_DETAIL // detail.step) if detail else math.inf
    field = _densest_field(super_resolved, labels, largest)
    insets = _panels(*detail(field)) if detail else panels
    shown = field if detail else (0, 0, width, height)
    size = _figure_size(len(panels), height / width)
    figure = Figure(size, DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots(2, len(panels), squeeze=False)
    for (whole, inset), (title, image), (_, enlarged) in zip(axes.T, panels, insets, strict=True):
        whole.set_title(title, fontsize=8)
        _show(whole, image, (0, 0, width, height), (0, 0, width, height), super_resolved)
        _show(inset, enlarged, shown, field, insets[-1][1])
        _frame(whole, field)
    for axis, shown_width in ((axes[0, 0], width), (axes[1, 0], field[2])):
        scale_bar(axis, shown_width, microns_per_pixel)
    if warning:
        figure.suptitle(f"Warning: {warning}", fontsize=7, color="#a3261b", wrap=True)
    save_figure(figure, path, software_note)


def save_figure(figure, path, software_note=None):
    """Write a Matplotlib figure as PNG at its own resolution.

    Not by savefig, which draws everything twice for the layout and compresses slowly.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = cv2.cvtColor(np.asarray(canvas.buffer_rgba()), cv2.COLOR_RGBA2RGB)
    write_image(path, picture, software_note, figure.dpi)


def _figure_size(columns, panel_ratio):
    """Return width and height in inches of two rows of panels of the ratio height / width."""
    panel_ratio = min(max(panel_ratio, 0.3), 3)  # leave a narrow strip room for its title
    panel_width = min(FIGURE_WIDTH / columns, (FIGURE_HEIGHT - TITLE_HEIGHT) / (2 * panel_ratio))
    return columns * panel_width, 2 * panel_width * panel_ratio + TITLE_HEIGHT


def _panels(low_resolution, super_resolved, labels):
    panels = []
    if low_resolution is not None:
        panels.append(("Low resolution", low_resolution))
    panels.append(("Image" if low_resolution is None else "Super-resolved", super_resolved))
    if labels is not None:
        panels.append(("Nuclei", draw_outlines(super_resolved, labels)))
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
    left, top, covered_width, covered_height = covered
    x, y, width, height = field
    # Only the low resolution is coarser; its pixels must be seen as they are.
    coarser = image.shape[:2] != finest.shape[:2]
    axis.imshow(
        image,
        extent=(left, left + covered_width, top + covered_height, top),
        interpolation="nearest" if coarser else "auto",
    )
    axis.set(xlim=(x, x + width), ylim=(y + height, y), xticks=[], yticks=[])


def _frame(axis, field):
    x, y, width, height = field
    for colour, line_width in (("black", 2), ("white", 1)):
        axis.add_patch(
            Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=line_width)
        )


def scale_bar(axis, shown_width, microns_per_pixel):
    """Draw a bar of round length with its label at the lower left; shown_width is in pixels."""
    unit, unit_per_pixel = ("px", 1) if microns_per_pixel is None else ("µm", microns_per_pixel)
    length = _round_below(LONGEST_BAR * shown_width * unit_per_pixel)
    end = 0.05 + length / unit_per_pixel / shown_width
    casing = [withStroke(linewidth=4, foreground="white")]
    axis.plot(
        (0.05, end),
        (0.06, 0.06),
        transform=axis.transAxes,
        color="black",
        linewidth=2,
        solid_capstyle="butt",
        path_effects=casing,
    )
    axis.text(
        0.05,
        0.08,
        f"{length:g} {unit}",
        transform=axis.transAxes,
        fontsize=7,
        va="bottom",
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )


def _round_below(value):
    """The largest of 1, 2 or 5 times a power of ten that is at most `value`."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in (1, 2, 5) if step * power <= value * (1 + 1e-9))
