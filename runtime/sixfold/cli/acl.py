"""`sixfold acl`: the Kafka ACLs that functions need, for Kafka's own tool, as JSON, or for Strimzi."""

from __future__ import annotations

import enum
import sys
from typing import Annotated

import typer
import yaml

from sixfold import acl as acls
from sixfold import errors as failures
from sixfold.cli import common


class Format(enum.Enum):
    """How ACLs are written."""

    COMMANDS = "commands"
    JSON = "json"
    STRIMZI = "strimzi"


def acl(
    ctx: typer.Context,
    functions: Annotated[
        list[str] | None, typer.Argument(metavar="[FUNCTION]…", help="Functions; all of --app, else all installed.")
    ] = None,
    template: Annotated[
        str, typer.Option("--principal-template", help="A function's principal; {function} is its name.")
    ] = acls.PRINCIPAL,
    form: Annotated[Format, typer.Option("--format", help="How they are written.")] = Format.COMMANDS,
    config: Annotated[
        str, typer.Option("--command-config", help="For commands: the file with the administrator's credentials.")
    ] = "",
    cluster: Annotated[str, typer.Option("--cluster", help="For strimzi: name of the Kafka resource.")] = "kafka",
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Print the least that each function must be allowed to do on Kafka.

    Example:  sixfold acl pipeline.source --format json
    """
    known = common.known(ctx)
    chosen = [known.function(name) for name in functions or ()] or known.own or tuple(known.functions.values())
    if not template.startswith("User:"):
        raise failures.UsageError(f"--principal-template {template!r}: expected one that starts with User:")
    topics = [spec.name for spec in known.topics]
    found = [grant for function in chosen for grant in acls.grants(function, topics, template=template)]
    if as_json or form is Format.JSON:
        common.line(found)
    elif form is Format.STRIMZI:
        sys.stdout.write(yaml.safe_dump_all(acls.strimzi(found, cluster=cluster), sort_keys=False))
    else:
        bus_url = common.settings(ctx).bus_url
        bootstrap = bus_url.removeprefix("kafka://") if bus_url.startswith("kafka://") else "$KAFKA"
        for command in acls.commands(found, bootstrap=bootstrap, config=config):
            sys.stdout.write(command + "\n")
