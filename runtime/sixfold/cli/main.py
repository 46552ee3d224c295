"""`sixfold`: the root of the command line. Verbs are imported when they are called, capabilities bring their own."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from sixfold.cli import stdio
from sixfold.cli.lazy import LazyGroup, Verb

_SYSTEM = "The system"
_EVENTS = "Events and functions"
_CAPABILITIES = "Capabilities"

VERBS = {
    "up": Verb("sixfold.cli.up:up", "Start the whole system.", _SYSTEM),
    "status": Verb("sixfold.cli.control:status", "Show the processes of the running system.", _SYSTEM),
    "top": Verb("sixfold.cli.top:top", "Watch functions: rate, lag, age, durations, failures.", _SYSTEM),
    "down": Verb("sixfold.cli.control:down", "Stop the running system.", _SYSTEM),
    "start": Verb("sixfold.cli.control:start", "Start stopped processes of the running system.", _SYSTEM),
    "stop": Verb("sixfold.cli.control:stop", "Stop some processes of the running system.", _SYSTEM),
    "run": Verb("sixfold.cli.run:run", "Run functions or a service as one process.", _SYSTEM),
    "demo": Verb("sixfold.demo.command:command", "Show everything at work, from push to deployment.", _SYSTEM),
    "publish": Verb("sixfold.cli.publish:publish", "Publish events.", _EVENTS),
    "tail": Verb("sixfold.cli.tail:tail", "Print the events of a topic.", _EVENTS),
    "invoke": Verb("sixfold.cli.invoke:invoke", "Call a function with an event, without side effects.", _EVENTS),
    "record": Verb("sixfold.cli.record:record", "Keep what a function was given and made of it in a file.", _EVENTS),
    "replay": Verb("sixfold.cli.replay:replay", "Run a function against a recorded file and compare.", _EVENTS),
    "shadow": Verb("sixfold.cli.shadow:shadow", "Compare a new version of a function on live traffic.", _EVENTS),
    "functions": Verb("sixfold.cli.listing:functions", "List functions.", _EVENTS),
    "topics": Verb("sixfold.cli.topics:app", "List, plan and apply topics.", _EVENTS),
    "event": Verb("sixfold.cli.event:app", "Event types and samples.", _EVENTS),
    "schema": Verb("sixfold.cli.schema:app", "Check, freeze, compare and register schemas.", _EVENTS),
    "acl": Verb("sixfold.cli.acl:acl", "Print the least that functions need on Kafka.", _EVENTS),
    "asyncapi": Verb("sixfold.cli.asyncapi:asyncapi", "Describe functions and topics as AsyncAPI.", _EVENTS),
    "dlq": Verb("sixfold.cli.dlq:app", "Look at records that functions could not handle.", _EVENTS),
}


class Root(LazyGroup):
    """All verbs, and one group for each capability that has commands."""

    def verbs(self) -> dict[str, Verb]:
        from sixfold import capability

        found = {name: verb for name, verb in VERBS.items() if _exists(verb)}
        for each in capability.discover():
            if each.commands and each.name not in found:
                found[each.name] = Verb(each.commands, each.summary, _CAPABILITIES)
        return found


def _exists(verb: Verb) -> bool:
    try:
        return importlib.util.find_spec(verb.reference.partition(":")[0]) is not None
    except ModuleNotFoundError:
        return False


app = typer.Typer(
    name="sixfold",
    cls=Root,
    help="An event-driven function framework on Kafka, and a small cloud written as its functions.",
    epilog="A first look:  sixfold up   then, in another terminal:  sixfold status, sixfold functions",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"sixfold {importlib.metadata.version('sixfold')}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", envvar="SIXFOLD_DATA_DIR", help="Folder of the system's data.", show_default=".sixfold"
        ),
    ] = None,
    bus: Annotated[
        str | None,
        typer.Option(
            "--bus",
            envvar="SIXFOLD_BUS",
            help="embedded: or kafka://HOST:PORT[,HOST:PORT…].",
            show_default="that of the running system, else embedded:",
        ),
    ] = None,
    app: Annotated[
        list[str] | None,
        typer.Option("--app", envvar="SIXFOLD_APP", help="Your own functions: MODULE:ATTRIBUTE or a file. Repeatable."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """An event-driven function framework on Kafka, and a small cloud written as its functions."""
    from sixfold.cli import common

    ctx.obj = common.resolved(data_dir, bus, app or ())


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 141 reader gone."""
    stdio.whole()
    try:
        return _answered(arguments)
    finally:
        stdio.settle()


def _answered(arguments: list[str] | None) -> Any:
    try:
        try:
            return app(args=arguments, prog_name="sixfold")
        finally:
            sys.stdout.flush()  # here, where a full disk can still be told
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except Exception as error:
        from sixfold.cli import common, environment

        words = sys.argv[1:] if arguments is None else arguments
        expected = common.as_failure(error)
        refused = common.cause(error)
        if expected is None and isinstance(refused, OSError):
            expected = environment.explained(refused, words, os.environ, default=common.DATA_DIR)
        if expected is not None:
            common.say(expected)
            sys.exit(common.exit_code(expected))
        common.errors.print(f"error: {type(error).__name__}: {error}", markup=False, highlight=False, soft_wrap=True)
        where = _write_traceback(error, words)
        common.errors.print(f"This is a fault in Sixfold; {where}.", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


def _write_traceback(error: Exception, words: list[str]) -> str:
    """Keep the traceback where it can be sent from; says where it lies."""
    from sixfold.cli import common, environment

    text = "".join(traceback.format_exception(error))
    folder = (environment.data_dir_of(words, os.environ) or common.DATA_DIR) / "logs"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / "command-line.log"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{text}\n")
        return f"its traceback is in {path}"
    sys.stderr.write(text)
    return "its traceback is above"
