"""`sixfold volume trim`: a user gives up the oldest records of a plain log.

The wish lies in the topic `volume.retention`, which is compacted, so each writer that comes knows it; it is in every
batch, and copies obey it as far as no reader and no backup needs the records.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from sixfold import clock as clocks
from sixfold import publisher
from sixfold.bus import port
from sixfold.cli import common
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeLogTrimmed, VolumeReadAnswered, VolumeRedoBatch
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume import roster, topics
from sixfold_functions.volume.backup import moments
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.errors import VolumeError


class NotTrimmedError(VolumeError):
    """Nothing was given up; the message says why."""


class Trimmed(msgspec.Struct, frozen=True, kw_only=True):
    """What is given up."""

    volume: str
    first_lsn: int
    """The first record that stays."""
    records: int
    """How many of those that are kept now are given up."""


def trim(
    ctx: typer.Context,
    before: Annotated[
        str, typer.Option("--before", help="LSN of the first record that stays, or a moment with its zone.")
    ],
    volume: Annotated[
        str, typer.Option("--volume", help="Which volume, where there are several.")
    ] = layout.DEFAULT_VOLUME,
    as_json: common.JsonOption = False,
) -> None:
    """Give up the oldest records of a volume, for good. Copies let go of them segment by segment, of 64 MiB each, once no
    reader and no backup needs them; a volume of pages does so by itself.

    Example:  sixfold volume trim --before 2026-11-01T00:00:00Z
    """
    done = common.run(_trim(ctx, volume, before))
    common.show(
        done,
        as_json=as_json,
        render=lambda: (
            f"records from LSN {done.first_lsn} on stay, {done.records} older ones are given up; "
            "how far the copies are: sixfold volume status"
        ),
    )


async def _trim(ctx: typer.Context, volume: str, before: str) -> Trimmed:
    async with common.process(ctx) as process:
        return await give_up(process.require_bus(), volume, before, registry=process.registry, clock=process.clock)


async def give_up(bus: port.Bus, volume: str, before: str, *, registry: Registry, clock: clocks.Clock) -> Trimmed:
    """Give up the records before an LSN or a moment. Raises UsageError, NotTrimmedError, CopyUnreachableError."""
    await bus.create_topics(topics.specs(volume))
    reader = readers.CopyReader(bus, registry=registry, clock=clock, volume=volume)
    async with reader:
        reader.use((await roster.load_alone(bus, registry, volume))[0].membership)
        answers = (await reader.ask_all()).values()
        if not answers:
            raise readers.CopyUnreachableError(
                f"volume {volume}: none of its copies answers; start them: sixfold volume start all"
            )
        longest = max(answers, key=lambda answer: (answer.status.settled_lsn, -answer.floor_lsn))
        settled_lsn, floor_lsn = longest.status.settled_lsn, min(answer.floor_lsn for answer in answers)
        if longest.page_bytes:
            raise NotTrimmedError(
                f"volume {volume} holds pages: it lets go of records by itself, as soon as its pages have them"
            )
        if before.isdecimal():
            first_lsn = int(before)
        else:
            first_lsn = await _first_since(reader, registry, longest, moments.ms(before))
    if not 1 <= first_lsn <= settled_lsn + 1:
        raise NotTrimmedError(
            f"volume {volume}: expected an LSN of {floor_lsn + 1} to {settled_lsn + 1}, up to which all is durable, found "
            f"{first_lsn}; nothing was given up"
        )
    event = VolumeLogTrimmed(volume=volume, lsn=first_lsn - 1)
    record = publisher.record_of(event, source="/volumes/trim", clock=clock, partition=0)
    await bus.publish([topics.moved(record, layout.topics(volume).retention)])
    return Trimmed(volume=volume, first_lsn=first_lsn, records=max(first_lsn - 1 - floor_lsn, 0))


async def _first_since(reader: readers.CopyReader, registry: Registry, source: VolumeReadAnswered, at_ms: int) -> int:
    """The first record that was committed at `at_ms` or later: stamps are in the order of LSNs."""
    low, high = source.floor_lsn + 1, source.status.settled_lsn + 1
    while low < high:
        middle = (low + high) // 2
        answer = await reader.ask(source.copy, from_lsn=middle, count=1, whole_batches=True)
        batch = registry.decode_as(VolumeRedoBatch, answer.batches[0])
        assert isinstance(batch, VolumeRedoBatch)
        if batch.committed_at_ms < at_ms:
            low = batch.first_lsn + len(batch.payloads)
        else:
            high = min(batch.first_lsn, middle)
    return low
