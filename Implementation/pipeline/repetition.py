"""A run repeated from its record: its constants, its models wherever they are now, differences."""

import argparse
import inspect
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import get_args

MODELS = (
    Path(__file__).resolve().parents[2] / "models"
)  # where a model that has moved is looked for
GONE = ("seed_rise",)  # constants before version 9, of a separation that is no longer used


def path_of_run(arguments: list[str]) -> Path | None:
    """Return what --from-run names among command-line arguments, None where it is not there."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--from-run", "--from_run", type=Path, default=None)
    try:
        return parser.parse_known_args(arguments)[0].from_run
    except argparse.ArgumentError:  # no file behind it: the real parser words that
        return None


def constants_of_run(path: Path, function: Callable) -> dict:
    """Return the constants of a run.json as keyword arguments of `function`.

    Raises:
        OSError, ValueError: no file, no run record, or constants that `function` does not know.
    """
    run = read_run(path)
    version, constants = run.get("results_version", 1), run["constants"]
    if version < 9:
        constants = {name: value for name, value in constants.items() if name not in GONE}
    parameters = inspect.signature(function).parameters
    unknown = sorted(set(constants) - set(parameters))
    if unknown:
        raise ValueError(
            f"{path}: constants of another version of this script: {', '.join(unknown)}; repeat "
            "the run with that version, or remove them from a copy of the file"
        )
    constants = constants | _meant_then(constants, version)
    constants = {name: _as_constant(value, parameters[name]) for name, value in constants.items()}
    return constants | _moved_models(constants, run.get("model_files", {}))


def _meant_then(constants: dict, results_version: int) -> dict:
    """Return the constants that an earlier version of the program understood in another way."""
    meant = {}
    if results_version < 4:  # all images were enlarged x4, or none
        meant["enlarge"] = 4 if constants.get("super_resolve", True) else 1
    return meant


def _as_constant(value, parameter: inspect.Parameter):
    """Return a value that was read from JSON as what it was: a path or a tuple."""
    if isinstance(value, list):
        return tuple(value)
    is_path = Path in (parameter.annotation, *get_args(parameter.annotation))
    return Path(value) if is_path and value is not None else value


def read_run(path: Path) -> dict:
    """Read a run.json.

    Raises:
        OSError, ValueError: no file, or no run record.
    """
    try:
        run = json.loads(Path(path).read_text("utf-8"))
        if isinstance(run["constants"], dict) and isinstance(run["models"], dict):
            return run
    except FileNotFoundError:
        raise FileNotFoundError(f"FROM_RUN: no file {path}; give the run.json of a run") from None
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"FROM_RUN: {path} is not the run.json of a run")


def _moved_models(constants: dict, hashes: dict[str, str]) -> dict[str, Path]:
    """Find models that are not where they were, by content, among those that ship.

    Args:
        constants: of the run; those of models are absolute paths, perhaps of another machine.
        hashes: SHA-256 of the model files by the name of their constant.
    """
    missing = {n: h for n, h in hashes.items() if n in constants and not constants[n].is_file()}
    if not missing:
        return {}
    here = {sha256(path.read_bytes()).hexdigest(): path for path in sorted(MODELS.glob("*.h5"))}
    return {name: here[value] for name, value in missing.items() if value in here}


def differences(earlier: dict, now: dict) -> list[str]:
    """Say in a line each what keeps a repeated run from giving the bytes of the earlier one.

    earlier, now: contents of run.json.
    """
    lines = []
    if earlier.get("results_version", 1) != now["results_version"]:
        lines.append("an earlier version of the program, which measured differently, made that run")
    for name in (name for name in GONE if name in earlier["constants"]):
        lines.append(f"{name} was {earlier['constants'][name]}, which is no longer used")
    for name, model in now["models"].items():
        hashes = [each and each["sha256"] for each in (earlier["models"].get(name), model)]
        if hashes[0] != hashes[1]:
            before, after = (value or "none" for value in hashes)
            lines.append(f"{name}: another model than in the earlier run ({before}, now {after})")
    before, after = (run["constants"].get("precision", "float32") for run in (earlier, now))
    if before != after:
        lines.append(f"multiplied in {after}, in the earlier run in {before}")
    versions = earlier.get("versions", {})
    for package, version in now["versions"].items():
        if versions.get(package) != version:
            lines.append(f"{package} {version}, in the earlier run {versions.get(package)}")
    return lines
