"""The image of a job, opened at the scale at which the run reads it. Light: it needs no network."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from images.errors import ImageReadError
from images.opening import ImageFile, open_image
from images.sizes import StatedSize, refuse_coarse_size
from pipeline.job import Job, finished_row
from program.settings import ESTIMATE, InputSettings, ScaleSettings


@contextmanager
def opened_image(job: Job, estimated: float | None = None) -> Iterator[ImageFile]:
    """Open the image of a job.

    Args:
        job: of the image.
        estimated: um per pixel that are taken for it, whatever the file states.

    Raises:
        ImageReadError: it cannot be read, or states a size that shows no nuclei.
    """
    given = job.settings.input
    stated = StatedSize(estimated, for_all=True)
    if estimated is None and given.microns_per_pixel != ESTIMATE:
        stated = StatedSize(given.microns_per_pixel, given.microns_per_pixel_for_all)
    with open_image(job.path, job.settings.scale.read_at, given.region, stated) as image:
        if not given.microns_per_pixel_for_all:
            refuse_coarse_size(job.path, image.microns_per_pixel, image.is_slide)
        yield image


def takes_estimate(image: ImageFile, given: InputSettings) -> bool:
    """Tell whether the run takes an estimate for the pixel size of an image."""
    unknown = image.full_microns_per_pixel is None or given.microns_per_pixel_for_all
    return given.microns_per_pixel == ESTIMATE and unknown


def scale_of(image: ImageFile, choice: ScaleSettings) -> int:
    """Return how far an opened image is enlarged: by its own pixel size, or the one it is read at.

    The latter counts where the user chose it.
    """
    chosen = choice.read_at_microns_per_pixel
    return choice.scale_of(image.microns_per_pixel if chosen else image.full_microns_per_pixel)


def scales_of(jobs: Iterable[Job]) -> set[int]:
    """Return the scales of all images, done and to be done, as far as they are known.

    Those that cannot be read, or whose pixel size is still to be estimated, have none.
    """
    scales = set()
    for job in jobs:
        possible = job.settings.scale.possible
        if scales >= set(possible):
            break
        if row := finished_row(job):
            scales.add(row["width_out"] // row["width_in"])
        elif len(possible) == 1:
            scales.add(*possible)
        else:
            try:
                with opened_image(job) as image:
                    if not takes_estimate(image, job.settings.input):
                        scales.add(scale_of(image, job.settings.scale))
            except (ImageReadError, OSError, ValueError):  # its own row will say so
                continue
    return scales
