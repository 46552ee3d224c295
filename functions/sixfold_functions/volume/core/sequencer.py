"""The writer's heart: LSNs, batches, the limit on what is not durable yet, and who waits for which LSN.

Appends that wait are put into one batch. A batch ends at the end of an append, so a batch boundary is a consistency
point; only an append that is larger than a batch is cut, and then no other append shares its batches.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the writer holds at most."""

    batch_records_max: int = 2048
    batch_bytes_max: int = 524_288
    """Half of Kafka's default record limit: what a batch costs is shared by the records of more than a thousand clients."""
    batch_appends_max: int = 2048
    """1 where each append is to be a batch of its own."""
    record_bytes_max: int = 524_288
    ahead_records_max: int = 100_000
    """LAL: no LSN is allocated further than this beyond the durable one (Aurora: 10 million)."""
    window_bytes_max: int = 67_108_864
    """Payload bytes that are sent and not durable yet; kept in memory to be sent again."""

    def refusal(self, records: Sequence[bytes]) -> str:
        """Why an append of `records` cannot be taken; empty if it can."""
        if not records:
            return "an append needs at least one record"
        largest, size = max(map(len, records)), sum(map(len, records))
        if largest > self.record_bytes_max:
            return f"a record has {largest} bytes; a volume takes {self.record_bytes_max} at most"
        if size > self.window_bytes_max or len(records) > self.ahead_records_max:
            return (
                f"an append has {len(records)} records with {size} bytes; a volume takes {self.ahead_records_max} "
                f"records and {self.window_bytes_max} bytes at once at most; append it in parts"
            )
        return ""


class Request(NamedTuple):
    """The append request that an append came from."""

    request_id: str
    offset: int


@dataclass(eq=False)
class Append(Generic[T]):
    """Records that become durable together, and what their caller waits with."""

    records: Sequence[bytes]
    waiter: T
    request: Request | None = None
    first_lsn: int = 0
    taken: int = 0
    """How many of the records are in batches."""
    payload_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.payload_bytes = sum(map(len, self.records))

    @property
    def last_lsn(self) -> int:
        return self.first_lsn + len(self.records) - 1


class Batch(NamedTuple):
    """Records with their LSNs, ready to be sent to every copy."""

    first_lsn: int
    backlink_epoch: int
    payloads: list[bytes]
    consistency_points: list[int]
    requests: list[tuple[Request, int, int]]
    """Requests that end here, each with its last LSN and its number of records."""
    payload_bytes: int
    committed_at_ms: int = 0

    @property
    def last_lsn(self) -> int:
        return self.first_lsn + len(self.payloads) - 1


