"""`sixfold volume keys` and `sixfold volume rotate-key`: which data keys a volume's copies are under, and new ones."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sixfold.cli import common
from sixfold.process import Process
from sixfold_events.volume import VolumeKeysAnswered
from sixfold_functions.volume import errors as volume_errors
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume import roster, topics
from sixfold_functions.volume.core import layout

ROTATE_S = 25.0
"""A copy asks for a session and for a key, each of which may take ten seconds."""
LOOK_S = 0.5

Names = Annotated[list[str] | None, typer.Argument(help="Zones or copies, such as a or b1; all where none is named.")]


class CopyKeys(msgspec.Struct, frozen=True, kw_only=True):
    """One copy, as `--json` prints it."""

    copy: str
    answers: bool
    state: VolumeKeysAnswered | None = None
    error: str = ""


def add_to(app: typer.Typer) -> None:
    """Have the commands among the volume's."""
    app.command("keys")(show)
    app.command("rotate-key")(rotate)


def show(
    ctx: typer.Context,
    names: Names = None,
    volume: Annotated[str, typer.Option("--volume", help="Which volume.")] = layout.DEFAULT_VOLUME,
    as_json: common.JsonOption = False,
) -> None:
    """Show which data keys the files of each copy are under, and how far re-encryption is.

    Example:  sixfold volume keys
    """
    found = common.run(_ask(ctx, volume, names, rotate=False, reencrypt=False, wait=False))
    common.show(found, as_json=as_json, render=lambda: _drawn(found))


def rotate(
    ctx: typer.Context,
    names: Names = None,
    reencrypt: Annotated[
        bool, typer.Option("--reencrypt", help="Write older files anew under the new data key as well.")
    ] = False,
    wait: Annotated[
        bool, typer.Option(help="With --reencrypt: return when all is written; it goes on without you as well.")
    ] = True,
    volume: Annotated[str, typer.Option("--volume", help="Which volume.")] = layout.DEFAULT_VOLUME,
    as_json: common.JsonOption = False,
) -> None:
    """Have copies take a new data key each, for all that they write from now on.

    Example:  sixfold volume rotate-key --reencrypt
    """
    found = common.run(
        _ask(ctx, volume, names, rotate=True, reencrypt=reencrypt, wait=wait and reencrypt, quiet=as_json)
    )
    common.show(found, as_json=as_json, render=lambda: _drawn(found))
    failed = [each for each in found if each.error or (wait and reencrypt and each.state and each.state.left_files)]
    if failed:
        texts = dict.fromkeys(each.error or (each.state.problem if each.state else "") for each in failed)
        common.fail(
            volume_errors.VolumeError(
                f"{len(found) - len(failed)} of {len(found)} copies did it; {', '.join(each.copy for each in failed)} did "
                f"not: {' | '.join(texts)}"
            )
        )


async def _ask(
    ctx: typer.Context,
    volume: str,
    names: Sequence[str] | None,
    *,
    rotate: bool,
    reencrypt: bool,
    wait: bool,
    quiet: bool = False,
) -> list[CopyKeys]:
    async with common.process(ctx) as process:
        bus = process.require_bus()
        await bus.create_topics(topics.specs(volume))
        reader = readers.CopyReader(bus, registry=process.registry, clock=process.clock, volume=volume)
        members = (await roster.load_alone(bus, process.registry, volume))[0].membership
        reader.use(members)
        copies = roster.named(names or ["all"], members.member_places)
        async with reader:
            asked = (_one(reader, copy, rotate=rotate, reencrypt=reencrypt) for copy in copies)
            found = list(await asyncio.gather(*asked))
            return await _finished(process, reader, found, quiet=quiet) if wait else found


async def _one(reader: readers.CopyReader, copy: str, *, rotate: bool = False, reencrypt: bool = False) -> CopyKeys:
    try:
        state = await reader.keys(copy, rotate=rotate, reencrypt=reencrypt, timeout_s=ROTATE_S if rotate else 3.0)
    except readers.CopyUnreachableError as error:
        return CopyKeys(copy=copy, answers=False, error=f"{error}; if it waits for the key service, its log says so")
    return CopyKeys(copy=copy, answers=True, state=state, error=state.error)


async def _finished(
    process: Process, reader: readers.CopyReader, found: list[CopyKeys], *, quiet: bool
) -> list[CopyKeys]:
    """Look until each copy that rotated has nothing left to write, or says why it cannot."""
    total = _left(found)
    columns = TextColumn("re-encrypting"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=common.errors, transient=True, disable=quiet or not total) as progress:
        task = progress.add_task("re-encrypting", total=total)
        while any(each.state is not None and each.state.left_files and not each.state.problem for each in found):
            await process.clock.sleep(LOOK_S)
            found = [each if each.error else await _one(reader, each.copy) for each in found]
            progress.update(task, completed=max(total - _left(found), 0))
    return found


def _left(found: Sequence[CopyKeys]) -> int:
    return sum(each.state.left_bytes for each in found if each.state is not None)


def _drawn(found: Sequence[CopyKeys]) -> RenderableType:
    table = Table(box=None)
    for column in ("copy", "data key", "of KMS key", "files", "on disk", ""):
        table.add_column(column, no_wrap=column != "of KMS key", overflow="fold")
    notes: list[Text] = []
    for each in found:
        if each.state is None:
            table.add_row(each.copy, "-", "", "", "", Text("does not answer", style="red"))
            continue
        for use in each.state.keys:
            state = Text("current", style="green") if use.current else Text("old", style="yellow")
            if not use.data_key:
                state = Text("not encrypted", style="yellow")
            row = each.copy, use.data_key or "-", use.kms_key, str(use.files), decimal(use.bytes)
            table.add_row(*row, state)
        if each.state.left_files:
            left = f"{each.state.left_files} files ({decimal(each.state.left_bytes)}) are still to be written anew"
            notes.append(Text(f"{each.copy}: {left}{f': {each.state.problem}' if each.state.problem else ''}"))
    return Group(table, *notes)
