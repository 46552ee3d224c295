"""What every back end refuses, in the same words: whatever is taken here could be stored on any of them. Pure.

What a call cannot mean raises UsageError before anything of it is stored.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence

from sixfold import errors
from sixfold.bus import port

PARTITIONS_MAX = 10_000
"""Of one topic; a broker of Kafka is advised to hold about 4,000 in all."""
NAME_LENGTH_MAX = 249
"""Of a topic, as Kafka's."""
_TOPIC = re.compile(r"[A-Za-z0-9._-]+")
_TABLE = re.compile(r"[A-Za-z0-9_-]{1,50}")
_NOTE = re.compile(r"[!-~]*")


def topic(spec: port.TopicSpec) -> None:
    """A topic's name and number of partitions."""
    if not 1 <= spec.partitions <= PARTITIONS_MAX:
        raise errors.UsageError(f"topic {spec.name!r}: {spec.partitions} partitions; expected 1 to {PARTITIONS_MAX}")
    if not _TOPIC.fullmatch(spec.name) or len(spec.name) > NAME_LENGTH_MAX or spec.name in {".", ".."}:
        raise errors.UsageError(
            f"topic name {spec.name!r}: expected 1 to {NAME_LENGTH_MAX} letters, digits, dots, underscores and dashes, "
            "as Kafka takes"
        )


def no_partition(topic: str, number: int, count: int) -> errors.UsageError:
    """The error for a number that the topic does not have."""
    return errors.UsageError(f"topic {topic!r} has partitions 0 to {count - 1}, not {number}")


def keyless(topic: str) -> errors.UsageError:
    """The error for a record of a compacted topic that has no key."""
    return errors.UsageError(
        f"a record for topic {topic!r} has no key, and the topic keeps the newest record of each key; give it one"
    )


def size_bytes(key: bytes | None, value: bytes | None, headers: Sequence[port.Header]) -> int:
    """What counts against `record_bytes_max`."""
    size = (len(key) if key else 0) + (len(value) if value else 0)
    for name, data in headers:  # every output comes by here: a loop takes half the time of a generator
        size += len(data) + (len(name) if name.isascii() else len(name.encode()))
    return size


@functools.lru_cache(1024)  # asked for each row that is read
def table(name: str) -> None:
    """A table's name."""
    if not _TABLE.fullmatch(name):
        raise errors.UsageError(f"table {name!r}: expected 1 to 50 letters, digits, _ or -; rename it")


def offset(partition: port.TopicPartition, number: int) -> None:
    """An offset to commit or to seek."""
    if number < 0:
        raise errors.UsageError(f"{partition.topic}:{partition.partition}: offset {number}; the first one is 0")


def settle(
    state: port.State,
    offsets: Mapping[port.TopicPartition, int],
    notes: Mapping[port.TopicPartition, str],
) -> None:
    """Rows, offsets and notes of one settle. Raises RecordTooLargeError for a row that is too large."""
    for partition, number in offsets.items():
        offset(partition, number)
    for partition, note in notes.items():
        if partition not in offsets:
            raise errors.UsageError(f"a note for {partition} without its offset; it lies beside one: commit both")
        if len(note) > port.NOTE_CHARS_MAX or not _NOTE.fullmatch(note):
            raise errors.UsageError(
                f"a note of {len(note)} characters for {partition}; expected at most {port.NOTE_CHARS_MAX}, ASCII and no "
                "spaces"
            )
    numbers = {partition.partition for partition in offsets}
    for (name, number), rows in state.items():
        table(name)
        if number not in numbers:
            raise errors.UsageError(
                f"state of table {name!r}, partition {number}: no offset of that partition is in `offsets`; "
                "commit the offset that the state reflects together with it"
            )
        if (size := above(rows, port.ROW_BYTES_MAX)) is not None:
            raise port.RecordTooLargeError(
                f"a row of table {name!r} has {size} bytes with its key, a row takes {port.ROW_BYTES_MAX}: split it "
                "over several keys. Nothing was stored"
            )


def above(rows: port.Rows, limit: int) -> int | None:
    """Bytes of the largest row, its key included, where that is more than `limit`."""
    # Rows come by the ten thousand a second, and hardly ever one that needs to be looked at by itself.
    if max(map(len, rows), default=0) + max(map(len, filter(None, rows.values())), default=0) <= limit:
        return None
    size = max(len(key) + len(value or b"") for key, value in rows.items())
    return size if size > limit else None


def fits(spec: port.TopicSpec, partitions: int) -> bool:
    """Whether a topic that exists with so many partitions is as declared."""
    return partitions == spec.partitions or (spec.grows and partitions > spec.partitions)
