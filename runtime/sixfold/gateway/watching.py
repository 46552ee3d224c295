"""Watches the functions for the gateway: reads their processes' reports, and asks the bus what lies there for them.

However many ask, the bus is asked once in `FRESH_S`; and where nobody asks, every `LOOK_S`, so that it is known since
when nothing moves. `functions.py` judges.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from sixfold import bus, catalogue, errors
from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.gateway import ages, functions
from sixfold.process import Process
from sixfold_events import DecodeError
from sixfold_events.system import ProcessReported

FRESH_S = 5.0
LOOK_S = 15.0
BUS_WAIT_S = 2.0
"""What one function's lag may take."""
_READ_AGAIN_S = 1.0

Lags = dict[str, dict[port.TopicPartition, int]]


class Watching:
    """What the gateway knows of the functions."""

    def __init__(self, process: Process, known: catalogue.Catalogue) -> None:
        self.reports = functions.Reports()
        self._process = process
        self._known = known
        self._watch = functions.Watch()
        self._ages: ages.Ages | None = None
        self._asking = asyncio.Lock()
        self._seen: tuple[float, list[functions.FunctionStatus], Lags] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to read reports and to look."""
        self._ages = ages.Ages(self._process.require_bus(), self._process.clock)
        self._tasks = [
            asyncio.create_task(self._read(), name="read process reports"),
            asyncio.create_task(self._look(), name="look at functions"),
        ]

    async def stop(self) -> None:
        """End both."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def now(self) -> tuple[list[functions.FunctionStatus], Lags]:
        """Every function's status, and its lag by partition where the bus says."""
        async with self._asking:
            clock = self._process.clock
            if self._seen is None or clock.monotonic() - self._seen[0] > FRESH_S:
                lags, lying = await self._lying()
                found = functions.look(
                    self._known.functions,
                    self.reports,
                    lying,
                    self._watch,
                    clock.monotonic(),
                    {name: each.timeout_s for name, each in self._known.functions.items()},
                )
                self._seen = (clock.monotonic(), found, lags)
            return self._seen[1], self._seen[2]

    def stale(self) -> list[functions.FunctionStatus]:
        """What was seen last, without asking anybody."""
        return self._seen[1] if self._seen else []

    async def _lying(self) -> tuple[Lags, dict[str, functions.Lying]]:
        opened = self._process.require_bus()
        lags: Lags = {}
        committed: dict[str, dict[port.TopicPartition, int]] = {}
        starts: dict[str, str] = {}
        for name, sources, start in await self._sources(opened):
            starts[name] = start
            try:
                async with asyncio.timeout(BUS_WAIT_S):
                    lags[name] = await opened.lag(name, sources)
                    committed[name] = await opened.committed(name)
            except (errors.SixfoldError, TimeoutError):
                lags.pop(name, None)  # a topic that is not made yet, or a bus that just went: the rest is worth telling
        positions = {
            name: {
                (tp, committed[name].get(tp, -1))
                for tp, records in lag.items()
                # Nothing committed and a start elsewhere: what lies there already is not this function's to handle.
                if records and (tp in committed[name] or starts[name] == "earliest")
            }
            for name, lag in lags.items()
        }
        assert self._ages is not None
        stamps = await self._ages.first({at for each in positions.values() for at in each})
        now_ms = clocks.now_ms(self._process.clock)
        lying = {}
        for name, lag in lags.items():
            read = [stamps[at] for at in positions[name] if at in stamps]
            found = [stamp for stamp in read if stamp is not None]
            unread = len(read) < len(positions[name])
            lying[name] = functions.Lying(
                lag=sum(lag.values()),
                age_s=max(0.0, (now_ms - min(found)) / 1000) if found else None if unread else 0.0,
                waiting=bool(found),
                committed=sum(committed[name].values()),
            )
        return lags, lying

    async def _sources(self, opened: port.Bus) -> list[tuple[str, tuple[str, ...], str]]:
        """Every function that is installed or runs somewhere: name, topics, start."""
        topics: set[str] | None = None
        found: dict[str, tuple[tuple[str, ...], str]] = {}
        for report in self.reports.living(self._process.clock.monotonic()):
            for each in report.functions:
                if each.topics:
                    found[each.function] = tuple(each.topics), each.start
        for function in self._known.functions.values():
            if function.name in found:
                continue
            if topics is None:
                topics = await _topics(opened)
            found[function.name] = function.sources_among(topics), function.start.at
        return [(name, sources, start) for name, (sources, start) in found.items()]

    async def _look(self) -> None:
        while True:
            with contextlib.suppress(errors.SixfoldError, TimeoutError):
                await self.now()
            await self._process.clock.sleep(LOOK_S)

    async def _read(self) -> None:
        """Fold the processes' reports, for ever; a bus that goes away is waited for."""
        topic = ProcessReported.__event__.topic
        opened = self._process.require_bus()
        while True:
            try:
                spec = (await opened.topics()).get(topic)
                if spec is not None:
                    partitions = [bus.TopicPartition(topic, number) for number in range(spec.partitions)]
                    async with opened.assign(partitions) as consumer:
                        while True:
                            for records in (await consumer.fetch(wait_s=5.0)).values():
                                for record in records:
                                    self._fold(record)
            except errors.SixfoldError as error:
                structlog.get_logger().warning("no reports now", action="reports_interrupted", error=str(error))
            await self._process.clock.sleep(_READ_AGAIN_S)

    def _fold(self, record: bus.Record) -> None:
        clock = self._process.clock
        with contextlib.suppress(DecodeError):
            report = self._process.registry.decode_as(ProcessReported, record.value, record.headers)
            if isinstance(report, ProcessReported):
                self.reports.fold(report, clock.monotonic(), clocks.now_ms(clock))


async def _topics(opened: port.Bus) -> set[str]:
    try:
        async with asyncio.timeout(BUS_WAIT_S):
            return set(await opened.topics())
    except (errors.SixfoldError, TimeoutError):
        return set()
