"""`sixfold audit …`: reading the audit trail, and verifying it, also from a file with no system at hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from sixfold import errors
from sixfold.cli import common
from sixfold.follower import Follower
from sixfold_events import Event
from sixfold_events.kms import KmsAudited
from sixfold_functions.kms import audit
from sixfold_functions.kms.topics import topics

app = typer.Typer(no_args_is_help=True, help="The audit trail of keys and credentials.")
TOPIC = "kms.audit"
POLL_S = 0.5


@app.command()
def tail(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("-n", "--limit", min=0, help="Newest records to show first.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print links as lines of JSON, as `verify --file` reads.")
    ] = False,
) -> None:
    """Show the newest calls: who, what, which key, how it ended.

    Example:  sixfold audit tail -n 50 --follow
    """

    async def run() -> None:
        links: list[KmsAudited] = []
        async with common.process(ctx) as process:
            await process.require_bus().create_topics(topics)
            follower = Follower(process, TOPIC, lambda event: _take(links, event))
            try:
                await follower.catch_up()
                del links[: max(0, len(links) - limit)]
                while True:
                    for link in links:
                        _print(link, as_json=as_json)
                    links.clear()
                    if not follow:
                        return
                    await process.clock.sleep(POLL_S)
                    await follower.catch_up()
            except asyncio.CancelledError:
                return
            finally:
                await follower.close()

    common.run(run())


@app.command()
def verify(
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Option(help="Verify links from this file (`sixfold audit tail -n 1000000 --json`).")
    ] = None,
    head: Annotated[
        list[str] | None, typer.Option(help="CHAIN:SEQ:HASH that was noted before; it must be in the trail.")
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Check every link of every chain. Exit code 1 where anything was changed, dropped, swapped or cut off.

    Example:  sixfold audit verify
    """

    async def run() -> audit.Report:
        expected = dict(_head(text) for text in head or ())
        return audit.verify(_from_file(file) if file else await _from_log(ctx), expected)

    report = common.run(run())
    found = {
        "links": report.links,
        "repeated": report.repeated,
        "heads": {chain: f"{chain}:{end.seq}:{end.hash}" for chain, end in sorted(report.heads.items())},
        "problems": [{"chain": each.chain, "seq": each.seq, "message": each.message} for each in report.problems],
    }
    if as_json:
        common.line(found)
    else:
        common.console.print(_lines(report), markup=False, highlight=False, soft_wrap=True)
    if report.problems:
        raise typer.Exit(1)


def _lines(report: audit.Report) -> str:
    """Lines, not columns: a hash must not be cut off."""
    lines = [f"{each.chain}, link {each.seq}: {each.message}" for each in report.problems]
    if lines:
        lines.insert(0, f"{len(report.problems)} problems in {report.links} links:")
    else:
        lines.append(
            f"{report.links} links in {len(report.heads)} chains are whole. Note the heads; later, verify with:"
        )
        lines += [f"  --head {chain}:{end.seq}:{end.hash}" for chain, end in sorted(report.heads.items())]
    if report.repeated:
        lines.append(f"{report.repeated} links are about calls that earlier links are about: a crash made them twice.")
    return "\n".join(lines)


def _head(text: str) -> tuple[str, audit.Head]:
    chain, _, rest = text.rpartition(":")[0].rpartition(":")
    digest = text.rpartition(":")[2]
    if not chain or not rest.isdecimal() or len(digest) != 64:
        raise errors.UsageError(f"--head {text!r}: expected CHAIN:SEQ:HASH, as `sixfold audit verify` prints it")
    return chain, audit.Head(int(rest), digest)


async def _from_log(ctx: typer.Context) -> Sequence[KmsAudited]:
    links: list[KmsAudited] = []
    async with common.process(ctx) as process:
        await process.require_bus().create_topics(topics)
        follower = Follower(process, TOPIC, lambda event: _take(links, event))
        try:
            await follower.catch_up()
        finally:
            await follower.close()
    return links


def _from_file(path: Path) -> Sequence[KmsAudited]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise errors.UsageError(f"{path} cannot be read: {error.strerror}") from error
    links = []
    for number, line in enumerate(lines, 1):
        try:
            links.append(msgspec.json.decode(line, type=KmsAudited))
        except msgspec.MsgspecError as error:
            raise errors.UsageError(f"{path}, line {number}: expected a link as JSON: {error}") from error
    return links


def _take(links: list[KmsAudited], event: Event) -> None:
    if isinstance(event, KmsAudited):
        links.append(event)


def _print(link: KmsAudited, *, as_json: bool) -> None:
    if as_json:
        common.line(link)
        return
    record: dict[str, Any] = json.loads(link.record)
    identity = record.get("userIdentity", {})
    who = identity.get("arn") or identity.get("principalId") or identity.get("accessKeyId") or identity.get("type", "")
    keys = ", ".join(str(each.get("ARN", "")) for each in record.get("resources", ()))
    outcome = f"refused: {link.error_code}" if link.error_code else "allowed"
    common.console.print(
        f"{record.get('eventTime', '')}  {link.event_name}  {outcome}  {who}  {keys}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
