"""Followers for people: `sixfold volume follow` prints records as they become visible, `sixfold run volume.replica` keeps
a replica running whose lag the status shows.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from sixfold import errors
from sixfold.cli import common
from sixfold.process import Process
from sixfold_functions.volume import drawing
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.replica import ConsistencyPoint
from sixfold_functions.volume.groups import plans


def follow(
    ctx: typer.Context,
    start: Annotated[
        int | None, typer.Option("--from", min=1, help="LSN of the first record; else what is new.")
    ] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Stop after so many records.")] = None,
    volume: Annotated[str, typer.Option("--volume", help="Which volume.")] = layout.DEFAULT_VOLUME,
    as_json: common.JsonOption = False,
) -> None:
    """Print records as they become visible at a read replica, which this command is; Ctrl-C ends it.

    With --json each is an object on a line of its own, its bytes in base64.

    Example:  sixfold volume follow --from 1 --count 3
    """
    common.run(_follow(ctx, volume, start, count, as_json=as_json))


async def _follow(ctx: typer.Context, volume: str, start: int | None, count: int | None, *, as_json: bool) -> None:
    enough = asyncio.Event()
    left = count

    def show(point: ConsistencyPoint) -> None:
        nonlocal left
        for lsn, record in enumerate(point.records, point.first_lsn):
            if left == 0:
                break
            left = None if left is None else left - 1
            if as_json:
                common.line({"lsn": lsn, "data": record})
            else:
                common.console.out(drawing.line(lsn, record), highlight=False)
        if left == 0:
            enough.set()

    async with common.process(ctx) as process:
        replica = await plans.open_replica(
            process.require_bus(),
            registry=process.registry,
            clock=process.clock,
            apply=show,
            volume=volume,
            start_lsn=None if start is None else start - 1,
        )
        async with replica:
            if not replica.answering:
                common.errors.print(
                    "none of the six copies answers, so nothing is shown until they do; start them: sixfold volume start all "
                    "(or the system: sixfold up)"
                )
            await _until(replica, enough)


async def _until(replica: plans.AnyReplica, stopping: asyncio.Event) -> None:
    """Return once `stopping` is set. Raises what ended the replica."""
    ended, stopped = asyncio.create_task(replica.ended()), asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            ended.result()
    finally:
        for task in (ended, stopped):
            task.cancel()
        await asyncio.gather(ended, stopped, return_exceptions=True)


def _keep_nothing(point: ConsistencyPoint) -> None:
    """The service measures; what it is measured by is gone."""


async def run(process: Process) -> None:
    """The service's entry: `sixfold run volume.replica --replica r1`."""
    name = process.options.get("replica", "").strip()
    if not name:
        raise errors.UsageError("--replica: expected a name for it, such as r1; sixfold volume status shows it by that")
    replica = await plans.open_replica(
        process.require_bus(),
        registry=process.registry,
        clock=process.clock,
        apply=_keep_nothing,
        volume=process.options.get("volume", layout.DEFAULT_VOLUME),
        start_lsn=None,
        name=name,
    )
    async with replica:
        process.ready()
        await _until(replica, process.stopping)
