"""The steps of the method on one small field, drawn: the work behind Workflow_figure.py."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from evaluation.scores import predict_maps
from images.opening import open_image
from networks.loading import load_network
from networks.network import predict_image, unet_microns
from nuclei.measurement import measure
from nuclei.separation import separate
from outputs.figures import draw_outlines
from program.processor import chosen_precision
from program.settings import ScaleSettings
from tiles.geometry import Window, grid, tile_sides

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")  # told apart by colour-blind readers


def draw_workflow(
    image: Path, field: int, tile: int, generators: dict[int, Path], unet: Path, picture: Path
):
    """Run the method on the middle of an image and draw each step.

    Args:
        image: of any pixel size that is enlarged.
        field: its side in pixels.
        tile: side of a tile in pixels.
        generators: by their scale.
        unet: the nucleus model.
        picture: to write.

    Raises:
        ImageReadError, ModelError: the image or a model cannot be used.
        ValueError: a run would not enlarge the image.
        OSError: the picture cannot be written.
    """
    choice = ScaleSettings()
    with open_image(image, choice.read_at) as file:
        width, height = min(field, file.width), min(field, file.height)
        box = ((file.width - width) // 2, (file.height - height) // 2, width, height)
        low, microns = file.read(*box), file.microns_per_pixel
    scale = choice.scale_of(microns)
    if scale == 1:
        raise ValueError(
            f"IMAGE {image}: {microns:.2g} um per pixel are not enlarged, and the figure shows how "
            "an image is; expected one from a 10x or 20x objective"
        )
    sharpener = load_network(generators[scale], "generator", scale, 3, chosen_precision())
    segmenter = load_network(unet, "U-net", 1, 2, chosen_precision())
    sharp = np.clip(np.rint(predict_image(sharpener, low, tile)), 0, 255).astype(np.uint8)
    microns = microns and microns / scale
    seen_at = microns or unet_microns(segmenter)
    maps = predict_maps(segmenter, sharp, seen_at)
    labels = separate(maps[..., 0], maps[..., 1], seen_at)
    measured = measure(labels, sharp, maps[..., 0], microns)
    windows = grid(width, height, *tile_sides(Window(0, 0, width, height), tile, sharpener.pooling))

    figure = Figure(figsize=(14, 7.4), layout="constrained")
    axes = figure.subplots(2, 4).ravel()
    _show(axes[0], low, "1  low resolution")
    _show(axes[1], low, f"2  tiles, read with {sharpener.radius} px margin")
    _draw_tiles(axes[1], windows, sharpener.radius)
    _show(axes[2], _with_gaps(windows, sharp, scale), f"3  super-resolved tiles x{scale}")
    _show(axes[3], sharp, "4  stitched without seams")
    _show(axes[4], maps[..., 0], "5  U-net: nucleus probability")
    _show(axes[5], maps[..., 1], "6  U-net: relative distance to border")
    _show(axes[6], draw_outlines(sharp, labels), f"7  {labels.max()} nuclei, separated")
    _draw_measurements(axes[7], measured, "px" if microns is None else "um")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=200)


def _with_gaps(windows, sharp, scale: int, gap=12) -> np.ndarray:
    """Return the tiles set apart on white, so that they are seen as tiles."""
    columns = sorted({window.x for window in windows})
    rows = sorted({window.y for window in windows})
    height = sharp.shape[0] + gap * (len(rows) - 1)
    canvas = np.full((height, sharp.shape[1] + gap * (len(columns) - 1), 3), 255, np.uint8)
    for window in windows:
        x, y, w, h = (scale * side for side in vars(window).values())
        top, left = y + gap * rows.index(window.y), x + gap * columns.index(window.x)
        canvas[top : top + h, left : left + w] = sharp[y : y + h, x : x + w]
    return canvas


def _show(axis, image, title):
    axis.imshow(image, cmap="cividis", interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, loc="left", fontsize=11)


def _draw_tiles(axis, windows, margin):
    """Draw each tile and, dashed, what is read for it."""
    for index, w in enumerate(windows):
        colour = OKABE_ITO[index % len(OKABE_ITO)]
        axis.add_patch(_rectangle(w.x, w.y, w.width, w.height, colour, "-", 2))
        side = (w.width + 2 * margin, w.height + 2 * margin)
        axis.add_patch(_rectangle(w.x - margin, w.y - margin, *side, colour, "--", 1.2))


def _rectangle(x, y, width, height, colour, style, line):
    corner = (x - 0.5, y - 0.5)
    return Rectangle(corner, width, height, fill=False, edgecolor=colour, ls=style, lw=line)


def _draw_measurements(axis, measured, unit):
    area, density = measured[f"area_{unit}2"], measured["mean_hematoxylin_od"]
    points = axis.scatter(area, density, c=measured["eccentricity"], cmap="cividis", s=25)
    axis.set(xlabel=f"area ({unit}2)", ylabel="hematoxylin optical density")
    axis.set_title("8  measurements", loc="left", fontsize=11)
    axis.figure.colorbar(points, ax=axis, label="eccentricity")
