"""A registry that answers what a test tells it to, on a real server, with TLS where it is wanted."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from tests.support.waiting import eventually

from sixfold.supervisor import sockets


class Answer(NamedTuple):
    """What is answered to one request."""

    status: int = 200
    body: Any = None


class Answering:
    """Gives the answers in turn, the last one again and again; keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[Request] = []
        self.url = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        await request.body()
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        body = answer.body
        response = Response(body, answer.status) if isinstance(body, bytes) else JSONResponse(body, answer.status)
        await response(scope, receive, send)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def answering(
    *answers: Answer, certificate: str = "", key: str = "", client_ca: str = ""
) -> AsyncIterator[Answering]:
    """A registry at `.url`."""
    app = Answering(*answers)
    with sockets.listening("127.0.0.1", 0) as listen:
        app.url = sockets.url_of(listen).replace("http:", "https:" if certificate else "http:")
        config = uvicorn.Config(
            app,
            log_config=None,
            lifespan="off",
            ws="none",
            ssl_certfile=certificate or None,
            ssl_keyfile=key or None,
            ssl_ca_certs=client_ca or None,
            ssl_cert_reqs=ssl.CERT_REQUIRED if client_ca else ssl.CERT_NONE,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listen]))
        try:
            await eventually(lambda: server.started, "the registry serves")
            yield app
        finally:
            server.should_exit = True
            await serving
