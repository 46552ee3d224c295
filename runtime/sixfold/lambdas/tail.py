"""What a handler prints and logs during one call: the tail that Lambda's `X-Amz-Log-Result` holds.

Standard output and error, and Python's logging, are listened to while any call is being listened to; a context
variable says whose line it is, so calls that run side by side, in threads too, do not see each other's.
"""

from __future__ import annotations

import contextlib
import contextvars
import io
import logging
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import TextIO

BYTES_MAX = 4096
"""Lambda gives the last 4 KB."""


class Tail:
    """The last bytes of one call's log."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """Add text; what is too old is dropped."""
        data = text.encode(errors="replace")[-BYTES_MAX:]
        with self._lock:
            self._lines.append(data)
            self._size += len(data)
            while self._size - len(self._lines[0]) >= BYTES_MAX:
                self._size -= len(self._lines.popleft())

    def bytes(self) -> bytes:
        """The last `BYTES_MAX` bytes."""
        with self._lock:
            return b"".join(self._lines)[-BYTES_MAX:]


_current: contextvars.ContextVar[Tail | None] = contextvars.ContextVar("sixfold-lambda-tail", default=None)
_lock = threading.Lock()
_installed: list[tuple[_Tee, _Tee, logging.Handler]] = []
_listeners = 0


@contextlib.contextmanager
def listening() -> Iterator[Tail]:
    """The tail of what is printed and logged inside, by this task and the threads that it starts with its context."""
    tail = Tail()
    _install()
    token = _current.set(tail)
    try:
        yield tail
    finally:
        _current.reset(token)
        _remove()


class _Tee(io.TextIOBase):
    """Writes where the stream wrote before, and to the call that is listened to."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        tail = _current.get()
        if tail is not None:
            tail.write(text)
        return self.stream.write(text)

    def flush(self) -> None:
        self.stream.flush()

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return self.stream.isatty()


class _Logged(logging.Handler):
    """Adds what Python's logging takes in."""

    def emit(self, record: logging.LogRecord) -> None:
        tail = _current.get()
        if tail is not None:
            tail.write(f"[{record.levelname}]\t{self.format(record)}\n")


def _install() -> None:
    global _listeners
    with _lock:
        _listeners += 1
        if _listeners > 1:
            return
        out, problems, handler = _Tee(sys.stdout), _Tee(sys.stderr), _Logged()
        _installed.append((out, problems, handler))
        sys.stdout, sys.stderr = out, problems
        logging.getLogger().addHandler(handler)


def _remove() -> None:
    global _listeners
    with _lock:
        _listeners -= 1
        if _listeners:
            return
        out, problems, handler = _installed.pop()
        if sys.stdout is out:
            sys.stdout = out.stream
        if sys.stderr is problems:
            sys.stderr = problems.stream
        logging.getLogger().removeHandler(handler)
