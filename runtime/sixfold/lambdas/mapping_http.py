"""Lambda's event source mapping calls at the gateway: create, get, update, list, delete.

State is `lambda.mappings`; each call reads what is new there first, so several gateways agree. Source: AWS Lambda API
Reference, CreateEventSourceMapping and its neighbours.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sixfold import clock as clocks
from sixfold.follower import Follower
from sixfold.function import AnyFunction
from sixfold.gateway.route import Gateway, Route
from sixfold.lambdas import events, failures, invocations, mappings
from sixfold.lambdas.declaring import LambdaFunction
from sixfold.lambdas.failures import ApiError, answered
from sixfold.lambdas.topics import MAPPINGS
from sixfold.publisher import Publisher
from sixfold_events import Event
from sixfold_events.lambdas import MappingChanged

PATH = "/2015-03-31/event-source-mappings"
BODY_BYTES_MAX = 64 * 1024
"""Ten filters of 4,096 characters, and the rest."""
LIST_MAX = 10_000
LIST_DEFAULT = 100


def routes(gateway: Gateway, functions: Mapping[str, AnyFunction]) -> list[Route]:
    """The routes, for mappings to `functions` by name."""
    desk = _Desk(gateway, functions)
    gateway.on_stop.append(desk.close)
    one, all_of = f"{PATH}/{{uuid}}", (PATH, f"{PATH}/")
    return [
        *(Route(path=path, endpoint=answered(desk.create), methods=("POST",), body_bytes_max=BODY_BYTES_MAX) for path in all_of),
        *(Route(path=path, endpoint=answered(desk.list)) for path in all_of),
        Route(path=one, endpoint=answered(desk.get)),
        Route(path=one, endpoint=answered(desk.update), methods=("PUT",), body_bytes_max=BODY_BYTES_MAX),
        Route(path=one, endpoint=answered(desk.delete), methods=("DELETE",)),
    ]  # fmt: skip


class _Desk:
    def __init__(self, gateway: Gateway, functions: Mapping[str, AnyFunction]) -> None:
        process = gateway.process
        self._functions = functions
        self._bus = process.require_bus()
        self._clock = process.clock
        self._servers = events.bootstrap_servers(self._bus.url)
        self._publisher = Publisher(self._bus, source="/lambda", clock=process.clock)
        self._known: dict[str, MappingChanged] = {}
        self._follower = Follower(process, MAPPINGS.name, self._apply)
        self._changing = asyncio.Lock()

    async def close(self) -> None:
        """Stop following."""
        await self._follower.close()

    async def create(self, request: Request) -> Response:
        """CreateEventSourceMapping."""
        body = await _body(request)
        function = self._target(body.get("FunctionName"))
        async with self._changing:
            await self._follower.catch_up()
            made = mappings.created(
                body,
                uuid=str(uuid.uuid4()),
                function=function.name,
                topics=list(await self._bus.topics()),
                servers=self._servers,
                now_ms=clocks.now_ms(self._clock),
            )
            self._check_free(made)
            await self._publisher.publish(made)
        return self._shown(made, "Creating", 202)

    async def get(self, request: Request) -> Response:
        """GetEventSourceMapping."""
        return self._shown(await self._found(request))

    async def update(self, request: Request) -> Response:
        """UpdateEventSourceMapping."""
        body = await _body(request)
        name = body.get("FunctionName")
        function = None if name is None else self._target(name).name
        async with self._changing:
            found = await self._found(request)
            made = mappings.updated(found, body, function=function, now_ms=clocks.now_ms(self._clock))
            self._check_free(made)
            await self._publisher.publish(made)
        return self._shown(made, "Updating", 202)

    async def delete(self, request: Request) -> Response:
        """DeleteEventSourceMapping."""
        async with self._changing:
            found = await self._found(request)
            gone = msgspec.structs.replace(found, deleted=True, modified_at_ms=clocks.now_ms(self._clock))
            await self._publisher.publish(gone)
        return self._shown(gone, "Deleting", 202)

    async def list(self, request: Request) -> Response:
        """ListEventSourceMappings."""
        query = request.query_params
        count = query.get("MaxItems", str(LIST_DEFAULT))
        if not count.isascii() or not count.isdigit() or not 1 <= int(count) <= LIST_MAX:
            raise failures.invalid(f"MaxItems: expected 1 to {LIST_MAX}, found {count!r}")
        function = None
        if "FunctionName" in query:
            function = invocations.named(query["FunctionName"], None, self._functions).name
        await self._follower.catch_up()
        chosen = sorted(
            (
                each
                for each in self._known.values()
                if function in (None, each.function) and "EventSourceArn" not in query
            ),
            key=lambda each: each.uuid,
        )
        left = [each for each in chosen if each.uuid > query.get("Marker", "")]
        page = left[: int(count)]
        answer: dict[str, Any] = {"EventSourceMappings": [mappings.shown(each, self._servers) for each in page]}
        if len(left) > len(page):
            answer["NextMarker"] = page[-1].uuid
        return JSONResponse(answer)

    def _apply(self, event: Event) -> None:
        if isinstance(event, MappingChanged):
            if event.deleted:
                self._known.pop(event.uuid, None)
            else:
                self._known[event.uuid] = event

    def _target(self, name: Any) -> AnyFunction:
        if not isinstance(name, str):
            raise failures.invalid("FunctionName: expected the name of a function")
        function = invocations.named(name, None, self._functions)
        if not isinstance(function, LambdaFunction):
            raise failures.invalid(
                f"FunctionName: {function.name} takes events of its own types from their topics; expected a function in "
                "Lambda's shape, handler(event, context)"
            )
        return function

    def _check_free(self, made: MappingChanged) -> None:
        if made.consumer_group in self._functions:
            raise ApiError(
                "ResourceConflictException",
                f"ConsumerGroupId: {made.consumer_group} is the group of the function of that name; choose another",
                409,
            )
        for other in self._known.values():
            if other.uuid != made.uuid and (
                (other.topic, other.function) == (made.topic, made.function)
                or other.consumer_group == made.consumer_group
            ):
                raise mappings.taken(other)

    async def _found(self, request: Request) -> MappingChanged:
        await self._follower.catch_up()
        found = self._known.get(request.path_params["uuid"])
        if found is None:
            raise mappings.no_mapping()
        return found

    def _shown(self, mapping: MappingChanged, state: str = "", status: int = 200) -> Response:
        return JSONResponse(mappings.shown(mapping, self._servers, state), status_code=status)


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApiError("InvalidRequestContentException", f"Could not parse request body into json: {error}") from error
    if not isinstance(body, dict):
        raise ApiError("InvalidRequestContentException", "expected a JSON object")
    return body
