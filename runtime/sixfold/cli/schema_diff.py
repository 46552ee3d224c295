"""`sixfold schema diff`: what changed between two schemas, and which compatibility that breaks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from sixfold import catalogue
from sixfold import errors as failures
from sixfold.cli import common, registries
from sixfold_events import Event, avro, canonical, difference, levels, resolution
from sixfold_events.levels import Level

_REGISTRY = "registry:"
Reference = Annotated[
    str, typer.Argument(metavar="OLD", help="TYPE, TYPE@VERSION, a file.avsc, or registry:SUBJECT[@VERSION].")
]


class _Named(NamedTuple):
    """A schema and what it is called."""

    name: str
    schema: Any
    cls: type[Event] | None = None


def diff(
    ctx: typer.Context,
    old: Reference,
    new: Annotated[
        str | None,
        typer.Argument(metavar="NEW", help="As OLD; without it TYPE's last frozen version is compared with its code."),
    ] = None,
    level: Annotated[
        Level | None,
        typer.Option(
            "--level", help="What must hold.", show_default="as the type declares, else FULL", case_sensitive=False
        ),
    ] = None,
    folder: registries.FolderOption = None,
    registry: registries.RegistryOption = None,
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Show what changed between two schemas, and which compatibility breaks. Exit code 1 where --level does not hold.

    Example:  sixfold schema diff order.placed@1 order.placed
    """
    before, after = common.run(_both(ctx, old, new, folder, registry))
    found = difference.changes(before.schema, after.schema)
    breaks = {
        "BACKWARD": resolution.unreadable(after.schema, before.schema),
        "FORWARD": resolution.unreadable(before.schema, after.schema),
    }
    wanted = level or Level(after.cls.__event__.compatibility if after.cls else "FULL")
    violated = levels.violations(wanted, after.schema, [(1, before.schema)])
    data = {
        "old": before.name,
        "new": after.name,
        "changes": [each._asdict() for each in found],
        "breaks": breaks,
        "level": wanted.value,
        "compatible": not violated,
    }
    common.show(data, as_json=as_json, render=lambda: _rendered(data))
    if violated:
        raise typer.Exit(1)


async def _both(
    ctx: typer.Context, old: str, new: str | None, folder: Path | None, registry: str | None
) -> tuple[_Named, _Named]:
    known = common.known(ctx)
    where, _ = registries.subject(ctx, folder)
    if new is None:
        cls = known.event(old.partition("@")[0])
        return _before(cls, where), _Named(old, avro.schema_of(cls), cls)
    named = []
    for reference in (old, new):
        if reference.startswith(_REGISTRY):
            named.append(await _registered(ctx, reference, registry))
        else:
            named.append(_local(known, reference, where))
    return named[0], named[1]


def _before(cls: type[Event], folder: Path) -> _Named:
    """The frozen version that the code is to be compared with: the newest before its own, else its own."""
    declared = cls.__event__
    versions = sorted(int(path.stem[1:]) for path in (folder / declared.type).glob("v*.avsc"))
    if not versions:
        raise failures.UsageError(f"{declared.type} is not frozen in {folder}; run `sixfold schema freeze` first")
    older = [version for version in versions if version < declared.version] or versions
    return _frozen(cls, older[-1], folder)


def _frozen(cls: type[Event], version: int, folder: Path) -> _Named:
    path = folder / cls.__event__.type / f"v{version}.avsc"
    return _Named(f"{cls.__event__.type}@{version}", _file(path), cls)


def _local(known: catalogue.Catalogue, reference: str, folder: Path) -> _Named:
    path = Path(reference)
    if path.suffix == ".avsc" or path.is_file():
        return _Named(reference, _file(path))
    name, at, version = reference.partition("@")
    cls = known.event(name)
    if not at:
        return _Named(name, avro.schema_of(cls), cls)
    if not version.isdecimal():
        raise failures.UsageError(f"{reference}: expected TYPE@VERSION with a number, such as {name}@1")
    return _frozen(cls, int(version), folder)


def _file(path: Path) -> Any:
    try:
        return canonical.parse(path.read_text())
    except OSError as error:
        raise failures.UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise failures.UsageError(f"{path}: {error}") from error


async def _registered(ctx: typer.Context, reference: str, registry: str | None) -> _Named:
    subject, _, version = reference.removeprefix(_REGISTRY).rpartition("@")
    if not subject or not version.isdecimal():
        subject, version = reference.removeprefix(_REGISTRY), ""
    settings = registries.settings_of(os.environ, registry)
    async with registries.opened(ctx, settings) as client:
        found = await client.version(subject, int(version) if version else None)
    return _Named(f"{_REGISTRY}{subject}@{found.version}", found.schema)


def _rendered(data: dict[str, Any]) -> RenderableType:
    parts: list[RenderableType] = [f"[bold]{escape(data['old'])}[/bold] → [bold]{escape(data['new'])}[/bold]"]
    table = Table("Field", "Change", "Before", "After")
    for column in table.columns:
        column.overflow = "fold"
    for each in data["changes"]:
        table.add_row(*(escape(str(each[name])) for name in ("place", "what", "before", "after")))
    parts.append(table if data["changes"] else "the schemas are the same")
    for direction, reads in (("BACKWARD", "new readers, old data"), ("FORWARD", "old readers, new data")):
        reasons = data["breaks"][direction]
        verdict = "[red]breaks[/red]" if reasons else "[green]holds[/green]"
        parts.append(f"{direction} ({reads}) {verdict}")
        parts += [f"  {escape(reason)}" for reason in reasons]
    if not data["compatible"]:
        parts.append(f"[red]{data['level']} is required and does not hold[/red]")
    return Group(*parts)
