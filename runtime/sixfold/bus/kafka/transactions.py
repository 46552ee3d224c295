"""Kafka transactions: what one stores appears together or not at all, and nothing of a producer that was fenced.

aiokafka knows no KIP-447, so a broker does not fence a transaction's offsets by the group's generation, only by the
producer. Hence one transactional producer for each input partition: whoever takes the partition over opens the same
transactional id, which aborts what the last owner left open and refuses everything that it tries later. A transaction
over several partitions is of the first one's producer, with the others' opened as well. It is fenced when the first one
has a new owner, which may be a moment after another has: so only an atomic settle, which needs it, spans partitions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from aiokafka.structs import OffsetAndMetadata

from sixfold.bus import port
from sixfold.bus.kafka import bootstrap, changelogs, failures, lifecycle, producers, producing, topics
from sixfold.bus.kafka import settings as kafka_settings

ATOMIC_NOTE = "atomic"
"""Left with offsets that a transaction committed: the partition's next owner then fences the last one before it reads."""


def is_atomic(metadata: str) -> bool:
    """Whether the offset that has this metadata was committed by a transaction."""
    return metadata.partition(" ")[0] == ATOMIC_NOTE


def note_of(metadata: str) -> str:
    """The caller's own part of the metadata."""
    return metadata.partition(" ")[2] if is_atomic(metadata) else metadata.lstrip()


def plain(note: str) -> str:
    """The metadata with which a commit without a transaction leaves `note`."""
    return f" {note}" if is_atomic(note) else note


def transactional_id(group: str, partition: port.TopicPartition) -> str:
    """One for each input partition of a group."""
    return f"sixfold:{group}:{partition.topic}:{partition.partition}"


class Transactions:
    """The transactional producers of the partitions that one member owns."""

    def __init__(self, group: str, servers: str, settings: kafka_settings.KafkaSettings) -> None:
        self._group = group
        self._bootstrap = servers
        self._settings = settings
        self._producers: dict[port.TopicPartition, Any] = {}
        self._locks: dict[int, asyncio.Lock] = {}

    def is_open(self, partition: port.TopicPartition) -> bool:
        """Whether this member fenced the partition's last owner."""
        return partition in self._producers

    async def open(self, partitions: Sequence[port.TopicPartition]) -> None:
        """Fence the last owners of these partitions; what they left open is aborted."""
        await asyncio.gather(*(self._open(partition) for partition in partitions if partition not in self._producers))

    async def _open(self, partition: port.TopicPartition) -> None:
        producer = producers.new(
            await bootstrap.answering(self._bootstrap, self._settings.connect_timeout_s),
            self._settings,
            batch_bytes=self._settings.batch_bytes,
            transactional_id=transactional_id(self._group, partition),
        )
        try:
            with failures.translated(self._bootstrap, f"opening the transactions of {partition}"):
                await lifecycle.start(producer, self._settings.request_timeout_s)
        except BaseException:
            await producers.stop(producer)
            raise
        self._producers[partition] = producer

    async def close(self) -> None:
        """Abort what is under way and give the producers up."""
        former, self._producers = list(self._producers.values()), {}
        await asyncio.gather(*(self._discard(producer) for producer in former))

    async def _discard(self, producer: Any) -> None:
        await lifecycle.to_its_end(self._abort(producer))

    async def _abort(self, producer: Any) -> None:
        manager = producer._txn_manager
        if manager.is_in_transaction() and not manager.is_fatal_error():
            try:
                async with asyncio.timeout(producers.STOP_S):
                    await producer.abort_transaction()
            except Exception:  # noqa: S110 - the broker aborts it when it times out, or when the next owner opens its id
                pass
        await producers.stop(producer)

    async def run(
        self,
        partitions: Sequence[port.TopicPartition],
        records: Sequence[tuple[port.NewRecord, int]],
        shares: Sequence[changelogs.Share],
        offsets: Mapping[port.TopicPartition, int],
        notes: Mapping[port.TopicPartition, str],
        now_ms: int,
    ) -> list[int]:
        """One transaction; the offset of the last row of each share.

        Raises FencedError when another member opened the partition, BusUnavailableError when nobody answers in time; then
        whether it was committed shows when the partition is opened again.
        """
        first = min(partitions)
        async with contextlib.AsyncExitStack() as held:
            # By number: inputs of the same number share their tables' partitions, and a marker follows its rows there.
            for number in sorted({partition.partition for partition in partitions}):
                await held.enter_async_context(self._locks.setdefault(number, asyncio.Lock()))
            producer = self._producers.get(first)
            if producer is None:
                raise failures.fenced(first, "given up while it waited")
            try:
                with failures.translated(self._bootstrap, f"settling {first} in a transaction"):
                    async with asyncio.timeout(self._settings.publish_timeout_s):
                        return await self._transact(producer, records, shares, offsets, notes, now_ms)
            except BaseException:  # the next settle opens it again, which also tells how this one ended
                self._producers.pop(first, None)
                await self._discard(producer)
                raise

    async def _transact(
        self,
        producer: Any,
        records: Sequence[tuple[port.NewRecord, int]],
        shares: Sequence[changelogs.Share],
        offsets: Mapping[port.TopicPartition, int],
        notes: Mapping[port.TopicPartition, str],
        now_ms: int,
    ) -> list[int]:
        await producer.begin_transaction()
        lasts = await _together([producing.append_rows(producer, share, now_ms) for share in shares])
        if records:
            await producing.append(producer, records, now_ms)
        if offsets:
            committing = {
                topics.kafka_partition(partition): OffsetAndMetadata(
                    offset, f"{ATOMIC_NOTE} {notes.get(partition, '')}".rstrip()
                )
                for partition, offset in offsets.items()
            }
            await producer.send_offsets_to_transaction(committing, self._group)
        await producer.commit_transaction()
        return lasts


async def _together(appending: Sequence[Coroutine[Any, Any, int]]) -> list[int]:
    """What each returns; all have ended when one's failure is raised."""
    lasts: list[int] = []
    for last in await asyncio.gather(*appending, return_exceptions=True):
        if isinstance(last, BaseException):
            raise last
        lasts.append(last)
    return lasts
