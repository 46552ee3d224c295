"""`sixfold volume rotate-backup-key`: another data key for a backup, and older objects written anew under it."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sixfold.cli import common
from sixfold.process import Process
from sixfold_functions.volume.backup import archive, keys, objects, options, reencrypting, store
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.encryption import settings as encryption
from sixfold_functions.volume.encryption.keyring import KeyMissingError

HEARD_S = 1.5 * keys.FOLLOW_S
"""By then all that run and read the backup have the new data key."""


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """What was done."""

    volume: str
    url: str
    data_key: str
    kms_key: str
    rewritten: int
    """Objects that were written anew under it."""
    left: list[str]
    """Those that are not, and why."""


def rotate(
    ctx: typer.Context,
    source: options.From = None,
    volume: options.Source = layout.DEFAULT_VOLUME,
    reencrypt: Annotated[
        bool, typer.Option("--reencrypt", help="Write older objects anew under the new data key as well.")
    ] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Give a backup a new data key, for all that is taken from now on; what runs has it within half a minute.

    Example:  sixfold volume rotate-backup-key --reencrypt
    """
    done = common.run(_rotate(ctx, options.url(ctx, source), volume, reencrypt=reencrypt, quiet=as_json))
    common.show(done, as_json=as_json, render=lambda: _said(done, reencrypt=reencrypt))
    if done.left:
        raise typer.Exit(1)


async def _rotate(ctx: typer.Context, url: str, volume: str, *, reencrypt: bool, quiet: bool) -> Rotated:
    kept = archive.Archive(store.open_store(url), volume)
    await asyncio.to_thread(kept.refresh)
    if not kept.chain.last_lsn:
        there = ", ".join(archive.volumes(kept.whole_store)) or "no volume"
        raise archive.BackupError(f"{kept.url} has no backup of volume {volume}; it has those of: {there}")
    chosen = encryption.read({}, os.environ)
    async with common.process(ctx) as process:
        await keys.unlock(process, kept, chosen)
        key = await keys.rotate(process, kept, chosen, reencrypt=reencrypt)
        rewritten, left = await _rewrite(process, kept, quiet=quiet) if reencrypt else (0, [])
    return Rotated(volume=volume, url=kept.url, data_key=key.id, kms_key=key.kms_key, rewritten=rewritten, left=left)


async def _rewrite(process: Process, kept: archive.Archive, *, quiet: bool) -> tuple[int, list[str]]:
    rewritten, left = 0, list[str]()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=common.errors, transient=True, disable=quiet) as progress:
        task = progress.add_task("waiting until all that run have the key", total=None)
        await process.clock.sleep(HEARD_S)
        await asyncio.to_thread(kept.refresh)
        stale = await asyncio.to_thread(lambda: list(reencrypting.stale(kept)))
        progress.update(task, description="re-encrypting", total=len(stale))
        for piece in stale:
            try:
                await asyncio.to_thread(reencrypting.rewrite, kept, piece)
                rewritten += 1
            except (objects.ObjectDamagedError, KeyMissingError, store.StoreError) as error:
                left.append(f"{piece.name}: {error}")
            progress.advance(task)
    return rewritten, left


def _said(done: Rotated, *, reencrypt: bool) -> str:
    said = f"the backup of volume {done.volume} has data key {done.data_key} of {done.kms_key}"
    if reencrypt:
        said += f"; {done.rewritten} objects were written anew under it, {len(done.left)} are left"
    return "\n".join([said, *done.left])
