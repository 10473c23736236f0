"""Does the job of one image: networks loaded, image opened, analysed, whatever goes wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from images.opening import open_image
from images.sizes import StatedSize, refuse_coarse_size
from networks.loading import load_network
from networks.network import averaged_over_mirrorings, blended
from pipeline.job import Job, begin, end, failed_row
from program.settings import ModelSettings
from program.terminal import Progress
from stages.analysis import Analysis, Networks


def load_networks(models: ModelSettings) -> Networks:
    """Load what a run needs.

    Raises:
        ModelError: a model is missing or not what it should be.
    """
    generator = unet = None
    if models.super_resolve:
        generator = load_network(models.generator, "generator", 4, 3, models.precision)
        if models.faithful_share:
            path, kind = models.faithful_generator, "faithful generator"
            faithful = load_network(path, kind, 4, 3, models.precision)
            generator = blended(generator, faithful, models.faithful_share)
    if models.segment:
        unet = load_network(models.unet, "U-net", 1, 2, models.precision)
        if models.test_time_augmentation:
            unet = averaged_over_mirrorings(unet)
    return Networks(generator, unet)


def do_job(job: Job, networks: Networks, progress: Progress) -> dict:
    """Analyse one image; return its row of the summary, also when it fails.

    Raises:
        OSError: the disk is full or the output folder cannot be written.
    """
    try:
        with opened(job, networks, progress) as analysis:
            for note in (*analysis.image.notes, *analysis.annotations.notes):
                tqdm.write(f"{job.title}: {note}")
            if analysis.image.is_slide and analysis.route.scale > 1 and not analysis.route.microns:
                tqdm.write(_unknown_scale(job, analysis))
            begin(job)
            return end(job, analysis.run())
    except Exception as error:
        return failed_row(job, error)


@contextmanager
def opened(job: Job, networks: Networks, progress: Progress) -> Iterator[Analysis]:
    """Open the image of a job and give its analysis, not yet begun."""
    settings = job.settings
    given = settings.input
    stated = StatedSize(given.microns_per_pixel, given.microns_per_pixel_for_all)
    with open_image(job.path, settings.read_at, given.region, stated) as image:
        if not given.microns_per_pixel_for_all:
            refuse_coarse_size(job.path, image.microns_per_pixel, image.is_slide)
        yield Analysis(image, job.folder, networks, settings, progress)


def _unknown_scale(job: Job, analysis: Analysis) -> str:
    """Say before the long work that it may be done on the wrong scale."""
    size = f"{analysis.route.extent.width} x {analysis.route.extent.height}"
    return (
        f"{job.title}: the slide states no pixel size, so it is read at its full resolution and "
        f"enlarged to {size} pixels. If it was scanned at 40x, stop (Ctrl-C) and run it with "
        "--no-super-resolve --microns-per-pixel 0.25"
    )
