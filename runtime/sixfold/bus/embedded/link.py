"""A client's connection to whoever owns the log, kept through changes of owner.

`call` sends a request and returns its reply. When the connection breaks, the link tries for the lock: it becomes the
owner itself, or finds the new one; then consumers rejoin, and requests without a reply are sent again in their order,
marked as retries. Nothing is lost, and the owner recognises what its predecessor had stored. `calls.py` gives up on an
owner that lives but does not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import socket
import struct
from pathlib import Path
from typing import Protocol, TypeVar, cast

import msgspec

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import port
from sixfold.bus.embedded import calls, frames, ownership, server, wire
from sixfold.bus.embedded import settings as settings_

_decoder: msgspec.msgpack.Decoder[wire.Response] = msgspec.msgpack.Decoder(wire.Response)
R = TypeVar("R")

_DELAY_FIRST_S = 0.005
_DELAY_MAX_S = 0.1


class Attached(Protocol):
    """A consumer on the link."""

    def pushed(self, message: wire.Push) -> None:
        """The owner tells something."""

    def reconnected(self) -> None:
        """There is a new owner; rejoin before anything else is sent."""

    def failed(self, error: errors.SixfoldError) -> None:
        """No owner could be reached."""


class _Connection(frames.FrameProtocol):
    def __init__(self, link: Link, frame_bytes_max: int) -> None:
        super().__init__(_decoder, frame_bytes_max)
        self._link = link
        self.welcome: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.writable = asyncio.Event()
        self.writable.set()
        self.owner = 0
        """Number of the process at the other end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        self.owner, _, _ = struct.unpack(
            "3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        )

    def received(self, message: wire.Response) -> None:
        if isinstance(message, wire.Welcome):
            if not self.welcome.done():
                self.welcome.set_result(message.version)
        else:
            self._link.received(message)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.writable.set()
        if not self.welcome.done():
            self.welcome.set_exception(ConnectionResetError("the owner closed the connection"))
            self.welcome.exception()
        self._link.lost(self)


class Link:
    """One bus's connection. Used by one event loop."""

    def __init__(self, folder: Path, settings: settings_.Settings, clock: clocks.Clock) -> None:
        self._folder = folder
        self._settings = settings
        self.clock = clock
        self.producer = secrets.randbits(62)
        """Tells this client's writes from others'."""
        self._sequence = itertools.count(1)
        self._ids = itertools.count(1)
        self._calls = calls.Calls(settings.connect_timeout_s, self.owner_name)
        self._consumers: dict[int, Attached] = {}
        self._consumer_ids = itertools.count(1)
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._server: server.Server | None = None
        self._closed = False

    @property
    def owner(self) -> bool:
        """True while this process owns the log."""
        return self._server is not None and self._server.running

    async def open(self) -> None:
        """Connect. Raises BusError where the log cannot be opened or nobody answers."""
        self._connection = await self._connect()
        self._calls.heard()

    async def close(self) -> None:
        """Disconnect; an owner hands over."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError, errors.SixfoldError):
                await self._connecting
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.close()
            self._connection = None
        self._fail(port.BusUnavailableError("the bus was closed"))
        self._calls.close()
        if self._server is not None:
            await self._server.stop()
            self._server = None

    def attach(self, consumer: Attached) -> int:
        """A number for `consumer`, under which the owner's messages reach it."""
        number = next(self._consumer_ids)
        self._consumers[number] = consumer
        return number

    def detach(self, number: int) -> None:
        """Forget a consumer."""
        self._consumers.pop(number, None)

    async def write(
        self,
        batches: list[wire.Batch],
        *,
        consumer: int = 0,
        group: str = "",
        state: list[wire.State] | None = None,
        offsets: list[tuple[int, int]] | None = None,
        keep: bool = False,
    ) -> list[int]:
        """Append, store and commit, all or nothing; base offsets of the batches. Sent again to each next owner.

        Raises BusUnavailableError where none answers; then it may have been stored. With `keep` that is an InDoubtError,
        whose call `again` asks for once more, so that it is stored once.
        """
        request = wire.Write(
            producer=self.producer,
            sent_ms=clocks.now_ms(self.clock),
            batches=batches,
            consumer=consumer,
            group=group,
            state=state or [],
            offsets=offsets or [],
        )
        return (await self.call(request, wire.Written, keep=keep)).bases

    async def again(self, call: calls.Call) -> None:
        """Wait once more for a write in doubt."""
        self._calls.again(call)
        if self._connection is None and not self._closed:
            self._reconnect()
        _checked(await self._calls.reply(call), wire.Written)

    def forget(self, call: calls.Call) -> None:
        """Ask no more for a write in doubt."""
        self._calls.forget(call)

    async def call(self, request: wire.Call, kind: type[R], *, keep: bool = False) -> R:
        """The reply to `request`. Raises what the owner answered, or BusUnavailableError where there is none."""
        if self._closed:
            raise port.BusUnavailableError("the bus is not open; use it inside `async with`")
        while self._connection is not None and not self._connection.writable.is_set():
            await self._until_writable(self._connection)
        request.id = next(self._ids)
        if isinstance(request, wire.Write):
            request.sequence = next(self._sequence)  # in the order of sending: a retry's search stops at earlier ones
        frame = frames.encode(request)
        if len(frame) > self._settings.frame_bytes_max:
            raise port.BusError(
                f"a call of {len(frame)} bytes; at most {self._settings.frame_bytes_max} are taken at once: split it"
            )
        call = self._calls.add(request, keep=keep)
        if self._connection is not None:
            self._connection.send(frame)
        else:
            self._reconnect()
        return _checked(await self._calls.reply(call), kind)

    async def _until_writable(self, connection: _Connection) -> None:
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                await connection.writable.wait()
        except TimeoutError as error:
            raise port.BusUnavailableError(
                calls.silent(self.owner_name(), self._settings.connect_timeout_s) + ". Nothing was sent"
            ) from error

    def owner_name(self) -> str:
        """Who should answer, for messages."""
        return f"process {self._connection.owner if self._connection else 'unknown'} on {self._folder}"

    def post(self, message: wire.Fetch | wire.Join | wire.Leave | wire.Revoked) -> None:
        """Send without a reply; dropped where there is no connection, `reconnected` says when there is again."""
        if self._connection is not None:
            self._connection.send(frames.encode(message))
        elif not self._closed:
            self._reconnect()

    def received(self, message: wire.Response) -> None:
        """A message of the owner."""
        self._calls.heard()
        if isinstance(message, wire.Push):
            for number in (message.consumer,) if message.consumer else tuple(self._consumers):
                consumer = self._consumers.get(number)
                if consumer is not None:
                    consumer.pushed(message)
            return
        self._calls.received(cast("wire.Reply", message))

    def lost(self, connection: _Connection) -> None:
        """The connection broke."""
        if connection is self._connection:
            self._connection = None
            self._calls.lost()
            if not self._closed and (self._calls or self._consumers):
                self._reconnect()

    def _reconnect(self) -> None:
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.get_running_loop().create_task(self._connect_again(), name="bus reconnects")

    async def _connect_again(self) -> None:
        try:
            connection = await self._connect()
        except errors.SixfoldError as error:
            self._fail(error)
            return
        except Exception as error:  # whatever it is, those who wait must hear of it
            self._fail(port.BusError(f"the bus in {self._folder} cannot be opened: {type(error).__name__}: {error}"))
            return
        if connection.transport is None or connection.transport.is_closing():
            asyncio.get_running_loop().call_soon(self._reconnect)
            return
        self._connection = connection
        for consumer in list(self._consumers.values()):
            consumer.reconnected()
        for request in self._calls.resend():
            connection.send(frames.encode(request))

    def _fail(self, error: errors.SixfoldError) -> None:
        self._calls.fail(error)
        for consumer in list(self._consumers.values()):
            consumer.failed(error)

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.connect_timeout_s
        delay_s = _DELAY_FIRST_S
        while True:
            if not self.owner:
                await self._try_to_own()
            try:
                return await self._greet()
            except (OSError, TimeoutError) as error:
                if loop.time() > deadline:
                    raise port.BusUnavailableError(
                        f"no owner of the bus in {self._folder} answers within {self._settings.connect_timeout_s} s "
                        f"({error}); the process that holds {self._folder}/lock may be stopped: end it, or wait for it"
                    ) from error
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _DELAY_MAX_S)

    async def _try_to_own(self) -> None:
        lock = ownership.acquire(self._folder)
        if lock is None:
            return
        candidate = server.Server(self._folder, lock, self._settings, self.clock)
        self._server = candidate  # from now on `close` stops it, also while it starts
        await candidate.start()

    async def _greet(self) -> _Connection:
        loop = asyncio.get_running_loop()
        path = str(ownership.socket_path(self._folder))
        _, connection = await loop.create_unix_connection(
            lambda: _Connection(self, self._settings.frame_bytes_max), path
        )
        connection.send(frames.encode(wire.Hello(version=wire.VERSION)))
        try:
            version = await asyncio.wait_for(connection.welcome, self._settings.connect_timeout_s)
        except BaseException:
            if connection.transport is not None:
                connection.transport.abort()
            raise
        if version != wire.VERSION:
            raise port.BusError(
                f"the owner of the bus speaks version {version}, this process {wire.VERSION}; run one version of sixfold"
            )
        return connection


def _checked(reply: wire.Reply, kind: type[R]) -> R:
    if isinstance(reply, wire.Failed):
        raise wire.error(reply.kind, reply.message)
    assert isinstance(reply, kind), f"{type(reply).__name__} instead of {kind.__name__}"
    return reply
