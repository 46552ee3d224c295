"""Running `sixfold` and `git` as a user would, with what they print kept for the reason when one fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sixfold import errors
from sixfold.supervisor import control

_OUTPUT_CHARACTERS_MAX = 2000
_OF_ANOTHER_SYSTEM = ("SIXFOLD_DATA_DIR", "SIXFOLD_BUS", "SIXFOLD_APP")
"""Variables of the user's own system: the demonstration's commands find theirs by its data folder."""
START_S = 60.0
STOP_S = 40.0
"""The supervisor gives each of its stages 20 seconds before it kills."""


class StepError(errors.SixfoldError):
    """A step of the demonstration failed; the message says which command and why."""


@dataclass
class Shell:
    """Commands against one data folder."""

    data_dir: Path
    bus_url: str
    repository: Path
    """The working copy whose history is pushed."""
    up: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def sixfold(self) -> tuple[str, ...]:
        """The command line of this very installation, with its global options."""
        # -P: what happens to lie in the current folder must not shadow what the commands import.
        return (sys.executable, "-P", "-m", "sixfold", "--data-dir", str(self.data_dir))

    @property
    def log(self) -> Path:
        """What `sixfold up` prints."""
        return self.data_dir / "up.log"

    async def run(self, *words: str, timeout_s: float = 120.0, env: dict[str, str] | None = None) -> str:
        """What `words` print on standard output. Raises StepError where they fail or take too long.

        However this ends, they have ended.
        """
        shown = shlex.join(words).replace(shlex.join(self.sixfold), "sixfold")
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_environment() | (env or {}),
                start_new_session=True,  # Ctrl-C at the terminal is for the demonstration, which then ends them
            )
        except OSError as error:
            raise StepError(f"`{words[0]}` cannot be started: {error.strerror}; is it installed?") from error
        try:
            async with asyncio.timeout(timeout_s):
                out, problems = await process.communicate()
        except TimeoutError:
            raise StepError(f"`{shown}` did not end within {timeout_s:g} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            said = (problems or out).decode(errors="replace").strip()[-_OUTPUT_CHARACTERS_MAX:]
            raise StepError(f"`{shown}` failed with exit code {process.returncode}: {said}")
        return out.decode()

    async def call(self, *words: str, timeout_s: float = 120.0) -> Any:
        """The JSON that `sixfold words… --json` prints."""
        out = await self.run(*self.sixfold, *words, "--json", timeout_s=timeout_s)
        try:
            return json.loads(out)
        except ValueError:
            raise StepError(f"`sixfold {shlex.join(words)} --json` printed no JSON: {out[:200]!r}") from None

    async def git(self, *words: str, timeout_s: float = 120.0) -> str:
        """What git prints, run in the repository; it never asks at the terminal."""
        return await self.run(
            "git", "-C", str(self.repository), *words, timeout_s=timeout_s, env={"GIT_TERMINAL_PROMPT": "0"}
        )

    async def start(self, port: int) -> None:
        """Start the system in the background and return once all its processes are ready."""
        with self.log.open("wb") as output:
            self.up = await asyncio.create_subprocess_exec(
                *self.sixfold,
                "--bus",
                self.bus_url,
                "up",
                "--port",
                str(port),
                env=_environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        ended = asyncio.ensure_future(self.up.wait())
        try:
            async with asyncio.timeout(START_S):
                while not ended.done():
                    if await self._ready():
                        return
                    await asyncio.wait([ended], timeout=0.1)
        except TimeoutError:
            raise StepError(f"the system was not ready within {START_S:g} s; see {self.log}") from None
        finally:
            ended.cancel()
        raise StepError(self.problem())

    def problem(self) -> str:
        """Why the system does not run any more; empty while it does, and before it was started."""
        if self.up is None or self.up.returncode is None:
            return ""
        said = self.log.read_text(errors="replace").strip()[-_OUTPUT_CHARACTERS_MAX:]
        return f"`sixfold up` ended with exit code {self.up.returncode}: {said}"

    async def _ready(self) -> bool:
        assert self.up is not None
        try:
            status = await control.ask(self.data_dir, "status")
        except errors.SixfoldError:
            return False
        states = {process.state for process in status.processes}
        return status.pid == self.up.pid and states == {"running"}

    async def stop(self) -> None:
        """Stop the system, gently first; its processes have ended then, or do so within their lifeline's grace."""
        if self.up is None or self.up.returncode is not None:
            return
        self.up.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await self.up.wait()
        except TimeoutError:
            os.killpg(self.up.pid, signal.SIGKILL)
            await self.up.wait()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_SYSTEM}
