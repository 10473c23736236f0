"""A folder of images, one after the other: nothing that is wrong with one stops the others.

What needs TensorFlow is imported only once there is something to do.
"""

import json
import logging
import platform
import sys
import traceback
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from images.errors import one_line
from images.finding import shown_name
from pipeline.group_membership import groups_of
from pipeline.inputs import (
    images_of,
    name_unused_annotations,
    refuse_other_input,
    result_names,
)
from pipeline.job import (
    Job,
    finished_row,
    model_files,
    read_manifest,
    reason_to_repeat,
    signature,
)
from pipeline.output_folder import locked
from pipeline.repetition import differences, read_run
from pipeline.summary import Summary, print_table, print_unknown_sizes
from program.disk import appearing, remove_unfinished
from program.processor import chosen_precision
from program.settings import RESULTS_VERSION, Settings
from program.startup import print_any_name, start_keras

PACKAGES = ("keras", "numpy", "scikit-image", "opencv-python-headless", "tifffile")


def run_folder(constants: dict, from_run: Path | None = None) -> int:
    """Do what Final_implementation.py promises; `constants` are its constants by flag name.

    from_run: run.json of the run that this one repeats, None where it repeats none.

    Returns:
        Exit status, see Final_implementation.main.
    """
    networks, debug = None, constants["debug"]
    print_any_name()
    try:
        # Decided here, so that the record says it and all machines of a cluster do the same.
        constants = constants | {"precision": chosen_precision(constants["precision"])}
        settings = Settings.from_constants(constants)
        folder = settings.outputs.output_folder
        if not debug:
            _quiet_readers()
        jobs = make_jobs(images_of(settings), settings)
        refuse_other_input([job.image for job in jobs], settings)
        name_unused_annotations([job.path for job in jobs], settings)
        groups = groups_of([job.image for job in jobs], settings.comparison.groups)
        if groups and settings.comparison.groups == str(folder / "groups.csv"):
            raise ValueError(f"GROUPS: a run writes {folder / 'groups.csv'}; rename your table")
        earlier = from_run and read_run(from_run)  # before a repetition in place writes its own
        if not _all_done(jobs, folder):
            networks = _loaded(settings, jobs)
        folder.mkdir(parents=True, exist_ok=True)
        lock = locked(folder)
        remove_unfinished(folder)
    except KeyboardInterrupt:
        return _interrupted()
    except (OSError, ValueError) as error:  # ValueError: also a model's or the folder's own
        return _give_up(error, debug)
    with lock:
        return _run_locked(jobs, settings, networks, constants, earlier, groups)


def _all_done(jobs: list[Job], folder: Path) -> bool:
    """Tell whether no network is needed: neither for an image nor for the record of the run."""
    is_recorded = "constants" in read_manifest(folder / "run.json")
    return is_recorded and not any(_is_to_be_done(job) for job in jobs)


def _is_to_be_done(job: Job) -> bool:
    return job.settings.outputs.overwrite or finished_row(job) is None


def _loaded(settings: Settings, jobs: list[Job]):
    """Start Keras and load the networks of all images, which takes seconds; say so first."""
    from pipeline.reading import scales_of  # not above: it loads every decoder

    scales = scales_of(jobs) or {1}  # where none can be read, at least the U-net is checked
    names = " and ".join(path.name for path in settings.models.files(scales).values())
    print(f"Loading {names or 'Keras'} ...", flush=True)
    start_keras()
    from pipeline.worker import LoadedNetworks

    networks = LoadedNetworks(settings.models)
    for scale in sorted(scales):
        networks.of(scale)
    if settings.models.tells_pixel_sizes:
        networks.for_pixel_sizes()
    return networks


def _run_locked(jobs: list[Job], settings: Settings, networks, constants, earlier, groups) -> int:
    """Do all jobs; `networks` is None where there is nothing to do; groups: see `groups_of`."""
    folder = settings.outputs.output_folder
    summary = Summary(folder / "summary.csv")
    try:
        chosen_anew = not networks and _record_choices(folder / "run.json", constants)
        if networks or summary.images_before() != [job.image for job in jobs]:
            from pipeline.joining import remove_joined

            remove_joined(folder)
        if networks:
            known = networks.by_name()
            record = write_run_record(folder / "run.json", constants, settings, networks)
            for line in differences(earlier, record) if earlier else ():
                print(f"Not the same as in the earlier run: {line}", file=sys.stderr)
        for number, row in _work_off(jobs, networks, settings):
            summary.add(number, row)
        if networks and _of_all(networks, summary.ordered()) != known:
            write_run_record(folder / "run.json", constants, settings, networks)
        compared_before = (folder / "groups.csv").exists()
        if groups or compared_before or chosen_anew or not _are_joined(jobs, folder):
            from outputs.report.page import write_report
            from pipeline.joining import join_results

            rows = {job.folder: summary.rows[number] for number, job in enumerate(jobs)}
            join_results(folder, rows, groups)
            write_report(folder, summary.written)
    except KeyboardInterrupt:
        return _interrupted()
    except ConnectionError as error:  # to the scheduler
        return _give_up(error, settings.debug)
    except OSError as error:  # a full or read-only disk: every further image would fail, too
        then = "finished images are kept; run the same command again once this is put right"
        return _give_up(f"{folder} cannot be written: {error}; {then}", settings.debug)
    print(f"Report: {(folder / 'report.html').resolve()}")
    print_table(summary.ordered())
    print_unknown_sizes(summary.ordered())
    return int(any(row["status"] != "done" for row in summary.ordered()))


