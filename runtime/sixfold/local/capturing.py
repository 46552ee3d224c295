"""Taking a capture (`captures.py`) from the bus: reads only; no offset moves and no group is joined.

For a function the rows and the committed offsets are of one moment, so a replay knows which records the rows reflect.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence

from sixfold import clock as clocks
from sixfold import dead_letter, timers
from sixfold.bus import ends, port
from sixfold.function import AnyFunction
from sixfold.local import captures
from sixfold.process import Process
from sixfold.registry import schemas
from sixfold_events import DecodeError, cloudevents, framing

MOMENTS = 20
"""Tries to read rows and offsets of one moment while a worker moves on."""
SKEW_MS = 60_000
"""Clocks of machines differ by less: outputs are looked for from so long before the first record on."""


class NoMomentError(captures.CaptureError):
    """A function moved on whenever its rows were read."""


async def capture(
    process: Process,
    function: AnyFunction | None,
    starts: Mapping[port.TopicPartition, int],
    *,
    count: int = captures.RECORDS_MAX,
) -> captures.Capture:
    """The records of `starts` from there to the present ends, `count` at most; with `function` what came of them.

    Raises CaptureError above `captures.BYTES_MAX`, NoMomentError, and what the bus raises.
    """
    bus = process.require_bus()
    found, size = [], 0
    until = await ends.of(bus, starts)
    async with contextlib.aclosing(_read(bus, starts, until)) as records:
        async for record in records:
            if record.offset >= until[port.TopicPartition(record.topic, record.partition)]:
                continue
            found.append(record)
            size += len(record.value or b"") + len(record.key or b"")
            if size > captures.BYTES_MAX:
                raise captures.CaptureError(f"more than {captures.BYTES_MAX:,} bytes; take fewer records with --count")
            if len(found) >= count:
                break
    found.sort(key=lambda record: (record.timestamp_ms, record.topic, record.partition, record.offset))
    captured_ms = clocks.now_ms(process.clock)
    committed: Mapping[port.TopicPartition, int] = {}
    rows: list[captures.Row] = []
    outputs: list[port.Record] = []
    letters: list[captures.Letter] = []
    if function is not None:
        committed, rows = await moment(bus, function, list(starts))
        outputs = [each async for each in _outputs(bus, function, found)]
        letters = [each async for each in _letters(bus, function, found)]
    parts = [await _part(bus, tp, start, found, committed.get(tp)) for tp, start in sorted(starts.items())]
    return captures.Capture(
        head=captures.Head(
            function=function.name if function is not None else None, captured_ms=captured_ms, partitions=parts
        ),
        schemas=await _schemas(process, [*found, *outputs]),
        records=[_line(captures.Record, each) for each in found],
        outputs=[_line(captures.Output, each) for each in outputs],
        letters=letters,
        rows=rows,
    )


async def moment(
    bus: port.Bus, function: AnyFunction, partitions: Sequence[port.TopicPartition]
) -> tuple[dict[port.TopicPartition, int], list[captures.Row]]:
    """What the function's group has committed, and its rows that reflect just that. Raises NoMomentError."""
    for _ in range(MOMENTS):
        before = await bus.committed(function.name)
        rows = []
        async with bus.assign(partitions, group=function.name) as consumer:
            for number in dict.fromkeys(tp.partition for tp in partitions):
                for table in (*function.tables, timers.TABLE):
                    stored = await consumer.state_scan(table, number)
                    rows += [captures.Row(table=table, partition=number, key=k, value=v) for k, v in stored]
        if await bus.committed(function.name) == before:
            return before, rows
    raise NoMomentError(
        f"{function.name} moved on each of {MOMENTS} times that its rows were read; stop it for a moment, then try again"
    )


def output_topics(function: AnyFunction) -> tuple[str, ...]:
    """Where what it emits lies."""
    return tuple(dict.fromkeys(cls.__event__.topic for cls in function.emits))


def is_output(record: port.Record, function: str) -> bool:
    """Whether `function` emitted `record`."""
    return dict(record.headers).get("ce_source") == f"/functions/{function}".encode()


