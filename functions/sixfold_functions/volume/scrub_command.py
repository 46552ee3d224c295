"""`sixfold volume scrub`: asks copies to read all of their logs back now, and shows what they found and mended."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sixfold import errors, publisher
from sixfold.bus import port
from sixfold.cli import common
from sixfold.process import Process
from sixfold_events.volume import VolumeScrubReported, VolumeScrubRequested
from sixfold_functions.volume import roster, topics
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.membership import Membership

SILENCE_S = 10.0
"""A copy that says nothing for so long does not run."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one copy."""

    copy: str
    state: str
    """`whole`, `mended`, `damaged` or `no answer`."""
    read_bytes: int = 0
    damaged: int = 0
    """Places that were damaged."""
    mended: int = 0
    error: str = ""


class NotWholeError(errors.SixfoldError):
    """Some copy has damage that is not mended, or did not answer."""


def result_of(copy: str, report: VolumeScrubReported | None) -> Result:
    """What the last word of a copy says, None for a copy that said nothing more."""
    if report is None or not report.done:
        return Result(
            copy=copy, state="no answer", error=f"it said nothing for {SILENCE_S:g} s: sixfold volume start {copy}"
        )
    state = "damaged" if report.mended < report.damaged or report.error else "mended" if report.mended else "whole"
    return Result(
        copy=copy,
        state=state,
        read_bytes=report.read_bytes,
        damaged=report.damaged,
        mended=report.mended,
        error=report.error,
    )


def scrub(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Zones (a, b, c) or copies, such as a1; all by default.", metavar="[COPY…]"),
    ] = None,
    volume: Annotated[str, typer.Option("--volume", help="Which volume.")] = layout.DEFAULT_VOLUME,
    as_json: common.JsonOption = False,
) -> None:
    """Read the copies' whole logs back now, check them, and mend what is damaged from the other copies.

    Exit code 1 where something is not mended, or a copy does not answer.

    Example:  sixfold volume scrub a1
    """
    results = common.run(_scrub(ctx, volume, names or ["all"], quiet=as_json))
    common.show(results, as_json=as_json, render=lambda: _table(results))
    bad = [result for result in results if result.state in ("damaged", "no answer")]
    if bad:
        common.fail(NotWholeError("; ".join(f"copy {result.copy}: {result.error or result.state}" for result in bad)))


def _table(results: list[Result]) -> Table:
    table = Table(box=None)
    for name in ("Copy", "State", "Read", "Damaged", "Mended"):
        table.add_column(name)
    for result in results:
        size = f"{result.read_bytes / 1_000_000:,.1f} MB"
        table.add_row(result.copy, result.state, size, str(result.damaged), str(result.mended))
    return table


async def _scrub(ctx: typer.Context, volume: str, names: list[str], *, quiet: bool) -> list[Result]:
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    async with common.process(ctx) as process:
        members = await _members(process, volume)
        copies = roster.named(names, members.member_places)
        with Progress(*columns, console=common.errors, transient=True, disable=quiet) as progress:
            tasks = {copy: progress.add_task(copy, total=None) for copy in copies}

            def moved(report: VolumeScrubReported) -> None:
                progress.update(tasks[report.copy], completed=report.read_bytes, total=report.total_bytes)

            said = await ask(process, copies, moved, volume=volume)
    return [result_of(copy, said.get(copy)) for copy in copies]


async def _members(process: Process, volume: str) -> Membership:
    bus = process.require_bus()
    await bus.create_topics(topics.specs(volume))
    return (await roster.load_alone(bus, process.registry, volume))[0].membership


async def ask(
    process: Process,
    copies: list[str],
    moved: Callable[[VolumeScrubReported], None],
    *,
    volume: str = layout.DEFAULT_VOLUME,
    silence_s: float = SILENCE_S,
) -> dict[str, VolumeScrubReported]:
    """The last word of each of `copies`, members by their names; `moved` is called with every word."""
    bus, names = process.require_bus(), layout.topics(volume)
    results = port.TopicPartition(names.read_results, 0)
    partitions = {place.copy: place.partition for place in (await _members(process, volume)).places}
    requests = {copy: VolumeScrubRequested(volume=volume, copy=copy, request_id=uuid.uuid4().hex) for copy in copies}
    waiting = {request.request_id for request in requests.values()}
    said: dict[str, VolumeScrubReported] = {}
    async with bus.assign([results], start=port.LATEST) as consumer:
        await consumer.seek(results, (await bus.offsets(results)).end)
        for copy, request in requests.items():
            record = publisher.record_of(
                request, source="/volumes/scrub", clock=process.clock, partition=partitions[copy]
            )
            await bus.publish([topics.moved(record, names.reads)])
        heard = topics.follow(consumer, process.clock)
        try:
            while waiting:
                async with asyncio.timeout(silence_s):
                    for report in await _reports(process, heard, waiting):
                        said[report.copy] = report
                        moved(report)
                        if report.done:
                            waiting.discard(report.request_id)
        except TimeoutError:
            pass
    return said


async def _reports(
    process: Process, heard: AsyncIterator[Sequence[port.Record]], waiting: set[str]
) -> list[VolumeScrubReported]:
    """The next words of copies that were asked."""
    while True:
        found = []
        for record in await anext(heard):
            try:
                event = process.registry.decode(record.value, record.headers)
            except ValueError:
                continue
            if isinstance(event, VolumeScrubReported) and event.request_id in waiting:
                found.append(event)
        if found:
            return found
