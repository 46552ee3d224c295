"""The bus port: an ordered, partitioned, durable log with consumer groups. This docstring is its specification.

Two back ends keep it: `embedded` (SQLite, one machine) and `kafka` (aiokafka). One contract suite,
`tests/contracts/test_bus.py`, runs the same cases over both.

Order. Records of one partition have offsets that rise; a reader sees them in that order, gaps only where compaction,
retention or a transaction marker took an offset. A record with a key goes to partition murmur2(key) mod partitions,
as Kafka's default partitioner sends it; without one, partitions are filled in turn.

Durability. When `publish` returns, the records are durable: fsynced (embedded), or held by all in-sync replicas
(Kafka, acks=all). A publish that raises may still have been stored, unless it raised `RecordTooLargeError`,
`UnknownTopicError` or `StorageFullError`: then nothing of it was. On Kafka a topic may be deleted, or its limit lowered,
while the records of a call are on their way; where that leaves some stored and others not, `PartlyStoredError` says so.
Retries inside the port never store a record twice.

Groups. Each partition of a group's topics belongs to one member at a time. When a member joins, leaves or dies the
group rebalances: `Listener.on_revoked` runs to its end before another member gets the partition; `on_lost` says that
the partition is gone already. A consumer starts at the group's committed offset, and at `start` where there is none; at
the first record where the committed offset lies beyond the end, as after a log lost its tail.

Settling. `Consumer.settle` appends records, stores state and commits offsets. With `atomic=True` a crash leaves all
of it or none. With `atomic=False` a back end may do it in that order, so a crash can leave a prefix: outputs without
state, or both without the commit, never a commit without its outputs. State carries the offset it reflects: where it
reflects more than was committed after such a crash, a consumer starts after what it reflects. A settle for a partition
that is not this member's own any more raises `FencedError` and stores nothing; one with `atomic=False` that loses it
halfway may have appended its records. Rows that an owner sends late, after the next one has the partition, are never
stored: not even a process that slept between its last check and the broker can take state back to an older position.
(On Kafka an atomic settle over several partitions is refused once the first of them has its new owner.) An atomic settle
may become visible to others some moments after it returned, as Kafka's transactions do; whoever takes the partition over
sees it.

Limits. `record_bytes_max` is 1 MiB less overhead unless the topic says otherwise, as Kafka's default; key, value and
headers count. A row of state takes `ROW_BYTES_MAX`; a larger one raises `RecordTooLargeError`, then nothing of its
settle was stored.

Refusals. What Kafka would refuse, and what no call can mean, raises `UsageError` on every back end before anything of the
call is stored (`checking` has the rules): names that Kafka does not take, partitions that the topic does not have,
offsets below zero, a record without a key for a compacted topic. So does whatever is asked of
a consumer that is not open.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import msgspec

from sixfold import errors

Header = tuple[str, bytes]

ROW_BYTES_MAX = 999_000
"""Largest row of state, key and value together: the default `record_bytes_max` less what a changelog record adds."""


NOTE_CHARS_MAX = 4_000
"""Kafka keeps 4,096 bytes with a committed offset (`offset.metadata.max.bytes`)."""


class TopicPartition(NamedTuple):
    topic: str
    partition: int


class Position(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record as read."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    """None is a tombstone."""
    headers: Sequence[Header]


class NewRecord(msgspec.Struct, frozen=True, gc=False):
    """A record to publish."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[Header] = ()
    partition: int | None = None
    """Pins the partition; None lets the key decide."""
    timestamp_ms: int | None = None
    """CREATE_TIME in Unix milliseconds; None is now."""


class Cleanup(enum.Enum):
    """What becomes of old records."""

    DELETE = "delete"
    """Dropped after `retention_ms` or beyond `retention_bytes`."""
    COMPACT = "compact"
    """The newest record of each key is kept; a tombstone takes its key away, after a delay."""


class TopicSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as declared."""

    name: str
    partitions: int = 6
    """Six by default: one a storage copy, and enough for the members of a small group."""
    cleanup: Cleanup = Cleanup.DELETE
    retention_ms: int | None = 7 * 24 * 3600 * 1000
    """A week as Kafka's default; None keeps for ever."""
    retention_bytes: int | None = None
    """Per partition; None is no limit."""
    record_bytes_max: int = 1_000_000
    replication: int | None = None
    """Copies of each partition; None is the cluster's default. The embedded bus has one."""
    replica_zones: tuple[str, ...] = ()
    """Zone of the leader of each partition, in order, where the cluster knows racks; empty leaves it to the cluster."""
    grows: bool = False
    """More partitions than declared are no conflict: its owner adds some with time, and addresses each by its number."""


class Start(NamedTuple):
    """Where a consumer begins in a partition that has no committed offset."""

    at: str
    """`earliest`, `latest` or `timestamp`."""
    timestamp_ms: int = 0
    """With `timestamp`: the first record stamped then or later; the end where there is none."""


EARLIEST = Start("earliest")
LATEST = Start("latest")


class Offsets(NamedTuple):
    """The readable range of a partition: `start` <= offset < `end`."""

    start: int
    end: int


Rows = Mapping[bytes, bytes | None]
"""Rows of one partition of a table, by key; None deletes one, or says that there is none."""
State = Mapping[tuple[str, int], Rows]
"""Rows by table and partition. Tables belong to the group and the partition."""


class BusError(errors.SixfoldError):
    """Base of the bus's errors."""


class BusUnavailableError(BusError):
    """No broker answers, or the embedded bus cannot be opened. Trying again may help."""


class BusRefusedError(BusError):
    """The brokers answer and let nobody in so: a wrong password, a certificate that is not trusted. Set it right."""


class UnknownTopicError(BusError):
    """The topic does not exist; create it, or check its name."""


class RecordTooLargeError(BusError):
    """A record is larger than its topic allows, or a row of state larger than any."""


class PartlyStoredError(BusError):
    """Some records of the call may be stored, others cannot be: a topic went, or takes less, while they were sent."""


class StorageFullError(BusError):
    """The disk under the bus is full; nothing of the call was stored. It works again once there is room."""


class FencedError(BusError):
    """This member does not own the partition any more: a rebalance gave it away. Expected; nothing was stored."""


class TopicConflictError(BusError):
    """A topic exists with settings that the declaration contradicts."""


class Listener(Protocol):
    """Told of a group consumer's partitions. Each call ends before the rebalance goes on."""

    async def on_assigned(self, partitions: Sequence[TopicPartition]) -> None: ...

    async def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Still owned until this returns: finish work, settle, commit. There is a deadline, `revoke_timeout_s`."""

    async def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Already gone; whatever is settled for them now raises FencedError."""


