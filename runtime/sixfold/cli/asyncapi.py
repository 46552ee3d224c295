"""`sixfold asyncapi`: the AsyncAPI document of functions, printed, or compared with one that is kept."""

from __future__ import annotations

import difflib
import importlib.metadata
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from sixfold import asyncapi as documents
from sixfold import errors as failures
from sixfold.cli import common, registries


def asyncapi(
    ctx: typer.Context,
    as_yaml: Annotated[bool, typer.Option("--yaml/--json", help="How it is written.")] = True,
    title: Annotated[str, typer.Option("--title", help="Of the document.")] = "Sixfold",
    version: Annotated[
        str | None, typer.Option("--version", help="Of your API.", show_default="that of Sixfold")
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", help="Compare with this file instead; exit code 1 where it differs.")
    ] = None,
    registry: registries.RegistryOption = None,
    apps: common.AppOption = None,
) -> None:
    """Print the AsyncAPI 3.0 document of the functions of --app, else of all installed ones.

    Example:  sixfold asyncapi --check asyncapi.yaml
    """
    known = common.known(ctx)
    functions = known.own or tuple(known.functions.values())
    bus_url = common.settings(ctx).bus_url
    made = documents.document(
        functions,
        known.topics,
        title=title,
        version=version or importlib.metadata.version("sixfold"),
        brokers=bus_url.removeprefix("kafka://").split(",") if bus_url.startswith("kafka://") else (),
        registry=registries.settings_of(os.environ, registry),
    )
    if check is None:
        sys.stdout.write(_text(made) if as_yaml else json.dumps(made, indent=2) + "\n")
        return
    difference = list(
        difflib.unified_diff(_text(_kept(check)).splitlines(), _text(made).splitlines(), str(check), "now", lineterm="")
    )
    for line in difference:
        sys.stdout.write(line + "\n")
    if difference:
        raise typer.Exit(1)


def _text(document: Any) -> str:
    return yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100)


class _Plain(yaml.SafeDumper):
    """Writes every part out: a document for people has no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _kept(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())  # JSON is YAML, too
    except OSError as error:
        raise failures.UsageError(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise failures.UsageError(f"{path} is neither YAML nor JSON: {error}") from error
