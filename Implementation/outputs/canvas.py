"""Figures laid out by hand, with pictures placed pixel by pixel.

Matplotlib draws frames, words and colour bars. Its layout engine and its scaling of images take
longer than all the rest, and there are six figures for each image.
"""

import math
import textwrap

import cv2
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from outputs.png import write_image

TITLE_HEIGHT = 0.36  # inches
GAP = 0.08  # inches between panels and around them
BAR_WIDTH, BAR_LABELS = 0.15, 0.7  # inches of a colour bar, and of what stands beside it
RATIOS = 0.3, 3.0  # height / width of a panel: a narrow strip leaves room for its title
LETTERS = 15  # of a title per inch, at most
WARNING_LETTERS, WARNING_LINE = 18, 0.12  # letters per inch of width; inches per line
WARNING_COLOUR = "#a3261b"
LONGEST_BAR = 0.3  # of the panel's width


def panel_figure(columns, ratio, largest, dots_per_inch, warning=""):
    """Lay out two rows of panels.

    Args:
        columns: panels in a row.
        ratio: height / width of a panel.
        largest: width and height in inches that the figure may have, without the warning.
        dots_per_inch: of the figure.
        warning: stands above the panels, in as many lines as it needs.

    Returns:
        The figure, and its axes as array (2, columns).
    """
    ratio = np.clip(ratio, *RATIOS)
    room = largest[0] - (columns + 1) * GAP, largest[1] - TITLE_HEIGHT - 2 * GAP
    side = min(room[0] / columns, room[1] / (2 * ratio))
    width = columns * side + (columns + 1) * GAP
    lines = textwrap.wrap(warning, int(WARNING_LETTERS * width))
    height = 2 * side * ratio + 2 * GAP + TITLE_HEIGHT + WARNING_LINE * len(lines)
    figure = Figure((width, height), dots_per_inch)
    if lines:
        top = 1 - GAP / height
        figure.suptitle("\n".join(lines), fontsize=7, color=WARNING_COLOUR, y=top)
    size = side / width, side * ratio / height
    rows = [
        [
            figure.add_axes(((GAP + column * (side + GAP)) / width, bottom / height, *size))
            for column in range(columns)
        ]
        for bottom in (2 * GAP + side * ratio, GAP)
    ]
    return figure, np.array(rows)


def map_figure(ratio, longest, dots_per_inch):
    """Lay out a map with a colour bar to its right.

    Args:
        ratio: height / width of the map.
        longest: its longer side in inches.
        dots_per_inch: of the figure.

    Returns:
        The figure, the map's axis and the bar's.
    """
    ratio = np.clip(ratio, *RATIOS)
    side = longest / max(1, ratio)
    width, height = side + 3 * GAP + BAR_WIDTH + BAR_LABELS, side * ratio + TITLE_HEIGHT + GAP
    figure = Figure((width, height), dots_per_inch)
    axes = (
        figure.add_axes((left / width, GAP / height, wide / width, side * ratio / height))
        for left, wide in ((GAP, side), (2 * GAP + side, BAR_WIDTH))
    )
    return figure, *axes


def title_above(axis, text):
    """Write a title above an axis; one that is wider goes over the whole figure, in several lines.

    Lines are counted by the letters: to measure a text takes Matplotlib as long as to draw it.
    """
    left, _, width, _ = axis.get_position().bounds
    figure_width, figure_height = axis.figure.get_size_inches()
    fits = len(text) <= LETTERS * width * figure_width
    lines = [text] if fits else textwrap.wrap(text, int(LETTERS * figure_width))
    axis.figure.text(
        left + width / 2 if fits else 0.5,
        axis.get_position().y1 + GAP / figure_height,
        "\n".join(lines),
        ha="center",
        va="bottom",
        fontsize=8,
        linespacing=1.0,
    )


def colour_bar(axis, colours, label, **how):
    """Draw the bar of a colour scale (a ScalarMappable), with what it measures beside it.

    how: further arguments of `Figure.colorbar`.
    """
    bar = axis.figure.colorbar(colours, axis, **how)
    bar.set_label(label, fontsize=8)
    axis.tick_params(labelsize=7)


def fit(axis, width, height):
    """Let an axis show a field of this size, undistorted; return its own width, height in dots."""
    axis.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axis.set_aspect("equal")
    axis.apply_aspect()
    box = axis.get_window_extent()
    return max(1, round(box.width)), max(1, round(box.height))


def place(axis, picture):
    """Lay a picture, uint8 RGB of the size that `fit` returned, behind an axis."""
    axis.figure.add_artist(Pixels(picture, axis.get_window_extent()))
    axis.patch.set_visible(False)


class Pixels(Artist):
    """A picture on a figure, dot by dot; Matplotlib's own images are resampled even at their size.

    Args:
        picture: uint8 RGB.
        box: from whose lower left corner it is drawn.
    """

    def __init__(self, picture, box):
        super().__init__()
        self.set_zorder(-1)  # behind what the axes hold
        self.corner = round(box.x0), round(box.y0)
        self.rgba = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)[::-1]  # from the bottom up

    def draw(self, renderer):
        """Draw it."""
        renderer.draw_image(renderer.new_gc(), *self.corner, self.rgba)


def scaled(image, size, enlarging=cv2.INTER_CUBIC):
    """Resize an image (height, width, ...) to (width, height); nothing is lost where it shrinks."""
    smaller = size[0] < image.shape[1] or size[1] < image.shape[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if smaller else enlarging)


def save_figure(figure, path, write=write_image):
    """Write a figure as PNG at its own resolution, by a function like `write_image`.

    Not by savefig, which draws everything twice for the layout and compresses slowly.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = cv2.cvtColor(np.asarray(canvas.buffer_rgba()), cv2.COLOR_RGBA2RGB)
    write(path, picture, figure.dpi)


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
