"""Tables of a group: what a member has of its own partitions, on its disk, restored from their changelogs.

`changelogs` names the topics, `copies` keeps the rows. A copy goes on where it ends, and is made afresh where it may not
be what the changelog gave: the topic was made again, or it was not looked at for so long that compaction may have taken
tombstones which it never saw.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from sixfold import clock as clocks
from sixfold.bus import ends, port
from sixfold.bus.kafka import altering, changelogs, copies, failures, topics
from sixfold.bus.kafka import settings as kafka_settings

ROWS_AT_ONCE = 1000
"""Read, stored or deleted at once: some ten milliseconds, in which no heartbeat is sent."""
TOLD_AFTER_S = 2.0
"""A restore that takes longer is logged, again and again: its partitions stand still meanwhile."""

Logs = Mapping[port.TopicPartition, str]
"""Partitions of changelogs, with their tables' names."""


class _Held(NamedTuple):
    topic: str
    topic_id: bytes | None


class Tables:
    """The rows of the partitions that one member owns."""

    def __init__(
        self,
        group: str,
        bus: port.Bus,
        admin: topics.TopicAdmin,
        clock: clocks.Clock,
        settings: kafka_settings.KafkaSettings,
        data_dir: Path,
    ) -> None:
        self._group = group
        self._bus = bus
        self._admin = admin
        self._clock = clock
        self._settings = settings
        self._copies = copies.Copies(data_dir, changelogs.group_prefix(group))
        self._held: dict[tuple[str, int], _Held] = {}
        self._failed: set[tuple[str, int]] = set()
        self._reflected: dict[port.TopicPartition, int] = {}

    def close(self) -> None:
        """Let go of the file with the copies."""
        self._copies.close()

    def get(self, table: str, partition: int, key: bytes) -> bytes | None:
        """A row. Raises BusUnavailableError where the copy cannot be read."""
        held = self._readable(table, partition)
        return self._copies.get(held.topic, partition, key) if held else None

    def page(self, table: str, partition: int, after: bytes | None) -> list[tuple[bytes, bytes]]:
        """Some rows with keys above `after`, in key order; none where there are no more. Raises as `get`."""
        held = self._readable(table, partition)
        return self._copies.page(held.topic, partition, after, ROWS_AT_ONCE) if held else []

    def _readable(self, table: str, partition: int) -> _Held | None:
        if (table, partition) in self._failed:
            raise port.BusUnavailableError(
                f"table {table!r} of partition {partition} could not be written to this machine's disk; it is restored once "
                "there is room"
            )
        return self._held.get((table, partition))

    def reflected(self, partition: port.TopicPartition) -> int:
        """The next input offset after those that the state reflects; 0 where it reflects none."""
        return self._reflected.get(partition, 0)

    def holds(self, rows: Iterable[port.StatePut]) -> bool:
        """Whether the changelogs of these rows' tables were restored."""
        return all((row.table, row.partition) in self._held for row in rows)

    def stored(
        self,
        rows: Sequence[port.StatePut],
        positions: Sequence[port.Position],
        offsets: Mapping[port.TopicPartition, int],
    ) -> None:
        """Rows that a transaction stored at these positions of their changelogs.

        Raises BusUnavailableError where the copy cannot take them; it must be restored then.
        """
        shares: dict[tuple[str, int], list[tuple[port.StatePut, int]]] = {}
        for row, position in zip(rows, positions, strict=True):
            shares.setdefault((row.table, row.partition), []).append((row, position.offset))
        for (table, number), share in shares.items():
            reflected = {p.topic: offset for p, offset in offsets.items() if p.partition == number}
            held = self._held[table, number]
            self._readable(table, number)
            # The transaction's marker comes next, as nobody else writes to this partition.
            copy = copies.Copy(held.topic_id, share[-1][1] + 2, clocks.now_ms(self._clock))
            try:
                self._copies.store(held.topic, number, copy, ((row.key, row.value) for row, _ in share), reflected)
            except port.BusUnavailableError:
                self._failed.update(shares)
                raise
            self._reflects(number, reflected)

    def _reflects(self, number: int, reflected: Mapping[str, int]) -> None:
        for topic, offset in reflected.items():
            partition = port.TopicPartition(topic, number)
            self._reflected[partition] = max(offset, self.reflected(partition))

    async def prepare(self, rows: Iterable[port.StatePut], offsets: Mapping[port.TopicPartition, int]) -> None:
        """Have changelogs with the partitions of the input: make those that do not exist, enlarge those of an input that
        was enlarged."""
        needed: dict[str, int] = {}
        for row in rows:
            name = changelogs.topic_of(self._group, row.table)
            needed[name] = max(row.partition + 1, needed.get(name, 0))
        known = {name: self._admin.known(name) for name in needed}
        short = sorted(name for name, topic in known.items() if topic is None or topic.partitions < needed[name])
        if not short:
            return
        inputs = {partition.topic for partition in offsets}
        described = await self._admin.describe([*short, *inputs])
        for name in inputs - described.keys():
            raise failures.unknown_topic(name)
        count = max(len(described[name]["partitions"]) for name in inputs)
        for name in short:
            spec = port.TopicSpec(name=name, partitions=count, cleanup=port.Cleanup.COMPACT, retention_ms=None)
            if name not in described:
                await self._admin.create([spec])
            elif len(described[name]["partitions"]) < needed[name]:
                await altering.alter(self._admin, spec, self._settings)
            self._admin.forget(name)
            await self._admin.find(name)

    async def changelogs(self, numbers: Collection[int]) -> Logs:
        """The partitions of these numbers of all changelogs that there are."""
        found = {}
        for name, entry in (await self._admin.describe(None)).items():
            table = changelogs.table_of(self._group, name)
            if table is not None:
                for number in set(numbers) & set(range(len(entry["partitions"]))):
                    found[port.TopicPartition(name, number)] = table
        return found

    def forget(self) -> None:
        """The partitions were given up: what is known of them in memory is void. The file keeps its copies."""
        self._held.clear()
        self._failed.clear()
        self._reflected.clear()

    async def restore(self, logs: Logs) -> int:
        """Bring the copies of these changelogs to their ends as they are now; how many rows were read for that."""
        if not logs:
            return 0
        topic_ids = await self._admin.ids({log.topic for log in logs})
        found = await asyncio.gather(*(self._bus.offsets(log) for log in logs))
        held = {log: _Held(log.topic, topic_ids.get(log.topic)) for log in logs}
        begins = {log: self._begin(log, held[log].topic_id, found[index]) for index, log in enumerate(logs)}
        until = {log: found[index].end for index, log in enumerate(logs) if begins[log] < found[index].end}
        rows = await self._read(held, begins, until) if until else 0
        for log, table in logs.items():
            self._held[table, log.partition] = held[log]
            self._failed.discard((table, log.partition))
            self._reflects(log.partition, self._copies.reflected(*log))
        more = True
        while more:
            more = self._copies.sweep(ROWS_AT_ONCE)
            await asyncio.sleep(0)
        return rows

    def _begin(self, log: port.TopicPartition, topic_id: bytes | None, offsets: port.Offsets) -> int:
        """Where to read on: after what the copy has, or from the start, with an empty one."""
        copy, now_ms = self._copies.find(*log), clocks.now_ms(self._clock)
        if copy is not None and topic_id is not None and copy.topic_id == topic_id:
            # A tombstone stays for `delete_retention_ms` after compaction first met it; half of that is left for clocks.
            recent = 0 <= now_ms - copy.synced_ms < self._settings.delete_retention_ms // 2
            nothing_new = copy.next_offset >= offsets.end
            # The last marker may be missing from the end yet; beyond that the log would have lost what we have.
            if offsets.start <= copy.next_offset <= offsets.end + 1 and (recent or nothing_new):
                return copy.next_offset
        self._copies.drop(*log)
        self._copies.store(*log, copies.Copy(topic_id, offsets.start, now_ms), (), {})
        return offsets.start

    async def _read(
        self,
        held: Mapping[port.TopicPartition, _Held],
        begins: Mapping[port.TopicPartition, int],
        until: Mapping[port.TopicPartition, int],
    ) -> int:
        begun_s = told_s = self._clock.monotonic()
        log = structlog.get_logger().bind(group=self._group)
        rows = 0
        async with self._bus.assign(list(until)) as reader:
            for each in until:
                await reader.seek(each, begins[each])
            batches = ends.read_up_to(
                reader, until, records_max=ROWS_AT_ONCE, stalled_s=self._settings.request_timeout_s
            )
            async for records in batches:
                self._take(held, reader, records)
                rows += len(records)
                if self._clock.monotonic() - told_s >= TOLD_AFTER_S:
                    told_s = self._clock.monotonic()
                    left = sum(max(0, end - reader.position(each)) for each, end in until.items())
                    log.info("restoring tables", action="tables.restoring", rows=rows, offsets_left=left)
            for each in until:  # over what holds no row, too
                self._advance(held[each], reader, each)
        seconds = self._clock.monotonic() - begun_s
        tell = log.info if seconds >= TOLD_AFTER_S else log.debug
        tell("tables restored", action="tables.restored", rows=rows, seconds=round(seconds, 3))
        return rows

    def _take(
        self, held: Mapping[port.TopicPartition, _Held], reader: port.Consumer, records: Sequence[port.Record]
    ) -> None:
        log = port.TopicPartition(records[0].topic, records[0].partition)
        reflected: dict[str, int] = {}
        for record in records:
            for topic, offset in changelogs.reflected(record.headers).items():
                reflected[topic] = max(offset, reflected.get(topic, 0))
        copy = copies.Copy(held[log].topic_id, reader.position(log), clocks.now_ms(self._clock))
        self._copies.store(*log, copy, ((record.key or b"", record.value) for record in records), reflected)

    def _advance(self, held: _Held, reader: port.Consumer, log: port.TopicPartition) -> None:
        copy = copies.Copy(held.topic_id, reader.position(log), clocks.now_ms(self._clock))
        self._copies.store(*log, copy, (), {})
