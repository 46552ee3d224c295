"""Talking to the running system: one JSON line there, one back, over a Unix socket in the data folder (0600).

Processes are named as `sixfold status` shows them; a name that is none means every process that starts with it, so
`volume.storage.a` is the storage nodes of zone a.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from sixfold import errors

Action = Literal["start", "stop", "status", "down"]

FOLDER = "run"
SOCKET = "control.sock"
_LINE_BYTES_MAX = 1 << 20


class NoSystemError(errors.UsageError):
    """No system runs on this data folder."""


class ControlError(errors.SixfoldError):
    """The system refused or could not do what it was asked."""


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the system."""

    name: str
    state: str
    """`starting`, `running`, `stopping`, `stopped`, or `waiting` (it ended by itself and is started again soon)."""
    pid: int | None = None
    started_at_ms: int | None = None
    """When it was last started, Unix milliseconds."""
    restarts: int = 0
    """How often it ended by itself and was started again."""
    reason: str = ""
    """How it last ended."""
    log: str = ""
    """Path of its log."""


class SystemStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole system."""

    pid: int
    bus_url: str
    gateway_url: str
    data_dir: str
    processes: tuple[ProcessStatus, ...] = ()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks."""

    action: Action
    names: tuple[str, ...] = ()


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the system answers: how things are now, or why not."""

    system: SystemStatus | None = None
    error: str = ""
    usage: bool = False
    """The error is the caller's: nothing was changed."""


def matching(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The processes that `names` mean, in the order of `known`; all without names. Raises UsageError for an unknown one."""
    if not names:
        return tuple(known)
    chosen: set[str] = set()
    for name in names:
        found = {name} if name in known else {each for each in known if each.startswith(name)}
        if not name or not found:
            raise errors.UsageError(f"there is no process {name!r}; the processes are: {', '.join(known) or 'none'}")
        chosen |= found
    return tuple(each for each in known if each in chosen)


async def request(
    data_dir: Path, action: Action, names: Sequence[str] = (), *, timeout_s: float = 60.0
) -> dict[str, str]:
    """Ask the running system; returns the states of the processes meant, once they are there.

    `stop` returns when they have ended, `start` when they are ready. Raises UsageError where no system runs or a name
    means nothing, ControlError where it could not be done.
    """
    status = await ask(data_dir, action, names, timeout_s=timeout_s)
    states = {process.name: process.state for process in status.processes}
    return {name: states[name] for name in matching(names, list(states))}


async def ask(data_dir: Path, action: Action, names: Sequence[str] = (), *, timeout_s: float = 60.0) -> SystemStatus:
    """As `request`, for the status of the whole system."""
    try:
        async with asyncio.timeout(timeout_s):
            reply = await _exchange(data_dir, Request(action=action, names=tuple(names)))
    except TimeoutError:
        raise ControlError(
            f"the system did not finish {action} {' '.join(names)} within {timeout_s:g} s; see `sixfold status`"
        ) from None
    if reply.system is None:
        raise errors.UsageError(reply.error) if reply.usage else ControlError(reply.error)
    return reply.system


async def _exchange(data_dir: Path, asked: Request) -> Reply:
    try:
        with address(data_dir) as path:
            reader, writer = await asyncio.open_unix_connection(path, limit=_LINE_BYTES_MAX)
    except OSError as error:
        raise NoSystemError(f"no system runs on {data_dir}; start it with `sixfold up`, or check --data-dir") from error
    try:
        writer.write(msgspec.json.encode(asked) + b"\n")
        await writer.drain()
        line = await reader.readline()
    except OSError:
        line = b""
    finally:
        writer.close()
    if not line:
        raise ControlError(f"the system on {data_dir} ended while it was asked to {asked.action}")
    return msgspec.json.decode(line, type=Reply)


@contextmanager
def address(data_dir: Path) -> Iterator[str]:
    """A path of the socket that fits into sockaddr_un's 108 bytes however deep the data folder lies."""
    descriptor = os.open(data_dir / FOLDER, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)
