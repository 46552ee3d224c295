"""`sixfold volume …`: append, read, follow, status, stop and start."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sixfold import errors
from sixfold.cli import common
from sixfold.supervisor import control
from sixfold_functions.volume import (
    bulk,
    client,
    drawing,
    following,
    replacing,
    roster,
    scrub_command,
    status,
    trimming,
)
from sixfold_functions.volume.backup import commands as backups
from sixfold_functions.volume.backup import reports, rotating
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.encryption import commands as keys
from sixfold_functions.volume.groups import commands as groups
from sixfold_functions.volume.groups import plans
from sixfold_functions.volume.groups.client import GroupedState

app = typer.Typer(no_args_is_help=True, help="The quorum volume: six copies in three zones.")
keys.add_to(app)
groups.add_to(app)

app.command()(scrub_command.scrub)
app.command()(trimming.trim)

VolumeOption = Annotated[str, typer.Option("--volume", help="Which volume, where there are several.")]
PROGRESS_FROM = 2 * bulk.PART_RECORDS_MAX


@app.command()
def append(
    ctx: typer.Context,
    data: Annotated[str | None, typer.Option("--data", help="One record: this text.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A record a line; - for standard input.")] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="This many made-up records.")] = None,
    size: Annotated[int, typer.Option("--size", min=1, max=500_000, help="Bytes of each made-up record.")] = 300,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the quorum.")] = 10.0,
    skip: Annotated[int, typer.Option("--skip", min=0, help="Leave out this many of the first records.")] = 0,
    volume: VolumeOption = layout.DEFAULT_VOLUME,
    as_json: common.JsonOption = False,
) -> None:
    """Append records; returns once they are fsynced by four of the six copies.

    Example:  sixfold volume append --data "hello"
    """
    what = "record" if file is None else "line"
    try:
        records = bulk.checked(_records(data, file, count, size), what)
    except errors.UsageError as error:
        common.fail(error)
    if skip >= len(records):
        common.fail(errors.UsageError(f"--skip {skip} leaves nothing of {len(records)} records"))
    done, seconds = common.run(_append(ctx, volume, bulk.parts(records, skip=skip), timeout, quiet=as_json))
    if as_json or not done.error:
        common.show(
            {**msgspec.structs.asdict(done), "seconds": seconds},
            as_json=as_json,
            render=lambda: (
                f"{done.records} record{'s'[: done.records != 1]} durable, "
                f"LSN {done.first_lsn} to {done.last_lsn}, in {seconds:.2f} s"
            ),
        )
    if done.error:
        common.fail(bulk.ended(done, len(records), what))


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


async def _append(
    ctx: typer.Context, name: str, parts: list[bulk.Part], timeout_s: float, *, quiet: bool
) -> tuple[bulk.Appended, float]:
    total = sum(len(part.records) for part in parts)
    columns = TextColumn("appending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    hidden = quiet or total < PROGRESS_FROM
    async with common.process(ctx) as process:
        bus = process.require_bus()
        started = process.clock.monotonic()
        with Progress(*columns, console=common.errors, transient=True, disable=hidden) as progress:
            task = progress.add_task("appending", total=total)
            async with await plans.open_client(
                bus, registry=process.registry, clock=process.clock, volume=name
            ) as volume:
                done = await bulk.append(
                    volume, parts, timeout_s=timeout_s, progress=lambda count: progress.advance(task, count)
                )
        return done, process.clock.monotonic() - started


@app.command()
def read(
    ctx: typer.Context,
    start: Annotated[int, typer.Option("--from", min=1, help="LSN of the first record.")] = 1,
    count: Annotated[int, typer.Option("--count", min=1, max=1_000_000, help="How many records at most.")] = 10,
    copy: Annotated[str | None, typer.Option("--copy", help="Ask just this copy, such as a1.")] = None,
    volume: VolumeOption = layout.DEFAULT_VOLUME,
    as_json: common.JsonOption = False,
) -> None:
    """Read durable records; needs one copy, no quorum.

    Example:  sixfold volume read --from 1 --count 3
    """
    found = common.run(_read(ctx, volume, start, count, copy))
    data = {
        "copy": found.copy,
        "records": [{"lsn": found.first_lsn + index, "data": each} for index, each in enumerate(found.payloads)],
    }
    if not as_json and len(found.payloads) > drawing.TABLE_ROWS_MAX:
        for page in drawing.pages(found):
            common.console.out(page, highlight=False)
        return
    common.show(data, as_json=as_json, render=lambda: drawing.records(found))


async def _read(ctx: typer.Context, name: str, start: int, count: int, copy: str | None) -> client.ReadResult:
    async with common.process(ctx) as process:
        bus = process.require_bus()
        async with await plans.open_client(bus, registry=process.registry, clock=process.clock, volume=name) as volume:
            return await volume.read(start, count, copy=copy)


app.command()(following.follow)


@app.command("status")
def show_status(
    ctx: typer.Context, volume: VolumeOption = layout.DEFAULT_VOLUME, as_json: common.JsonOption = False
) -> None:
    """Draw the six copies in their zones, with their LSNs and the durable line; of several groups one by one.

    Example:  sixfold volume status
    """
    found = common.run(_status(ctx, volume))
    common.show(
        found,
        as_json=as_json,
        render=lambda: groups.state(found) if isinstance(found, GroupedState) else drawing.volume(found),
    )


async def _status(ctx: typer.Context, name: str) -> status.VolumeState | GroupedState:
    async with common.process(ctx) as process:
        bus = process.require_bus()
        async with await plans.open_client(bus, registry=process.registry, clock=process.clock, volume=name) as volume:
            return await volume.status()


app.command()(reports.backups)
app.command()(backups.restore)
app.command()(backups.clone)
app.command()(reports.verify)
app.command("rotate-backup-key")(rotating.rotate)
app.command()(backups.serve)


@app.command()
def replace(
    ctx: typer.Context,
    copy: Annotated[str, typer.Argument(help="The copy to be replaced, such as a2.", metavar="COPY")],
    undo: Annotated[bool, typer.Option("--undo", help="Go back to COPY, whose replacement is not complete.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the writer.")] = 10.0,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return as soon as it has begun.")] = False,
    volume: VolumeOption = layout.DEFAULT_VOLUME,
    as_json: common.JsonOption = False,
) -> None:
    """Replace a copy by a new one in its zone while appends go on; it counts once it is level, and COPY leaves then.

    Until then both sets of six count, and --undo goes back. Ctrl-C leaves it under way.

    Example:  sixfold volume replace a2
    """
    done, note = common.run(_replace(ctx, volume, copy, undo=undo, timeout_s=timeout, wait=not no_wait, quiet=as_json))
    if note and not as_json:
        common.errors.print(note)
    common.show(done, as_json=as_json, render=lambda: _replaced(done))


def _replaced(done: replacing.Replaced) -> str:
    if done.undone:
        return f"{done.copy} stays, {done.replacement} {'left' if done.complete else 'leaves'}"
    if done.complete:
        return f"{done.copy} was replaced by {done.replacement}; the copies are {', '.join(done.members)}"
    return f"{done.replacement} is to replace {done.copy}; how far it is: sixfold volume status"


async def _replace(
    ctx: typer.Context, name: str, copy: str, *, undo: bool, timeout_s: float, wait: bool, quiet: bool
) -> tuple[replacing.Replaced, str]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    async with common.process(ctx) as process:
        bus = process.require_bus()
        async with client.VolumeClient(bus, registry=process.registry, clock=process.clock, volume=name) as volume:
            begun = await replacing.begin(volume, copy, undo=undo, timeout_s=timeout_s)
            note = "" if undo else await _start_process(ctx, name, begun.replacement)
            if not wait:
                return begun, note
            if note:
                common.errors.print(note)
            with Progress(*columns, console=common.errors, transient=True, disable=quiet) as progress:
                task = progress.add_task(f"filling {begun.replacement}", total=None)

                def look(state: status.VolumeState) -> None:
                    held = {each.copy: each.complete_lsn for each in state.copies}
                    progress.update(task, total=state.durable_lsn, completed=held.get(begun.replacement, 0))

                return await replacing.watch(volume, begun, clock=process.clock, progress=look), ""


async def _start_process(ctx: typer.Context, name: str, copy: str) -> str:
    """Have the running system start the new copy; what its user must do where it cannot."""
    try:
        await control.request(common.settings(ctx).data_dir, "start", [f"{_prefix(name)}{copy}"])
    except errors.SixfoldError:
        which = "" if name == layout.DEFAULT_VOLUME else f" --volume {name}"
        return f"start the new copy where it is to live: sixfold run volume.storage --copy {copy}{which}"
    return ""


Names = Annotated[list[str], typer.Argument(help="Zones (a, b, c), copies (a1 … c2) or all.", metavar="ZONE|COPY…")]


@app.command()
def stop(
    ctx: typer.Context,
    names: Names,
    volume: VolumeOption = layout.DEFAULT_VOLUME,
    as_json: common.JsonOption = False,
) -> None:
    """Stop storage nodes of the running system, as if their zone or machine had failed.

    Example:  sixfold volume stop a
    """
    _control(ctx, "stop", volume, names, as_json=as_json)


@app.command()
def start(
    ctx: typer.Context,
    names: Names,
    volume: VolumeOption = layout.DEFAULT_VOLUME,
    as_json: common.JsonOption = False,
) -> None:
    """Start storage nodes again; they catch up by themselves.

    Example:  sixfold volume start all
    """
    _control(ctx, "start", volume, names, as_json=as_json)


def _control(ctx: typer.Context, action: control.Action, volume: str, names: list[str], *, as_json: bool) -> None:
    states: dict[str, Any] = common.run(_controlled(ctx, action, volume, names))
    common.show(states, as_json=as_json, render=lambda: "\n".join(f"{name}: {state}" for name, state in states.items()))


async def _controlled(ctx: typer.Context, action: control.Action, volume: str, names: list[str]) -> dict[str, Any]:
    prefix = _prefix(volume)
    processes = [f"{prefix}{copy}" for copy in roster.named(names, await _places(ctx, prefix))]
    return await control.request(common.settings(ctx).data_dir, action, processes)


def _prefix(volume: str) -> str:
    """Of the names of a volume's storage processes."""
    return "volume.storage." if volume == layout.DEFAULT_VOLUME else f"volume.storage.{volume}."


async def _places(ctx: typer.Context, prefix: str) -> tuple[layout.Place, ...]:
    """The copies whose processes the running system has; the first six where none runs."""
    try:
        found = await control.ask(common.settings(ctx).data_dir, "status")
    except control.NoSystemError:
        return layout.PLACES
    names = [each.name.removeprefix(prefix) for each in found.processes if each.name.startswith(prefix)]
    copies = [name for name in names if "." not in name]
    return tuple(layout.Place(copy, copy[:1], number) for number, copy in enumerate(copies)) or layout.PLACES
