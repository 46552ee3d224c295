"""Tables of a group: one compacted topic for each, and the copy of it that a member holds of its own partitions.

The topic `<group>.<table>.changelog` has the partitions of the input. Every record of it says in a header which input
position the row reflects, so a member that starts knows how far the state already is, whatever was committed. What one
settle writes for one partition must appear whole or not at all: as one Kafka batch, which a broker appends as one, or
else inside a transaction.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer

from sixfold import errors
from sixfold.bus import port
from sixfold.bus.kafka import failures, specs, topics
from sixfold.bus.kafka import settings as kafka_settings

REFLECTS = "sixfold-reflects"
"""Header of a changelog record: `topic:offset`, the next input record after those that the row reflects."""

_LEGAL = re.compile(r"[A-Za-z0-9._-]{1,180}")
_TABLE = re.compile(r"[A-Za-z0-9_-]{1,50}")


def group_prefix(group: str) -> str:
    """What the changelogs of a group begin with: its name, or a digest where Kafka would refuse the name in a topic."""
    if _LEGAL.fullmatch(group):
        return f"{group}."
    return f"group-{hashlib.blake2s(group.encode(), digest_size=16).hexdigest()}."


def changelog(group: str, table: str) -> str:
    """The topic of a table. Raises UsageError for a name that Kafka cannot carry."""
    if not _TABLE.fullmatch(table):
        raise errors.UsageError(f"table {table!r}: expected 1 to 50 letters, digits, _ or -; rename it")
    return f"{group_prefix(group)}{table}{specs.CHANGELOG_SUFFIX}"


def table_of(group: str, topic: str) -> str | None:
    """The table whose changelog `topic` is, if it is one of this group."""
    prefix = group_prefix(group)
    if not (topic.startswith(prefix) and topic.endswith(specs.CHANGELOG_SUFFIX)):
        return None
    name = topic[len(prefix) : -len(specs.CHANGELOG_SUFFIX)]
    return name if _TABLE.fullmatch(name) else None


def rows_as_records(
    group: str, rows: Sequence[port.StatePut], offsets: Mapping[port.TopicPartition, int]
) -> list[port.NewRecord]:
    """The changelog records of a settle."""
    records = []
    for row in rows:
        reflects = tuple(
            (REFLECTS, f"{partition.topic}:{offset}".encode())
            for partition, offset in offsets.items()
            if partition.partition == row.partition
        )
        if not reflects:
            raise errors.UsageError(
                f"state of partition {row.partition} is stored with offsets of {sorted(offsets)}; settle its partition too"
            )
        records.append(
            port.NewRecord(
                topic=changelog(group, row.table),
                key=row.key,
                value=row.value,
                headers=reflects,
                partition=row.partition,
            )
        )
    return records


def needs_transaction(rows: Sequence[port.StatePut], batch_bytes: int) -> bool:
    """Whether the rows of some partition do not fit into one batch of one topic."""
    tables: dict[int, set[str]] = {}
    sizes: dict[int, int] = {}
    for row in rows:
        tables.setdefault(row.partition, set()).add(row.table)
        size = len(row.key) + len(row.value or b"") + 256
        sizes[row.partition] = sizes.get(row.partition, 0) + size
    return any(len(names) > 1 for names in tables.values()) or any(size > batch_bytes for size in sizes.values())


class _Copy:
    """One partition of one table as far as it was read."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.next_offset = 0


