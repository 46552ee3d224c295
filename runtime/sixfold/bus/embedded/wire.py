"""What goes over the socket: one msgpack array per message, told apart by its first element.

Requests carry an `id` that their reply repeats. `consumer` numbers the consumers of one connection, 0 is none.
Partitions go by their numeric id, which is never used again: a deleted and re-made topic has other ids.
"""

from __future__ import annotations

import msgspec

from sixfold import errors
from sixfold.bus import port

VERSION = 2
"""Of this protocol; both ends must have the same."""


class Batch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Records of one partition to append; `payload` is as `batches` encodes it."""

    partition: int
    count: int
    timestamp_max_ms: int
    record_bytes: int
    """Of the largest record."""
    payload: bytes


class Topic(msgspec.Struct, frozen=True, array_like=True):
    """A topic and the ids of its partitions, in order."""

    spec: port.TopicSpec
    partitions: tuple[int, ...]


class State(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One row of a group's table."""

    table: str
    partition: int
    key: bytes
    value: bytes | None


class Stored(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A stored batch as read; without payload a stretch that holds no record any more."""

    partition: int
    base_offset: int
    last_offset: int
    payload: bytes


class Grant(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A partition given to a group's member, and the offset to read from."""

    partition: int
    topic: str
    number: int
    offset: int


class _Message(msgspec.Struct, array_like=True):
    pass


class Hello(_Message, tag=1, kw_only=True):
    """First message of a client."""

    version: int


class ListTopics(_Message, tag=2, kw_only=True):
    id: int = 0


class CreateTopics(_Message, tag=3, kw_only=True):
    id: int = 0
    specs: list[port.TopicSpec]


class DeleteTopic(_Message, tag=4, kw_only=True):
    id: int = 0
    name: str


class Write(_Message, tag=5, kw_only=True):
    """Append, store state and commit, all or nothing. `retry` when an earlier owner may have stored it already."""

    id: int = 0
    producer: int
    sequence: int = 0
    """Rises with each write of the producer."""
    sent_ms: int
    """When it was first sent; bounds the search for what a retry may have stored."""
    retry: bool = False
    batches: list[Batch] = []
    consumer: int = 0
    group: str = ""
    state: list[State] = []
    offsets: list[tuple[int, int]] = []


class GetOffsets(_Message, tag=6, kw_only=True):
    id: int = 0
    partitions: list[int]


class OffsetAt(_Message, tag=7, kw_only=True):
    id: int = 0
    partition: int
    timestamp_ms: int


class GetCommitted(_Message, tag=8, kw_only=True):
    id: int = 0
    group: str


class GetState(_Message, tag=9, kw_only=True):
    id: int = 0
    group: str
    table: str
    partition: int
    key: bytes


class ScanState(_Message, tag=10, kw_only=True):
    """Rows with keys above `after`, as many as fit a message."""

    id: int = 0
    group: str
    table: str
    partition: int
    after: bytes | None


class Fetch(_Message, tag=11, kw_only=True):
    """Answered by one `Fetched` once any of `wants` (partition, offset) has records; replaces an earlier one."""

    consumer: int
    token: int
    wants: list[tuple[int, int]]
    bytes_max: int


class Join(_Message, tag=12, kw_only=True):
    """Become a member, or come back as one after the owner changed, with `claims`: what it holds already."""

    consumer: int
    group: str
    topics: list[str]
    start: str
    start_timestamp_ms: int
    member: str | None
    revoke_timeout_s: float
    claims: list[int]


class Leave(_Message, tag=13, kw_only=True):
    """End of a consumer: its partitions go to others."""

    id: int = 0
    consumer: int


class Revoked(_Message, tag=14, kw_only=True):
    """The listener has done with these."""

    consumer: int
    partitions: list[int]


class AlterTopic(_Message, tag=15, kw_only=True):
    id: int = 0
    spec: port.TopicSpec


class Welcome(_Message, tag=20, kw_only=True):
    version: int


class Done(_Message, tag=21, kw_only=True):
    id: int


class Failed(_Message, tag=22, kw_only=True):
    id: int
    kind: str
    message: str


class Topics(_Message, tag=23, kw_only=True):
    id: int
    topics: list[Topic]


class Written(_Message, tag=24, kw_only=True):
    """Base offsets of the batches, in order."""

    id: int
    bases: list[int]


class Ranges(_Message, tag=25, kw_only=True):
    """(start, end) of each partition asked for."""

    id: int
    ranges: list[tuple[int, int]]


class Found(_Message, tag=26, kw_only=True):
    id: int
    offset: int


class Committed(_Message, tag=27, kw_only=True):
    id: int
    offsets: list[tuple[int, int]]


class Rows(_Message, tag=28, kw_only=True):
    id: int
    rows: list[tuple[bytes, bytes]]
    more: bool


class Fetched(_Message, tag=29, kw_only=True):
    consumer: int
    token: int
    batches: list[Stored]


class Joined(_Message, tag=30, kw_only=True):
    """Answer to Join: which claims hold, or why it was refused."""

    consumer: int
    held: list[int]
    kind: str = ""
    message: str = ""


class Assigned(_Message, tag=31, kw_only=True):
    consumer: int
    grants: list[Grant]


class Revoke(_Message, tag=32, kw_only=True):
    consumer: int
    partitions: list[int]


class Lost(_Message, tag=33, kw_only=True):
    consumer: int
    partitions: list[int]


class Troubled(_Message, tag=34, kw_only=True):
    """There is nothing to fetch for the consumer, 0 is all of the connection, because of an error."""

    consumer: int
    kind: str
    message: str


Call = (
    ListTopics
    | CreateTopics
    | DeleteTopic
    | AlterTopic
    | Write
    | GetOffsets
    | OffsetAt
    | GetCommitted
    | GetState
    | ScanState
    | Leave
)
"""Requests with a reply of the same id; resent to the next owner when the connection breaks."""
Request = Hello | Call | Fetch | Join | Revoked
Reply = Done | Failed | Topics | Written | Ranges | Found | Committed | Rows
Push = Fetched | Joined | Assigned | Revoke | Lost | Troubled
Response = Welcome | Reply | Push

_KINDS: dict[str, type[errors.SixfoldError]] = {
    kind.__name__: kind
    for kind in (
        port.BusError,
        port.BusUnavailableError,
        port.UnknownTopicError,
        port.RecordTooLargeError,
        port.StorageFullError,
        port.FencedError,
        port.TopicConflictError,
        errors.UsageError,
    )
}


def error(kind: str, message: str) -> errors.SixfoldError:
    """The exception that a `Failed` or a refused `Joined` stands for."""
    return _KINDS.get(kind, port.BusError)(message)
