"""Runs a set of functions as one process: a worker each, restarted when it crashes, until the process is to stop.

A worker that crashes (a bus error that waiting does not mend, a bug of ours) or is stuck (`worker/watchdog.py`) starts afresh
after a growing wait. A function whose own code contradicts its declaration stops for good: starting it again would not
mend it. The others go on, and the process ends with that error once it is stopped, or at once where no function is
left.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable, Coroutine, Iterable, Sequence

import structlog

from sixfold import breaker, dead_letter, errors, replies, retries
from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.function import AnyFunction
from sixfold.process import Process
from sixfold.telemetry import reporting
from sixfold.telemetry.counters import Counters
from sixfold.worker import alarms, tending
from sixfold.worker.limits import DEFAULT, Limits
from sixfold.worker.member import Worker
from sixfold.worker.watchdog import StuckError

RESTART_S = 1.0
"""Wait before the first restart of a worker; doubles with each further crash."""
RESTART_MAX_S = 60.0
HEALTHY_S = 60.0
"""A worker that ran for so long begins again at the first wait."""


async def run_functions(
    process: Process,
    functions: Sequence[AnyFunction],
    *,
    stopping: asyncio.Event,
    topics: Iterable[port.TopicSpec] = (),
    limits: Limits = DEFAULT,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Run `functions` until `stopping` is set, then let them finish what they do.

    Topics that they need and that do not exist are created first: as in `topics`, else with default settings; `ready` is
    called when there are all, so that whoever waits for it can publish. Raises
    FunctionBugError where a function's code contradicts its declaration (the first one, at the end).
    """
    await create_topics(process.require_bus(), functions, topics)
    _spare_the_collector()
    limits = limits.shared_by(len(functions))
    runs = [Run(function, process, limits=limits) for function in functions]
    reporter = reporting.Reporter(process, [run.counters for run in runs], refresh=lambda: _refresh(runs))
    reports = asyncio.create_task(reporter.run(), name="report")
    tasks = [asyncio.create_task(run.run(stopping), name=run.function.name) for run in runs]
    ready()
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in (*tasks, reports):
            task.cancel()
        await asyncio.gather(*tasks, reports, return_exceptions=True)
        await reporter.finish()
    for run in runs:
        if run.bug is not None:
            raise run.bug


async def create_topics(
    bus: port.Bus, functions: Sequence[AnyFunction], declared: Iterable[port.TopicSpec] = ()
) -> None:
    """Create what `functions` need and `bus` lacks; topics that exist are left as they are."""
    known = await bus.topics()
    specs = {spec.name: spec for spec in (*declared, reporting.TOPIC, alarms.TICKS, replies.TOPIC)}
    for function in functions:
        for cls in (*(function.on if not function.topic_patterns else ()), *function.emits):
            specs.setdefault(cls.__event__.topic, port.TopicSpec(name=cls.__event__.topic))
        for topic in function.raw:
            specs.setdefault(topic, port.TopicSpec(name=topic))
    for function in functions:
        if function.defers:
            specs.setdefault(function.retry_topic, retries.topic_spec(function, {**specs, **known}))
        specs.setdefault(function.dead_letter_topic, dead_letter.topic_spec(function, {**specs, **known}))
    missing = [spec for name, spec in specs.items() if name not in known]
    if missing:
        await bus.create_topics(missing)


class Run:
    """One function's workers, one after the other."""

    def __init__(
        self,
        function: AnyFunction,
        process: Process,
        *,
        limits: Limits = DEFAULT,
        rng: random.Random | None = None,
        bus_clock: clocks.Clock | None = None,
        on_change: Callable[[], None] = lambda: None,
        restart_s: float = RESTART_S,
    ) -> None:
        """`bus_clock` is the workers' (`Worker`), and their watchdog's; `restart_s` the first wait after a crash."""
        self.function = function
        self.counters = Counters(
            function.name,
            topics=list(function.sources),
            start=function.start.at,
            timeout_s=function.timeout_s,
            breaker="" if function.breaker is None else breaker.State.CLOSED.value,
        )
        self.worker: Worker | None = None
        """The one that runs now."""
        self.bug: errors.FunctionBugError | None = None
        """Why it stopped for good."""
        self.crash: Exception | None = None
        """Why the last worker that crashed did."""
        self.started = asyncio.Event()
        """Set once there is a first worker."""
        self._process = process
        self._limits = limits
        self._rng = rng
        self._bus_clock = bus_clock or clocks.SystemClock()
        self._on_change = on_change
        self._restart_s = restart_s

    async def run(self, stopping: asyncio.Event) -> None:
        """Run workers until `stopping` is set or the function's code proves to be wrong."""
        log = structlog.get_logger().bind(function=self.function.name)
        clock, crashes = self._process.clock, 0
        while not stopping.is_set():
            begun, self.worker = clock.monotonic(), None
            try:
                topics = await self._sources(stopping)
                if stopping.is_set():
                    return
                self.counters.topics = list(topics)
                self.worker = Worker(
                    self.function,
                    self._process,
                    topics=topics,
                    counters=self.counters,
                    limits=self._limits,
                    rng=self._rng,
                    bus_clock=self._bus_clock,
                    on_change=self._on_change,
                )
                self.started.set()
                await tending.tend(self.worker, stopping, self._bus_clock, self._limits)
            except errors.FunctionBugError as bug:
                self.bug, self.counters.halted = bug, str(bug)
                log.error("the function stopped for good: mend its code, then restart", action="halt", why=str(bug))
                self._on_change()
                return
            except Exception as error:
                self.crash = error
                crashes = 1 if clock.monotonic() - begun >= HEALTHY_S else crashes + 1
                wait_s = min(self._restart_s * 2.0 ** min(crashes - 1, 20), RESTART_MAX_S)
                self.counters.restarts += 1
                unexpected = not isinstance(error, port.BusError)
                if isinstance(error, StuckError):
                    log.error("a worker was stuck", action="stuck", wait_s=wait_s, why=str(error))
                else:
                    log.error("a worker crashed", action="restart", wait_s=wait_s, why=str(error), exc_info=unexpected)
                self._on_change()
                await _sleep(clock.sleep(wait_s), stopping)

    async def _sources(self, stopping: asyncio.Event) -> Sequence[str]:
        """What to read: waits until there is a topic that matches, where only patterns say."""
        if not self.function.topic_patterns:
            return self.function.sources_among(await self._process.require_bus().topics())
        while not stopping.is_set():
            found = self.function.sources_among(await self._process.require_bus().topics())
            if found:
                return found
            await _sleep(self._process.clock.sleep(self._limits.topics_s), stopping)
        return ()


def _spare_the_collector() -> None:
    """Have Python look for cyclic garbage less often: records are many, short-lived and free of cycles.

    Measured: 2 of 18 microseconds an event. What was imported is left out of every look.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _refresh(runs: Sequence[Run]) -> None:
    for run in runs:
        if run.worker is not None:
            run.worker.count()


async def _sleep(sleep: Coroutine[object, object, None], stopping: asyncio.Event) -> None:
    """Return when `sleep` is over or `stopping` is set."""
    tasks = [asyncio.ensure_future(sleep), asyncio.create_task(stopping.wait())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
