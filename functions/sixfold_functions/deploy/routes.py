"""What the gateway serves to agents: their commands by long poll, their reports, the artifacts they are to install."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from sixfold import clock as clocks
from sixfold import objects, publisher
from sixfold.gateway import Gateway, Principal, Route
from sixfold.gateway.problems import Problem
from sixfold.process import Process
from sixfold_events.deploy import AgentSeen, DeploymentStepReported
from sixfold_functions.deploy import settings, wire
from sixfold_functions.deploy.hub import Hub
from sixfold_functions.deploy.timers import Timers

SEEN_EVERY_S = 15.0
"""The log is told of a living agent no more often than this."""
_NAME = re.compile(r"[A-Za-z0-9.@_-]{1,100}")
_SOURCE = "/gateway/deploy"


def routes(gateway: Gateway) -> Sequence[Route]:
    """The routes, with the reader of commands and the timers behind them."""
    agents = _Agents(gateway.process)
    timers = Timers(gateway.process, settings.open_settings(gateway.process).restart_grace_s)
    gateway.on_start.extend((agents.hub.start, timers.start))
    gateway.on_stop.extend((agents.hub.stop, timers.stop))
    return (
        Route(path="/deploy/agents/{instance}/commands", endpoint=agents.commands, allow=("agent",)),
        Route(
            path="/deploy/agents/{instance}/reports",
            endpoint=agents.reports,
            methods=("POST",),
            allow=("agent",),
            body_bytes_max=wire.BODY_BYTES_MAX,
        ),
        Route(path="/deploy/artifacts/{digest}", endpoint=agents.artifact, allow=("agent", "operator")),
    )


class _Agents:
    """The endpoints."""

    def __init__(self, process: Process) -> None:
        self.hub = Hub(process)
        self._process = process
        self._bus = process.require_bus()
        self._seen: dict[str, tuple[str, float]] = {}

    async def commands(self, request: Request) -> Response:
        """Long poll: the instance's commands after a position."""
        instance = _own(request)
        query = request.query_params
        group, after, wait = query.get("group", ""), query.get("after", "-1"), query.get("wait", "0")
        if not _NAME.fullmatch(group):
            raise Problem(400, f"group is {group[:120]!r}; expected 1 to 100 letters, digits and any of . @ _ -")
        if not re.fullmatch(r"-1|[0-9]{1,18}", after) or not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", wait):
            raise Problem(400, "expected after=NUMBER (-1 for the start) and wait=SECONDS")
        await self._note(group, instance)
        found = await self.hub.wait(instance, int(after), min(float(wait), wire.WAIT_S_MAX))
        return Response(msgspec.json.encode(wire.Commands(found)), media_type="application/json")

    async def _note(self, group: str, instance: str) -> None:
        """Tell the log that the agent lives, now and then; at once where it is new or in another group."""
        now_s = self._process.clock.monotonic()
        last_group, last_s = self._seen.get(instance, ("", float("-inf")))
        if last_group == group and now_s - last_s < SEEN_EVERY_S:
            return
        seen = AgentSeen(group=group, instance=instance, seen_at_ms=clocks.now_ms(self._process.clock))
        await publisher.Publisher(self._bus, source=_SOURCE, clock=self._process.clock).publish(seen)
        self._seen[instance] = (group, now_s)

    async def reports(self, request: Request) -> Response:
        """A lifecycle event's report, into the log. The same report twice is harmless."""
        instance = _own(request)
        try:
            report = msgspec.json.decode(await request.body(), type=wire.Report)
        except ClientDisconnect:
            return Response(status_code=400)  # to nobody: the agent is gone, and reports again when it is back
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Problem(400, f"expected a report as JSON: {error}") from error
        event = DeploymentStepReported(instance=instance, **msgspec.structs.asdict(report))
        record = publisher.record_of(event, source=_SOURCE, clock=self._process.clock, event_id=report.report_id)
        await self._bus.publish([record])
        return Response(status_code=204)

    async def artifact(self, request: Request) -> Response:
        """An artifact's bytes, to an instance that has a command for it."""
        digest, principal = request.path_params["digest"], _principal(request)
        if principal.kind == "agent" and not self.hub.may_download(principal.name, digest):
            raise Problem(403, f"instance {principal.name!r} has no command for artifact {digest[:80]!r}")
        store = await self._process.resources.get(objects.open_objects)
        try:
            size = await store.size(digest)
        except objects.ObjectNotFoundError as error:
            raise Problem(404, str(error)) from error
        return StreamingResponse(
            store.open(digest), media_type="application/gzip", headers={"Content-Length": str(size)}
        )


def _principal(request: Request) -> Principal:
    principal: Principal = request.scope["principal"]
    return principal


def _own(request: Request) -> str:
    """The instance in the path, which must be the caller."""
    instance: str = request.path_params["instance"]
    if _principal(request).name != instance:
        raise Problem(403, f"this credential is not that of instance {instance!r}")
    return instance
