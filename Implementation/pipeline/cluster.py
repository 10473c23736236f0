"""A run on many machines: images, and the strips and windows of large ones, as Dask tasks.

A worker needs Python with requirements.txt, and the input and output folder under the same paths as
here; the scripts and models are sent to it, and it loads the models once. Results lie in the output
folder, only rows of the summary travel back. A task whose worker is lost is run again by another;
as pieces appear when they are complete, one that is done twice does no harm.

The upper half runs in the process that the user started, the lower half on the workers.
"""

import hashlib
import pickle
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from distributed import Client, Future, as_completed, get_worker
from distributed.diagnostics.plugin import UploadFile
from tqdm import tqdm

from outputs.terminal import BAR, Progress
from pipeline.analysis import Analysis
from pipeline.job import (
    NETWORK_CONSTANTS,
    Job,
    begin,
    end,
    failed_row,
    finished_row,
    load_networks,
    opened,
)

SCRIPTS = Path(__file__).parent
MODELS = ("generator", "faithful_generator", "unet")  # constants that are paths of models
CONNECT_SECONDS = 30  # after which a scheduler that does not answer is given up
SMALL_IMAGE_TILES = 64  # an image of at most so many tiles is one task
_one_at_a_time = threading.Lock()  # a worker with several threads must not need memory for all
_loaded = {}  # by what hash of the scripts this worker has begun


# --- in the process that the user started ---


def rows_from_cluster(jobs: dict[int, Job], constants: dict) -> Iterator[tuple[int, dict]]:
    """Do jobs on the cluster; yield (key of the job, row of the summary) as they finish.

    Raises:
        ConnectionError: no scheduler answers, or it was lost.
        OSError: a disk is full.
    """
    address = constants["scheduler"]
    with (
        _connected(address) as client,
        tqdm(total=len(jobs), bar_format=BAR, leave=False) as bar,
    ):
        sent = send_scripts_and_models(client, constants)
        jobs = {key: replace(job, constants=job.constants | sent) for key, job in jobs.items()}
        if not client.nthreads():
            print(f"{address} has no workers yet: the run begins when one joins", file=sys.stderr)
        yield from Submitted(client, jobs, bar).rows()


def _connected(address: str) -> Client:
    try:
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {address} ({error}); start one with `dask scheduler` or "
            "set SCHEDULER (--scheduler) to its address"
        ) from error


def send_scripts_and_models(client: Client, constants: dict) -> dict:
    """Send all that workers need, also those that join later.

    Returns:
        The constants that differ on a worker: file names of the models among what was sent, no
        helper processes, because workers are the processes here (and Dask forbids them others),
        and `scripts`, a hash of the scripts.
    """
    scripts = sorted(SCRIPTS.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in scripts)).hexdigest()
    for path in scripts:
        client.register_plugin(UploadFile(str(path), load=False), name=path.name)
    sent = {"scripts": digest, "measuring_processes": 1}
    for model in MODELS:
        path = Path(constants[model])
        if path.is_file():  # one that the run does not use may be missing
            # Named by content, so that no worker mistakes the model of another run for it.
            name = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            sent[model] = f"{name}.h5"
            for file in filter(Path.is_file, (path, path.with_suffix(".json"))):
                plugin = UploadFile(str(file), load=False)
                plugin.filename = f"{name}{file.suffix}"
                client.register_plugin(plugin, name=plugin.filename)
    return sent


def caller() -> Callable:
    """Return a function that calls one of this module by name, or does nothing without a name.

    This is all that Dask sees of a task, with plain data. Being local, it is sent as code: the
    scheduler unpacks it, too, and has none of the scripts.
    """

    def call(task: str, arguments: bytes, _after: list):
        import pickle

        from pipeline import cluster

        return getattr(cluster, task)(*pickle.loads(arguments)) if task else None

    return call


class Submitted:
    """The tasks of all images, and what comes of them.

    Args:
        client: of the cluster.
        jobs: by any key.
        bar: gets 1 for each image, in steps as its pieces are finished.
    """

    def __init__(self, client: Client, jobs: dict[int, Job], bar: tqdm):
        self.client, self.jobs, self.bar, self.call = client, jobs, bar, caller()
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
        payload = pickle.dumps(arguments)
        future = self.client.submit(self.call, task.__name__, payload, after, key=name)
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
            before = [self.client.submit(self.call, "", b"", [*pieces, *before], pure=False)]
        self._submit(key, 0.0, finish_image, job, after=before)

    def _show(self):
        """Bring the bar to whole images where these had no pieces; name what it shows."""
        total = len(self.jobs)
        done = total - len(self.unfinished)
        self.bar.update(max(0.0, done - self.bar.n))
        workers = len(self.client.nthreads())
        self.bar.set_description_str(f"{done}/{total} images, {workers} workers")


# --- on a worker ---


def start_image(job: Job) -> dict | list[dict[int, float]]:
    """Do a small image and return its row; of a large one return what pieces it needs.

    Returns:
        Row of the summary, or for each stage the missing pieces with their sizes.
    """
    with _analysis(job) as analysis:
        begin(job)
        image, tile = analysis.image, job.constants["tile_size"]
        if image.width * image.height <= SMALL_IMAGE_TILES * tile**2:
            return end(job, analysis.run())
        analysis.prepare()
        return [{n: stage.sizes[n] for n in stage.missing()} for stage in analysis.stages]


def do_piece(job: Job, stage: int, number: int):
    """Do one piece of a stage of a large image; the stages before it must be done."""
    with _analysis(job) as analysis:
        analysis.resume()
        analysis.stages[stage].do(number)


def finish_image(job: Job) -> dict:
    """Put the pieces of a large image together; return its row of the summary."""
    if row := finished_row(job):  # by a worker that was lost before it could say so
        return row
    with _analysis(job) as analysis:
        analysis.resume()
        return end(job, analysis.finish())


@contextmanager
def _analysis(job: Job) -> Iterator[Analysis]:
    """Open a job's image with the networks that were sent."""
    scripts = job.constants["scripts"]
    if _loaded.setdefault("scripts", scripts) != scripts:
        raise RuntimeError("a worker still runs older scripts; restart the workers")
    folder = Path(get_worker().local_directory)
    sent = {name: folder / job.constants[name] for name in MODELS}
    choices = job.constants | sent
    with _one_at_a_time:
        networks = _networks(tuple((name, choices[name]) for name in NETWORK_CONSTANTS))
        with opened(job, networks, Progress(tqdm(disable=True), job.title)) as analysis:
            yield analysis


@lru_cache(maxsize=1)
def _networks(choices: tuple):
    return load_networks(dict(choices))
