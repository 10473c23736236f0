"""Does the jobs of images here: opened, their networks loaded, analysed, whatever goes wrong."""

import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial

from tqdm import tqdm

from images.objectives import objective_microns
from images.opening import ImageFile
from networks.loading import load_network, load_pixel_size_network
from networks.network import Network, averaged_over_mirrorings, blended
from networks.pixel_size import PixelSizeNetwork
from nuclei import pixel_size
from nuclei.candidates.scoring import NucleusScore, load_score
from nuclei.separation import Separation
from pipeline.job import Job, begin, begun, end, failed_row
from pipeline.reading import opened_image, scale_of, takes_estimate
from program.interrupts import interrupts
from program.settings import RESULT_MICRONS, SCALES, ModelSettings, Settings
from program.terminal import BAR, Progress
from stages.analysis import Analysis, Networks
from stages.helper_processes import Helpers
from stages.route import SizeEstimate


class LoadedNetworks:
    """The networks of a run, each loaded when it is first needed.

    Args:
        models: which networks.
    """

    def __init__(self, models: ModelSettings):
        self.models = models
        self._generators: dict[int, Network] = {}
        self._unet: Network | None = None
        self._score: NucleusScore | None = None
        self._sizes: PixelSizeNetwork | None = None

    def of(self, scale: int) -> Networks:
        """Return the networks of an image that is enlarged so far.

        Raises:
            ModelError: a model is missing or not what it should be.
        """
        if self.models.segment and not self._unet:
            self._score = load_score(self.models.nucleus_score)
            self._unet = self._load_unet()
        if scale > 1 and scale not in self._generators:
            self._generators[scale] = self._load_generator(scale)
        return Networks(self._generators.get(scale), self._unet, self._score)

    def for_pixel_sizes(self) -> PixelSizeNetwork:
        """Return the network that tells pixel sizes.

        Raises:
            ModelError: it is missing or not what it should be.
        """
        if not self._sizes:
            self._sizes = load_pixel_size_network(self.models.pixel_size_model)
        return self._sizes

    def by_name(self) -> dict[str, Network | NucleusScore | PixelSizeNetwork | None]:
        """Return the networks by the name of their constant; None = not loaded."""
        named = {self.models.generators(n)[0]: self._generators.get(n) for n in SCALES if n > 1}
        checked = {"pixel_size_model": self._sizes} if self.models.tells_pixel_sizes else {}
        return named | {"unet": self._unet, "nucleus_score": self._score} | checked

    def _load_generator(self, scale: int) -> Network:
        models, (name, *faithful) = self.models, self.models.generators(scale)
        names = [name, *faithful]
        loaded = [
            load_network(getattr(models, n), n.replace("_", " "), scale, 3, models.precision)
            for n in names
        ]
        return blended(*loaded, models.faithful_share) if faithful else loaded[0]

    def _load_unet(self) -> Network:
        unet = load_network(self.models.unet, "U-net", 1, 2, self.models.precision)
        return averaged_over_mirrorings(unet) if self.models.test_time_augmentation else unet


def rows_from_here(
    jobs: dict[int, Job], networks: LoadedNetworks, settings: Settings
) -> Iterator[tuple[int, dict]]:
    """Do jobs in this process and its helpers; yield (key of the job, row of the summary).

    The results of an image are written while the networks see the next one.

    Raises:
        OSError: the disk is full or the output folder cannot be written.
    """
    pending = []  # key, title and future row of images that were examined
    with Helpers(settings.machines.measuring_processes) as helpers, ThreadPoolExecutor(1) as thread:
        try:
            for key, job in jobs.items():
                with tqdm(total=1, bar_format=BAR, leave=False, desc=job.title) as bar:
                    write = _examined(job, networks, helpers, Progress(bar, job.title))
                pending.append((key, job.title, thread.submit(write)))
                if len(pending) > 1:
                    yield _row_of(*pending[0])
                    del pending[0]
            yield from (_row_of(*each) for each in pending)
        except KeyboardInterrupt:
            # A second Ctrl-C is a kill: were it handled, the folder's lock would be let go of while
            # the thread still writes.
            with interrupts(signal.SIG_DFL):
                yield from _begun_writing(pending)
            raise