class Sequencer(Generic[T]):
    """Gives LSNs from `begin` on; `next_batch` until a limit holds it; `on_durable` frees who waited."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: collections.deque[Append[T]] = collections.deque()
        self._waiting_bytes = 0
        self._sent: collections.deque[Append[T]] = collections.deque()
        self._window: collections.deque[Batch] = collections.deque()
        self._window_bytes = 0
        self._epoch = 0
        self._last_origin = 0
        self.last_lsn = 0
        """Highest LSN that was given out."""
        self.durable_lsn = 0
        self._clock_ms = 0

    def begin(self, epoch: int, durable_lsn: int, last_origin_epoch: int, clock_ms: int = 0) -> None:
        """The volume of `epoch` begins above `durable_lsn`, whose record is of `last_origin_epoch`.

        Copies have stored stamps up to `clock_ms`; all that are given from now on are above.
        """
        self._epoch, self._last_origin, self._clock_ms = epoch, last_origin_epoch, clock_ms + 1
        self.last_lsn = self.durable_lsn = durable_lsn

    @property
    def backlink_epoch(self) -> int:
        """Origin epoch of the record at `last_lsn`."""
        return self._last_origin

    def stamp(self, now_ms: int) -> int:
        """The time of what is sent at `now_ms`: never before an earlier one, also where the clock was set back."""
        self._clock_ms = max(self._clock_ms, now_ms)
        return self._clock_ms

    def promise(self, now_ms: int) -> int:
        """A stamp that no record gets from now on, nor a lower one."""
        stamp = self.stamp(now_ms)
        self._clock_ms = stamp + 1
        return stamp

    def offer(self, append: Append[T]) -> None:
        """Put an append in the queue."""
        self._waiting.append(append)
        self._waiting_bytes += append.payload_bytes

    def waiting(self) -> tuple[int, int]:
        """Appends that have no LSN yet, or not all of theirs, and the bytes of their records."""
        return len(self._waiting), self._waiting_bytes

    def gathers(self) -> bool:
        """Whether the next batch gains by waiting: one is on its way, and what waits does not fill another.

        Who is freed by the one appends again, so that one batch has the records of all; a batch costs much, a record little.
        """
        limits = self._limits
        appends_max = min(limits.batch_appends_max, limits.batch_records_max)
        full = self._waiting_bytes >= limits.batch_bytes_max or len(self._waiting) >= appends_max
        return bool(self._window) and not full

    def next_batch(self, now_ms: int = 0) -> Batch | None:
        """The next records to send, stamped at `now_ms`; None while nothing waits or a limit is reached."""
        limits = self._limits
        room = limits.ahead_records_max - (self.last_lsn - self.durable_lsn)
        if not self._waiting or room <= 0 or self._window_bytes >= limits.window_bytes_max:
            return None
        payloads: list[bytes] = []
        points: list[int] = []
        requests: list[tuple[Request, int, int]] = []
        size, first_lsn, records_max = 0, self.last_lsn + 1, min(limits.batch_records_max, room)
        while self._waiting:
            append = self._waiting[0]
            rest = append.records[append.taken :] if append.taken else append.records
            rest_bytes = sum(map(len, rest)) if append.taken else append.payload_bytes
            if len(payloads) + len(rest) <= records_max and size + rest_bytes <= limits.batch_bytes_max:
                payloads.extend(rest)
                size += rest_bytes
            elif payloads:
                break  # the next batch is its own
            else:
                size = self._cut(append, rest, payloads, records_max)
            if not append.taken:
                append.first_lsn = first_lsn + len(payloads) - min(len(rest), len(payloads))
            append.taken = first_lsn + len(payloads) - append.first_lsn
            if append.taken < len(append.records):
                break
            self._waiting.popleft()
            self._waiting_bytes -= append.payload_bytes
            self._sent.append(append)
            points.append(append.last_lsn)
            if append.request:
                requests.append((append.request, append.last_lsn, len(append.records)))
            if len(points) >= limits.batch_appends_max:
                break
        batch = Batch(first_lsn, self._last_origin, payloads, points, requests, size, self.stamp(now_ms))
        self.last_lsn, self._last_origin = batch.last_lsn, self._epoch
        self._window.append(batch)
        self._window_bytes += size
        return batch

    def _cut(self, append: Append[T], rest: Sequence[bytes], payloads: list[bytes], records_max: int) -> int:
        size = 0
        for record in rest[:records_max]:
            if payloads and size + len(record) > self._limits.batch_bytes_max:
                break
            payloads.append(record)
            size += len(record)
        return size

    def on_durable(self, durable_lsn: int) -> list[Append[T]]:
        """The durable LSN rose; the appends that are durable now, in order."""
        self.durable_lsn = max(self.durable_lsn, durable_lsn)
        while self._window and self._window[0].last_lsn <= self.durable_lsn:
            self._window_bytes -= self._window.popleft().payload_bytes
        done = []
        while self._sent and self._sent[0].last_lsn <= self.durable_lsn:
            done.append(self._sent.popleft())
        return done

    def window(self, first_lsn: int, last_lsn: int) -> list[Batch]:
        """Batches in memory that have records in `first_lsn` … `last_lsn`."""
        return [batch for batch in self._window if batch.last_lsn >= first_lsn and batch.first_lsn <= last_lsn]

    def window_first_lsn(self) -> int:
        """First LSN that is still in memory; the next one to be given where none is."""
        return self._window[0].first_lsn if self._window else self.last_lsn + 1

    def unfinished(self) -> list[Append[T]]:
        """Every append that is not durable yet, in order."""
        return [*self._sent, *self._waiting]

    def withdraw(self, append: Append[T]) -> bool:
        """Take an append back that has no LSN yet. False if it has one, so that it may still become durable."""
        if append.taken or append not in self._waiting:
            return False
        self._waiting.remove(append)
        self._waiting_bytes -= append.payload_bytes
        return True
