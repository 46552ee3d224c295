"""Running one hook script: its own process group, its timeout, its exact environment, its output.

Source: aws-codedeploy-agent, hook_executor.rb (error codes 1 to 6 have their words here).
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from sixfold.errors import SixfoldError
from sixfold_functions.deploy import wire

TAIL_BYTES = wire.LOG_TAIL_BYTES_MAX
LOG_BYTES_MAX = 8 << 20
"""Of one deployment's scripts.log; what comes after is counted, not kept."""
KILL_AFTER_S = 5.0
"""From TERM to KILL."""

_WAIT_FOR_GO = ("/bin/sh", "-c", 'read -r go && exec "$0" </dev/null')
"""Becomes the script once its process id is written down; its input ends, and so does it, where the agent died."""


class ScriptError(SixfoldError):
    """A script did not do its work; the message says which and why."""


class Log:
    """A deployment's scripts.log, bounded, with its tail at hand."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("ab")
        self._left = LOG_BYTES_MAX - self._file.tell()
        self._tail = b""

    def line(self, text: str) -> None:
        """Add a line."""
        data = f"{text}\n".encode(errors="replace")
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        if self._left > 0:
            self._file.write(data[: self._left])
            self._file.flush()
        self._left -= len(data)

    def tail(self) -> str:
        """What was written since the last `mark`, at most its last TAIL_BYTES."""
        return self._tail.decode(errors="ignore")

    def mark(self) -> None:
        self._tail = b""

    def close(self) -> None:
        self._file.close()


async def run(
    folder: Path,
    name: str,
    *,
    timeout_s: float,
    environment: Mapping[str, str],
    user: str | None,
    log: Log,
    started: Callable[[int], None],
) -> None:
    """Run the script `name` of the revision in `folder`, which is its working directory.

    `started` is told its process id before the first line of it runs; if the agent dies until then, none ever does.
    Raises ScriptError where it is missing, cannot start, fails, takes too long or leaves its output open.
    """
    path = folder / name
    _make_ready(path, name, log)
    uid, gid, groups = _identity(name, user)
    pumps = {"stdout": _Pump(log, "stdout"), "stderr": _Pump(log, "stderr")}
    try:
        # Not asyncio's: uvloop's processes know neither groups nor users.
        process = subprocess.Popen(  # noqa: ASYNC220 (a fork, not a wait)
            [*_WAIT_FOR_GO, path],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=pumps["stdout"].write_end,
            stderr=pumps["stderr"].write_end,
            process_group=0,
            user=uid,
            group=gid,
            extra_groups=groups,
        )
    except (OSError, ValueError) as error:
        for pump in pumps.values():
            pump.close()
        raise ScriptError(f"script {name} cannot be started: {error}") from error
    ended = asyncio.ensure_future(asyncio.to_thread(process.wait))
    try:
        started(process.pid)
        _go(process)
        for pump in pumps.values():
            pump.start()
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(asyncio.shield(ended), *(pump.ended.wait() for pump in pumps.values()))
    except TimeoutError:
        left_open = ended.done()
        await _end(process.pid, ended)
        if left_open:
            raise ScriptError(
                f"script {name} ended, but something that it started holds its output open after {timeout_s:g} s; "
                "redirect the output of background processes (>log 2>&1 </dev/null)"
            ) from None
        raise ScriptError(f"script {name} ran longer than {timeout_s:g} s and was stopped") from None
    except (asyncio.CancelledError, OSError):
        await _end(process.pid, ended)
        raise
    finally:
        if process.stdin is not None:
            process.stdin.close()
        for pump in pumps.values():
            pump.close()
    if process.returncode:
        how = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
        raise ScriptError(f"script {name} failed with {how}")


def _make_ready(path: Path, name: str, log: Log) -> None:
    if not path.is_file():
        raise ScriptError(f"script {name} is missing")
    if not os.access(path, os.X_OK):
        log.line(f"[agent]{name} is not executable; made it so")
        path.chmod(path.stat().st_mode | 0o111)


def _identity(name: str, user: str | None) -> tuple[int | None, int | None, list[int] | None]:
    """User, group and further groups of `user`; None where they are the agent's own."""
    if user is None:
        return None, None, None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ScriptError(f"script {name}: runas names {user!r}, which is no user of this instance") from None
    if entry.pw_uid == os.geteuid():
        return None, None, None
    if os.geteuid() != 0:
        raise ScriptError(f"script {name}: runas {user} needs an agent that runs as root")
    return entry.pw_uid, entry.pw_gid, os.getgrouplist(user, entry.pw_gid)


def _go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(b"go\n")
        process.stdin.flush()


async def _end(pid: int, ended: asyncio.Future[int]) -> None:
    """TERM to the whole group, KILL after KILL_AFTER_S to whoever is left of it."""
    if not _signal(pid, signal.SIGTERM):
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILL_AFTER_S):
            await asyncio.shield(ended)
    _signal(pid, signal.SIGKILL)
    await ended


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


class _Pump:
    """Takes one stream of a script into the log, line by line, until the last holder of its write end is gone."""

    def __init__(self, log: Log, name: str) -> None:
        self._log = log
        self._name = name
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._line = ""
        self._reading = False
        self.ended = asyncio.Event()

    def start(self) -> None:
        os.close(self.write_end)
        self.write_end = -1
        asyncio.get_running_loop().add_reader(self._read_end, self._readable)
        self._reading = True

    def _readable(self) -> None:
        try:
            data = os.read(self._read_end, 1 << 16)
        except BlockingIOError:
            return
        *lines, self._line = (self._line + self._decoder.decode(data, final=not data)).split("\n")
        if len(self._line) > TAIL_BYTES:
            lines.append(self._line)
            self._line = ""
        for line in lines:
            self._log.line(f"[{self._name}]{line}")
        if not data:
            self._finish()

    def _finish(self) -> None:
        if self._line:
            self._log.line(f"[{self._name}]{self._line}")
            self._line = ""
        if self._reading:
            asyncio.get_running_loop().remove_reader(self._read_end)
            self._reading = False
        self.ended.set()

    def close(self) -> None:
        if self.write_end != -1:
            os.close(self.write_end)
            self.write_end = -1
        if self._read_end != -1:
            self._finish()
            os.close(self._read_end)
            self._read_end = -1
