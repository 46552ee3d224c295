"""`sixfold schema register`: frozen schemas to a registry. Without --apply it prints the plan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from sixfold import catalogue
from sixfold.cli import common, registries
from sixfold.registry import registering
from sixfold.registry.registering import Step
from sixfold.registry.settings import RegistrySettings, Strategy
from sixfold.registry.subjects import subject_of

_COLOURS = {"register": "green", "known": "dim", "incompatible": "red"}


def register(
    ctx: typer.Context,
    types: Annotated[
        list[str] | None, typer.Argument(metavar="[TYPE]…", help="Event types; all of --app, else all installed.")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without this the plan is printed.")] = False,
    strategy: Annotated[
        Strategy | None,
        typer.Option("--subjects", help="How subjects are named.", show_default="SIXFOLD_REGISTRY_SUBJECTS"),
    ] = None,
    folder: registries.FolderOption = None,
    registry: registries.RegistryOption = None,
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Register every frozen version in order. Exit code 1 where one is incompatible: then nothing is registered.

    Example:  sixfold schema register --registry http://127.0.0.1:8081
    """
    settings = registries.settings_of(os.environ, registry)
    steps = common.run(_register(ctx, types or [], settings, strategy or settings.subjects, folder, apply=apply))
    common.show(steps, as_json=as_json, render=lambda: _rendered(steps, apply=apply))
    if any(step.action == "incompatible" for step in steps):
        raise typer.Exit(1)


async def _register(
    ctx: typer.Context,
    types: list[str],
    settings: RegistrySettings,
    strategy: Strategy,
    folder: Path | None,
    *,
    apply: bool,
) -> list[Step]:
    where, classes = registries.subject(ctx, folder)
    known = {cls.__event__.type: cls for cls in classes}
    for name in types:
        if name not in known:
            raise catalogue.unknown("event type", name, known, "`sixfold event types` lists all")
    schemas = registering.frozen(where, [known[name] for name in types] if types else classes)
    async with registries.opened(ctx, settings) as client:
        subjects = [subject_of(strategy, each.topic, each.schema) for each in schemas]
        steps = registering.plan(schemas, strategy, await registering.remote(client, subjects))
        if not apply or any(step.action == "incompatible" for step in steps):
            return steps
        return await registering.apply(client, steps, schemas)


def _rendered(steps: list[Step], *, apply: bool) -> RenderableType:
    if not steps:
        return "nothing is frozen; run `sixfold schema freeze` first"
    table = Table("Event type", "Version", "Subject", "Id", "")
    table.columns[0].overflow = table.columns[2].overflow = "fold"
    for step in steps:
        done = "registered" if apply and step.id is not None and step.action == "register" else step.action
        colour = _COLOURS[step.action]
        identifier = str(step.id) if step.id is not None else ""
        row = (escape(step.type), str(step.version), escape(step.subject), identifier)
        table.add_row(*row, f"[{colour}]{done}[/{colour}]")
    reasons = [f"[red]{escape(step.subject)}[/red] {escape(reason)}" for step in steps for reason in step.reasons]
    todo = sum(step.action == "register" for step in steps)
    if reasons:
        return Group(table, *reasons, "nothing was registered")
    if not apply and todo:
        return Group(table, f"{todo} to register; --apply does it")
    return table