class Tables:
    """The rows of the partitions that one member owns."""

    def __init__(
        self, group: str, bootstrap: str, settings: kafka_settings.KafkaSettings, admin: topics.TopicAdmin
    ) -> None:
        self._group = group
        self._bootstrap = bootstrap
        self._settings = settings
        self._admin = admin
        self._copies: dict[tuple[str, int], _Copy] = {}
        self._reflected: dict[port.TopicPartition, int] = {}

    def get(self, table: str, partition: int, key: bytes) -> bytes | None:
        """A row."""
        copy = self._copies.get((table, partition))
        return copy.rows.get(key) if copy else None

    def scan(self, table: str, partition: int) -> list[tuple[bytes, bytes]]:
        """All rows in key order."""
        copy = self._copies.get((table, partition))
        return sorted(copy.rows.items()) if copy else []

    def reflected(self, partition: port.TopicPartition) -> int:
        """The next input offset after those that the state reflects; 0 where it reflects none."""
        return self._reflected.get(partition, 0)

    def apply(self, rows: Iterable[port.StatePut], offsets: Mapping[port.TopicPartition, int]) -> None:
        """Rows that were stored."""
        for row in rows:
            copy = self._copies.setdefault((row.table, row.partition), _Copy())
            if row.value is None:
                copy.rows.pop(row.key, None)
            else:
                copy.rows[row.key] = row.value
            for partition, offset in offsets.items():
                if partition.partition == row.partition:
                    self._reflected[partition] = max(offset, self.reflected(partition))

    async def prepare(self, rows: Iterable[port.StatePut], offsets: Mapping[port.TopicPartition, int]) -> None:
        """Make the changelogs that do not exist, with the partitions of the input."""
        missing = sorted({row.table for row in rows if not self._admin.known(changelog(self._group, row.table))})
        if not missing:
            return
        partitions = max([(await self._admin.find(partition.topic)).partitions for partition in offsets])
        declared = [
            port.TopicSpec(
                name=changelog(self._group, table),
                partitions=partitions,
                cleanup=port.Cleanup.COMPACT,
                retention_ms=None,
            )
            for table in missing
        ]
        await self._admin.create(declared)
        for spec in declared:
            await self._admin.find(spec.name)

    async def restore(self, partitions: set[int]) -> None:
        """Read the changelogs of these partitions up to their end, from where an earlier copy ends; drop the others."""
        self._copies = {key: copy for key, copy in self._copies.items() if key[1] in partitions}
        self._reflected = {key: value for key, value in self._reflected.items() if key.partition in partitions}
        logs = {}
        for name, entry in (await self._admin.describe(None)).items():
            table = table_of(self._group, name)
            if table is not None:
                for number in partitions & set(range(len(entry["partitions"]))):
                    logs[topics.kafka_partition(port.TopicPartition(name, number))] = table
        if not logs:
            return
        reader = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            request_timeout_ms=int(self._settings.request_timeout_s * 1000),
            retry_backoff_ms=self._settings.retry_backoff_ms,
            fetch_max_wait_ms=self._settings.fetch_wait_ms,
        )
        try:
            with failures.translated(self._bootstrap, f"restoring the tables of {self._group!r}"):
                async with asyncio.timeout(self._settings.request_timeout_s):
                    await reader.start()
                await self._read(reader, logs)
        finally:
            await reader.stop()

    async def _read(self, reader: Any, logs: dict[Any, str]) -> None:
        reader.assign(list(logs))
        timeout_s = self._settings.request_timeout_s
        async with asyncio.timeout(timeout_s):
            ends = await reader.end_offsets(list(logs))
            starts = await reader.beginning_offsets(list(logs))
        waiting = {}
        for partition, table in logs.items():
            copy = self._copies.setdefault((table, partition.partition), _Copy())
            if copy.next_offset > ends[partition]:  # the topic was made anew
                copy.rows.clear()
                copy.next_offset = 0
            reader.seek(partition, max(copy.next_offset, starts[partition]))
            if max(copy.next_offset, starts[partition]) < ends[partition]:
                waiting[partition] = ends[partition]
        while waiting:
            async with asyncio.timeout(timeout_s):  # for progress, not for the whole: a table may be large
                found = await reader.getmany(timeout_ms=self._settings.fetch_wait_ms)
                for partition in list(waiting):
                    copy = self._copies[(logs[partition], partition.partition)]
                    for record in found.get(partition, ()):
                        self._apply(copy, record)
                    copy.next_offset = await reader.position(partition)
                    if copy.next_offset >= waiting[partition]:
                        del waiting[partition]

    def _apply(self, copy: _Copy, record: Any) -> None:
        if record.value is None:
            copy.rows.pop(record.key, None)
        else:
            copy.rows[record.key] = record.value
        for name, value in record.headers:
            if name == REFLECTS:
                topic, _, offset = value.decode().rpartition(":")
                partition = port.TopicPartition(topic, record.partition)
                self._reflected[partition] = max(int(offset), self.reflected(partition))
