"""Carrying one command out on the instance: the lifecycle events in their order, each reported as it goes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from sixfold import clock as clocks
from sixfold.errors import SixfoldError
from sixfold_functions.deploy import appspec, archive, lifecycle, wire
from sixfold_functions.deploy.agent import install, script
from sixfold_functions.deploy.agent.connection import Connection, UnreachableError
from sixfold_functions.deploy.agent.folder import Folder, group_id_of
from sixfold_functions.deploy.agent.journal import Journal, Ongoing, started_at
from sixfold_functions.deploy.command import Command

DOWNLOAD_S_MAX = 600
"""DownloadBundle may take this long, attempts included."""
INSTALL_S_MAX = 600
"""Said in the report of Install, which nothing stops once it has begun."""
_RETRY_S = 1.0
_MESSAGE_CHARS_MAX = 1500


class _Job(NamedTuple):
    """What a lifecycle event has to do."""

    budget_s: float
    do: Callable[[], Awaitable[None]]


class Rollout:
    """One command on one instance."""

    def __init__(
        self, command: Command, *, folder: Folder, journal: Journal, connection: Connection, clock: clocks.Clock
    ) -> None:
        self._command = command
        self._folder = folder
        self._journal = journal
        self._connection = connection
        self._clock = clock
        self._group_id = group_id_of(command.application, command.group)
        self._revision = folder.revision(self._group_id, command.deployment_id)
        self._spec: appspec.AppSpec | None = None
        self._event = ""
        self._begun_at_ms = clocks.now_ms(clock)

    async def run(self) -> bool:
        """All lifecycle events, until one fails; whether all succeeded. Never raises because of what it deploys."""
        log = script.Log(self._revision / "logs" / "scripts.log")
        try:
            for event in lifecycle.IN_PLACE:
                if not await self._run_event(event, log):
                    return False
        finally:
            log.close()
        await asyncio.to_thread(self._folder.prune, self._group_id, self._command.deployment_id)
        return True

    async def _run_event(self, event: lifecycle.LifecycleEvent, log: script.Log) -> bool:
        started_ms = clocks.now_ms(self._clock)
        self._event = event.name
        self._note()
        log.mark()
        try:
            job = self._job(event, log)
            if job is None:
                self._post(event.name, "Skipped", started_ms, message="no script")
                return True
            self._post(event.name, "InProgress", started_ms, budget_ms=int(job.budget_s * 1000))
            await job.do()
        except (SixfoldError, OSError) as error:
            log.line(f"[agent]{event.name} failed: {error}")
            self._post(event.name, "Failed", started_ms, message=str(error), log_tail=log.tail())
            return False
        self._post(event.name, "Succeeded", started_ms, log_tail=log.tail())
        return True

    def _job(self, event: lifecycle.LifecycleEvent, log: script.Log) -> _Job | None:
        if event.name == "DownloadBundle":
            return _Job(DOWNLOAD_S_MAX, self._download)
        if event.name == "Install":
            return _Job(INSTALL_S_MAX, self._install)
        revision, spec = self._last() if event.last_scripts else (self._revision, self._spec)
        scripts = spec.hooks.get(event.name, ()) if spec else ()
        if not scripts:
            return None

        async def run_scripts() -> None:
            for each in scripts:
                log.line(f"LifecycleEvent - {event.name}")
                log.line(f"Script - {each.location}")
                await script.run(
                    revision / "archive",
                    each.location,
                    timeout_s=each.timeout_s,
                    environment=self._environment(event.name),
                    user=each.runas,
                    log=log,
                    started=self._note,
                )
                self._note()

        return _Job(min(sum(each.timeout_s for each in scripts), appspec.TIMEOUT_S_MAX), run_scripts)

    def _last(self) -> tuple[Path, appspec.AppSpec | None]:
        """The last revision that was installed and its AppSpec; none before the first."""
        last = self._folder.last_install(self._group_id)
        if last is None:
            return self._revision, None
        name = (last / "spec").read_text()
        return last, appspec.parse((last / "archive" / name).read_bytes(), name)

    async def _download(self) -> None:
        bundle = self._revision / "bundle.tar.gz"
        deadline_s = self._clock.monotonic() + DOWNLOAD_S_MAX
        while True:
            try:
                await self._connection.download(self._command.artifact, bundle)
                break
            except UnreachableError:
                if self._clock.monotonic() > deadline_s:
                    raise
                await self._clock.sleep(_RETRY_S)
        self._spec = await asyncio.to_thread(self._unpack, bundle)

    def _unpack(self, bundle: Path) -> appspec.AppSpec:
        contents = archive.inspect(bundle, self._command.appspec)
        archive.unpack(bundle, self._revision / "archive", contents.prefix)
        (self._revision / "spec").write_text(contents.spec.file)
        return contents.spec

    async def _install(self) -> None:
        assert self._spec is not None, "DownloadBundle comes before Install"
        await asyncio.to_thread(install.install, self._folder, self._group_id, self._spec, self._revision / "archive")
        self._folder.set_last_install(self._group_id, self._command.deployment_id)

    def _environment(self, event: str) -> dict[str, str]:
        """All that a script is given; nothing of the agent's own environment but where programs are."""
        command = self._command
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "LIFECYCLE_EVENT": event,
            "DEPLOYMENT_ID": command.deployment_id,
            "APPLICATION_NAME": command.application,
            "DEPLOYMENT_GROUP_NAME": command.group,
            "DEPLOYMENT_GROUP_ID": self._group_id,
            "BUNDLE_COMMIT": command.revision,
            "INSTANCE_ID": command.instance,
            "INSTANCE_ROOT": str(self._folder.root.resolve()),
        }

    def _note(self, script_pid: int = 0) -> None:
        self._journal.set_ongoing(
            Ongoing(
                command=self._command,
                begun_at_ms=self._begun_at_ms,
                lifecycle_event=self._event,
                script_pid=script_pid,
                script_started=started_at(script_pid) if script_pid else 0,
            )
        )

    def _post(
        self, event: str, status: str, started_ms: int, *, message: str = "", log_tail: str = "", budget_ms: int = 0
    ) -> None:
        ended_ms = 0 if status == "InProgress" else clocks.now_ms(self._clock)
        self._journal.post(
            report_of(
                self._command,
                event,
                status,
                message=message,
                log_tail=log_tail,
                budget_ms=budget_ms,
                started_at_ms=started_ms,
                ended_at_ms=ended_ms,
            )
        )


def report_of(
    command: Command,
    event: str,
    status: str,
    *,
    message: str = "",
    log_tail: str = "",
    budget_ms: int = 0,
    started_at_ms: int,
    ended_at_ms: int,
) -> wire.Report:
    """The report that `event` of `command` has `status`; its id is the same whenever it is made."""
    return wire.Report(
        report_id=f"{command.command_id}/{event}/{status}",
        group=command.group,
        deployment_id=command.deployment_id,
        lifecycle_event=event,
        status=status,  # type: ignore[arg-type]
        message=message[:_MESSAGE_CHARS_MAX],
        log_tail=log_tail,
        budget_ms=budget_ms,
        started_at_ms=started_at_ms,
        ended_at_ms=ended_at_ms,
    )
