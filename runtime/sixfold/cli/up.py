"""`sixfold up`: the whole system in one process tree, in the foreground or detached."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from sixfold import catalogue
from sixfold.cli import common, control, progress
from sixfold.gateway import credentials
from sixfold.supervisor import plan, tree
from sixfold.supervisor.control import SystemStatus
from sixfold.telemetry import logs

_HEAD = b"what `sixfold up --detach` says:\n"


def up(
    ctx: typer.Context,
    bus: Annotated[
        str | None, typer.Option("--bus", help="embedded: or kafka://HOST:PORT; as the global option.")
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of the gateway; 0 for any free one.")
    ] = plan.PORT,
    host: Annotated[
        str, typer.Option("--host", help="Address of the gateway. Leave it on loopback outside containers.")
    ] = plan.HOST,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Do not start this process or service. Repeatable.")
    ] = None,
    apps: common.AppOption = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return once the system is up; stop it with `down`.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print which processes would be started.")] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Start the whole system; Ctrl-C or `sixfold down` stops it.

    Example:  sixfold up --bus kafka://127.0.0.1:9092 --port 6480
    """
    chosen = common.settings(ctx)
    settings = plan.Settings(
        data_dir=chosen.data_dir,
        bus_url=bus or chosen.bus_url,
        host=host,
        port=port,
        without=tuple(without or ()),
        apps=tuple(_absolute(app) for app in chosen.apps),
    )
    known = common.known(ctx)
    if dry_run:
        specs = plan.plan(known.capabilities, settings)
        common.show(specs, as_json=as_json, render=lambda: _planned(specs))
    elif detach:
        _detach(settings, as_json=as_json)
    else:
        common.run(_up(settings, known, as_json=as_json))


async def _up(settings: plan.Settings, known: catalogue.Catalogue, *, as_json: bool) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    logs.to_file(settings.data_dir / logs.FOLDER / f"{tree.NAME}.log", process=tree.NAME)
    with progress.Starting(common.errors, started=lambda status: _started(status, as_json=as_json)) as watch:
        running = tree.Tree(settings, known, watch=watch)
        loop = asyncio.get_running_loop()

        def asked() -> None:
            if running.stopping.is_set():
                running.kill()
                common.errors.print("stopping at once")
            running.stopping.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, asked)
        await running.run()


def _started(status: SystemStatus, *, as_json: bool) -> None:
    if as_json:
        common.line(status)
    else:
        summarise(status)


def summarise(status: SystemStatus) -> None:
    """What runs, where to look, what to do next."""
    late = [process for process in status.processes if process.state != "running"]
    data_dir = Path(status.data_dir)
    table = Table.grid(padding=(0, 2))
    table.add_row("Gateway", status.gateway_url)
    table.add_row("Bus", escape(status.bus_url))
    table.add_row("Data", escape(str(data_dir)))
    table.add_row("Credential", escape(str(data_dir / credentials.FOLDER / credentials.BOOTSTRAP)))
    table.add_row("Logs", escape(str(data_dir / logs.FOLDER)))
    table.add_row("Next", "sixfold status · sixfold functions · sixfold topics · sixfold down")
    ready = len(status.processes) - len(late)
    common.console.print(f"[bold green]Sixfold is up[/bold green]: {ready} of {len(status.processes)} processes ready.")
    common.console.print(table)
    for process in late:
        common.errors.print(
            f"[yellow]{escape(process.name)} is {process.state}[/yellow]: "
            f"{escape(process.reason or 'it has not said that it is ready')}; see {escape(process.log)}",
            soft_wrap=True,
            highlight=False,
        )


def _planned(specs: tuple[plan.ProcessSpec, ...]) -> Table:
    table = Table("Process", "Stage", "Command")
    for spec in specs:
        table.add_row(spec.name, str(spec.stage), escape(" ".join(spec.command)))
    return table


def _absolute(app: str) -> str:
    """A file's path without regard to the current folder; a module's name as it is."""
    place, colon, attribute = app.partition(":")
    return f"{Path(place).absolute()}{colon}{attribute}" if place.endswith(".py") else app


def _detach(settings: plan.Settings, *, as_json: bool) -> None:
    """Start `sixfold up` in a session of its own and wait until it says that it is up."""
    words = [sys.executable, "-P", "-m", "sixfold", "--data-dir", str(settings.data_dir), "--bus", settings.bus_url]
    words += [word for app in settings.apps for word in ("--app", app)]
    words += ["up", "--json", "--host", settings.host, "--port", str(settings.port)]
    words += [word for name in settings.without for word in ("--without", name)]
    folder = settings.data_dir / logs.FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    said = folder / "up.log"
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, _HEAD)  # a disk that has no room for this has none for what the system says either
        child = subprocess.Popen(  # it outlives this process on purpose
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=descriptor, start_new_session=True
        )
    finally:
        os.close(descriptor)
    assert child.stdout is not None
    with common.errors.status("starting the system"):
        line = child.stdout.readline()
    if not line:
        code = child.wait()
        text = said.read_text().removeprefix(_HEAD.decode()).strip()
        common.errors.print(text or f"the system ended with exit code {code}", markup=False, highlight=False)
        raise typer.Exit(code or 1)
    child.returncode = 0  # it goes on; nobody waits for it
    status = msgspec.json.decode(line, type=SystemStatus)
    common.show(status, as_json=as_json, render=lambda: control.table_of(status))
    if not as_json:
        summarise(status)
