"""The line between the supervisor and a child: a socket pair. The child says "ready" on it; its end is the end.

Where the supervisor dies, however, the kernel closes its side and the child sees the end of the stream: it stops, and
a thread of its own ends it by force where it does not. So no child outlives `kill -9` of its supervisor for long.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, MutableMapping

VARIABLE = "SIXFOLD_LIFELINE_FD"
NAME_VARIABLE = "SIXFOLD_PROCESS"
LISTEN_VARIABLE = "SIXFOLD_LISTEN_FD"
READY = b"ready\n"
GRACE_S = 3.0
"""Time that a child has to finish once its supervisor is gone; a new `sixfold up` waits for it."""

FINISHED_CODE = 79
"""Exit code of a process that ended for good. Neither Python nor a shell gives it, nor sysexits.h (64 to 78)."""


class Lifeline:
    """The child's end."""

    def __init__(self, end: socket.socket, name: str) -> None:
        self._end = end
        self.name = name
        """What the supervisor calls this process."""
        self._said = False

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Lifeline | None:
        """The line to the supervisor that started this process, None where none did.

        Takes its variables out of `environment`, and keeps the socket from the processes that this one starts.
        """
        number = environment.pop(VARIABLE, None)
        name = environment.pop(NAME_VARIABLE, "")
        if number is None:
            return None
        os.set_inheritable(int(number), False)
        return cls(socket.socket(fileno=int(number)), name)

    def ready(self) -> None:
        """Tell the supervisor that this process serves."""
        if not self._said:
            self._said = True
            try:
                self._end.sendall(READY)
            except OSError:
                return  # the watching thread sees the end of the stream

    def watch(self, lost: Callable[[], None], *, grace_s: float = GRACE_S) -> None:
        """Call `lost` (from a thread) when the supervisor is gone, and end this process `grace_s` later."""

        def wait() -> None:
            try:
                while self._end.recv(64):
                    pass
            except OSError:
                pass
            lost()
            threading.Event().wait(grace_s)
            os._exit(1)

        threading.Thread(target=wait, name="lifeline", daemon=True).start()


async def ready(end: socket.socket) -> bool:
    """The supervisor's side: True once the child says that it is ready, False where it ended first."""
    loop = asyncio.get_running_loop()
    end.setblocking(False)
    try:
        return await loop.sock_recv(end, len(READY)) == READY
    except OSError:
        return False


def listening_socket(environment: MutableMapping[str, str]) -> socket.socket | None:
    """The socket that the supervisor bound for this process, None where it bound none."""
    number = environment.pop(LISTEN_VARIABLE, None)
    if number is None:
        return None
    os.set_inheritable(int(number), False)
    return socket.socket(fileno=int(number))
