"""One client's connection, as the owner sees it."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import struct
from collections.abc import Callable
from typing import Protocol

import msgspec

from sixfold import errors
from sixfold.bus.embedded import frames, wire

_numbers = itertools.count(1)
_decoder: msgspec.msgpack.Decoder[wire.Request] = msgspec.msgpack.Decoder(wire.Request)


class Handler(Protocol):
    """What the owner does with a connection's messages."""

    def opened(self, session: Session) -> None: ...

    def request(self, session: Session, request: wire.Request) -> None: ...

    def closed(self, session: Session) -> None: ...


class Session(frames.FrameProtocol):
    """Takes requests once the client has said hello in our version; answers are gathered by `reply` and `push`."""

    def __init__(self, handler: Handler, frame_bytes_max: int, log: Callable[[str], None]) -> None:
        super().__init__(_decoder, frame_bytes_max)
        self._handler = handler
        self._log = log
        self._greeted = False
        self.number = next(_numbers)
        self.process = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        peer = self.transport.get_extra_info("socket")
        self.process, user, _ = struct.unpack(
            "3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        )
        if user not in (os.getuid(), 0):
            self._log(f"a connection of user {user} was refused; the log is user {os.getuid()}'s")
            self.transport.abort()
            return
        self._handler.opened(self)

    def received(self, message: wire.Request) -> None:
        if isinstance(message, wire.Hello):
            self._greeted = True
            self.send(frames.encode(wire.Welcome(version=wire.VERSION)))
            if message.version != wire.VERSION and self.transport is not None:
                self.transport.close()
        elif self._greeted:
            self._handler.request(self, message)
        else:
            raise frames.FrameError("a request before hello")

    def broken(self, reason: str) -> None:
        self._log(f"connection {self.number} was closed: {reason}")

    def connection_lost(self, _error: Exception | None) -> None:
        self._handler.closed(self)

    def pause_writing(self) -> None:
        # A client that does not read its answers is not read from either.
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def push(self, message: wire.Response) -> None:
        """Send a message."""
        self.send(frames.encode(message))

    def fail(self, identity: int, error: errors.SixfoldError) -> None:
        """Answer a request with an error."""
        self.push(wire.Failed(id=identity, kind=type(error).__name__, message=str(error)))
