"""A run on many machines: images, and the strips and windows of large ones, as Dask tasks.

A worker needs Python with requirements.txt, and the input and output folder under the same paths as
here; the code (one archive) and the models are sent to it, and it loads the models once. Results
lie in the output folder, only rows of the summary travel back. A task whose worker is lost is run
again by another; as pieces appear when they are complete, one that is done twice does no harm.

The upper half runs in the process that the user started, the lower half on the workers.
"""

import hashlib
import io
import pickle
import sys
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from distributed import Client, Future, as_completed, get_worker
from distributed.diagnostics.plugin import UploadFile
from tqdm import tqdm

from pipeline.job import Job, begin, end, failed_row, finished_row
from pipeline.worker import LoadedNetworks, opened
from program.settings import ModelSettings, Settings
from program.terminal import BAR, Progress
from stages.analysis import Analysis

CODE = Path(__file__).resolve().parents[1]  # the rooms
CONNECT_SECONDS = 30  # after which a scheduler that does not answer is given up
SMALL_IMAGE_TILES = 64  # an image of at most so many tiles is one task
_one_at_a_time = threading.Lock()  # a worker with several threads must not need memory for all
_begun_with = []  # name of the archive of code with which this worker has begun


@dataclass(frozen=True)
class Sent:
    """Names of what was sent to the workers.

    Attributes:
        code: the archive of the code, named by its content.
        models: the model files by the name of their constant.
    """

    code: str
    models: dict[str, str]


# --- in the process that the user started ---


def rows_from_cluster(jobs: dict[int, Job], settings: Settings) -> Iterator[tuple[int, dict]]:
    """Do jobs on the cluster; yield (key of the job, row of the summary) as they finish.

    Raises:
        ConnectionError: no scheduler answers, or it was lost.
        OSError: a disk is full.
    """
    address = settings.machines.scheduler
    with (
        _connected(address) as client,
        tqdm(total=len(jobs), bar_format=BAR, leave=False) as bar,
    ):
        sent = send_code_and_models(client, settings.model_files())
        if not client.nthreads():
            print(f"{address} has no workers yet: the run begins when one joins", file=sys.stderr)
        yield from Submitted(client, jobs, sent, bar).rows()


def _connected(address: str) -> Client:
    try:
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {address} ({error}); start one with `dask scheduler` or "
            "set SCHEDULER (--scheduler) to its address"
        ) from error


def send_code_and_models(client: Client, models: dict[str, Path]) -> Sent:
    """Send all that workers may need, also those that join later; models by name of their constant.

    Everything is named by its content, so that no worker mistakes the code or the model of another
    run for it.
    """
    with TemporaryDirectory() as folder:
        content = _archive()
        code = Path(folder) / f"code_{_name(content)}.zip"
        code.write_bytes(content)
        client.register_plugin(UploadFile(str(code), load=False), name=code.name)
    sent = {}
    for model, path in models.items():
        if not path.is_file():  # an image that needs it will say so
            continue
        sent[model] = f"{_name(path.read_bytes())}.h5"
        for file in filter(Path.is_file, (path, path.with_suffix(".json"))):
            plugin = UploadFile(str(file), load=False)
            plugin.filename = Path(sent[model]).with_suffix(file.suffix).name
            client.register_plugin(plugin, name=plugin.filename)
    return Sent(code.name, sent)


