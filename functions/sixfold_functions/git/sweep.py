"""Sees to it that no move stays unpublished, and that repositories stay tidy.

A push publishes its own moves. Where the log does not take them, or a crash left some behind, the sweep publishes
them: at the start it looks at every repository, later at those that a push marked as late.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection

import structlog

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold_functions.git import client, environment
from sixfold_functions.git.publication import Publication

AGAIN_S = 1.0
"""Between two attempts at what is late."""
log = structlog.get_logger()


class Sweep:
    """One per gateway process; `run` is its task."""

    def __init__(self, repositories: client.GitRepositories, publication: Publication, clock: clocks.Clock) -> None:
        self._repositories = repositories
        self._publication = publication
        self._clock = clock
        self._late: set[str] = set()
        self._untidy: set[str] = set()
        self._wake = asyncio.Event()

    async def publish(self, name: str, refs: Collection[str]) -> bool:
        """Publish a push's moves; False where the log does not take them now, and they come later."""
        attempts = self._repositories.settings.publish_attempts_max
        for attempt in range(1, attempts + 1):
            try:
                await self._publication.publish(name, refs)
            except (port.BusError, OSError) as error:
                log.warning("push not published", action="git.late", repository=name, attempt=attempt, error=str(error))
            else:
                self._untidy.add(name)
                self._wake.set()
                return True
        self._late.add(name)
        self._wake.set()
        return False

    async def run(self) -> None:
        """Until cancelled: publish what is late, pack what is untidy."""
        self._late.update(self._repositories.names())
        while True:
            self._wake.clear()
            for name in sorted(self._late):
                await self._catch_up(name)
            while self._untidy:
                await self._tidy(self._untidy.pop())
            if self._late:
                await self._clock.sleep(AGAIN_S)
            else:
                await self._wake.wait()

    async def _catch_up(self, name: str) -> None:
        try:
            await self._publication.publish(name)
        except client.RepositoryNotFoundError:
            pass
        except Exception as error:  # one broken repository must not keep the others' events back
            log.warning("moves not published", action="git.late", repository=name, error=str(error))
            return
        self._late.discard(name)

    async def _tidy(self, name: str) -> None:
        path = self._repositories.path(name)
        settings = self._repositories.settings
        if await asyncio.to_thread(lambda: len(list(path.glob("objects/pack/*.pack")))) <= settings.packs_max:
            return
        child = await asyncio.create_subprocess_exec(
            "git",
            "-C",
            str(path),
            "gc",
            "--quiet",
            env=environment.serving(path, settings),
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(settings.call_timeout_s):
                code = await child.wait()
            log.info("repository packed", action="git.packed", repository=name, exit_code=code)
        except TimeoutError:
            log.warning("packing took too long and was stopped", action="git.packed", repository=name)
        finally:
            if child.returncode is None:
                os.killpg(child.pid, signal.SIGKILL)
                await child.wait()
