"""The command line of a script shows each flag's text as one paragraph."""

import functools
import inspect

import pytest

from program.command_line import joined, run


def script(first: int = 1, second: str = "b"):
    """Do something.

    In two
    lines.

    Args:
        first: a number that says how many
            there are; None =
            all.
        second: a letter.
    """
    return first, second


def test_the_text_of_an_argument_is_one_line():
    text = joined(script.__doc__)
    assert "\n    first: a number that says how many there are; None = all.\n    second:" in text
    assert "In two\nlines." in text and joined(text) == text


def test_help_breaks_lines_where_the_terminal_does(capsys):
    with pytest.raises(SystemExit):
        run(script, ["--help"])
    shown = capsys.readouterr().out.splitlines()
    assert any("how many there are; None = all. (default: 1)" in line for line in shown)
    assert inspect.getdoc(script).startswith("Do something.")


def test_flags_and_partial_values_reach_the_function():
    assert run(script, ["--first", "3"]) == (3, "b")
    assert run(functools.partial(script, second="c"), []) == (1, "c")
