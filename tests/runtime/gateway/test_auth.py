"""Nothing is anonymous: every route of every capability asks who is there, but for those that are public."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from sixfold import capability, catalogue
from sixfold.gateway import auth, credentials
from sixfold.gateway.cloudevents_http import routes as event_routes
from sixfold.gateway.observation import Observation
from sixfold.gateway.route import Gateway, Route

if TYPE_CHECKING:
    from tests.runtime.gateway.conftest import Running


def all_routes(gateway: Running) -> list[Route]:
    """What the gateway serves."""
    made = Gateway(gateway.process, gateway.url)
    known = catalogue.installed()
    observed = Observation(made, known)
    routes = [*observed.routes(), *event_routes(made, known, observed)]
    for each in known.capabilities:
        if each.routes:
            routes += capability.resolve(each.routes)(made)
    return routes


def path_of(route: Route) -> str:
    """The route's path with something in each place."""
    return re.sub(r"\{[^}]+\}", "x", route.path)


async def test_every_route_but_the_public_ones_asks_for_a_credential(gateway: Running) -> None:
    """Without one the answer is 401 and says how to ask; no body is read, no handler runs."""
    routes = all_routes(gateway)
    assert len(routes) >= 3
    for route in routes:
        for method in route.methods:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic d3Jvbmc6d3Jvbmc="}):
                answer = await gateway.stranger.request(method, path_of(route), headers=headers)
                if route.public:
                    assert "WWW-Authenticate" not in answer.headers, route
                else:
                    assert answer.status_code == 401, route
                    assert "Bearer" in answer.headers["WWW-Authenticate"]
                    assert "Basic" in answer.headers["WWW-Authenticate"]
                    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_health_is_public_and_little_else(gateway: Running) -> None:
    """A new public route is a decision: this list is to be changed with it."""
    public = {(method, route.path) for route in all_routes(gateway) if route.public for method in route.methods}
    # AssumeRoleWithWebIdentity, which AWS's clients send to the root, brings its own proof.
    assert public <= {("GET", "/health"), ("POST", "/")}
    assert ("GET", "/health") in public


@pytest.mark.parametrize(
    "path", ["/", "/nothing/here", "/health/", "//health", "/health/..%2Fmetrics", "/metrics?x=/health"]
)
async def test_an_unknown_path_says_nothing_to_a_stranger(gateway: Running, path: str) -> None:
    """Whether it exists is not for everyone to know."""
    assert (await gateway.stranger.get(path)).status_code == 401


async def test_an_operator_learns_that_a_path_does_not_exist(gateway: Running) -> None:
    """404, and 405 for a wrong method, as problem details."""
    missing = await gateway.operator.get("/nothing/here")
    assert (missing.status_code, missing.json()["status"]) == (404, 404)
    assert (await gateway.operator.delete("/events")).status_code == 405


async def test_git_may_show_the_token_as_a_password(gateway: Running) -> None:
    """Basic, with any user name."""
    token = credentials.token(gateway.process.data_dir / "credentials" / "bootstrap.token")
    basic = base64.b64encode(f"anyone:{token}".encode()).decode()
    answer = await gateway.stranger.get("/metrics", headers={"Authorization": f"Basic {basic}"})
    assert answer.status_code == 200


async def test_an_agent_may_not_do_what_an_operator_may(gateway: Running) -> None:
    """403, not 401: it is known, and refused. A credential made while the gateway runs counts at once."""
    path = credentials.create(gateway.process.data_dir, kind="agent", name="i-7")
    bearer = {"Authorization": f"Bearer {credentials.token(path)}"}
    for route in all_routes(gateway):
        if not route.public and "agent" not in route.allow:
            answer = await gateway.stranger.request(route.methods[0], path_of(route), headers=bearer)
            assert answer.status_code == 403, route
            assert "agent i-7" in answer.json()["detail"]


async def test_a_credential_whose_record_is_deleted_is_refused(gateway: Running) -> None:
    """At the next request, however soon."""
    folder = gateway.process.data_dir / "credentials"
    path = credentials.create(gateway.process.data_dir, kind="operator", name="second")
    bearer = {"Authorization": f"Bearer {credentials.token(path)}"}
    assert (await gateway.stranger.get("/metrics", headers=bearer)).status_code == 200
    (folder / "operator-second.json").unlink()
    assert (await gateway.stranger.get("/metrics", headers=bearer)).status_code == 401


async def test_headers_have_a_limit(gateway: Running) -> None:
    """431 for too many, and an endless head is cut off instead of collected."""
    answer = await gateway.stranger.get("/health", headers={"X-Much": "x" * (auth.HEADER_BYTES_MAX + 1)})
    assert answer.status_code == 431
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\nx-much: ")
    try:
        for _ in range(64):
            writer.write(b"x" * 64 * 1024)
            await writer.drain()
        answered = await reader.read(64)
    except ConnectionError:
        answered = b""
    assert answered in (b"",) or b"431" in answered
    writer.close()


async def test_a_body_has_a_limit_whether_its_length_is_told_or_not(gateway: Running) -> None:
    """413 by Content-Length at once, and by counting where the body comes in chunks."""
    much = b"x" * (8 * 1024 * 1024 + 1)
    headers = {"Content-Type": "application/cloudevents+json"}
    assert (await gateway.operator.post("/events", content=much, headers=headers)).status_code == 413

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(much), 1 << 20):
            yield much[start : start + (1 << 20)]

    answer = await gateway.operator.post("/events", content=chunks(), headers=headers)
    assert answer.status_code == 413
    assert "8,388,608" in answer.json()["detail"]
