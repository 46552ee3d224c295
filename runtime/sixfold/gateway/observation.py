"""How the system is, over HTTP: `/health` for everyone, `/functions` and `/metrics` for operators. Nothing here is
assumed: the bus is asked, the supervisor is asked, and the processes' own reports are read from their topic.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sixfold import catalogue, errors
from sixfold import clock as clocks
from sixfold.gateway import functions, watching
from sixfold.gateway.problems import Problem
from sixfold.gateway.route import Gateway, Principal, Route
from sixfold.supervisor import control
from sixfold.telemetry import metrics

_BUS_WAIT_S = 2.0
_SUPERVISOR_WAIT_S = 2.0
_FRESH_S = 0.5
"""Health is asked anew at most this often, however many ask: it is public."""
_FUNCTIONS_WAIT_S = 5.0
"""Functions that were not looked at within this are told as they were seen last."""
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `/health`."""

    status: str
    """`ok`; `degraded` where a process of the system does not run, or a function is not well; `down` where the bus does
    not answer. A function that is not well, and a bus that does not answer, make the answer a 503."""
    bus: str
    """`up` or `down`."""
    processes: dict[str, str]
    """States of the system's processes by name; empty where this gateway runs without a supervisor."""


class Verbose(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `/health?verbose`, for operators."""

    status: str
    bus: str
    processes: dict[str, str]
    functions: list[functions.FunctionStatus]


class Functions(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `/functions`."""

    at_ms: int
    """Unix milliseconds of the gateway's clock: two answers give a rate."""
    functions: list[functions.FunctionStatus]


class Observation:
    """What this gateway sees of the system."""

    def __init__(self, gateway: Gateway, known: catalogue.Catalogue) -> None:
        self._process = gateway.process
        self._requests: collections.Counter[tuple[str, int]] = collections.Counter()
        self._published: collections.Counter[str] = collections.Counter()
        self._watching = watching.Watching(gateway.process, known)
        self._seen: tuple[float, Health, control.SystemStatus | None] | None = None
        self._asking = asyncio.Lock()
        gateway.on_start.append(self._watching.start)
        gateway.on_stop.append(self._watching.stop)

    def routes(self) -> list[Route]:
        """`/health`, `/functions` and `/metrics`."""
        return [
            Route(path="/health", endpoint=self._health, public=True),
            Route(path="/functions", endpoint=self._functions),
            Route(path="/metrics", endpoint=self._metrics),
        ]

    def answered(self, method: str, status: int) -> None:
        """Count an answer."""
        self._requests[method if method in _METHODS else "other", status] += 1

    def published(self, event_type: str) -> None:
        """Count an event that was published over HTTP."""
        self._published[event_type] += 1

    async def _health(self, request: Request) -> Response:
        verbose = "verbose" in request.query_params
        if verbose:
            _check_operator(request)
        health, _ = await self._look()
        found = await self._function_states(health)
        ill = [each for each in found if not each.well]
        status = "degraded" if ill and health.status == "ok" else health.status
        told = msgspec.structs.replace(health, status=status)
        return Response(
            msgspec.json.encode(Verbose(**msgspec.structs.asdict(told), functions=found) if verbose else told),
            status_code=503 if health.status == "down" or ill else 200,
            media_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    async def _functions(self, _request: Request) -> Response:
        health, _ = await self._look()
        answer = Functions(at_ms=clocks.now_ms(self._process.clock), functions=await self._function_states(health))
        return Response(
            msgspec.json.encode(answer), media_type="application/json", headers={"Cache-Control": "no-store"}
        )

    async def _function_states(self, health: Health) -> list[functions.FunctionStatus]:
        if health.bus == "up":
            with contextlib.suppress(errors.SixfoldError, TimeoutError):
                async with asyncio.timeout(_FUNCTIONS_WAIT_S):
                    return (await self._watching.now())[0]
        return self._watching.stale()

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
        samples = metrics.of_reports(self._watching.reports.living(self._process.clock.monotonic()))
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
            samples.extend(await self._lying())
        return PlainTextResponse(metrics.render(samples), media_type=metrics.CONTENT_TYPE)

    async def _lying(self) -> list[metrics.Sample]:
        found, lags = await self._watching.now()
        samples = [
            metrics.Sample(
                metrics.LAG.name,
                {"function": name, "topic": tp.topic, "partition": str(tp.partition)},
                records,
            )
            for name, lag in lags.items()
            for tp, records in sorted(lag.items())
        ]
        for each in found:
            labels = {"function": each.name}
            if each.age_s is not None:
                samples.append(metrics.Sample(metrics.AGE.name, labels, round(each.age_s, 3)))
            samples.append(metrics.Sample(metrics.STALLED.name, labels, 1 if each.status == "stalled" else 0))
        return samples


def _check_operator(request: Request) -> None:
    principal: Principal | None = request.scope.get("principal")
    if principal is None:
        raise Problem(401, "details are for operators: show the bootstrap credential, or ask for /health alone")
    if principal.kind != "operator":
        raise Problem(403, "details are for operators; /health alone is for everyone")
