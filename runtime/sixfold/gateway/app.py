"""The gateway as one ASGI app: its own routes, those of all capabilities, and authentication in front of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sixfold import capability, catalogue, errors
from sixfold.capability import Capability
from sixfold.function import AnyFunction
from sixfold.gateway import cloudevents_http, observation, problems
from sixfold.gateway.auth import Authentication, Guard
from sixfold.gateway.aws import endpoint
from sixfold.gateway.credentials import Verifier
from sixfold.gateway.route import Gateway, Route
from sixfold.gateway.signing import Signatures
from sixfold.lambdas import invocations, mapping_http
from sixfold.process import Process


def create_app(
    process: Process, capabilities: Iterable[Capability], url: str, *, functions: Iterable[AnyFunction] = ()
) -> ASGIApp:
    """The gateway of `process`, reached at `url`, with the routes of `capabilities`.

    `functions` are a user's own, which belong to no capability: their topics take events and their lag is measured too.
    """
    capabilities = tuple(capabilities)
    gateway = Gateway(process, url)
    known = catalogue.Catalogue(capabilities, functions)
    observed = observation.Observation(gateway, known)
    routes: list[Route] = [
        *observed.routes(),
        *cloudevents_http.routes(gateway, known, observed),
        *invocations.routes(gateway, known.functions),
        *mapping_http.routes(gateway, known.functions),
    ]
    for each in capabilities:
        if each.routes:
            routes.extend(capability.resolve(each.routes)(gateway))
    if gateway.aws:
        routes.append(endpoint.route(gateway.aws, gateway.on_unanswered))
    mounted = mount(routes)
    public = [starlette for route, starlette in zip(routes, mounted, strict=True) if route.public]
    verifier = Verifier(process.data_dir, process.clock)
    signatures = Signatures(verifier, process.clock, gateway.signers)
    return Starlette(
        routes=mounted,
        middleware=[
            Middleware(_Counting, observed=observed),
            Middleware(Authentication, verifier=verifier, signatures=signatures, public=public),
        ],
        exception_handlers={
            errors.SixfoldError: problems.handle,
            HTTPException: problems.handle,
            TimeoutError: problems.handle,
            RecursionError: problems.handle,
            Exception: _broken,
        },
        lifespan=_lifespan(gateway),
    )


def mount(routes: Sequence[Route]) -> list[StarletteRoute]:
    """The routes as Starlette's, each behind its own rules."""
    return [
        StarletteRoute(
            route.path,
            route.endpoint,
            methods=list(route.methods),
            middleware=[Middleware(Guard, route=route)],
            include_in_schema=False,
        )
        for route in routes
    ]


def _lifespan(gateway: Gateway):  # type: ignore[no-untyped-def]
    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        for hook in gateway.on_start:
            await hook()
        try:
            yield
        finally:
            for hook in reversed(gateway.on_stop):
                await hook()

    return lifespan


async def _broken(request: Request, error: Exception) -> Response:
    structlog.get_logger().error(
        "a request failed",
        action="request_failed",
        method=request.method,
        path=request.url.path,
        error=f"{type(error).__name__}: {error}",
        exc_info=error,
    )
    return problems.response(problems.of(error))


class _Counting:
    """Counts answers by method and status."""

    def __init__(self, app: ASGIApp, observed: observation.Observation) -> None:
        self._app = app
        self._observed = observed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._observed.answered(scope["method"], message["status"])
            await send(message)

        await self._app(scope, receive, counted if scope["type"] == "http" else send)
