"""Options that the commands about backups share."""

from __future__ import annotations

from typing import Annotated

import typer

from sixfold.cli import common
from sixfold_functions.volume.backup import settings

From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="Where backups lie: a folder, s3://…, gs://…, az://…; by default the data folder's own.",
        metavar="URL",
    ),
]
Source = Annotated[str, typer.Option("--volume", help="The volume that was backed up.")]
New = Annotated[str, typer.Argument(help="Name of the new volume.", metavar="NEW")]


def url(ctx: typer.Context, given: str | None) -> str:
    """Where to look for backups."""
    return given or str(settings.default_folder(common.settings(ctx).data_dir))
