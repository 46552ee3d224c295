"""Running `sixfold` and `git` as a user would, with what they print kept for the reason when one fails."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sixfold import errors

_OUTPUT_CHARACTERS_MAX = 2000


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
        return (sys.executable, "-m", "sixfold", "--data-dir", str(self.data_dir))

    async def run(self, *words: str, timeout_s: float = 120.0, env: dict[str, str] | None = None) -> str:
        """What `words` print on standard output. Raises StepError where they fail or take too long."""
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
        shown = shlex.join(words).replace(shlex.join(self.sixfold), "sixfold")
        try:
            out, problems = await asyncio.wait_for(process.communicate(), timeout_s)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise StepError(f"`{shown}` did not end within {timeout_s:g} s") from None
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
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = self.data_dir / "up.log"
        with log.open("wb") as output:
            self.up = await asyncio.create_subprocess_exec(
                *self.sixfold,
                "--bus",
                self.bus_url,
                "up",
                "--port",
                str(port),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        ended = asyncio.ensure_future(self.up.wait())
        try:
            async with asyncio.timeout(60):
                while not ended.done():
                    if await self._ready():
                        return
                    await asyncio.wait([ended], timeout=0.1)
        except TimeoutError:
            raise StepError(f"the system was not ready within 60 s; see {log}") from None
        finally:
            ended.cancel()
        said = log.read_text(errors="replace").strip()[-_OUTPUT_CHARACTERS_MAX:]
        raise StepError(f"`sixfold up` ended with exit code {self.up.returncode}: {said}")

    async def _ready(self) -> bool:
        from sixfold.supervisor import control

        try:
            status = await control.ask(self.data_dir, "status")
        except errors.SixfoldError:
            return False
        return bool(status.processes) and all(process.state == "running" for process in status.processes)

    async def stop(self) -> None:
        """Stop the system, gently first."""
        if self.up is None or self.up.returncode is not None:
            return
        self.up.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.up.wait(), 40)
        except TimeoutError:
            os.killpg(self.up.pid, signal.SIGKILL)
            await self.up.wait()