def _begun_writing(pending: list[tuple]) -> Iterator[tuple[int, dict]]:
    """Wait for the results that are being written; yield their keys and rows."""
    for key, title, row in pending:
        if row.cancel():
            continue
        if not row.done():
            said = f"\nFinishing the results of {title}; Ctrl-C again ends at once ..."
            print(said, file=sys.stderr, flush=True)
        yield key, row.result()


def _row_of(key: int, title: str, row: Future) -> tuple[int, dict]:
    """Return the key of a job and its row, once its results are written."""
    if not row.done():
        with tqdm(bar_format="{desc}", leave=False, desc=f"{title}, writing"):
            row.result()
    return key, row.result()


def _examined(
    job: Job, networks: LoadedNetworks, helpers: Helpers, progress: Progress
) -> Callable[[], dict]:
    """Take an image through its stages; return what writes its results and returns its row.

    This leaves one core idle, so the networks see the next image meanwhile.
    """
    try:
        with ExitStack() as files:
            analysis = files.enter_context(opened(job, networks, progress))
            for note in (*analysis.image.notes, *analysis.annotations.notes):
                tqdm.write(f"{job.title}: {note}")
            if analysis.image.is_slide:
                tqdm.write(f"{job.title}: {_said_of_slide(analysis)}")
            begin(job, asdict(analysis.estimate))
            analysis.examine(helpers)
            return partial(_written, job, analysis, files.pop_all())
    except Exception as error:
        row = failed_row(job, error)
        return lambda: row


def _written(job: Job, analysis: Analysis, files: ExitStack) -> dict:
    """Write the results of an image and close its files; return its row, also when this fails."""
    try:
        with files:
            return end(job, analysis.finish(), analysis.counting)
    except Exception as error:
        return failed_row(job, error)


@contextmanager
def opened(job: Job, networks: LoadedNetworks, progress: Progress) -> Iterator[Analysis]:
    """Open the image of a job and give its analysis, not yet begun."""
    with ExitStack() as files:
        image = files.enter_context(opened_image(job))
        estimate = _estimate(job, image, networks)
        if estimate.used:
            image = files.enter_context(opened_image(job, objective_microns(estimate.microns)))
        scale = scale_of(image, job.settings.scale)
        image.notes += estimate.note(image, scale)
        yield Analysis(image, job.folder, networks.of(scale), job.settings, progress, estimate)


def _estimate(job: Job, image: ImageFile, networks: LoadedNetworks) -> SizeEstimate:
    """Return what the tissue tells of the pixel size, as kept before or told now.

    Nothing, where sizes are not checked or the image is so small that it would cost too much.
    """
    if before := begun(job):
        return SizeEstimate(**before["estimate"])
    if not job.settings.models.tells_pixel_sizes:
        return SizeEstimate()
    wanted = takes_estimate(image, job.settings.input)
    assumed = image.microns_per_pixel or scale_of(image, job.settings.scale) * RESULT_MICRONS
    patches = pixel_size.patches_for(image.width * image.height * (assumed / RESULT_MICRONS) ** 2)
    patches = pixel_size.MOST_PATCHES if wanted else patches
    if not patches:
        return SizeEstimate()
    sizes, used = networks.for_pixel_sizes(), networks.of(1)
    separation = Separation(score=used.score)
    found = pixel_size.estimate(image, sizes, used.unet, patches, separation)
    microns = found.microns and float(f"{found.microns / image.downsample:.3g}")
    return SizeEstimate(microns, found.agreed, wanted and microns is not None)


def _said_of_slide(analysis: Analysis) -> str:
    """Say before the long work at what scale it is done, and what to do if that is not wanted."""
    route, choice = analysis.route, analysis.settings.scale
    if route.scale > 1 and not route.microns:
        size = f"{route.extent.width} x {route.extent.height}"
        return (
            "the slide states no pixel size, so it is read at its full resolution and enlarged to "
            f"{size} pixels. If it was scanned at 40x, stop (Ctrl-C) and run it with "
            "--microns-per-pixel 0.25"
        )
    if route.scale > 1 or len(choice.possible) == 1:
        return str(route)
    return (
        f"{route}; to see super-resolution on it, run it with --read-at-microns-per-pixel "
        f"{4 * RESULT_MICRONS:g}"
    )