def _archive() -> bytes:
    """Return the rooms as a zip archive, from which Python imports; the same bytes every time."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(CODE.glob("*/**/*.py")):
            # Without the date that ZipFile.write would take from the file.
            name = path.relative_to(CODE).as_posix()
            file.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return archive.getvalue()


def _name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def caller() -> Callable:
    """Return a function that calls one of this module by name, or does nothing without a name.

    This is all that Dask sees of a task, with plain data. Being local, it is sent as code: the
    scheduler unpacks it, too, and has none of the scripts.
    """

    def call(code: str, task: str, arguments: bytes, _after: list):
        import pickle
        import sys
        from pathlib import Path

        from distributed import get_worker

        if not task:
            return None
        archive = str(Path(get_worker().local_directory) / code)
        if archive not in sys.path:
            sys.path.insert(0, archive)
        from pipeline import cluster

        return getattr(cluster, task)(*pickle.loads(arguments))

    return call


class Submitted:
    """The tasks of all images, and what comes of them.

    Args:
        client: of the cluster.
        jobs: by any key.
        sent: what the workers have.
        bar: gets 1 for each image, in steps as its pieces are finished.
    """

    def __init__(self, client: Client, jobs: dict[int, Job], sent: Sent, bar: tqdm):
        self.client, self.jobs, self.sent, self.bar = client, jobs, sent, bar
        self.call = caller()
        self.tasks: dict[Future, tuple[int, float]] = {}  # key of the job, share of its work
        self.unfinished = set(jobs)
        self.completed = as_completed(loop=client.loop)

    def rows(self) -> Iterator[tuple[int, dict]]:
        """Yield (key, row) as images finish or fail."""
        for key, job in self.jobs.items():
            self._submit(key, 0.0, start_image, job)
        self._show()
        for future in self.completed:
            key, share = self.tasks.pop(future)
            if key not in self.unfinished:  # it has failed
                continue
            if future.status not in ("finished", "error"):
                raise ConnectionError(
                    "the connection to the scheduler was lost; start it and its workers, then run "
                    "the same command again to go on from here"
                )
            error = future.exception()
            result = failed_row(self.jobs[key], error) if error else future.result()
            self.bar.update(share)
            if isinstance(result, dict):
                self.unfinished.discard(key)
                self.client.cancel(
                    [task for task, (owner, _) in self.tasks.items() if owner == key]
                )
                self._show()
                yield key, result
            elif result is not None:
                self._submit_pieces(key, result)

    def _submit(self, key: int, share: float, task: Callable, *arguments, after=()) -> Future:
        name = f"{task.__name__}-{uuid.uuid4().hex}"
        payload = pickle.dumps((*arguments, self.sent))
        future = self.client.submit(
            self.call, self.sent.code, task.__name__, payload, after, key=name
        )
        self.tasks[future] = key, share
        self.completed.add(future)
        return future

    def _submit_pieces(self, key: int, missing: list[dict[int, float]]):
        """Submit the pieces of each stage of an image to follow those of the stage before."""
        job, before = self.jobs[key], ()
        whole = sum(sum(sizes.values()) for sizes in missing) or 1.0
        for stage, sizes in enumerate(missing):
            pieces = [
                self._submit(key, size / whole, do_piece, job, stage, number, after=before)
                for number, size in sizes.items()
            ]
            # One task between two stages: each piece need not wait for each one by itself.
            before = [self.client.submit(self.call, "", "", b"", [*pieces, *before], pure=False)]
        self._submit(key, 0.0, finish_image, job, after=before)

    def _show(self):
        """Bring the bar to whole images where these had no pieces; name what it shows."""
        total = len(self.jobs)
        done = total - len(self.unfinished)
        self.bar.update(max(0.0, done - self.bar.n))
        workers = len(self.client.nthreads())
        self.bar.set_description_str(f"{done}/{total} images, {workers} workers")


# --- on a worker ---


def start_image(job: Job, sent: Sent) -> dict | list[dict[int, float]]:
    """Do a small image and return its row; of a large one return what pieces it needs.

    Returns:
        Row of the summary, or for each stage the missing pieces with their sizes.
    """
    with _analysis(job, sent) as analysis:
        begin(job, asdict(analysis.estimate))
        image, tile = analysis.image, job.settings.tiles.side(analysis.route.scale)
        if image.width * image.height <= SMALL_IMAGE_TILES * tile**2:
            # Alone: workers are the processes here, and Dask forbids them helpers of their own.
            return end(job, analysis.run(), analysis.counting)
        analysis.prepare()
        return [{n: stage.sizes[n] for n in stage.missing()} for stage in analysis.stages]


def do_piece(job: Job, stage: int, number: int, sent: Sent):
    """Do one piece of a stage of a large image; the stages before it must be done."""
    with _analysis(job, sent) as analysis:
        analysis.resume()
        analysis.stages[stage].do(number)


def finish_image(job: Job, sent: Sent) -> dict:
    """Put the pieces of a large image together; return its row of the summary."""
    if row := finished_row(job):  # by a worker that was lost before it could say so
        return row
    with _analysis(job, sent) as analysis:
        analysis.resume()
        return end(job, analysis.finish(), analysis.counting)


@contextmanager
def _analysis(job: Job, sent: Sent) -> Iterator[Analysis]:
    """Open a job's image with the networks that were sent."""
    if not _begun_with:
        _begun_with.append(sent.code)
    if _begun_with != [sent.code]:
        raise RuntimeError("a worker still runs older code; restart the workers")
    folder = Path(get_worker().local_directory)
    here = {name: folder / file for name, file in sent.models.items()}
    with _one_at_a_time:
        networks = _networks(replace(job.settings.models, **here))
        with opened(job, networks, Progress(tqdm(disable=True), job.title)) as analysis:
            yield analysis


@lru_cache(maxsize=1)
def _networks(models: ModelSettings):
    return LoadedNetworks(models)
