"""Copies of changelogs, brought to where the changelogs end: by a takeover, and beforehand by a standby.

A copy goes on where it ends, and is made afresh where it may not be what the changelog gave: the topic was made again,
it is shorter than the copy, or it was not looked at for so long that compaction may have taken tombstones which the copy
never saw.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import structlog

from sixfold import clock as clocks
from sixfold.bus import ends, port
from sixfold.bus.kafka import changelogs, copies, reading, topics
from sixfold.bus.kafka import settings as kafka_settings

ROWS_AT_ONCE = 1000
"""Read, stored or deleted at once: some ten milliseconds, in which no heartbeat is sent."""
TOLD_AFTER_S = 2.0
"""What takes longer is logged, again and again: at a takeover the partitions stand still meanwhile."""

Logs = Mapping[port.TopicPartition, str]
"""Partitions of changelogs, with their tables' names."""


class Span(NamedTuple):
    """What a copy has yet to read of its changelog, as that was at one moment."""

    topic_id: bytes | None
    begin: int
    end: int
    synced_ms: int
    """When the copy last lacked nothing."""
    as_of_ms: int
    """The moment: with all below `end` read, the copy lacks nothing of what was there then."""


Spans = Mapping[port.TopicPartition, Span]


class Watch:
    """Says in the log how a reading goes, and how much of the process's time it may take."""

    def __init__(self, clock: clocks.Clock, group: str, *, what: str = "tables", rest: float = 0.0) -> None:
        """`what` is restored. After each batch the reading rests `rest` times as long as storing it took."""
        self.left: dict[port.TopicPartition, int] = {}
        """Offsets that are left to read, an upper bound on the records."""
        self.rest = rest
        self.rows = 0
        self._clock = clock
        self._what = what
        self._log = structlog.get_logger().bind(group=group)
        self._begun_s = self._told_s = clock.monotonic()

    def took(self, rows: int) -> None:
        """So many rows were stored."""
        self.rows += rows
        if self._clock.monotonic() - self._told_s >= TOLD_AFTER_S:
            self._told_s = self._clock.monotonic()
            offsets_left = sum(self.left.values())
            self._log.info(
                f"restoring {self._what}", action=f"{self._what}.restoring", rows=self.rows, offsets_left=offsets_left
            )

    def over(self) -> None:
        """All was read."""
        if not self.rows:
            return
        seconds = self._clock.monotonic() - self._begun_s
        tell = self._log.info if seconds >= TOLD_AFTER_S else self._log.debug
        tell(f"{self._what} restored", action=f"{self._what}.restored", rows=self.rows, seconds=round(seconds, 3))


class Restorer:
    """Reads the changelogs of `group` into `kept`."""

    def __init__(
        self,
        group: str,
        bus: port.Bus,
        admin: topics.TopicAdmin,
        reader: reading.OffsetReader,
        clock: clocks.Clock,
        settings: kafka_settings.KafkaSettings,
        kept: copies.Copies,
    ) -> None:
        self._group = group
        self._bus = bus
        self._admin = admin
        self._reader = reader
        self._clock = clock
        self._settings = settings
        self._copies = kept

    async def changelogs(self) -> Logs:
        """The partitions of all changelogs that the group has now."""
        found = {}
        for name, entry in (await self._admin.describe(None)).items():
            table = changelogs.table_of(self._group, name)
            if table is not None:
                found.update({port.TopicPartition(name, number): table for number in range(len(entry["partitions"]))})
        return found

    async def spans(self, logs: Collection[port.TopicPartition]) -> dict[port.TopicPartition, Span]:
        """What the copies lack now. Those that cannot be gone on with are empty afterwards."""
        if not logs:
            return {}
        now_ms = clocks.now_ms(self._clock)  # before the ends: what is deleted meanwhile is deleted later than this
        topic_ids = await self._admin.ids({log.topic for log in logs})
        found = await self._reader.ranges(logs)
        return {log: self._span(log, topic_ids.get(log.topic), found[log], now_ms) for log in logs}

    def _span(self, log: port.TopicPartition, topic_id: bytes | None, offsets: port.Offsets, now_ms: int) -> Span:
        copy = self._copies.find(*log)
        if copy is not None and topic_id is not None and copy.topic_id == topic_id:
            # A tombstone stays for `delete_retention_ms` after compaction first met it; half of that is left for clocks.
            age_ms, age_ms_max = now_ms - copy.synced_ms, self._settings.delete_retention_ms // 2
            nothing_new = copy.next_offset >= offsets.end
            # The last marker may be missing from the end yet; beyond that the log would have lost what we have.
            if offsets.start <= copy.next_offset <= offsets.end + 1 and (0 <= age_ms < age_ms_max or nothing_new):
                if nothing_new and not 0 <= age_ms < age_ms_max // 4:  # seldom, as it writes
                    self._copies.store(*log, copy._replace(synced_ms=now_ms), {}, {})
                return Span(topic_id, copy.next_offset, offsets.end, copy.synced_ms, now_ms)
        self._copies.drop(*log)
        self._copies.store(*log, copies.Copy(topic_id, offsets.start, now_ms), {}, {})
        return Span(topic_id, offsets.start, offsets.end, now_ms, now_ms)

    async def read(self, spans: Spans, watch: Watch) -> None:
        """Have the copies take in these spans.

        Where it is cancelled or fails, each copy is good as far as it says that it is.
        """
        new = {log: span for log, span in spans.items() if span.begin < span.end}
        if not new:
            return
        async with self._bus.assign(list(new)) as reader:
            await self._copy(reader, new, watch)

    async def _copy(self, reader: port.Consumer, spans: Spans, watch: Watch) -> None:
        for log, span in spans.items():
            await reader.seek(log, span.begin)
        until = {log: span.end for log, span in spans.items()}
        stalled_s = self._settings.request_timeout_s
        async for records in ends.read_up_to(reader, until, records_max=ROWS_AT_ONCE, stalled_s=stalled_s):
            begun_s = self._clock.monotonic()
            log = port.TopicPartition(records[0].topic, records[0].partition)
            self._take(log, spans[log], reader, records)
            watch.left.update({each: max(0, span.end - reader.position(each)) for each, span in spans.items()})
            watch.took(len(records))
            if watch.rest:
                await self._clock.sleep(watch.rest * (self._clock.monotonic() - begun_s))
        for log, span in spans.items():  # over what holds no row, too
            watch.left[log] = 0
            self._copies.store(*log, copies.Copy(span.topic_id, reader.position(log), span.as_of_ms), {}, {})

    def _take(
        self, log: port.TopicPartition, span: Span, reader: port.Consumer, records: Sequence[port.Record]
    ) -> None:
        reflected: dict[str, int] = {}
        for record in records:
            for topic, offset in changelogs.reflected(record.headers).items():
                reflected[topic] = max(offset, reflected.get(topic, 0))
        copy = copies.Copy(span.topic_id, reader.position(log), span.synced_ms)
        self._copies.store(*log, copy, {record.key or b"": record.value for record in records}, reflected)

    async def sweep(self) -> None:
        """Delete what is left of copies that were dropped."""
        more = True
        while more:
            more = self._copies.sweep(ROWS_AT_ONCE)
            await asyncio.sleep(0)
