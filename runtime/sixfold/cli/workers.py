"""`sixfold run --workers N`: the same functions in N processes of this host, each a member of their groups.

Each has a name that stays, PREFIX.FUNCTIONS.INDEX: under it the bus keeps its partitions for it, so that one that
crashed and is back within the bus's session timeout goes on with what it had, and nobody else's partitions move.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import structlog

from sixfold import clock as clocks
from sixfold.supervisor import hosting, restart
from sixfold.supervisor.child import Child
from sixfold.supervisor.plan import ProcessSpec
from sixfold.telemetry import logs


def names_of(functions: str, count: int, prefix: str | None) -> list[str]:
    """The members' names; `prefix` is the host's name unless given."""
    return [f"{prefix or socket.gethostname()}.{functions}.{index}".replace("/", "_") for index in range(count)]


def words_without(words: Sequence[str], *options: str) -> list[str]:
    """A command line without `options` and their values."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in options:
            next(rest, None)
        elif word.partition("=")[0] not in options:
            kept.append(word)
    return kept


async def run(command: Sequence[str], names: Sequence[str], data_dir: Path) -> None:
    """Run `command` once for each of `names` until SIGTERM or SIGINT; one that ends by itself is started again."""
    logs.to_terminal()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    children = [
        Child(
            ProcessSpec(name=name, command=tuple(command)),
            log=data_dir / logs.FOLDER / f"{name}.log",
            clock=clocks.SystemClock(),
            rng=random.Random(),  # noqa: S311 (spreads restarts, guards nothing)
            environment={**os.environ, hosting.MEMBER_VARIABLE: name},
            changed=_say,
        )
        for name in names
    ]
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        starts = [asyncio.create_task(child.start(), name=f"start {child.spec.name}") for child in children]
        await stopping.wait()
        for start in starts:
            start.cancel()
        await asyncio.gather(*starts, return_exceptions=True)
        await asyncio.gather(*(child.stop() for child in children))
    finally:
        await asyncio.gather(*(child.close() for child in children))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _say(child: Child) -> None:
    now = child.status()
    # Starting is told twice, without a pid and with one.
    if now.state == restart.State.STARTING.value and now.pid is None:
        return
    structlog.get_logger().info(
        "a worker process changed", action="worker_process", name=now.name, state=now.state, pid=now.pid
    )
