"""Calls of a link that wait for their replies, in the order of sending; given up where the owner stays silent.

An owner that was stopped, or whose disk hangs, neither answers nor dies, and keeps the lock: nobody else can answer.
Then each call is told so after a time, though not while the owner answers others: it is busy then. A write that its
caller may ask for again waits on as one in doubt: it is sent again to a next owner under its own number like any
other, and whoever asks again gets the answer to that one. So it is stored once whatever happens in between.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator

import msgspec

from sixfold import errors
from sixfold.bus import port
from sixfold.bus.embedded import wire

SENDS_MAX = 5
"""A call that so many owners did not live to answer may be what kills them."""


class Call(msgspec.Struct, eq=False):
    """A request without a reply yet."""

    request: wire.Call
    future: asyncio.Future[wire.Reply]
    sent_s: float
    keep: bool
    """Wait on when given up, as one in doubt."""
    awaited: bool = True
    sends: int = 1


class InDoubtError(port.BusUnavailableError):
    """A write was given up and waits on: ask for `call` again, or `forget` it."""

    def __init__(self, message: str, call: Call) -> None:
        super().__init__(message)
        self.call = call


class Calls:
    """The calls of one link. Used by one event loop."""

    def __init__(self, silence_max_s: float, owner: Callable[[], str]) -> None:
        """`owner` says who should answer, for messages."""
        self._silence_max_s = silence_max_s
        self._owner = owner
        self._calls: dict[int, Call] = {}
        self._heard_s = math.inf
        """When the owner's last message came; infinite while there is none, which the link watches itself."""
        self._timer: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, request: wire.Call, *, keep: bool = False) -> Call:
        """Wait for the reply to `request`, which is to be sent now."""
        loop = asyncio.get_running_loop()
        call = Call(request, loop.create_future(), loop.time(), keep)
        self._calls[request.id] = call
        if self._timer is None:
            self._timer = loop.call_later(self._silence_max_s, self._look)
        return call

    async def reply(self, call: Call) -> wire.Reply:
        """The answer. Raises InDoubtError or BusUnavailableError where none came, and what `fail` was given."""
        kept = False
        try:
            return await call.future
        except InDoubtError:
            kept = True
            raise
        finally:
            if not kept:
                self.forget(call)

    def again(self, call: Call) -> None:
        """A call in doubt is asked for once more; `reply` waits for it."""
        loop = asyncio.get_running_loop()
        call.awaited, call.sends, call.sent_s = True, 1, loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._silence_max_s, self._look)

    def forget(self, call: Call) -> None:
        """Nobody wants the reply any more."""
        self._calls.pop(call.request.id, None)

    def received(self, reply: wire.Reply) -> None:
        """A reply came."""
        call = self._calls.get(reply.id)
        if call is not None and not call.future.done():
            call.future.set_result(reply)

    def heard(self) -> None:
        """The owner lives: a message of it came."""
        self._heard_s = asyncio.get_running_loop().time()

    def lost(self) -> None:
        """There is no owner."""
        self._heard_s = math.inf

    def resend(self) -> Iterator[wire.Call]:
        """There is a new owner: what is to be sent to it, in order."""
        self.heard()
        for call in list(self._calls.values()):
            if call.future.done():
                continue
            if call.sends >= SENDS_MAX and call.awaited:
                self._give_up(call, f"{SENDS_MAX} owners of the bus ended before they answered")
                continue
            call.sends += 1
            call.sent_s = self._heard_s
            if isinstance(call.request, wire.Write):
                call.request.retry = True
            yield call.request
        self._look()

    def fail(self, error: errors.SixfoldError) -> None:
        """No owner can be had: all who wait are told so."""
        for call in list(self._calls.values()):
            if call.future.done():
                continue
            if call.keep and isinstance(error, port.BusUnavailableError):
                if call.awaited:
                    self._give_up(call, str(error))
                continue
            call.future.set_exception(type(error)(str(error)))
            if not call.awaited:
                call.future.exception()  # nobody may ask again; asyncio need not warn of it

    def close(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self.close()
        loop = asyncio.get_running_loop()
        now = loop.time()
        next_s = math.inf
        for call in list(self._calls.values()):
            if not call.awaited or call.future.done():
                continue
            due_s = max(call.sent_s, self._heard_s) + self._silence_max_s
            if due_s > now:
                next_s = min(next_s, due_s)
            else:
                self._give_up(call, silent(self._owner(), self._silence_max_s))
        if next_s < math.inf:
            self._timer = loop.call_at(next_s, self._look)

    def _give_up(self, call: Call, why: str) -> None:
        if isinstance(call.request, wire.Write):
            why += ". What was to be stored may have been stored, or may be yet"
        future = call.future
        if call.keep:
            call.future, call.awaited = asyncio.get_running_loop().create_future(), False
            future.set_exception(InDoubtError(why, call))
        else:
            future.set_exception(port.BusUnavailableError(why))


def silent(owner: str, silence_s: float) -> str:
    """What to say of an owner that lives but does not answer."""
    return (
        f"the owner of the bus, {owner}, has answered nothing for {silence_s:g} s: it may have been stopped, or its disk "
        "hangs. Let it go on, or end it and another takes over"
    )
