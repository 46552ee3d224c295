"""`sixfold status`, `down`, `start` and `stop`: talking to the running system."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from sixfold import clock as clocks
from sixfold.cli import common
from sixfold.gateway.functions import FunctionStatus
from sixfold.supervisor import control, hosting, tree
from sixfold.supervisor.control import SystemStatus

_COLOURS = {"running": "green", "starting": "cyan", "stopping": "yellow", "waiting": "red"}
_DOWN_WAIT_S = 90.0
_GATEWAY_WAIT_S = 8.0

Names = Annotated[list[str], typer.Argument(help="Processes, or what their names start with: volume.storage.a")]


def status(ctx: typer.Context, as_json: common.JsonOption = False) -> None:
    """Show every process of the running system, and every function that runs or is not well.

    Example:  sixfold status --json
    """
    found, functions = common.run(_status(ctx))
    if as_json:
        common.line({**msgspec.structs.asdict(found), "functions": functions})
        return
    common.draw(table_of(found))
    if functions is None:
        common.draw("how the functions are cannot be told: the gateway does not answer")
    elif shown := [each for each in functions if each.status != "idle"]:
        from sixfold.cli import function_table

        common.draw(function_table.table_of(shown))


async def _status(ctx: typer.Context) -> tuple[SystemStatus, list[FunctionStatus] | None]:
    """The processes as the supervisor says, and the functions as the gateway sees them; None where it does not say."""
    found = await control.ask(common.settings(ctx).data_dir, "status", timeout_s=10.0)
    from sixfold.cli import function_table

    try:
        async with asyncio.timeout(_GATEWAY_WAIT_S), await common.gateway_client(ctx) as client:
            return found, (await function_table.ask(client)).functions
    except Exception as error:
        if common.as_failure(error) is None and not isinstance(error, TimeoutError):
            raise
        return found, None


def start(ctx: typer.Context, names: Names, as_json: common.JsonOption = False) -> None:
    """Start stopped processes; returns when they are ready.

    Example:  sixfold start volume.storage.a
    """
    _ask(ctx, "start", names, as_json=as_json)


def stop(ctx: typer.Context, names: Names, as_json: common.JsonOption = False) -> None:
    """Stop processes; returns when they have ended. They stay stopped until `start` or the next `up`.

    Example:  sixfold stop volume.storage.a
    """
    _ask(ctx, "stop", names, as_json=as_json)


def down(ctx: typer.Context, as_json: common.JsonOption = False) -> None:
    """Stop the running system; returns when every process has ended.

    Example:  sixfold down
    """
    common.run(_down(ctx))
    common.show({"stopped": True}, as_json=as_json, render=lambda: "the system is stopped")


async def _down(ctx: typer.Context) -> None:
    data_dir = common.settings(ctx).data_dir
    asked = await control.ask(data_dir, "down", timeout_s=10.0)
    with common.errors.status(f"stopping {len(asked.processes)} processes"):
        # The supervisor holds this lock to its last breath.
        async with hosting.locked(data_dir, tree.NAME, clocks.SystemClock(), wait_s=_DOWN_WAIT_S):
            pass


def _ask(ctx: typer.Context, action: control.Action, names: list[str], *, as_json: bool) -> None:
    states = common.run(control.request(common.settings(ctx).data_dir, action, names))
    common.show(states, as_json=as_json, render=lambda: _states(states))


def _states(states: dict[str, str]) -> Table:
    table = Table("Process", "State")
    for name, state in states.items():
        table.add_row(escape(name), _coloured(state))
    return table


def table_of(status: SystemStatus) -> Table:
    """The processes with their states, pids and restarts."""
    now_ms = clocks.now_ms(clocks.SystemClock())
    table = Table("Process", "State", "Pid", "For", "Restarts", "Last end")
    for process in status.processes:
        since = f"{max(0, now_ms - process.started_at_ms) // 1000} s" if process.pid and process.started_at_ms else ""
        table.add_row(
            escape(process.name),
            _coloured(process.state),
            str(process.pid or ""),
            since,
            str(process.restarts or ""),
            escape(process.reason),
        )
    return table


def _coloured(state: str) -> str:
    colour = _COLOURS.get(state)
    return f"[{colour}]{state}[/{colour}]" if colour else state
