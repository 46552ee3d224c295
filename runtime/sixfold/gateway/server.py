"""The gateway as a process: uvicorn on a socket that the supervisor bound, or on `--host` and `--port`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sixfold import catalogue, errors
from sixfold.function import AnyFunction
from sixfold.gateway import app as apps
from sixfold.gateway import auth
from sixfold.process import Process
from sixfold.supervisor import lifeline, plan, sockets

# The request line and what lies between headers, beside the headers themselves.
_HEAD_BYTES_MAX = auth.HEADER_BYTES_MAX + 16 * 1024
CONNECTIONS_MAX = 4096
"""A thousand agents in their long polls, and as many clients again."""
_DRAIN_S = 5


async def run(process: Process, *, functions: Iterable[AnyFunction] = ()) -> None:
    """Serve until `process.stopping`; the service `gateway`. `functions` are a user's own."""
    with contextlib.ExitStack() as stack:
        listen = lifeline.listening_socket(os.environ)
        if listen is None:
            try:
                port = int(process.options.get("port", plan.PORT))
            except ValueError as error:
                raise errors.UsageError(f"--port: expected a number, found {process.options['port']!r}") from error
            listen = stack.enter_context(sockets.listening(process.options.get("host", plan.HOST), port))
        else:
            stack.enter_context(listen)
        capabilities = catalogue.installed().capabilities
        app = apps.create_app(process, capabilities, sockets.url_of(listen), functions=functions)
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=_DRAIN_S,
        )
        server = _Server(config, process.ready)
        serving = asyncio.create_task(server.serve(sockets=[listen]))
        asked = asyncio.create_task(process.stopping.wait())
        await asyncio.wait((serving, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """Leaves signals to the process, and says when it serves."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP with a limit on the request's head, which httptools would collect for ever."""

    _head_bytes = 0
    _in_head = True

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > _HEAD_BYTES_MAX and not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0
