"""Every command of the command line, those of all capabilities: machines can read it, and its help is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.support import commandline

ROOT = Path(__file__).parents[1]
COMMANDS = commandline.commands()
WITHOUT_JSON = {
    "run": "runs until it is stopped, and prints a log",
    "git credential": "speaks git's own protocol",
}
# A file or folder of the repository, as a help text names one.
PATH = re.compile(r"\b(?:examples|tests|bench|docs|events|runtime|functions)/[\w./-]*\w")


@pytest.mark.parametrize("each", COMMANDS, ids=lambda each: str(each.name))
def test_a_command_prints_json_for_machines(each: commandline.Command) -> None:
    """`--json` wherever data is printed; the exceptions are listed with why."""
    assert ("--json" in each.options) != (each.name in WITHOUT_JSON), each.name


def test_every_exception_is_a_command() -> None:
    """The list does not outlive what it excuses."""
    assert set(WITHOUT_JSON) <= {each.name for each in COMMANDS}


@pytest.mark.parametrize("each", COMMANDS, ids=lambda each: str(each.name))
def test_a_commands_help_shows_an_example_of_itself_that_works(each: commandline.Command) -> None:
    """It is a line that the command line takes, with options that there are."""
    _, found, example = (each.command.help or "").partition("Example:")
    assert found, f"sixfold {each.name} --help shows no Example:"
    plain = re.sub(r"\[/?bold\]", "", example)
    lines = [line for text in re.split(r"\s{2,}|, or[^:]*: ", plain) for line in commandline.lines_in(text)]
    assert any(each.name in line for line in lines), f"sixfold {each.name} --help shows no example of it: {example}"
    for line in lines:
        commandline.check_line(line)


@pytest.mark.parametrize("each", COMMANDS, ids=lambda each: str(each.name))
def test_a_path_in_a_help_text_is_there(each: commandline.Command) -> None:
    """A reader in a working copy can type what the help shows."""
    for text in each.texts:
        for path in PATH.findall(text):
            assert (ROOT / path).exists(), f"sixfold {each.name} --help names {path}"
