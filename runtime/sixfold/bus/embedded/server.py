"""The owner's thread: its own event loop, the open store and the socket.

A thread of its own, so that a handler that keeps the owner process's event loop busy cannot keep every other process
waiting. It holds the lock from its start to its end.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import sys
import threading
from pathlib import Path

import apsw
import msgspec
import structlog
import uvloop

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.embedded import owner as owner_
from sixfold.bus.embedded import ownership
from sixfold.bus.embedded import session as session_
from sixfold.bus.embedded import settings as settings_
from sixfold.bus.embedded import store as store_

_SWITCH_INTERVAL_S = 0.0005
_log = structlog.get_logger(__name__)


class Server:
    """Runs the owner of `folder` in a thread."""

    def __init__(self, folder: Path, lock: ownership.Lock, settings: settings_.Settings, clock: clocks.Clock) -> None:
        self._folder = folder
        self._lock = lock
        self._settings = settings
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._stop_requested = False
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        # A daemon: a program that ends without closing its bus is not held up; the log survives it as it does a kill.
        self._thread = threading.Thread(target=self._run, name="sixfold-bus", daemon=True)

    @property
    def running(self) -> bool:
        """False once it stopped by itself, as after a disk error, or was stopped."""
        return not self._ended.done()

    async def start(self) -> None:
        """Return once it listens. Raises BusError where the log cannot be opened; the lock is free again then."""
        self._thread.start()
        try:
            await asyncio.shield(asyncio.wrap_future(self._ready))
        except asyncio.CancelledError:
            self._request_stop()
            raise

    async def stop(self) -> None:
        """Hand over: commit what came, close the file, free the lock."""
        self._request_stop()
        await asyncio.shield(asyncio.wrap_future(self._ended))
        self._thread.join()

    def _request_stop(self) -> None:
        self._stop_requested = True
        if self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):  # the loop closed by itself
                self._loop.call_soon_threadsafe(self._stopping.set)

    def _run(self) -> None:
        # Each SQLite call gives the interpreter's lock away, and gets it back from a busy thread only after the switch
        # interval: with 5 ms, Python's default, a handler that computes in the owner's process held every commit of
        # everyone up by 12 ms; with 0.5 ms it is 2 ms.
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_S))
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            else:
                _log.exception("the bus's owner stopped", action="bus.owner.crashed")
        finally:
            self._lock.release()
            self._ended.set_result(None)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        if self._stop_requested:  # before there was a loop to tell
            self._stopping.set()
        store = store_.Store(self._folder, self._settings, self._clock)
        try:
            try:
                owner = owner_.Owner(store, self._settings, self._clock, loop=self._loop, stop=self._stopping.set)
            except (apsw.Error, msgspec.MsgspecError) as error:
                raise port.BusError(f"{store.path} is damaged: {error}. Restore it from a copy") from error
            path = ownership.socket_path(self._folder)
            path.unlink(missing_ok=True)
            try:
                server = await self._loop.create_unix_server(
                    lambda: session_.Session(owner, self._settings.frame_bytes_max, self._warn), path, backlog=256
                )
            except OSError as error:
                raise port.BusUnavailableError(f"the bus cannot listen at {path}: {error}") from error
            path.chmod(0o600)
            self._ready.set_result(None)
            try:
                await self._stopping.wait()
                server.close()
                owner.close()
            finally:  # whoever is connected must learn that nobody answers here any more
                for session in list(owner.sessions):
                    if session.transport is not None:
                        session.transport.close()
                path.unlink(missing_ok=True)
        finally:
            store.close()

    def _warn(self, message: str) -> None:
        _log.warning(message, action="bus.connection.refused")
