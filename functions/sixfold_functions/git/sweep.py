"""Sees to it that no move stays unpublished, and that repositories stay tidy.

A push publishes its own moves. Where the log does not take them, or the push broke off or a crash left some behind, the
sweep publishes them: at the start it looks at every repository, later at those that a push marked as late. Packing is
work of its own, so that no event waits for it; what fails in either is told, and holds up nothing else.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection

import structlog

from sixfold import clock as clocks
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
        self._has_late = asyncio.Event()
        self._untidy: set[str] = set()
        self._has_untidy = asyncio.Event()

    async def publish(self, name: str, refs: Collection[str]) -> bool:
        """Publish a push's moves; False where they are not in the log now, and come later. Cancelled, they come too."""
        attempts = self._repositories.settings.publish_attempts_max
        try:
            for attempt in range(1, attempts + 1):
                if await self._published(name, refs, attempt):
                    self._untidy.add(name)
                    self._has_untidy.set()
                    return True
        except asyncio.CancelledError:
            self.late(name)
            raise
        self.late(name)
        return False

    def late(self, name: str) -> None:
        """Refs of the repository may have moved without an event: look at it as soon as may be."""
        self._late.add(name)
        self._has_late.set()

    async def run(self) -> None:
        """Until cancelled: publish what is late, pack what is untidy."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish_late(), name="git.sweep.publish")
            tasks.create_task(self._pack_untidy(), name="git.sweep.pack")

    async def _published(self, name: str, refs: Collection[str], attempt: int) -> bool:
        try:
            await self._publication.publish(name, refs)
        except Exception as error:  # whatever it is, the refs have moved
            log.warning("push not published", action="git.late", repository=name, attempt=attempt, error=str(error))
            return False
        return True

    async def _publish_late(self) -> None:
        while not await self._look_at_all():
            await self._clock.sleep(AGAIN_S)
        while True:
            self._has_late.clear()
            for name in sorted(self._late):
                await self._catch_up(name)
            if self._late:
                await self._clock.sleep(AGAIN_S)
            else:
                await self._has_late.wait()

    async def _pack_untidy(self) -> None:
        while True:
            self._has_untidy.clear()
            while self._untidy:
                name = self._untidy.pop()
                try:
                    await self._tidy(name)
                except client.RepositoryNotFoundError:
                    pass  # removed since its push
                except Exception as error:  # it is packed after its next push
                    log.warning("repository not packed", action="git.packed", repository=name, error=str(error))
            await self._has_untidy.wait()

    async def _look_at_all(self) -> bool:
        try:
            self._late.update(await asyncio.to_thread(self._repositories.names))
        except OSError as error:
            log.warning("repositories cannot be listed", action="git.late", error=str(error))
            return False
        return True

    async def _catch_up(self, name: str) -> None:
        self._late.discard(name)  # first: a push may mark it again meanwhile
        try:
            await self._publication.publish(name)
        except client.RepositoryNotFoundError:
            pass
        except Exception as error:  # one broken repository must not keep the others' events back
            log.warning("moves not published", action="git.late", repository=name, error=str(error))
            self._late.add(name)

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
