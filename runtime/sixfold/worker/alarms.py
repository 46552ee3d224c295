"""A worker's clock: publishes the timers of its partitions when they are due, and sets the next tick of a cadence."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from sixfold import cadence, timers
from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.function import AnyFunction
from sixfold.telemetry.counters import Counters
from sixfold.worker.outputs import counted_bytes, rows_bytes
from sixfold.worker.partition import Partition
from sixfold.worker.settling import Settler
from sixfold.worker.state import PartitionState
from sixfold_events import cloudevents
from sixfold_events.system import Tick

TICKS = port.TopicSpec(name=Tick.__event__.topic, partitions=1, retention_ms=24 * 3600 * 1000)
"""Ticks of all functions."""
TICK = "tick"
"""Name of the timer that is set anew each time."""
CADENCE = "sixfold_cadence"
"""Header of that timer: what it was set by, so that a changed declaration replaces it."""
WAIT_S_MAX = 3600.0
"""The clock may be set: no timer is later than this by it."""


class Alarms:
    """Fires for one worker; `run` is its loop."""

    def __init__(
        self,
        function: AnyFunction,
        clock: clocks.Clock,
        partitions: Mapping[port.TopicPartition, Partition],
        settler: Settler,
        counters: Counters,
    ) -> None:
        self._function = function
        self._clock = clock
        self._partitions = partitions
        self._settler = settler
        self._counters = counters
        self._changed = asyncio.Event()

    async def take(self, partition: Partition) -> None:
        """`partition` is this worker's now: load its timers, and set the function's tick where there is none."""
        state = partition.state
        if state.partitions[0] is partition:  # the others of its number share what it loads
            state.timers.load(await state.reader.state_scan(timers.TABLE, state.number))
        every = self._function.every
        if every is not None and partition.tp == port.TopicPartition(TICKS.name, 0):
            known = state.timers.get(TICK.encode())
            if known is None or dict(known.headers).get(CADENCE) != str(every).encode():
                self._settle(partition, [], TICK, self._tick(every, clocks.now_ms(self._clock)))
        self.changed()

    def changed(self) -> None:
        """A timer was set, or partitions came."""
        self._changed.set()

    @property
    def overdue(self) -> bool:
        """Whether something is due and not published yet."""
        next_ms = self._next_ms()
        return next_ms is not None and next_ms <= clocks.now_ms(self._clock)

    def retries_s(self) -> list[float]:
        """When records that failed get their next attempt, on the clock's monotonic scale."""
        offset_s = self._clock.monotonic() - clocks.now_ms(self._clock) / 1000
        topic = self._function.retry_topic  # no other timer goes there
        return [
            timer.due_ms / 1000 + offset_s
            for state in self._states()
            for timer in state.timers.all()
            if timer.topic == topic
        ]

    async def run(self) -> None:
        """Fire until cancelled."""
        while True:
            self._changed.clear()
            next_ms = self._next_ms()
            now_ms = clocks.now_ms(self._clock)
            if next_ms is not None and next_ms <= now_ms:
                self._fire(now_ms)
                await self._settler.room()
                continue
            wait_s = WAIT_S_MAX if next_ms is None else min((next_ms - now_ms) / 1000, WAIT_S_MAX)
            waits = [asyncio.ensure_future(self._clock.sleep(wait_s)), asyncio.ensure_future(self._changed.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    def _states(self) -> list[PartitionState]:
        """Those whose timers are this worker's to fire: nothing of them is being given up."""
        states = dict.fromkeys(partition.state for partition in self._partitions.values())
        return [state for state in states if all(each.accepting for each in state.partitions)]

    def _next_ms(self) -> int | None:
        times = [state.timers.next_ms for state in self._states()]
        return min((time for time in times if time is not None), default=None)

    def _fire(self, now_ms: int) -> None:
        for state in self._states():
            partition = next(each for each in state.partitions if each.accepting)
            for key, timer in state.timers.due(now_ms):
                following = None
                if self._function.every is not None and key == TICK.encode():
                    following = self._tick(self._function.every, max(now_ms, timer.due_ms))
                self._settle(partition, [timer.record()], key.decode(), following)
                if self._settler.full:
                    return

    def _settle(
        self, partition: Partition, outputs: list[port.NewRecord], name: str, timer: timers.Timer | None
    ) -> None:
        rows = timers.state(partition.state.number, {name: timer})
        size = sum(map(counted_bytes, outputs)) + sum(map(rows_bytes, rows.values()))
        partition.made(outputs, rows, size)
        self._counters.emitted += len(outputs)
        self._settler.add(partition, size, records=0)

    def _tick(self, every: cadence.Cadence, after_ms: int) -> timers.Timer | None:
        """The timer of the first tick after `after_ms`; None where the cadence has no further one."""
        name, topic = self._function.name, TICKS.name
        try:
            due_ms = every.next_ms(after_ms)
        except cadence.CadenceError as error:
            structlog.get_logger().error("no further tick", action="tick.none", function=name, why=str(error))
            return None
        attributes = cloudevents.Attributes(
            id=cloudevents.derived_id(name, cloudevents.cause_of(topic, 0, due_ms), 0),
            type=Tick.__event__.type,
            source=f"/functions/{name}",
            time_ms=due_ms,
        )
        message = cloudevents.encode(Tick(function=name, at_ms=due_ms), attributes)
        headers = [*message.headers, (CADENCE, str(every).encode())]
        record = port.NewRecord(topic=topic, value=message.value, key=message.key, headers=headers)
        return timers.of(record, due_ms=due_ms)
