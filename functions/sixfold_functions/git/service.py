"""One call of a git client: the request streamed into git's own program, its output streamed back.

Nothing is ever whole in memory: each side is read only as fast as the other takes. A push's report is held back until
its events are in the log; a client that leaves after its push was sent does not stop it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import structlog
from starlette.types import Message, Receive, Send

from sixfold import errors
from sixfold_functions.git import environment
from sixfold_functions.git.settings import GitSettings

CHUNK_BYTES = 1 << 16
log = structlog.get_logger()
Service = Literal["git-upload-pack", "git-receive-pack"]


class RequestError(errors.SixfoldError):
    """The request cannot be taken; `status` is its HTTP answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ClientGoneError(Exception):
    """The client closed the connection before its request was whole."""


class Body:
    """The request's body, unpacked and limited; after its end it tells when the client leaves."""

    def __init__(self, receive: Receive, encoding: str, bytes_max: int, idle_timeout_s: float) -> None:
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise RequestError(415, f"Content-Encoding {encoding!r} is not known here; expected gzip or none")
        self._receive = receive
        self._inflater = zlib.decompressobj(wbits=31) if "gzip" in encoding else None
        self._bytes_left = bytes_max
        self._bytes_max = bytes_max
        self._idle_timeout_s = idle_timeout_s
        self.ended = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self.ended:
            message = await self._next()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            self.ended = not message.get("more_body", False)
            data = message.get("body", b"")
            if self._inflater is None:
                yield self._counted(data)
            else:
                # A small request may unpack to gigabytes; it does so one chunk at a time, and only while git takes it.
                while data:
                    try:
                        chunk = self._inflater.decompress(data, CHUNK_BYTES)
                    except zlib.error as error:
                        raise RequestError(400, f"the request body is not valid gzip: {error}") from None
                    data = self._inflater.unconsumed_tail
                    yield self._counted(chunk)
                if self.ended and not self._inflater.eof:
                    raise RequestError(400, "the request body is not valid gzip: it breaks off")

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout(self._idle_timeout_s):
                return await self._receive()
        except TimeoutError:
            raise RequestError(408, f"nothing came for {self._idle_timeout_s:.0f} s; push or fetch again") from None

    def _counted(self, chunk: bytes) -> bytes:
        self._bytes_left -= len(chunk)
        if self._bytes_left < 0:
            raise RequestError(413, f"the request is larger than {self._bytes_max} bytes; push fewer commits at a time")
        return chunk

    async def drain(self) -> None:
        """Read the rest and throw it away, so that a client that still sends hears the answer."""
        with contextlib.suppress(ClientGoneError, RequestError):
            async for _ in self:
                pass

    async def until_gone(self) -> None:
        """Return when the client has closed the connection, after the whole body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


class Child:
    """git's `upload-pack` or `receive-pack` for one request, in a process group of its own."""

    def __init__(self, process: asyncio.subprocess.Process, settings: GitSettings) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self.stdin = process.stdin
        self.stdout = process.stdout
        self._idle_timeout_s = settings.idle_timeout_s
        self._taken = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def of(
        cls,
        service: Service,
        repository: Path,
        settings: GitSettings,
        *options: str,
        pusher: str = "",
        protocol: str = "",
    ) -> AsyncIterator[Child]:
        """Start it; at the end of the block nothing of its process group is left."""
        process = await asyncio.create_subprocess_exec(
            "git",
            service.removeprefix("git-"),
            "--stateless-rpc",
            *options,
            str(repository),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Complaints meant for the client come on its side band; these are for the log of this process.
            stderr=None,
            limit=CHUNK_BYTES,
            env=environment.serving(repository, settings, pusher=pusher, protocol=protocol),
            start_new_session=True,
        )
        child = cls(process, settings)
        try:
            yield child
        finally:
            child.kill()
            child.stdin.close()
            await process.wait()

    async def take(self, chunk: bytes) -> None:
        """Give it input; returns once there is room for more. Raises BrokenPipeError where it reads no more."""
        self.stdin.write(chunk)
        await self.stdin.drain()
        self._taken += 1

    async def output(self) -> AsyncIterator[bytes]:
        """What it prints, until it ends. Raises RequestError where it neither takes nor gives for too long."""
        while True:
            taken = self._taken
            try:
                async with asyncio.timeout(self._idle_timeout_s):
                    chunk = await self.stdout.read(CHUNK_BYTES)
            except TimeoutError:
                if self._taken != taken:
                    continue  # a long upload: git has nothing to say yet
                raise RequestError(504, f"git was silent for {self._idle_timeout_s:.0f} s and was stopped") from None
            if not chunk:
                return
            yield chunk

    async def ended(self) -> int:
        """Its exit code, once it has ended."""
        async with asyncio.timeout(self._idle_timeout_s):
            return await self._process.wait()

    def kill(self) -> None:
        """Stop it and everything that it started."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


class Answer:
    """The response under way: its head goes out with the first byte, so an early failure still has its own status."""

    def __init__(self, send: Send, content_type: str) -> None:
        self._send = send
        self._content_type = content_type
        self.begun = False

    async def write(self, data: bytes) -> None:
        """Send bytes; returns when the connection takes more."""
        if not self.begun:
            await self._head(200, self._content_type)
        if data:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """Finish the response."""
        await self.write(b"")
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def fail(self, status: int, message: str) -> None:
        """Answer with `status` and a text that git shows. After the head has gone, the answer is left unfinished:
        the server then cuts the connection, which git reports."""
        if self.begun:
            log.warning("call broken off", action="git.broken_off", error=message)
            return
        await self._head(status, "text/plain; charset=utf-8")
        await self._send({"type": "http.response.body", "body": message.encode() + b"\n", "more_body": False})

    async def _head(self, status: int, content_type: str) -> None:
        self.begun = True
        headers = [
            (b"content-type", content_type.encode()),
            (b"cache-control", b"no-cache, max-age=0, must-revalidate"),
        ]
        if status == 503:
            headers.append((b"retry-after", b"5"))
        if status >= 400:
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
