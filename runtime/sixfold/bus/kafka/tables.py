"""Tables of a group: what a member has of its own partitions, on its disk, restored from their changelogs.

`changelogs` names the topics, `copies` keeps the rows, `restoring` reads them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sixfold import clock as clocks
from sixfold.bus import checking, port
from sixfold.bus.kafka import altering, changelogs, copies, failures, reading, restoring, topics
from sixfold.bus.kafka import settings as kafka_settings


class _Held(NamedTuple):
    topic: str
    topic_id: bytes | None
    part: copies.Part


class Tables:
    """The rows of the partitions that one member owns."""

    def __init__(
        self,
        group: str,
        bus: port.Bus,
        admin: topics.TopicAdmin,
        reader: reading.OffsetReader,
        clock: clocks.Clock,
        settings: kafka_settings.KafkaSettings,
        data_dir: Path,
    ) -> None:
        self._group = group
        self._admin = admin
        self._clock = clock
        self._settings = settings
        self._copies = copies.Copies(data_dir, changelogs.group_prefix(group), clock)
        self.restorer = restoring.Restorer(group, bus, admin, reader, clock, settings, self._copies)
        self._held: dict[tuple[str, int], _Held] = {}
        self._losses = 0
        self._reflected: dict[port.TopicPartition, int] = {}

    def close(self) -> None:
        """Let go of the file with the copies."""
        self._copies.close()

    def get(self, table: str, partition: int, key: bytes) -> bytes | None:
        """A row. Raises BusUnavailableError where the copy cannot be read."""
        if self._copies.losses != self._losses:
            raise self._lost(table, partition)
        held = self._held.get((table, partition))
        return held.part.get(key) if held else None

    def page(self, table: str, partition: int, after: bytes | None) -> list[tuple[bytes, bytes]]:
        """Some rows with keys above `after`, in key order; none where there are no more. Raises as `get`."""
        held = self._readable(table, partition)
        return self._copies.page(held.topic, partition, after, restoring.ROWS_AT_ONCE) if held else []

    def _readable(self, table: str, partition: int) -> _Held | None:
        if self._copies.losses != self._losses:
            raise self._lost(table, partition)
        return self._held.get((table, partition))

    def _lost(self, table: str, partition: int) -> port.BusUnavailableError:
        return port.BusUnavailableError(
            f"table {table!r} of partition {partition} could not be written to this machine's disk; it is restored once "
            "there is room"
        )

    def reflected(self, partition: port.TopicPartition) -> int:
        """The next input offset after those that the state reflects; 0 where it reflects none."""
        return self._reflected.get(partition, 0)

    def has(self, table: str, log: port.TopicPartition) -> bool:
        """Whether this changelog was restored."""
        return (table, log.partition) in self._held

    def holds(self, shares: Iterable[changelogs.Share]) -> bool:
        """Whether the changelogs of these rows' tables were restored."""
        return all(self.has(share.table, share.log) for share in shares)

    def stored(
        self, shares: Sequence[changelogs.Share], lasts: Sequence[int], offsets: Mapping[port.TopicPartition, int]
    ) -> None:
        """Rows that a transaction stored, the last of each share at this offset of its changelog.

        Raises BusUnavailableError where the copy cannot take them; all must be restored then.
        """
        for share, last in zip(shares, lasts, strict=True):
            number = share.log.partition
            reflected = {p.topic: offset for p, offset in offsets.items() if p.partition == number}
            self._readable(share.table, number)
            held = self._held[share.table, number]
            # The transaction's marker comes next, as nobody else writes to this partition.
            copy = copies.Copy(held.topic_id, last + 2, clocks.now_ms(self._clock))
            self._copies.store(held.topic, number, copy, share.rows, reflected)
            self._reflects(number, reflected)

    def _reflects(self, number: int, reflected: Mapping[str, int]) -> None:
        for topic, offset in reflected.items():
            partition = port.TopicPartition(topic, number)
            self._reflected[partition] = max(offset, self.reflected(partition))

    async def prepare(self, shares: Sequence[changelogs.Share], offsets: Mapping[port.TopicPartition, int]) -> None:
        """Have changelogs with the partitions of the input: make those that do not exist, enlarge those of an input that
        was enlarged. Raises RecordTooLargeError for rows that a changelog does not take, before any is stored."""
        needed: dict[str, int] = {}
        for share in shares:
            needed[share.log.topic] = max(share.log.partition + 1, needed.get(share.log.topic, 0))
        await self._make(needed, offsets)
        for share in shares:
            limit = (await self._admin.find(share.log.topic)).record_bytes_max
            size = checking.above(share.rows, limit - checking.size_bytes(None, None, share.headers))
            if size is not None:
                raise port.RecordTooLargeError(
                    f"a row of table {share.table!r} has {size} bytes with its key, its changelog {share.log.topic!r} "
                    f"takes {limit}. Make it smaller, or give the topic a larger record_bytes_max"
                )

    async def _make(self, needed: Mapping[str, int], offsets: Mapping[port.TopicPartition, int]) -> None:
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

    async def changelogs(self, numbers: Collection[int]) -> restoring.Logs:
        """The partitions of these numbers of all changelogs that there are."""
        return {log: table for log, table in (await self.restorer.changelogs()).items() if log.partition in numbers}

    def forget(self) -> None:
        """The partitions were given up: what is known of them in memory is void. The file keeps its copies."""
        self._held.clear()
        self._losses = self._copies.losses
        self._reflected.clear()

    async def restore(self, logs: restoring.Logs) -> int:
        """Bring the copies of these changelogs to their ends as they are now; how many rows were read for that."""
        spans = await self.restorer.spans(logs)
        watch = restoring.Watch(self._clock, self._group)
        await self.restorer.read(spans, watch)
        watch.over()
        for log, table in logs.items():
            self._held[table, log.partition] = _Held(log.topic, spans[log].topic_id, self._copies.part(*log))
            self._reflects(log.partition, self._copies.reflected(*log))
        if logs:
            await self.restorer.sweep()
        return watch.rows
