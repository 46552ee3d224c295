"""A gateway with the registry's routes on a real server, as often as a test wants one."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import httpx
import uvicorn
from tests.support import buses
from tests.support.waiting import eventually

from sixfold.bus import port
from sixfold.catalogue import Catalogue
from sixfold.gateway import app as apps
from sixfold.gateway import credentials
from sixfold.process import Process
from sixfold.supervisor import sockets
from sixfold_functions.registry.capability import capability


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Served(NamedTuple):
    """A registry that answers."""

    url: str
    """With the path, as clients take it."""
    token: str
    http: httpx.AsyncClient
    """Shows the operator's credential; paths are relative to `url`."""
    bus: port.Bus
    process: Process

    async def ask(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """The answer's JSON; the status must be the one expected."""
        answer = await self.http.request(method, self.url + path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def refused(self, method: str, path: str, body: Any = None) -> tuple[int, int]:
        """Status and error code of a request that is refused."""
        answer = await self.http.request(method, self.url + path, json=body)
        found = answer.json()
        assert found["message"]
        return answer.status_code, found["error_code"]

    async def register(self, subject: str, schema: Any) -> dict[str, Any]:
        """Register a schema."""
        found: dict[str, Any] = await self.ask("POST", f"/subjects/{subject}/versions", posted(schema))
        return found


def posted(schema: Any, **more: Any) -> dict[str, Any]:
    """A request's body."""
    return {"schema": json.dumps(schema), **more}


@contextlib.asynccontextmanager
async def served(place: buses.Place) -> AsyncIterator[Served]:
    """A gateway of its own on the bus of `place`."""
    token = credentials.token(credentials.bootstrap(place.data_dir))
    known = Catalogue([capability])
    async with buses.open_bus(place) as opened:
        await opened.create_topics(known.topics)
        process = Process(name="gateway", data_dir=place.data_dir, registry=known.registry, bus=opened)
        with sockets.listening("127.0.0.1", 0) as listen:
            url = sockets.url_of(listen)
            config = uvicorn.Config(
                apps.create_app(process, [capability], url), log_config=None, lifespan="on", ws="none"
            )
            server = _Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listen]))
            try:
                await eventually(lambda: server.started, "the gateway serves")
                bearer = {"Authorization": f"Bearer {token}"}
                async with httpx.AsyncClient(headers=bearer, trust_env=False, timeout=30) as http:
                    yield Served(f"{url}/registry", token, http, opened, process)
            finally:
                server.should_exit = True
                await serving
                await process.resources.close()
