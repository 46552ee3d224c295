"""`sixfold volume backups` and `verify`: what a backup holds, and whether it is what it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from sixfold import clock as clocks
from sixfold import errors
from sixfold.cli import common
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume import roster
from sixfold_functions.volume.backup import archive, keys, moments, options, references, store, verifying
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.encryption import settings as encryption


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """A volume's backup, as its objects' names tell."""

    volume: str
    earliest: str
    """The earliest restorable time: when the first record was committed, or the oldest snapshot made."""
    latest: str
    """The latest restorable time."""
    latest_ms: int
    behind_s: float
    """How long ago that is."""
    last_lsn: int
    objects: int
    bytes: int
    levels: dict[str, int]
    """Objects on each level of the ladder."""
    snapshots: int
    """Of a volume of pages; a restore reads the newest before its moment, and the log behind it."""
    snapshot_bytes: int
    newest_snapshot: str
    clones: list[str]
    """Volumes that read their past from it."""
    gap: bool
    """Objects are missing: what lies behind them cannot be restored."""


def backups(ctx: typer.Context, source: options.From = None, as_json: common.JsonOption = False) -> None:
    """List backups: from when to when each can be restored, and what it takes. Needs only the object store.

    Example:  sixfold volume backups --from s3://bucket/sixfold
    """
    found = _backups(options.url(ctx, source))
    common.show(
        found, as_json=as_json, render=lambda: _table(found) if found else f"no backups in {options.url(ctx, source)}"
    )


def _backups(url: str) -> list[Backup]:
    now_ms = clocks.now_ms(clocks.SystemClock())
    found = []
    try:
        opened = store.open_store(url)
        for volume in archive.volumes(opened):
            kept = archive.Archive(opened, volume)
            kept.refresh()
            newest = kept.snapshots[-1].at_ms if kept.snapshots else 0
            levels = [piece.level for piece in kept.pieces]
            found.append(
                Backup(
                    volume=volume,
                    earliest=moments.text(kept.chain.first_ms),
                    latest=moments.text(kept.latest_ms),
                    latest_ms=kept.latest_ms,
                    behind_s=max(now_ms - kept.latest_ms, 0) / 1000,
                    last_lsn=kept.chain.last_lsn,
                    objects=len(kept.pieces),
                    bytes=sum(piece.size for piece in kept.pieces),
                    levels={str(level): levels.count(level) for level in sorted(set(levels))},
                    snapshots=len(kept.snapshots),
                    snapshot_bytes=sum(piece.size for piece in kept.parts),
                    newest_snapshot=moments.text(newest),
                    clones=references.clones(kept),
                    gap=bool(kept.chain.beyond),
                )
            )
    except errors.SixfoldError as error:
        common.fail(error)
    return found


def _table(found: list[Backup]) -> Table:
    table = Table(
        "volume", "restorable from", "to", "ago", "last LSN", "objects", "MB", "levels", "snapshots", "clones", ""
    )
    for each in found:
        table.add_row(
            each.volume,
            each.earliest,
            each.latest,
            f"{each.behind_s:.0f} s",
            f"{each.last_lsn:,}",
            f"{each.objects:,}",
            f"{each.bytes / 1e6:,.1f}",
            ", ".join(f"{count} on {level}" for level, count in each.levels.items()),
            f"{each.snapshots}, {each.snapshot_bytes / 1e6:,.1f} MB" if each.snapshots else "",
            ", ".join(each.clones),
            "[red]objects are missing; see sixfold volume verify[/red]" if each.gap else "",
        )
    return table


def verify(
    ctx: typer.Context,
    source: options.From = None,
    volume: options.Source = layout.DEFAULT_VOLUME,
    deep: Annotated[bool, typer.Option("--deep", help="Compare with the running volume's copies, too.")] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Read a whole backup and check every sum, number, epoch and time in it; exits with 1 and says what is wrong.

    Example:  sixfold volume verify --deep
    """
    found = common.run(_verify(ctx, options.url(ctx, source), volume, deep=deep))
    common.show(found, as_json=as_json, render=lambda: _verified(found))
    if found.findings:
        raise typer.Exit(1)


async def _verify(ctx: typer.Context, url: str, volume: str, *, deep: bool) -> verifying.Verified:
    kept = archive.Archive(store.open_store(url), volume)
    locked = bool(await asyncio.to_thread(kept.store.names, archive.KEYS))
    async with contextlib.AsyncExitStack() as stack:
        process = await stack.enter_async_context(common.process(ctx)) if deep or locked else None
        if process is not None:
            await keys.unlock(process, kept, encryption.read({}, os.environ))
        found = await asyncio.to_thread(verifying.verify, kept)
        if not found.objects:
            there = ", ".join(archive.volumes(kept.whole_store)) or "no volume"
            raise archive.BackupError(f"{kept.url} has no backup of volume {volume}; it has those of: {there}")
        if not deep or process is None:
            return found
        bus, registry = process.require_bus(), process.registry
        async with readers.CopyReader(bus, registry=registry, clock=process.clock, volume=volume) as reader:
            members = (await roster.load_alone(bus, registry, volume))[0].membership
            reader.use(members)
            compared, findings = await verifying.compare(bus, kept, members.members, reader, registry)
    if not compared:
        findings = [verifying.Finding("", f"no copy of volume {volume} answers, so nothing could be compared")]
    return msgspec.structs.replace(found, copies=compared, findings=[*found.findings, *findings])


def _verified(found: verifying.Verified) -> str:
    lines = [f"{each.object or f'volume {found.volume}'}: {each.problem}" for each in found.findings]
    compared = f", the same as in {', '.join(found.copies)}" if found.copies and not found.findings else ""
    sound = (
        f"{found.objects:,} objects, {found.bytes / 1e6:,.1f} MB: LSN {found.first_lsn:,} to {found.last_lsn:,} and "
        f"{found.snapshots} snapshots are sound{compared}; latest restorable time {moments.text(found.latest_ms)}"
    )
    return "\n".join([*lines, sound])
