"""What the verbs about schemas share: which classes and folder they are about, which registry, an opened client."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from sixfold import catalogue
from sixfold.cli import common
from sixfold.registry import settings as settings_
from sixfold.registry.client import RegistryClient
from sixfold.registry.settings import RegistrySettings
from sixfold_events import Event

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
    async with RegistryClient(settings, data_dir=common.settings(ctx).data_dir) as client:
        yield client