def id_of(record: port.Record) -> str:
    """The event id as a handler is told it."""
    found = cloudevents.attributes_of(record.headers).id
    return found or f"{record.topic}-{record.partition}-{record.offset}"


async def partitions_of(bus: port.Bus, topics: Iterable[str]) -> list[port.TopicPartition]:
    """All partitions of those of `topics` that there are."""
    known = await bus.topics()
    return [
        port.TopicPartition(topic, number)
        for topic in topics
        if topic in known
        for number in range(known[topic].partitions)
    ]


async def sources_of(bus: port.Bus, function: AnyFunction) -> list[port.TopicPartition]:
    """The partitions that the function reads, but for what comes back to it."""
    topics = [topic for topic in function.sources_among(await bus.topics()) if topic != function.retry_topic]
    return await partitions_of(bus, topics)


async def _outputs(bus: port.Bus, function: AnyFunction, records: Sequence[port.Record]) -> AsyncIterator[port.Record]:
    causes, known = {id_of(record).encode() for record in records}, set()
    since_ms = min((record.timestamp_ms for record in records), default=0) - SKEW_MS
    partitions = await partitions_of(bus, output_topics(function)) if records else []
    starts = {tp: await bus.offset_at(tp, max(0, since_ms)) for tp in partitions}
    async for record in _read(bus, starts, await ends.of(bus, partitions)):
        headers = dict(record.headers)
        if not is_output(record, function.name) or headers.get("ce_causationid") not in causes:
            continue
        if headers["ce_id"] not in known:  # a redelivery emits it again
            known.add(headers["ce_id"])
            yield record


async def _letters(
    bus: port.Bus, function: AnyFunction, records: Sequence[port.Record]
) -> AsyncIterator[captures.Letter]:
    places = {(record.topic, record.partition, record.offset) for record in records}
    partitions = await partitions_of(bus, [function.dead_letter_topic]) if records else []
    starts = {tp: (await bus.offsets(tp)).start for tp in partitions}
    async for record in _read(bus, starts, await ends.of(bus, partitions)):
        letter = dead_letter.read(record)
        if letter.function == function.name and (letter.topic, letter.partition, letter.offset) in places:
            error = f"{letter.error_type.rpartition('.')[2]}: {letter.error_message}"
            yield captures.Letter(topic=letter.topic, partition=letter.partition, offset=letter.offset, error=error)


async def _read(
    bus: port.Bus, starts: Mapping[port.TopicPartition, int], until: Mapping[port.TopicPartition, int]
) -> AsyncGenerator[port.Record, None]:
    if not starts:
        return
    async with bus.assign(list(starts)) as consumer:
        for partition, offset in starts.items():
            await consumer.seek(partition, offset)
        async for records in ends.read_up_to(consumer, until):
            for record in records:
                yield record


async def _part(
    bus: port.Bus, tp: port.TopicPartition, start: int, found: Iterable[port.Record], committed: int | None
) -> captures.Part:
    last = max((each.offset for each in found if (each.topic, each.partition) == tp), default=start - 1)
    log_start = (await bus.offsets(tp)).start
    return captures.Part(
        topic=tp.topic, partition=tp.partition, log_start=log_start, first=start, end=last + 1, committed=committed
    )


async def _schemas(process: Process, records: Iterable[port.Record]) -> list[captures.Schema]:
    """The schemas that the records name; those that nobody knows are left out."""
    found: dict[framing.Identifier, captures.Schema] = {}
    for record in records:
        if record.value is None:
            continue
        try:
            identifier, _ = framing.read(record.value, record.headers)
        except DecodeError:
            continue  # no Avro of ours: its bytes are all there is
        if identifier in found:
            continue
        try:
            await schemas.decoded(process, functools.partial(process.registry.decode, record.value, record.headers))
        except Exception:  # noqa: S112 (a broken record is captured as it is)
            continue
        schema = process.registry.schema(identifier)
        if schema is not None:
            found[identifier] = captures.Schema(identifier if isinstance(identifier, int) else str(identifier), schema)
    return list(found.values())


def _line(kind: type[captures.LineT], record: port.Record) -> captures.LineT:
    return kind(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
        key=record.key,
        value=record.value,
        headers=list(record.headers),
    )
