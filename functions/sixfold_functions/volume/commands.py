"""`sixfold volume …`: append, read, status, stop and start."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sixfold import errors
from sixfold.cli import common
from sixfold.supervisor import control
from sixfold_functions.volume import client, drawing, status
from sixfold_functions.volume.core import layout

app = typer.Typer(no_args_is_help=True, help="The quorum volume: six copies in three zones.")

PART_RECORDS_MAX = 200
"""Records in one request of a long append, so that progress shows and requests overlap."""
PART_BYTES_MAX = 262_144
REQUESTS_MAX = 4
"""Requests under way at once; they are appended in order all the same."""
PROGRESS_FROM = 2 * PART_RECORDS_MAX


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """What `append` prints."""

    records: int
    first_lsn: int
    last_lsn: int
    seconds: float


@app.command()
def append(
    ctx: typer.Context,
    data: Annotated[str | None, typer.Option("--data", help="One record: this text.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A record a line; - for standard input.")] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="This many made-up records.")] = None,
    size: Annotated[int, typer.Option("--size", min=1, max=500_000, help="Bytes of each made-up record.")] = 300,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the quorum.")] = 10.0,
    as_json: common.JsonOption = False,
) -> None:
    """Append records; returns once they are fsynced by four of the six copies.

    Example:  sixfold volume append --data "hello"
    """
    parts = list(_parts(_records(data, file, count, size)))
    appended = common.run(_append(ctx, parts, timeout, quiet=as_json))
    common.show(
        appended,
        as_json=as_json,
        render=lambda: (
            f"{appended.records} record{'s'[: appended.records != 1]} durable, "
            f"LSN {appended.first_lsn} to {appended.last_lsn}, in {appended.seconds:.2f} s"
        ),
    )


def _records(data: str | None, file: Path | None, count: int | None, size: int) -> Iterable[bytes]:
    if sum(given is not None for given in (data, file, count)) != 1:
        common.fail(errors.UsageError("give one of --data TEXT, --file FILE, --count N (with --size BYTES)"))
    if data is not None:
        return [data.encode()]
    if count is not None:
        return (f"{number:020d} ".encode().ljust(size, b".")[:size] for number in range(count))
    assert file is not None
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        common.fail(errors.UsageError(f"{file} cannot be read: {error.strerror}"))
    lines = raw.splitlines()
    if not lines:
        common.fail(errors.UsageError(f"{file} is empty; expected a record a line"))
    return lines


def _parts(records: Iterable[bytes]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for record in records:
        if part and (len(part) == PART_RECORDS_MAX or size + len(record) > PART_BYTES_MAX):
            yield part
            part, size = [], 0
        part.append(record)
        size += len(record)
    if part:
        yield part


async def _append(ctx: typer.Context, parts: list[list[bytes]], timeout_s: float, *, quiet: bool) -> Appended:
    total = sum(map(len, parts))
    columns = TextColumn("appending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    hidden = quiet or total < PROGRESS_FROM
    async with common.process(ctx) as process:
        bus = process.require_bus()
        started = process.clock.monotonic()
        results: list[client.AppendResult] = []
        with Progress(*columns, console=common.errors, transient=True, disable=hidden) as progress:
            task = progress.add_task("appending", total=total)
            async with client.VolumeClient(bus, registry=process.registry, clock=process.clock) as volume:
                places = asyncio.Semaphore(REQUESTS_MAX)

                async def one(part: list[bytes]) -> None:
                    try:
                        results.append(await volume.append(part, timeout_s=timeout_s))
                        progress.advance(task, len(part))
                    finally:
                        places.release()

                try:
                    async with asyncio.TaskGroup() as group:
                        for part in parts:
                            await places.acquire()
                            group.create_task(one(part))
                except* errors.SixfoldError as failed:
                    raise _first(failed) from None
        return Appended(
            records=total,
            first_lsn=min(result.first_lsn for result in results),
            last_lsn=max(result.last_lsn for result in results),
            seconds=process.clock.monotonic() - started,
        )


def _first(group: BaseExceptionGroup[errors.SixfoldError]) -> errors.SixfoldError:
    """Requests that wait for the same quorum fail for the same reason: one message is enough."""
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


@app.command()
def read(
    ctx: typer.Context,
    start: Annotated[int, typer.Option("--from", min=1, help="LSN of the first record.")] = 1,
    count: Annotated[int, typer.Option("--count", min=1, max=1_000_000, help="How many records at most.")] = 10,
    copy: Annotated[str | None, typer.Option("--copy", help="Ask just this copy, such as a1.")] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Read durable records; needs one copy, no quorum.

    Example:  sixfold volume read --from 1 --count 3
    """
    if copy is not None and copy not in layout.COPIES:
        common.fail(errors.UsageError(f"--copy {copy}: expected one of {', '.join(layout.COPIES)}"))
    found = common.run(_read(ctx, start, count, copy))
    data = {
        "copy": found.copy,
        "records": [{"lsn": found.first_lsn + index, "data": each} for index, each in enumerate(found.payloads)],
    }
    common.show(data, as_json=as_json, render=lambda: drawing.records(found))


async def _read(ctx: typer.Context, start: int, count: int, copy: str | None) -> client.ReadResult:
    async with common.process(ctx) as process:
        bus = process.require_bus()
        async with client.VolumeClient(bus, registry=process.registry, clock=process.clock) as volume:
            return await volume.read(start, count, copy=copy)


@app.command("status")
def show_status(ctx: typer.Context, as_json: common.JsonOption = False) -> None:
    """Draw the six copies in their zones, with their LSNs and the durable line.

    Example:  sixfold volume status
    """
    found = common.run(_status(ctx))
    common.show(found, as_json=as_json, render=lambda: drawing.volume(found))


async def _status(ctx: typer.Context) -> status.VolumeState:
    async with common.process(ctx) as process:
        bus = process.require_bus()
        async with client.VolumeClient(bus, registry=process.registry, clock=process.clock) as volume:
            return await volume.status()


Names = Annotated[list[str], typer.Argument(help="Zones (a, b, c), copies (a1 … c2) or all.", metavar="ZONE|COPY…")]


@app.command()
def stop(ctx: typer.Context, names: Names, as_json: common.JsonOption = False) -> None:
    """Stop storage nodes of the running system, as if their zone or machine had failed.

    Example:  sixfold volume stop a
    """
    _control(ctx, "stop", names, as_json=as_json)


@app.command()
def start(ctx: typer.Context, names: Names, as_json: common.JsonOption = False) -> None:
    """Start storage nodes again; they catch up by themselves.

    Example:  sixfold volume start all
    """
    _control(ctx, "start", names, as_json=as_json)


def _control(ctx: typer.Context, action: control.Action, names: list[str], *, as_json: bool) -> None:
    copies: list[str] = []
    for name in names:
        if not (meant := layout.expand(name)):
            expected = ", ".join((*layout.ZONES, *layout.COPIES, "all"))
            common.fail(errors.UsageError(f"{name!r} is no zone and no copy; expected some of: {expected}"))
        copies.extend(copy for copy in meant if copy not in copies)
    processes = [f"volume.storage.{copy}" for copy in copies]
    states: dict[str, Any] = common.run(control.request(common.settings(ctx).data_dir, action, processes))
    common.show(states, as_json=as_json, render=lambda: "\n".join(f"{name}: {state}" for name, state in states.items()))
