"""Drawn nuclei: masks of known size and place, and stain of known density on white."""

import numpy as np

# Rows: optical density of hematoxylin, eosin in R, G, B (Ruifrok & Johnston 2001).
HEMATOXYLIN, EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])


def ellipse(shape, centre, axes, angle=0.0):
    """Mask of an ellipse: centre (y, x) from the image's corner, full axes, angle, in pixels."""
    y, x = np.indices(shape) + 0.5
    y, x = y - centre[0], x - centre[1]
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    return (2 * along / axes[0]) ** 2 + (2 * across / axes[1]) ** 2 <= 1


def disc(shape, centre, diameter):
    return ellipse(shape, centre, (diameter, diameter))


def stained(shape, masks_and_densities, stain=HEMATOXYLIN):
    """A white image with optical densities of one stain where the masks are."""
    density = np.zeros(shape)
    for mask, value in masks_and_densities:
        density[mask] = value
    return np.rint(255 * 10 ** (-density[..., None] * stain)).astype(np.uint8)
