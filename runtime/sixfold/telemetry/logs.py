"""Logs: JSON lines to a file of bounded size, or text for a human on a terminal. Secrets never reach either.

A process calls `to_file` or `to_terminal` once, at its start; everything else takes `structlog.get_logger()`.
The standard library's logging (uvicorn, aiokafka) ends up in the same place, warnings and worse only.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

FOLDER = "logs"
BYTES_MAX = 16 * 1024 * 1024
"""A log is rotated at this size; one older file is kept, so a process's logs take twice this at most."""
HIDDEN = "[hidden]"

# The value of a key with such a name is never written. `key` alone is a record's key, and public.
_SECRET = re.compile(
    r"token|secret|passw|passphrase|authorization|credential|private|jwt|assertion|plaintext|data_?key|cookie", re.I
)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9+/=._~-]{8,}", re.I)
_DEPTH_MAX = 6


def hide(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: values under secret names and Authorization headers in text become `[hidden]`."""
    return {name: _hidden(name, value, 0) for name, value in event.items()}


def _hidden(name: str, value: Any, depth: int) -> Any:
    if _SECRET.search(name) and not isinstance(value, bool | None):
        return HIDDEN
    if depth > _DEPTH_MAX:
        return HIDDEN
    if isinstance(value, str):
        return _BEARER.sub(rf"\1 {HIDDEN}", value)
    if isinstance(value, Mapping):
        return {str(key): _hidden(str(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_hidden("", item, depth + 1) for item in value]
    return value


class BoundedFile:
    """A text file for appending that never grows past `bytes_max`; the former one is kept as `<name>.1`.

    With `redirect` the process's own standard output and error go where it writes, through every rotation, so that a
    stray print or a traceback lands in the log too.
    """

    def __init__(self, path: Path, *, bytes_max: int = BYTES_MAX, redirect: bool = False) -> None:
        self.path = path
        self._bytes_max = bytes_max
        self._redirect = redirect
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = self._open()

    def _open(self) -> int:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if self._redirect:
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
        return descriptor

    def write(self, text: str) -> None:
        """Append `text`. A full disk loses log lines, never the work."""
        data = text.encode(errors="backslashreplace")
        with self._lock:
            try:
                if os.fstat(self._descriptor).st_size + len(data) > self._bytes_max:
                    self._rotate()
                os.write(self._descriptor, data)
            except OSError:
                return

    def _rotate(self) -> None:
        self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        old = self._descriptor
        self._descriptor = self._open()
        os.close(old)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        os.close(self._descriptor)


class _Forward(logging.Handler):
    """Hands the standard library's records to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        structlog.get_logger().log(record.levelno, message, logger=record.name, exc_info=record.exc_info or None)


def to_file(path: Path, *, redirect: bool = False, bytes_max: int = BYTES_MAX, **bound: str) -> BoundedFile:
    """Log JSON lines to `path` from now on, each with `bound` (such as process="gateway")."""
    file = BoundedFile(path, redirect=redirect, bytes_max=bytes_max)
    _configure([structlog.processors.format_exc_info, hide, _as_json], structlog.WriteLoggerFactory(file))  # type: ignore[arg-type]
    _capture()
    structlog.contextvars.bind_contextvars(**bound)
    return file


class _StandardError:
    """Whatever is standard error when a line is written."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def to_terminal(*, level: int = logging.INFO, everything: bool = True) -> None:
    """Log text of `level` and worse to standard error from now on, coloured where that is a terminal.

    Without `everything` the standard library's logging is left alone.
    """
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    _configure([hide, renderer], structlog.WriteLoggerFactory(_StandardError()), level)  # type: ignore[arg-type]
    if everything:
        _capture()


def _configure(renderers: Sequence[Any], factory: Any, level: int = logging.INFO) -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=False,
    )


def _capture() -> None:
    root = logging.getLogger()
    root.handlers[:] = [_Forward()]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)


def _as_json(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()
