"""A new version of a function beside the one that runs, on the same live traffic, without any effect.

The shadow begins where the running function is: at its committed offsets, with its rows of that moment, which it goes
on folding in memory. It handles each record once, publishes, stores and commits nothing. What the running version made
of a record is what lies in the topics that it emits to, from source `/functions/NAME` and caused by the record's event.
A record is compared once the running version has committed it and `GRACE_S` has passed or nothing differs.

Limits: a record that the running version tries again through its retry topic counts as handled when it was put there,
so what comes of a later attempt may be told as missing. A timer that has not fired on either side is not compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sixfold import clock as clocks
from sixfold import dead_letter, timers
from sixfold.bus import port
from sixfold.function import AnyFunction
from sixfold.local import captures, capturing, outcomes, rehearsing
from sixfold.local.differences import Difference
from sixfold.local.replaying import essence
from sixfold.process import Process

GRACE_S = 3.0
"""A transaction becomes visible some moments after its commit."""
FETCH_S = 0.2
PENDING_MAX = 50_000
"""Records that wait for the running version; the shadow waits for it then."""
KEPT_MAX = 200_000
"""Outputs kept for records that the shadow has yet to see."""


@dataclass
class Report:
    """What a shadow saw."""

    handled: int = 0
    """Records that the new version was given."""
    compared: int = 0
    skipped: int = 0
    """That are none of its own."""
    waiting: int = 0
    """Records that the running version had not handled in the end."""
    differing: int = 0
    """Of those compared."""
    differences: list[Difference] = field(default_factory=list)


class _Pending:
    __slots__ = ("made", "since_s")

    def __init__(self, made: rehearsing.Made) -> None:
        self.made = made
        self.since_s: float | None = None
        """When it was found to be handled, and to differ."""


class Shadow:
    """Compares `new` with the function `running`, which runs elsewhere."""

    def __init__(
        self,
        new: AnyFunction,
        running: AnyFunction,
        process: Process,
        *,
        identifier: str,
        begins: Callable[[], None] = lambda: None,
        differs: Callable[[Difference], None] = lambda difference: None,
    ) -> None:
        """`begins` is called once what is published will be compared, `differs` with each difference as it is found."""
        self.group = f"{running.name}.shadow.{identifier}"
        """The consumer group that it reads in; nothing is ever committed for it."""
        self.report = Report()
        self._new = new
        self._running = running
        self._process = process
        self._bus = process.require_bus()
        self._begins = begins
        self._differs = differs
        self._pending: dict[port.Position, _Pending] = {}
        self._emitted: dict[str, dict[str, Any]] = {}
        """Outputs of the running version, by cause and event id."""
        self._kept = 0
        self._parked: dict[port.Position, str] = {}

    async def run(self, stopping: asyncio.Event, *, count: int | None = None) -> Report:
        """Go on until `stopping` is set, or `count` records were compared. Raises NoMomentError, and what the bus raises.

        Raises CaptureError where the running function has none of its topics.
        """
        results = await capturing.partitions_of(
            self._bus,
            dict.fromkeys(
                (
                    *capturing.output_topics(self._running),
                    *capturing.output_topics(self._new),
                    self._running.dead_letter_topic,
                )
            ),
        )
        since_ms = max(0, clocks.now_ms(self._process.clock) - capturing.SKEW_MS)
        begins = {tp: await self._bus.offset_at(tp, since_ms) for tp in results}
        sources = await capturing.sources_of(self._bus, self._running)
        if not sources:
            raise captures.CaptureError(
                f"none of the topics that {self._running.name} reads exists yet; start it first"
            )
        committed, rows = await capturing.moment(self._bus, self._running, sources)
        rehearsal = rehearsing.Rehearsal(self._new, self._process)
        rehearsal.rows.wrote(captures.state_of(row for row in rows if row.table != timers.TABLE))
        async with (
            self._bus.assign(sources, group=self.group) as records,
            self._bus.assign(results or sources) as outputs,
        ):
            for tp in sources:
                start = (await self._bus.offsets(tp)).start
                await records.seek(tp, max(start, committed.get(tp, 0)))
            for tp, offset in begins.items():
                await outputs.seek(tp, offset)
            self._begins()
            while not stopping.is_set() and not self._is_enough(count):
                if len(self._pending) < PENDING_MAX:
                    await self._take(records, rehearsal)
                handled = await self._bus.committed(self._running.name)
                if results:
                    await self._read(outputs, results)
                self._compare(handled, count)
        self.report.waiting = len(self._pending)
        return self.report

    def _is_enough(self, count: int | None) -> bool:
        return count is not None and self.report.compared >= count

    async def _take(self, consumer: port.Consumer, rehearsal: rehearsing.Rehearsal) -> None:
        size = 1 if self._new.batch is None else self._new.batch.size
        for records in (await consumer.fetch(records_max=500, wait_s=FETCH_S)).values():
            for start in range(0, len(records), size):
                made = await rehearsal.call(records[start : start + size])
                rehearsal.keep(made)
                for each in made:
                    self.report.handled += 1
                    record = each.record
                    self._pending[port.Position(record.topic, record.partition, record.offset)] = _Pending(each)

    async def _read(self, consumer: port.Consumer, partitions: Collection[port.TopicPartition]) -> None:
        """All that lies in the topics of outputs by now."""
        until = {tp: (await self._bus.offsets(tp)).end for tp in partitions}
        while any(consumer.position(tp) < end for tp, end in until.items()):
            for records in (await consumer.fetch(records_max=500, wait_s=FETCH_S)).values():
                for record in records:
                    self._note(record)

    def _note(self, record: port.Record) -> None:
        if record.topic == self._running.dead_letter_topic:
            letter = dead_letter.read(record)
            if letter.function == self._running.name:
                place = port.Position(letter.topic, letter.partition, letter.offset)
                self._parked[place] = f"{letter.error_type.rpartition('.')[2]}: {letter.error_message}"
            return
        if not capturing.is_output(record, self._running.name):
            return
        headers = dict(record.headers)
        cause = headers.get("ce_causationid", b"").decode(errors="replace")
        output = captures.Output(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            timestamp_ms=record.timestamp_ms,
            key=record.key,
            value=record.value,
            headers=list(record.headers),
        )
        identifier = headers.get("ce_id", b"").decode(errors="replace")
        self._emitted.setdefault(cause, {})[identifier] = essence(output, self._process.registry)
        self._kept += 1
        while self._kept > KEPT_MAX:  # of records long before the shadow began, the oldest first
            self._kept -= len(self._emitted.pop(next(iter(self._emitted))))

    def _compare(self, handled: dict[port.TopicPartition, int], count: int | None) -> None:
        now_s = self._process.clock.monotonic()
        for place, each in list(self._pending.items()):
            if self._is_enough(count):
                return
            if place.offset >= handled.get(port.TopicPartition(place.topic, place.partition), 0):
                continue
            found = self._differences(place, each.made)
            if found and each.since_s is None:
                each.since_s = now_s
            if found and each.since_s is not None and now_s - each.since_s < GRACE_S:
                continue
            del self._pending[place]
            self._kept -= len(self._emitted.pop(each.made.event_id, ()))
            self._parked.pop(place, None)
            self.report.compared += 1
            self.report.skipped += each.made.skipped
            self.report.differing += bool(found)
            for difference in found:
                self.report.differences.append(difference)
                self._differs(difference)

    def _differences(self, place: port.Position, made: rehearsing.Made) -> list[Difference]:
        where = f"{place.topic}:{place.partition}:{place.offset}"
        found = []
        parked = self._parked.get(place)
        if (parked is None) != (made.error is None):
            error = None if made.error is None else f"{type(made.error).__name__}: {made.error}"
            found.append(Difference(where=where, what="error", expected=_some(parked), found=_some(error)))
        missing = list(self._emitted.get(made.event_id, {}).values())
        extra = []
        for output in (essence(record, self._process.registry) for record in made.outputs):
            if output in missing:
                missing.remove(output)
            else:
                extra.append(output)
        # What a timer published counts as this version's own, if it would publish just that.
        fires = [_meaning(timer) for timer in outcomes.of(made).timers if timer["at"] is not None]
        missing = [output for output in missing if _meaning(output) not in fires]
        if missing or extra:
            found.append(Difference(where=where, what="outputs", expected=missing, found=extra))
        return found


def _some(value: str | None) -> list[Any]:
    return [] if value is None else [value]


def _meaning(output: dict[str, Any]) -> bytes:
    return msgspec.json.encode([output.get(name) for name in ("topic", "type", "data")], order="sorted")


def suffix(clock: clocks.Clock) -> str:
    """A name for a shadow that nobody named: the second in which it began."""
    return f"{int(clock.now()):x}"
