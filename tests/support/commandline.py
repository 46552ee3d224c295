"""The command line as data: every command, and whether a line that somebody wrote down is one of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import typer.main

from sixfold.cli.main import app


class Command(NamedTuple):
    """One command, not a group."""

    words: tuple[str, ...]
    """Such as ("git", "create")."""
    command: Any

    @property
    def name(self) -> str:
        """`git create`."""
        return " ".join(self.words)

    @property
    def options(self) -> set[str]:
        """Its own options."""
        return {name for parameter in self.command.params for name in (*parameter.opts, *parameter.secondary_opts)}

    @property
    def texts(self) -> list[str]:
        """Everything that its help says."""
        return [self.command.help or "", *(getattr(each, "help", None) or "" for each in self.command.params)]


def commands() -> list[Command]:
    """Every command of the command line, those of all installed capabilities included."""
    return list(_below(typer.main.get_command(app), ()))


def _below(command: Any, words: tuple[str, ...]) -> Iterator[Command]:
    if not hasattr(command, "list_commands"):
        yield Command(words, command)
        return
    context = command.make_context("sixfold", ["--help"], resilient_parsing=True)
    for name in command.list_commands(context):
        yield from _below(command.get_command(context, name), (*words, name))


def lines_in(text: str) -> list[str]:
    """The `sixfold …` commands in a shell line: each part of a pipe, without redirections and comments."""
    parts = re.split(r" \| | && ", text.partition(" #")[0])
    cut = [re.split(r" [<>] ", part)[0].strip() for part in parts]
    return [part for part in cut if part.startswith("sixfold ")]


def check(words: Sequence[str]) -> None:
    """Parse the words after `sixfold` as the command line does, without running anything. Raises click's UsageError."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("sixfold", list(words))
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        if not rest and command.invoke_without_command:
            return
        if not rest:
            raise AssertionError(f"{command.name} needs a command")
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def check_line(line: str) -> None:
    """As `check`, for a whole line."""
    check(shlex.split(line)[1:])
