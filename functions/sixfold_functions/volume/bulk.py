"""Appending many records in parts: which of them are durable and where, whatever ends it, and where to go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from sixfold import errors as failures
from sixfold_functions.volume import client, errors
from sixfold_functions.volume.core import sequencer

PART_RECORDS_MAX = 200
"""Records in one request of a long append, so that progress shows and requests overlap."""
PART_BYTES_MAX = 262_144
REQUESTS_MAX = 4
"""Requests under way at once; they are appended in order all the same."""


class Takes(Protocol):
    """A client of a volume, of however many groups."""

    async def append(self, records: Sequence[bytes], *, timeout_s: float = 10.0) -> client.AppendResult:
        """Append `records` as one unit through the volume's writer."""


class Part(NamedTuple):
    """Records that are appended as one unit."""

    first: int
    """Number of its first record in the input, from 1."""
    records: list[bytes]

    @property
    def last(self) -> int:
        return self.first + len(self.records) - 1


class Durable(msgspec.Struct, frozen=True, kw_only=True):
    """Records that follow each other in the input and in the volume."""

    first_record: int
    """Its number in the input, from 1."""
    last_record: int
    first_lsn: int
    last_lsn: int


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """Records that were not acknowledged and may still become durable."""

    first_record: int
    last_record: int


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a long append."""

    records: int
    """How many were acknowledged."""
    first_lsn: int
    """Lowest and highest LSN among those; 0 where there are none."""
    last_lsn: int
    acknowledged: list[Durable]
    unknown: list[Unknown]
    skip: int
    """All records of the input up to here are durable; another run goes on behind them."""
    error: str = ""
    """Why it ended before the last record; empty if it did not."""


def checked(records: Iterable[bytes], what: str, limits: sequencer.Limits | None = None) -> list[bytes]:
    """`records`, each of which a volume can take. Raises VolumeLimitError that names the first other one as `what`."""
    limits = limits or sequencer.Limits()
    found = list(records)
    for number, record in enumerate(found, 1):
        if len(record) > limits.record_bytes_max:
            raise errors.VolumeLimitError(
                f"{what} {number} has {len(record)} bytes; a volume takes {limits.record_bytes_max} at most. "
                "Nothing was appended"
            )
    return found


def parts(records: Sequence[bytes], *, skip: int = 0) -> list[Part]:
    """`records` behind the first `skip`, cut for `append`."""
    found: list[Part] = []
    size = 0
    for number in range(skip, len(records)):
        record = records[number]
        full = found and (len(found[-1].records) == PART_RECORDS_MAX or size + len(record) > PART_BYTES_MAX)
        if full or not found:
            found.append(Part(number + 1, []))
            size = 0
        found[-1].records.append(record)
        size += len(record)
    return found


async def append(
    volume: Takes,
    parts: Sequence[Part],
    *,
    timeout_s: float,
    progress: Callable[[int], None] = lambda count: None,
) -> Appended:
    """Append `parts` in order. The first failure ends it; what was under way then is waited for. Never raises it."""
    outcomes: dict[int, client.AppendResult | failures.SixfoldError] = {}
    failed: list[failures.SixfoldError] = []
    places = asyncio.Semaphore(REQUESTS_MAX)

    async def one(number: int) -> None:
        part = parts[number]
        try:
            outcomes[number] = await volume.append(part.records, timeout_s=timeout_s)
            progress(len(part.records))
        except failures.SixfoldError as error:
            outcomes[number] = error
            failed.append(error)
        finally:
            places.release()

    async with asyncio.TaskGroup() as group:
        for number in range(len(parts)):
            await places.acquire()
            if failed:
                break
            group.create_task(one(number))
    return _report(parts, outcomes, failed)


def _report(
    parts: Sequence[Part],
    outcomes: dict[int, client.AppendResult | failures.SixfoldError],
    failed: list[failures.SixfoldError],
) -> Appended:
    durable: list[Durable] = []
    unknown: list[Unknown] = []
    skip = parts[0].first - 1
    for number, outcome in sorted(outcomes.items()):
        part = parts[number]
        if isinstance(outcome, client.AppendResult):
            durable.append(
                Durable(
                    first_record=part.first,
                    last_record=part.last,
                    first_lsn=outcome.first_lsn,
                    last_lsn=outcome.last_lsn,
                )
            )
            skip = part.last if skip == part.first - 1 else skip
        elif not isinstance(outcome, errors.RequestRefusedError | errors.VolumeLimitError):
            unknown.append(Unknown(first_record=part.first, last_record=part.last))
    return Appended(
        records=sum(each.last_record - each.first_record + 1 for each in durable),
        first_lsn=min((each.first_lsn for each in durable), default=0),
        last_lsn=max((each.last_lsn for each in durable), default=0),
        acknowledged=_merged(durable),
        unknown=unknown,
        skip=skip,
        error=str(failed[0]) if failed else "",
    )


def _merged(ranges: list[Durable]) -> list[Durable]:
    merged: list[Durable] = []
    for each in ranges:
        before = merged[-1] if merged else None
        if before and (before.last_record + 1, before.last_lsn + 1) == (each.first_record, each.first_lsn):
            merged[-1] = msgspec.structs.replace(before, last_record=each.last_record, last_lsn=each.last_lsn)
        else:
            merged.append(each)
    return merged


def ended(done: Appended, total: int, what: str) -> errors.PartlyAppendedError:
    """The error that tells a person what `done`, which has an error, left behind; `what` is `line` or `record`."""
    if not done.acknowledged and len(done.unknown) <= 1:
        return errors.PartlyAppendedError(done.error)  # it was the first part, so its error says it all
    ranges = "; ".join(
        f"{what}s {each.first_record} to {each.last_record} at LSN {each.first_lsn} to {each.last_lsn}"
        for each in done.acknowledged
    )
    text = f"{done.records} of {total} records were acknowledged{f': {ranges}' if ranges else ''}. Then: {done.error}"
    if done.unknown:
        unknown = ", ".join(f"{each.first_record} to {each.last_record}" for each in done.unknown)
        text += (
            f"\nNot acknowledged, yet perhaps durable: {what}s {unknown}. "
            f"Before you append them again, see: sixfold volume read --from {done.last_lsn + 1}"
        )
    return errors.PartlyAppendedError(
        f"{text}\nTo go on behind {what} {done.skip}: the same command with --skip {done.skip}"
    )
