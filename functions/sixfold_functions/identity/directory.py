"""Issuers and roles as a process sees them: the fold of `identity.state`, opened once."""

from __future__ import annotations

from sixfold.follower import Follower
from sixfold.process import Process
from sixfold_functions.identity.core import Directory

FRESH_S = 0.25
"""What is decided may rest on issuers and roles that are this old; a refusal is looked at again first."""


class OpenDirectory:
    """The directory and the topic that it follows."""

    def __init__(self, process: Process) -> None:
        self.directory = Directory()
        self._follower = Follower(process, "identity.state", self.directory.apply)

    async def current(self, *, age_s_max: float = 0.0) -> Directory:
        """The directory, not older than this."""
        await self._follower.catch_up(age_s_max=age_s_max)
        return self.directory

    async def close(self) -> None:
        """Stop following."""
        await self._follower.close()


def open_directory(process: Process) -> OpenDirectory:
    """For `ctx.resource` and `process.resources.get`."""
    return OpenDirectory(process)
