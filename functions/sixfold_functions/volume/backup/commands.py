"""`sixfold volume restore`, `clone` and `serve`: new volumes with the past of another one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sixfold import errors
from sixfold.cli import common
from sixfold.process import Process
from sixfold_functions.volume import fleet as fleets
from sixfold_functions.volume import topics
from sixfold_functions.volume.backup import archive, keys, moments, options, restoring, service, settings, store
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.encryption import settings as encryption


def restore(
    ctx: typer.Context,
    new: options.New,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", help="The moment, such as 2026-11-25T12:00:03Z; by default the latest.", metavar="TIMESTAMP"
        ),
    ] = None,
    source: options.From = None,
    volume: options.Source = layout.DEFAULT_VOLUME,
    as_json: common.JsonOption = False,
) -> None:
    """Make a new volume that is what another one was at a moment, to the second. Needs only the object store.

    Example:  sixfold volume restore yesterday --to 2026-11-25T12:00:03Z
    """
    _new(ctx, new, to, source, volume, shared=False, as_json=as_json)


def clone(
    ctx: typer.Context,
    new: options.New,
    to: Annotated[
        str | None,
        typer.Option("--to", help="A moment of the past; by default all that is durable now.", metavar="TIMESTAMP"),
    ] = None,
    source: options.From = None,
    volume: options.Source = layout.DEFAULT_VOLUME,
    as_json: common.JsonOption = False,
) -> None:
    """Make a new volume that shares another one's past and copies nothing of it, whatever its size.

    It reads that past from the backup, which must stay as long as the clone.

    Example:  sixfold volume clone experiment
    """
    _new(ctx, new, to, source, volume, shared=True, as_json=as_json)


def _new(
    ctx: typer.Context, new: str, to: str | None, source: str | None, volume: str, *, shared: bool, as_json: bool
) -> None:
    try:
        at_ms = moments.ms(to) if to is not None else None
        if new == volume:
            raise errors.UsageError(f"{new} is the volume itself; give the new one another name")
    except errors.UsageError as error:
        common.fail(error)
    made, seconds = common.run(_make(ctx, new, at_ms, options.url(ctx, source), volume, shared=shared, quiet=as_json))
    data = {
        "volume": new,
        "source": volume,
        "url": made.origin.url,
        "at": moments.text(made.origin.at_ms),
        "at_ms": made.origin.at_ms,
        "last_lsn": made.origin.last_lsn,
        "shared": shared,
        "folders": [str(folder) for folder in made.folders],
        "seconds": seconds,
    }
    where = "" if made.folders else " Each copy makes its log when it starts."
    common.show(
        data,
        as_json=as_json,
        render=lambda: (
            f"volume {new} begins with {volume} as of {moments.text(made.origin.at_ms)}, LSN 1 to "
            f"{made.origin.last_lsn:,}, in {seconds:.1f} s.{where} Run it with: sixfold volume serve {new}"
        ),
    )


async def _make(
    ctx: typer.Context, new: str, at_ms: int | None, url: str, volume: str, *, shared: bool, quiet: bool
) -> tuple[restoring.Restored, float]:
    columns = TextColumn("restoring"), BarColumn(), TextColumn("LSN {task.completed}"), TimeRemainingColumn()
    async with common.process(ctx) as process:
        started = process.clock.monotonic()
        chosen = encryption.read({}, os.environ)
        kept = archive.Archive(store.open_store(url), volume)
        await keys.unlock(process, kept, chosen)
        encrypted = bool(chosen.kms_key) or kept.keyring.current is not None
        if shared and at_ms is None:
            await _bring_up_to_date(process, kept)
        with Progress(*columns, console=common.errors, transient=True, disable=quiet or shared) as progress:
            task = progress.add_task("restoring", total=None)
            made = await restoring.new_volume(
                process.require_bus(),
                kept,
                at_ms,
                volume=new,
                shared=shared,
                # Where the bus is a file of this machine, all copies live here. Encrypted ones make their logs themselves,
                # under data keys of their own.
                data_dir=process.data_dir if process.bus_url.startswith("embedded") and not encrypted else None,
                registry=process.registry,
                clock=process.clock,
                progress=lambda lsn, last_lsn: _advance(progress, task, lsn, last_lsn),
            )
        return made, process.clock.monotonic() - started


def _advance(progress: Progress, task: TaskID, lsn: int, last_lsn: int) -> None:
    progress.update(task, completed=lsn, total=last_lsn)


async def _bring_up_to_date(process: Process, kept: archive.Archive) -> None:
    """What became durable since the last backup belongs into a clone of now; a volume that is away adds nothing."""
    bus = process.require_bus()
    await bus.create_topics(topics.specs(kept.volume))
    chosen = settings.BackupSettings()
    folder = process.data_dir / settings.SCRATCH
    backing = service.BackupService(
        bus, kept, registry=process.registry, clock=process.clock, chosen=chosen, folder=folder
    )
    await backing.once()


def serve(ctx: typer.Context, new: options.New, as_json: common.JsonOption = False) -> None:
    """Run a volume besides the default one: its six copies, its writer and its backup, until Ctrl-C.

    Example:  sixfold volume serve yesterday
    """
    common.run(_serve(ctx, new, as_json=as_json))


async def _serve(ctx: typer.Context, volume: str, *, as_json: bool) -> None:
    chosen = common.settings(ctx)
    if volume == layout.DEFAULT_VOLUME:
        raise errors.UsageError("the default volume runs in the whole system: sixfold up")
    topics.specs(volume)
    chosen.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with fleets.Fleet(chosen.data_dir, bus_url=chosen.bus_url, volume=volume) as fleet:
        await fleet.start_writer()
        await fleet.start_backup()
        common.show(
            {"volume": volume, "processes": {name: each.pid for name, each in fleet.processes.items()}},
            as_json=as_json,
            render=lambda: (
                f"volume {volume} runs; use it with --volume {volume}, such as: sixfold volume read --volume {volume}"
            ),
        )
        ended = await _first_end(fleet, stopping)
        if ended is not None:
            raise errors.SixfoldError(
                f"volume {volume}: its {ended} ended by itself; it said: {_last_line(fleet.log_of(ended))}"
            )


async def _first_end(fleet: fleets.Fleet, stopping: asyncio.Event) -> str | None:
    """The process that ends by itself, None once it is time to stop."""
    waiting = {asyncio.create_task(each.wait()): name for name, each in fleet.processes.items()}
    stop = asyncio.create_task(stopping.wait())
    try:
        done, _ = await asyncio.wait([stop, *waiting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (stop, *waiting):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(stop, *waiting, return_exceptions=True)
    return None if stopping.is_set() else next((waiting[task] for task in done if task in waiting), None)


def _last_line(log: str) -> str:
    lines = [line for line in log.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"