class Consumer(Protocol):
    """Reads partitions, settles what became of their records. Use as an async context manager."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the group (its partitions go to others at once) and close; a fetch that waits ends. Nobody is told."""

    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions that this consumer reads now."""

    async def fetch(self, *, records_max: int = 500, wait_s: float = 0.5) -> dict[TopicPartition, list[Record]]:
        """The next records by partition, at least one unless `wait_s` passes first; empty then.

        Each record is given once per assignment; after a crash or a rebalance from the committed offset again.
        """

    def position(self, partition: TopicPartition) -> int:
        """Where the next fetch of `partition` goes on: every readable record below was given, or lay before the start.

        Fetching moves it, also over offsets that hold no record (transaction markers, compaction, retention); so it
        reaches the end that `Bus.offsets` told, and `sixfold.bus.ends` waits for that. Raises UsageError for a
        partition that is not in `assignment()`.
        """

    async def settle(
        self,
        *,
        records: Sequence[NewRecord] = (),
        state: State | None = None,
        offsets: Mapping[TopicPartition, int] | None = None,
        notes: Mapping[TopicPartition, str] | None = None,
        atomic: bool = False,
    ) -> None:
        """Append `records`, store `state`, commit `offsets` (the next offset to read); see Settling above.

        State must be of partitions whose offset is in `offsets`; none of it is changed by anybody afterwards. `notes` are short texts kept beside the committed
        offsets of their partitions (`NOTE_CHARS_MAX`, ASCII, no spaces); a commit without one takes the last one away.
        """

    async def note(self, partition: TopicPartition) -> str:
        """The text beside the group's committed offset, as this consumer found it or settled it since; else empty."""

    @property
    def standby_lag(self) -> int | None:
        """With `standby`: an upper bound on the rows that its copies lacked when it last looked, a few seconds ago.

        None where it does not keep copies, on the embedded bus, and before its first look after an assignment.
        """

    async def state_get(self, table: str, partition: int, key: bytes) -> bytes | None:
        """The stored row, of this consumer's group. Raises FencedError for a partition that it does not read."""

    async def state_scan(self, table: str, partition: int) -> list[tuple[bytes, bytes]]:
        """All rows of a table's partition, in key order. Raises as `state_get`."""

    async def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read `partition` from `offset` on; records already fetched are not given again unless they lie there.

        Raises FencedError for a partition that this consumer does not read (any more).
        """

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """`fetch` skips these until `resume`; membership is kept. A partition that goes and comes back is not paused.

        One that is not assigned is passed over: it may have gone this moment.
        """

    def resume(self, partitions: Sequence[TopicPartition]) -> None: ...


class Bus(Protocol):
    """One connection to a bus. Safe for all tasks of one event loop. Use as an async context manager."""

    @property
    def url(self) -> str:
        """What `open_bus` was given, such as `embedded:` or `kafka://127.0.0.1:9092`."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Make the topics that do not exist. Raises TopicConflictError where one exists with other partitions.

        One that `grows` may have more than it is declared with.
        """

    async def alter_topic(self, spec: TopicSpec) -> None:
        """Give an existing topic the cleanup, retention and record limit of `spec`, and its partitions where it has fewer.

        More partitions move keys: the records of a key that are there stay where they are, new ones may go elsewhere.
        Processes that publish by key keep to the partitions that they know until they open the bus again, while one that
        names a new partition reaches it; groups hear of new ones by themselves, on Kafka after some minutes. New
        partitions have the replicas of `spec`, placed by its zones; those that are there stay where they are. Raises UnknownTopicError, and
        TopicConflictError where the topic has more partitions; nothing is changed then.
        """

    async def topics(self) -> dict[str, TopicSpec]:
        """Every topic by name, without the back end's internal ones."""

    async def delete_topic(self, name: str) -> None:
        """Delete a topic with its records and committed offsets. Raises UnknownTopicError."""

    async def publish(self, records: Sequence[NewRecord]) -> list[Position]:
        """Store records durably, in the given order within each partition; see Durability above."""

    async def offsets(self, partition: TopicPartition) -> Offsets: ...

    async def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int:
        """Offset of the first record stamped `timestamp_ms` or later, the end where there is none."""

    async def committed(self, group: str) -> dict[TopicPartition, int]:
        """The group's committed offsets."""

    async def lag(self, group: str, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """Records that the group has not committed, per partition (from the start where nothing is committed)."""

    def subscribe(
        self,
        group: str,
        topics: Sequence[str],
        *,
        start: Start = EARLIEST,
        listener: Listener | None = None,
        member: str | None = None,
        revoke_timeout_s: float = 30.0,
        standby: bool = False,
    ) -> Consumer:
        """A member of `group`; `member` is a stable name for static membership.

        With `standby` it copies beforehand, in the background, the state of partitions that other members own, so that it
        takes them over having to read only what came since. It changes nothing else: what a member reads is what was
        settled. On the embedded bus all members read the same log and there is nothing to copy.
        """

    def assign(
        self, partitions: Sequence[TopicPartition], *, start: Start = EARLIEST, group: str | None = None
    ) -> Consumer:
        """A consumer of just these partitions, no rebalance. With `group` it starts from and may commit its offsets.

        Nothing fences two consumers that pin the same partition for one group; that is the caller's to avoid.
        """
