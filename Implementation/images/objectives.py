"""Which objective gives pixels of which size."""

import math

from program.settings import RESULT_MICRONS

OBJECTIVES = (1.25, 2.5, 5, 10, 20, 40, 80)
FORTY = 40 * RESULT_MICRONS  # an objective's magnification times the um per pixel that it gives
ALIKE = 1.2  # factor by which pixels may differ that are said to come from the same objective


def objective_microns(microns: float) -> float:
    """Return the um per pixel of the nearest objective: 0.25, 0.5, 1, ..."""
    return RESULT_MICRONS * 2.0 ** round(math.log2(microns / RESULT_MICRONS))


def objective(microns: float) -> str:
    """Name the objective that gives pixels of so many um: "20x", or "about 15x" between two."""
    exact = FORTY / microns
    nearest = min(OBJECTIVES, key=lambda each: abs(math.log(each / exact)))
    alike = 1 / ALIKE < exact / nearest < ALIKE
    return f"{nearest:g}x" if alike else f"about {exact:.0f}x"
