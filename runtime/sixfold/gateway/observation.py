"""How the system is, over HTTP: `/health` for everyone, `/metrics` for operators. Nothing here is assumed: the bus is
asked, the supervisor is asked, and the processes' own reports are read from their topic.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sixfold import bus, catalogue, errors, metrics
from sixfold.bus import port
from sixfold.function import AnyFunction
from sixfold.gateway.route import Gateway, Route
from sixfold.supervisor import control
from sixfold_events import DecodeError
from sixfold_events.system import ProcessReported

_BUS_WAIT_S = 2.0
_SUPERVISOR_WAIT_S = 2.0
_FRESH_S = 0.5
"""Health is asked anew at most this often, however many ask: it is public."""
_READ_AGAIN_S = 1.0
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `/health`."""

    status: str
    """`ok`; `degraded` where a process of the system does not run; `down` where the bus does not answer."""
    bus: str
    """`up` or `down`."""
    processes: dict[str, str]
    """States of the system's processes by name; empty where this gateway runs without a supervisor."""


class Observation:
    """What this gateway sees of the system."""

    def __init__(self, gateway: Gateway, known: catalogue.Catalogue) -> None:
        self._process = gateway.process
        self._known = known
        self._requests: collections.Counter[tuple[str, int]] = collections.Counter()
        self._published: collections.Counter[str] = collections.Counter()
        self._reports: dict[str, ProcessReported] = {}
        self._seen: tuple[float, Health, control.SystemStatus | None] | None = None
        self._asking = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        gateway.on_start.append(self._start)
        gateway.on_stop.append(self._stop)

    def routes(self) -> list[Route]:
        """`/health` and `/metrics`."""
        return [
            Route(path="/health", endpoint=self._health, public=True),
            Route(path="/metrics", endpoint=self._metrics),
        ]

    def answered(self, method: str, status: int) -> None:
        """Count an answer."""
        self._requests[method if method in _METHODS else "other", status] += 1

    def published(self, event_type: str) -> None:
        """Count an event that was published over HTTP."""
        self._published[event_type] += 1

    async def _health(self, _request: Request) -> Response:
        health, _ = await self._look()
        return Response(
            msgspec.json.encode(health),
            status_code=503 if health.status == "down" else 200,
            media_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    async def _look(self) -> tuple[Health, control.SystemStatus | None]:
        async with self._asking:
            now = self._process.clock.monotonic()
            if self._seen is None or now - self._seen[0] > _FRESH_S:
                up, system = await asyncio.gather(self._bus_answers(), self._system())
                processes = {each.name: each.state for each in system.processes} if system else {}
                well = all(state == "running" for state in processes.values())
                health = Health(
                    status="down" if not up else "ok" if well else "degraded",
                    bus="up" if up else "down",
                    processes=processes,
                )
                self._seen = (self._process.clock.monotonic(), health, system)
            return self._seen[1], self._seen[2]

    async def _bus_answers(self) -> bool:
        try:
            async with asyncio.timeout(_BUS_WAIT_S):
                await self._process.require_bus().topics()
        except (errors.SixfoldError, OSError, TimeoutError):
            return False
        return True

    async def _system(self) -> control.SystemStatus | None:
        try:
            return await control.ask(self._process.data_dir, "status", timeout_s=_SUPERVISOR_WAIT_S)
        except errors.SixfoldError:
            return None

    async def _metrics(self, _request: Request) -> Response:
        health, system = await self._look()
        samples = metrics.of_reports(self._reports.values())
        samples.append(metrics.Sample(metrics.BUS_UP.name, {}, 1 if health.bus == "up" else 0))
        for each in system.processes if system else ():
            labels = {"process": each.name}
            samples.append(metrics.Sample(metrics.PROCESS_UP.name, labels, 1 if each.state == "running" else 0))
            samples.append(metrics.Sample(metrics.PROCESS_RESTARTS.name, labels, each.restarts))
        for (method, status), count in sorted(self._requests.items()):
            samples.append(metrics.Sample(metrics.REQUESTS.name, {"method": method, "status": str(status)}, count))
        for event_type, count in sorted(self._published.items()):
            samples.append(metrics.Sample(metrics.PUBLISHED.name, {"type": event_type}, count))
        if health.bus == "up":
            samples.extend(await self._lags())
        return PlainTextResponse(metrics.render(samples), media_type=metrics.CONTENT_TYPE)

    async def _lags(self) -> list[metrics.Sample]:
        opened = self._process.require_bus()
        samples: list[metrics.Sample] = []
        for function in self._known.functions.values():
            try:
                async with asyncio.timeout(_BUS_WAIT_S):
                    lag = await opened.lag(function.name, await _sources(opened, function))
            except (errors.SixfoldError, TimeoutError):
                continue  # a topic that is not made yet, or a bus that just went: the rest is worth telling
            for partition, records in sorted(lag.items()):
                labels = {
                    "function": function.name,
                    "topic": partition.topic,
                    "partition": str(partition.partition),
                }
                samples.append(metrics.Sample(metrics.LAG.name, labels, records))
        return samples

    async def _start(self) -> None:
        self._reading = asyncio.create_task(self._read(), name="read process reports")

    async def _stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

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
        with contextlib.suppress(DecodeError):
            report = self._process.registry.decode_as(ProcessReported, record.value)
            if isinstance(report, ProcessReported):
                self._reports[report.process] = report


async def _sources(bus: port.Bus, function: AnyFunction) -> tuple[str, ...]:
    """What the function reads now."""
    return function.sources_among(await bus.topics()) if function.topic_patterns else function.sources
