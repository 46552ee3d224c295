"""What the verbs about schemas share: which classes and folder they are about, which registry, an opened client."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sixfold import bus, catalogue, errors
from sixfold.cli import common
from sixfold.process import Process
from sixfold.registry import schemas
from sixfold.registry import settings as settings_
from sixfold.registry.settings import RegistrySettings
from sixfold_events import DecodeError, Event, framing

if TYPE_CHECKING:
    from sixfold.registry.client import RegistryClient

FolderOption = Annotated[
    Path | None,
    typer.Option("--folder", help="Where schemas are frozen.", show_default="schemas/ beside your app, else Sixfold's"),
]
RegistryOption = Annotated[
    str | None,
    typer.Option(
        "--registry",
        help="A schema registry's URL, or embedded: for the running gateway's own.",
        show_default="SIXFOLD_REGISTRY_URL",
    ),
]


def subject(ctx: typer.Context, folder: Path | None) -> tuple[Path, list[type[Event]]]:
    """The folder, and the classes whose schemas belong there: those of --app where there are any, else all."""
    known = common.known(ctx)
    if not known.own:
        return folder or catalogue.SCHEMAS, list(known.events.values())
    installed = set(catalogue.installed().events.values())
    own = [cls for cls in known.events.values() if cls not in installed]
    place = common.settings(ctx).apps[0].partition(":")[0]
    beside = Path(place).absolute().parent if place.endswith(".py") else Path.cwd()
    return folder or beside / "schemas", own


def settings_of(environ: Mapping[str, str], url: str | None) -> RegistrySettings:
    """The registry of the environment, at `url` where one is given."""
    found = settings_.from_environment(environ)
    return settings_.with_url(found, url) if url else found


@contextlib.asynccontextmanager
async def opened(ctx: typer.Context, settings: RegistrySettings) -> AsyncIterator[RegistryClient]:
    """A client of the registry."""
    from sixfold.registry.client import RegistryClient

    async with RegistryClient(settings, data_dir=common.settings(ctx).data_dir) as client:
        yield client


async def frame_of(ctx: typer.Context, cls: type[Event]) -> framing.Frame | None:
    """How events of `cls` are written: as the registry of the environment names their schema, where there is one."""
    process = Process(name="cli", data_dir=common.settings(ctx).data_dir, registry=common.known(ctx).light.registry)
    try:
        return await schemas.frame_of(process, cls)
    finally:
        await process.resources.close()


async def prepare(process: Process, record: bus.Record) -> None:
    """Learn the schema of a record that is to be shown; where that fails, it is shown as it is."""
    if record.value is not None:
        value, headers = record.value, record.headers
        with contextlib.suppress(DecodeError, errors.TemporaryError):
            await schemas.decoded(process, lambda: process.registry.decode(value, headers))
