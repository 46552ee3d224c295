"""Which batch each record of a publish call goes into, and where each lies once the batches are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sixfold.bus import checking, port
from sixfold.bus.embedded import batches, owner, wire

_new_tuple = tuple.__new__


class _Open:
    """A batch that is being filled."""

    __slots__ = ("bytes", "encoded", "indexes", "largest", "newest", "number", "partition", "topic")

    def __init__(self, topic: str, number: int, partition: int) -> None:
        self.topic = topic
        self.number = number
        self.partition = partition
        self.encoded: list[bytes] = []
        self.indexes: list[int] = []
        self.bytes = 0
        self.largest = 0
        self.newest = 0


class Layout:
    """The batches of one call."""

    def __init__(
        self,
        records: Sequence[port.NewRecord],
        topics: Mapping[str, wire.Topic],
        *,
        now_ms: int,
        batch_bytes_max: int,
        number_of: Callable[[port.NewRecord, int], int],
    ) -> None:
        """Raises UsageError, RecordTooLargeError or UnknownTopicError for a record that cannot be stored.

        `number_of` gives the partition of a record among so many.
        """
        self._count = len(records)
        self._all: list[_Open] = []
        filling: dict[int, _Open] = {}
        for index, record in enumerate(records):
            timestamp_ms = record.timestamp_ms
            if timestamp_ms is None:
                timestamp_ms = now_ms
            encoded = batches.encode_record(record, timestamp_ms)
            size = len(encoded)
            topic = topics[record.topic]
            counted = size
            if size > topic.spec.record_bytes_max:  # its encoding has some bytes of its own, which do not count
                counted = checking.size_bytes(record.key, record.value, record.headers)
                if counted > topic.spec.record_bytes_max:
                    raise owner.too_large(topic.spec, counted)
            if record.key is None and topic.spec.cleanup is port.Cleanup.COMPACT:
                raise checking.keyless(record.topic)
            number = number_of(record, len(topic.partitions))
            partition = topic.partitions[number]
            batch = filling.get(partition)
            if batch is None or batch.bytes + size > batch_bytes_max:
                batch = filling[partition] = _Open(record.topic, number, partition)
                self._all.append(batch)
            batch.encoded.append(encoded)
            batch.indexes.append(index)
            batch.bytes += size
            if counted > batch.largest:
                batch.largest = counted
            if timestamp_ms > batch.newest:
                batch.newest = timestamp_ms

    def batches(self) -> list[wire.Batch]:
        """What to append."""
        return [
            wire.Batch(
                one.partition,
                len(one.encoded),
                one.newest,
                one.largest,
                batches.payload(one.encoded),
            )
            for one in self._all
        ]

    def positions(self, bases: Sequence[int]) -> list[port.Position]:
        """Where each record lies, in the order of the call; `bases` are the base offsets of the batches."""
        found: list[port.Position] = [_NOWHERE] * self._count
        for one, base in zip(self._all, bases, strict=True):
            topic, number = one.topic, one.number
            for offset, index in enumerate(one.indexes, base):
                # Half the time of Position(topic, number, offset), and half of this loop is that.
                found[index] = _new_tuple(port.Position, (topic, number, offset))
        return found


_NOWHERE = port.Position("", 0, 0)
