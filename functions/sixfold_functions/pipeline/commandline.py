"""Runs one command of a build: a process group of its own, a clean environment, a deadline, all output to the log.

Whatever the command started ends with it: its process group, and every process that carries the action's mark in its
environment, wherever it went. The mark also finds what a killed builder left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from sixfold_functions.pipeline.log import BuildLog

MARK = "SIXFOLD_ACTION_EXECUTION"
_PASSED_ON = ("PATH", "TZ", "SYSTEMROOT", "SSL_CERT_FILE", "SSL_CERT_DIR")
CHUNK_BYTES = 1 << 16
DRAIN_S = 5.0
"""For output that is still in the pipe when the command has ended."""


def environment(action_execution: str, home: Path, **extra: str) -> dict[str, str]:
    """The environment of a build: an allow-list, a home and a temporary folder of its own, and what it is told."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **passed,
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "LANG": "C.UTF-8",
        "CI": "true",
        "GIT_TERMINAL_PROMPT": "0",
        **extra,
        MARK: action_execution,
    }


class CommandTimeoutError(Exception):
    """The deadline came before the command's end; the command was ended."""


async def run(
    command: str, folder: Path, env: dict[str, str], log: BuildLog, *, timeout_s: float, grace_s: float
) -> int:
    """Run `command` by `/bin/sh -e` in `folder`; its exit code, negative for a signal. Raises CommandTimeoutError.

    When this returns or raises (also when it is cancelled), nothing that the command started is left.
    """
    # A pipe of our own: asyncio's `wait` waits for its pipes too, so for every process that holds one.
    ours, theirs = os.pipe()
    try:
        child = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-e", "-c", command),
            cwd=folder,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=theirs,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    reading = asyncio.create_task(_copy(ours, log))
    try:
        try:
            async with asyncio.timeout(timeout_s):
                code = await child.wait()
        except TimeoutError:
            _signal_group(child.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await child.wait()
            raise CommandTimeoutError from None
        return code
    finally:
        _signal_group(child.pid, signal.SIGKILL)
        end_marked(env[MARK])
        await asyncio.shield(_ended(child, reading))


async def _ended(child: asyncio.subprocess.Process, reading: asyncio.Task[None]) -> None:
    await child.wait()
    done, _ = await asyncio.wait([reading], timeout=DRAIN_S)
    if not done:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading


async def _copy(source: int, log: BuildLog) -> None:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(source, "rb", buffering=0)
    )
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            log.write(chunk)
    finally:
        transport.close()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def end_marked(action_execution: str) -> int:
    """Kill every process that carries the mark of this action; how many. Where there is no /proc, none are found."""
    mark, ended = f"{MARK}={action_execution}".encode(), 0
    while True:
        found = [pid for pid in _pids() if mark in _environment_of(pid)]
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        ended += len(found)
        # Again until none is left: one that was being forked may have been missed. A zombie has no environment.
        if not found:
            return ended


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    except OSError:
        return []


def _environment_of(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
