"""Settling what handlers did: many records' outputs, rows and offsets in one call, as often as the bus keeps up.

While one settle is on its way the next one gathers, so a busy worker settles large groups and an idle one settles at
once; a call takes `settle_bytes_max`, or one record's results where they alone are more. Outputs and rows go no later
than the offsets of their records. What cannot be settled yet is kept:

- the bus is away, or its disk full: tried again with growing waits, said once when it begins and once when it ends;
- fenced: a rebalance gave a partition away. What belongs to partitions that are gone is dropped (their next owner
  does it again), the rest is tried again;
- any other error is the worker's end; it starts afresh from what is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import islice

import structlog

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.telemetry.counters import Counters
from sixfold.worker.limits import Limits
from sixfold.worker.partition import Partition
from sixfold.worker.state import PartitionState, Share


@dataclass
class Settler:
    """Gathers what partitions have to settle and settles it; `run` is its loop."""

    function: str
    consumer: port.Consumer
    clock: clocks.Clock
    limits: Limits
    counters: Counters
    on_settled: Callable[[], None]
    atomic: bool = False
    """Settle in transactions where the bus would not by itself."""
    unsettled: int = 0
    """Records done since the last round of settles was put together, and those of the round that is on its way."""
    unsettled_bytes: int = 0
    """Of outputs and rows, likewise."""
    settles: int = 0
    """Calls that the bus took or refused."""
    away: bool = False
    """A settle waits for a bus that is away, or full."""
    _dirty: dict[PartitionState, None] = field(default_factory=dict)
    _sending: list[Share] = field(default_factory=list)
    _go: asyncio.Event = field(default_factory=asyncio.Event)
    _room: asyncio.Event = field(default_factory=asyncio.Event)
    _settled: asyncio.Event = field(default_factory=asyncio.Event)
    _timer: asyncio.TimerHandle | None = None

    def add(self, partition: Partition, size_bytes: int, *, records: int = 1) -> None:
        """A record of `partition` is done; `size_bytes` of outputs and rows came of it, which others wait for."""
        if partition.state not in self._dirty:
            self._dirty[partition.state] = None
        if size_bytes:
            self.unsettled_bytes += size_bytes
            self._go.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.limits.linger_s, self._go.set)
        self.count(records)

    def count(self, records: int) -> None:
        """So many more `records` are done, of partitions that were added."""
        self.unsettled += records
        if self.unsettled >= self.limits.linger_records:
            self._go.set()

    @property
    def full(self) -> bool:
        """Whether handlers should wait until something is settled."""
        return (
            self.unsettled >= self.limits.unsettled_records_max
            or self.unsettled_bytes >= self.limits.unsettled_bytes_max
        )

    async def room(self) -> None:
        """Return once it is not `full` any more."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    def idle(self) -> bool:
        """Whether nothing waits to be settled."""
        return not self._sending and not any(each.owned and each.dirty for each in self._dirty)

    async def flush(self, partitions: Collection[Partition]) -> None:
        """Return once nothing of `partitions` waits to be settled."""
        states = {partition.state for partition in partitions}
        while any(share.owner in states for share in self._sending) or any(
            each in self._dirty and each.dirty for each in states
        ):
            self._go.set()
            self._settled.clear()
            await self._settled.wait()

    async def run(self) -> None:
        """Settle until cancelled. Raises what `port.Consumer.settle` raises and waiting does not mend."""
        while True:
            await self._go.wait()
            self._go.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            taken, self.unsettled = self.unsettled, 0
            self._sending = [share for each in self._dirty if each.owned for share in each.take_shares()]
            self._dirty.clear()
            self.unsettled_bytes = sum(share.size_bytes for share in self._sending)
            self.unsettled += taken
            if self.atomic:
                await self._settle_apart()
            while self._sending:
                call = self._next_call()
                await self._settle(call)
                del self._sending[: len(call)]
                self.unsettled_bytes -= sum(share.size_bytes for share in call)
                self._room.set()
            self.unsettled -= taken
            self._room.set()
            self._settled.set()
            self.on_settled()

    async def _settle_apart(self) -> None:
        """Settle `_sending` with a transaction for each partition number, side by side.

        Kafka fences a transaction by its producer alone, and whoever takes a partition over fences that partition's: one
        transaction over several numbers could be committed although one of them has gone.
        """
        by_owner: dict[PartitionState, list[Share]] = {}
        for share in self._sending:
            by_owner.setdefault(share.owner, []).append(share)

        async def settle(shares: list[Share]) -> None:
            for share in shares:
                await self._settle([share])

        for failure in await asyncio.gather(*map(settle, by_owner.values()), return_exceptions=True):
            if isinstance(failure, BaseException):
                raise failure
        self.unsettled_bytes -= sum(share.size_bytes for share in self._sending)
        self._sending.clear()

    def _next_call(self) -> list[Share]:
        """The first of `_sending` that go in one call."""
        count, size = 1, self._sending[0].size_bytes
        for share in islice(self._sending, 1, None):
            size += share.size_bytes
            if size > self.limits.settle_bytes_max:
                break
            count += 1
        return self._sending[:count]

    async def _settle(self, call: list[Share]) -> None:
        """Settle `call`, however long that takes."""
        waits, fenced = 0, 0
        log = structlog.get_logger().bind(function=self.function)
        while shares := [share for share in call if share.owner.owned]:
            try:
                await self.consumer.settle(
                    records=[output for share in shares for output in share.outputs],
                    state=_state(shares),
                    offsets=_offsets(shares),
                    notes={tp: note for share in shares for tp, note in share.notes.items() if note},
                    atomic=self.atomic,
                )
            except port.FencedError as error:
                self.counters.fenced += 1
                self.settles += 1
                fenced += 1
                log.info(
                    "a rebalance took a partition before its records were settled", action="fenced", why=str(error)
                )
                if fenced > self.limits.fenced_max:
                    raise
                held = self.consumer.assignment()
                gone = [each for share in shares for each in share.owner.partitions if each.tp not in held]
                for partition in gone:
                    partition.accepting = partition.owned = False
                if any(share.owner.owned and not held.issuperset(share.offsets) for share in shares):
                    raise  # of partitions that go together only some are gone: start afresh from what is committed
                if not gone:
                    await self.clock.sleep(self._wait_s(fenced))
            except (port.BusUnavailableError, port.StorageFullError) as error:
                waits += 1
                self.away = True
                if waits == 1:
                    log.warning("settling waits for the bus; nothing is lost", action="settle.waiting", why=str(error))
                await self.clock.sleep(self._wait_s(waits))
            else:
                self.settles += 1
                self.away = False
                if waits:
                    log.info("the bus is back; settled", action="settle.resumed", attempts=waits + 1)
                for share in shares:
                    share.owner.tables.settled()
                return

    def _wait_s(self, attempt: int) -> float:
        return min(self.limits.bus_backoff_s * 2.0 ** min(attempt - 1, 20), self.limits.bus_backoff_max_s)


def _offsets(shares: Collection[Share]) -> dict[port.TopicPartition, int]:
    """What to commit; of a partition in several shares the last word."""
    return {tp: offset for share in shares for tp, offset in share.offsets.items()}


def _state(shares: Collection[Share]) -> port.State:
    """What to store; of a row in several shares the last word."""
    state: dict[tuple[str, int], port.Rows] = {}
    for share in shares:
        for place, rows in share.state.items():
            state[place] = {**state[place], **rows} if place in state else rows
    return state
