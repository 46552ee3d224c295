"""A command group that imports a verb only when it is called, so that `sixfold --help` is quick."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import typer
import typer.core
import typer.main


class Verb(NamedTuple):
    """A command by name, not imported yet."""

    reference: str
    """`module:attribute` of a function, or of a typer.Typer for a group of commands."""
    summary: str
    panel: str = "Commands"


class LazyGroup(typer.core.TyperGroup):
    """Looks verbs up in `verbs()`; the help shows their summaries without importing them."""

    _summarising = False

    def verbs(self) -> dict[str, Verb]:
        """All verbs by name, in the order of the help."""
        return {}

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.verbs())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        verb = self.verbs().get(cmd_name)
        if verb is None:
            return None
        if self._summarising:
            return typer.core.TyperCommand(name=cmd_name, help=verb.summary, rich_help_panel=verb.panel)
        return load(cmd_name, verb)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with self._summaries():
            super().format_help(ctx, formatter)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        names: dict[str, Any] = dict.fromkeys(self.verbs())  # names alone, for "did you mean"
        self.commands = names
        return super().resolve_command(ctx, args)

    @contextmanager
    def _summaries(self) -> Iterator[None]:
        self._summarising = True
        try:
            yield
        finally:
            self._summarising = False


def load(name: str, verb: Verb) -> Any:
    """The command that `verb` names, as typer runs it."""
    module_name, _, attribute = verb.reference.partition(":")
    value = getattr(importlib.import_module(module_name), attribute)
    if isinstance(value, typer.Typer):
        command: Any = typer.main.get_group(value)
        command.name = name
        command.help = command.help or verb.summary
        return command
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    # Words that a verb does not know are options of the services that it runs.
    free = getattr(value, "passes_options_on", False)
    settings = {"ignore_unknown_options": True, "allow_extra_args": True} if free else None
    app.command(name=name, context_settings=settings)(value)
    return typer.main.get_command(app)
