"""`sixfold top`: the functions of the running system, live, those with the most to do first."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from typing import Annotated

import httpx
import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from sixfold import clock as clocks
from sixfold import errors
from sixfold.cli import common, function_table
from sixfold.gateway.functions import FunctionStatus

_HEAD_LINES = 6
"""Of the screen that are no row of a function."""


def top(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Print what is now, and end.")] = False,
    interval: Annotated[float, typer.Option("--interval", min=0.1, help="Seconds between two looks.")] = 2.0,
    as_json: common.JsonOption = False,
) -> None:
    """Watch the functions of the running system: rate, lag, age, durations, failures; q or Ctrl-C ends it.

    Without a terminal, or with --json, one line or table a look.

    Example:  sixfold top      sixfold top --once --json
    """
    common.run(_top(ctx, once=once, interval_s=interval, as_json=as_json))


async def _top(ctx: typer.Context, *, once: bool, interval_s: float, as_json: bool) -> None:
    async with await common.gateway_client(ctx) as client:
        found = await function_table.ask(client)
        if once or as_json or not (common.console.is_terminal and sys.stdin.isatty()):
            while True:
                if as_json:
                    common.line(found)
                else:
                    common.draw(function_table.table_of(found.functions))
                if once:
                    return
                await clocks.SystemClock().sleep(interval_s)
                found = await function_table.ask(client)
        await _live(client, found, interval_s)


async def _live(client: httpx.AsyncClient, found: function_table.Functions, interval_s: float) -> None:
    ended = asyncio.Event()
    with _keys(ended), Live(console=common.console, screen=True, auto_refresh=False) as live:
        note = ""
        while True:
            live.update(_screen(found.functions, note), refresh=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), interval_s)
            if ended.is_set():
                return
            try:
                found, note = await function_table.ask(client), ""
            except (httpx.TransportError, errors.SixfoldError) as error:
                note = f"no answer now: {error or type(error).__name__}"  # it may come back, the last view stays


def _screen(functions: list[FunctionStatus], note: str) -> Group:
    rows = max(1, common.console.size.height - _HEAD_LINES)
    ill = sum(not each.well for each in functions)
    head = f"{len(functions)} functions, {ill} not well, {sum(each.lag or 0 for each in functions):,} records to go"
    more = f"; {len(functions) - rows} more below" if len(functions) > rows else ""
    foot = note or f"q ends{more}"
    return Group(Text(head), function_table.table_of(functions[:rows]), Text(foot, style="red" if note else "dim"))


@contextlib.contextmanager
def _keys(ended: asyncio.Event) -> Iterator[None]:
    """Set `ended` at `q`, Ctrl-C, and the end of the input; the terminal is as it was afterwards."""
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def pressed() -> None:
        keys = os.read(descriptor, 64)
        if not keys or b"q" in keys.lower():
            ended.set()

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, pressed)
    loop.add_signal_handler(signal.SIGINT, ended.set)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
