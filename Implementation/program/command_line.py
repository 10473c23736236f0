"""The command line of a script: its `main`, each parameter a flag."""

import inspect
from collections.abc import Callable

import tyro


def run(main: Callable, arguments: list[str] | None = None):
    """Call a script's `main`, or a partial of it, with the flags of the command line.

    tyro shows the text of a flag with the line ends of the docstring; without these, lines end
    where the terminal does.

    Args:
        main: the function.
        arguments: flags and their values; None = those that the script was started with.
    """
    function = getattr(main, "func", main)
    function.__doc__ = joined(function.__doc__)
    return tyro.cli(main, args=arguments)


def joined(docstring: str) -> str:
    """Return a docstring in which the text of each argument is one line."""
    lines = []
    for line in inspect.cleandoc(docstring).splitlines():
        if line.startswith(" " * 8):  # goes on with the argument of the line before
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return "\n".join(lines)