def _are_joined(jobs: list[Job], folder: Path) -> bool:
    """Tell whether the report and the table of all nuclei are there."""
    nuclei = any((job.folder / "nuclei.csv").is_file() for job in jobs)
    wanted = ["report.html"] + ["nuclei.parquet"] * nuclei
    return all((folder / name).is_file() for name in wanted)


def _of_all(networks, rows: list[dict]) -> dict:
    """Return the networks of all images, also those whose scale was not known at first.

    On a cluster it was the workers that loaded these.
    """
    for row in rows:
        if row["status"] == "done":
            networks.of(row["width_out"] // row["width_in"])
    return networks.by_name()


def make_jobs(paths: list[Path], settings: Settings) -> list[Job]:
    """Make the images of a run into jobs, for this process or any other."""
    jobs, folder = [], settings.outputs.output_folder
    input_folder = settings.input.input_folder
    names, models = result_names(paths, folder, input_folder), model_files(settings)
    for number, path in enumerate(paths, start=1):
        title = f"{number}/{len(paths)} {shown_name(path, input_folder)}"
        made_from = signature(path, settings, models)
        place = (folder / names[path]).absolute()
        jobs.append(Job(path.absolute(), place, title, settings, made_from))
    return jobs


def _work_off(jobs: list[Job], networks, settings: Settings) -> Iterator[tuple[int, dict]]:
    """Do all jobs, here or on a cluster; yield (number, row of the summary) as they finish."""
    unfinished = {}
    for number, job in enumerate(jobs):
        if not _is_to_be_done(job):
            print(f"{job.title}: finished before, skipped")
            yield number, finished_row(job)
            continue
        if reason := reason_to_repeat(job):
            print(f"{job.title}: done again, {reason}")
        unfinished[number] = job
    if not unfinished:
        return
    # Imported here: who has one machine need not have Dask, and who has nothing to do, Keras.
    if settings.machines.scheduler:
        from pipeline.cluster import rows_from_cluster

        yield from rows_from_cluster(unfinished, settings)
    else:
        from pipeline.worker import rows_from_here

        yield from rows_from_here(unfinished, networks, settings)


def write_run_record(path: Path, constants: dict, settings: Settings, networks) -> dict:
    """Write what is needed to repeat the run: constants, versions, models; return it."""
    record = {
        "results_version": RESULTS_VERSION,
        "constants": _recorded(constants),
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in PACKAGES},
        "models": {
            name: network and {"sha256": network.sha256, "record": network.record}
            for name, network in networks.by_name().items()
        },
        "model_files": model_files(settings),
        "tables": "CSV, UTF-8 with byte order mark, comma, decimal point",
    }
    with appearing(path) as fresh:
        fresh.write_text(json.dumps(record, indent=2), encoding="utf-8")
    return record


def _record_choices(path: Path, constants: dict) -> bool:
    """Record constants of a run whose images are all finished; tell whether any is another.

    Those that decide the results are the same; others, such as the groups, may not be.
    """
    record = json.loads(path.read_text("utf-8"))
    earlier, record["constants"] = record["constants"], _recorded(constants)
    if earlier == json.loads(json.dumps(record["constants"])):
        return False
    with appearing(path) as fresh:
        fresh.write_text(json.dumps(record, indent=2), encoding="utf-8")
    return True


def _recorded(constants: dict) -> dict:
    return {name: str(v) if isinstance(v, Path) else v for name, v in constants.items()}


def _interrupted() -> int:
    print("\nInterrupted. Run the same command again to go on from here.", file=sys.stderr)
    return 130


def _give_up(error: Exception | str, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(one_line(str(error)), file=sys.stderr)
    return 2


def _quiet_readers():
    """Leave out what the decoders say of a damaged file; the image's one line has the reason."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
    # Pillow's remarks on damaged tags and EXIF are UserWarnings; all its others stay.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ModuleNotFoundError:  # e.g. OpenCV installed under another wheel's name
        return None
