"""Where results come from: the models' SHA-256 in every file; a run repeated from its record."""

import argparse
import inspect
import json
from collections.abc import Callable
from pathlib import Path

PROGRAM = "SRGAN and U-net for H&E"


def model_hashes(generator, unet) -> dict[str, str]:
    """Return {"generator_sha256": ..., "unet_sha256": ...} of the networks that are not None."""
    networks = {"generator": generator, "unet": unet}
    return {f"{name}_sha256": network.sha256 for name, network in networks.items() if network}


def software_note(hashes: dict[str, str]) -> str:
    """Return one line of ASCII for the Software field of image files."""
    return "; ".join([PROGRAM, *(f"{name} {value}" for name, value in hashes.items())])


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
    constants = read_run(path)["constants"]
    parameters = inspect.signature(function).parameters
    unknown = sorted(set(constants) - set(parameters))
    if unknown:
        raise ValueError(
            f"{path}: constants of another version of this script: {', '.join(unknown)}; repeat "
            "the run with that version, or remove them from a copy of the file"
        )
    return {
        name: Path(value) if isinstance(parameters[name].default, Path) else value
        for name, value in constants.items()
    }


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


def differences(earlier: dict, now: dict) -> list[str]:
    """Say in a line each what keeps a repeated run from giving the bytes of the earlier one.

    earlier, now: contents of run.json.
    """
    lines = []
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
