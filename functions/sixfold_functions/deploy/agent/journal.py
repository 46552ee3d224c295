"""What the agent must not forget: reports that are not delivered, the command under way, commands taken on.

Each is durable before what it stands for happens, so a crash at any point leaves a report, never silence.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import msgspec

from sixfold_functions.deploy import wire
from sixfold_functions.deploy.agent.folder import Folder, safe_name, write
from sixfold_functions.deploy.command import Command

FORGET_AFTER_MS = 24 * 3600 * 1000
"""A command under way that is older is not reported any more, as in CodeDeploy's agent; its rollout is long over."""


class Ongoing(msgspec.Struct, frozen=True, kw_only=True):
    """The command that is being carried out."""

    command: Command
    begun_at_ms: int
    lifecycle_event: str
    script_pid: int = 0
    """Process group of the script that runs; 0 for none."""
    script_started: int = 0
    """When the kernel started it, so that a later process with the same id is not taken for it."""


class Journal:
    """The agent's memory in its folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._handled: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError):
            self._handled = msgspec.json.decode(folder.handled.read_bytes(), type=dict[str, int])
        numbers = [int(path.stem) for path in folder.outbox.glob("*.json")]
        self._next = max(numbers, default=0) + 1
        self.changed = asyncio.Event()
        """Set when the outbox has something to send."""

    # Commands.

    def took_on(self, command: Command) -> bool:
        """Whether this command was taken on before."""
        return command.command_id in self._handled

    def take_on(self, command: Command, now_ms: int) -> None:
        """Remember the command for as long as it could be sent again: until a day after it has expired."""
        kept = {each: expiry for each, expiry in self._handled.items() if expiry + FORGET_AFTER_MS > now_ms}
        self._handled = {**kept, command.command_id: command.expires_at_ms}
        write(self._folder.handled, msgspec.json.encode(self._handled))

    def set_ongoing(self, ongoing: Ongoing) -> None:
        write(self._ongoing_path(ongoing.command), msgspec.json.encode(ongoing))

    def end_ongoing(self, command: Command) -> None:
        self._ongoing_path(command).unlink(missing_ok=True)

    def left_over(self) -> list[Ongoing]:
        """Commands that an earlier run of the agent did not end."""
        found = []
        for path in sorted(self._folder.ongoing.glob("*.json")):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=Ongoing))
            except msgspec.DecodeError:
                path.unlink()
        return found

    def _ongoing_path(self, command: Command) -> Path:
        return self._folder.ongoing / f"{safe_name(command.deployment_id)}.json"

    # Reports.

    def post(self, report: wire.Report) -> None:
        """Keep a report until it is delivered."""
        write(self._folder.outbox / f"{self._next:012d}.json", msgspec.json.encode(report))
        self._next += 1
        self.changed.set()

    def undelivered(self) -> list[Path]:
        """Reports to deliver, the oldest first."""
        return sorted(self._folder.outbox.glob("[0-9]*.json"))


def started_at(pid: int) -> int:
    """When the kernel started process `pid`, in clock ticks since boot; 0 where there is no such process."""
    try:
        # proc(5): field 22, counted after the name in parentheses, which may hold anything.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def end_script(ongoing: Ongoing) -> bool:
    """Kill the script that a killed agent left running; False where none is."""
    if not ongoing.script_pid or started_at(ongoing.script_pid) != ongoing.script_started:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(ongoing.script_pid, signal.SIGKILL)
        return True
    return False
