"""The agent's loop: poll for commands, carry them out one after another, deliver the reports.

Crash points, in the order of the code: before a command is taken on, the gateway still has it; from then on `ongoing/`
knows it, and a restart reports it as failed; a report lies in the outbox until the gateway has accepted it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sixfold import clock as clocks
from sixfold_functions.deploy import command as commands
from sixfold_functions.deploy import signing, wire
from sixfold_functions.deploy.agent import journal as journals
from sixfold_functions.deploy.agent.connection import Connection, RefusedError, UnreachableError
from sixfold_functions.deploy.agent.folder import Folder
from sixfold_functions.deploy.agent.rollout import Rollout, report_of
from sixfold_functions.deploy.agent.settings import Settings

log = structlog.get_logger()


async def run(
    settings: Settings, stopping: asyncio.Event, *, ready: Callable[[], None], clock: clocks.Clock | None = None
) -> None:
    """Be the agent of `settings.instance` until `stopping` is set; `ready` is called after the first answered poll.

    Raises UsageError where another agent works in the folder.
    """
    folder = Folder(settings.folder)
    folder.make()
    with folder.lock():
        agent = _Agent(settings, folder, signing.public_key(settings.public_key), ready, clock or clocks.SystemClock())
        try:
            await agent.run(stopping)
        finally:
            await agent.connection.close()


class _Agent:
    def __init__(
        self,
        settings: Settings,
        folder: Folder,
        public_key: Ed25519PublicKey,
        ready: Callable[[], None],
        clock: clocks.Clock,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._public_key = public_key
        self._ready = ready
        self._clock = clock
        self._journal = journals.Journal(folder)
        self._todo: asyncio.Queue[commands.Command] = asyncio.Queue()
        self.connection = Connection(settings)

    async def run(self, stopping: asyncio.Event) -> None:
        self._recover()
        tasks = [asyncio.create_task(each) for each in (self._poll(), self._work(), self._deliver(), stopping.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    def _recover(self) -> None:
        """Report what the last run of this agent did not end."""
        now_ms = clocks.now_ms(self._clock)
        for ongoing in self._journal.left_over():
            killed = journals.end_script(ongoing)
            if now_ms - ongoing.begun_at_ms < journals.FORGET_AFTER_MS:
                self._journal.post(
                    report_of(
                        ongoing.command,
                        ongoing.lifecycle_event,
                        "Failed",
                        message="agent restart: the agent was restarted in the middle of this lifecycle event",
                        started_at_ms=ongoing.begun_at_ms,
                        ended_at_ms=now_ms,
                    )
                )
            self._journal.take_on(ongoing.command, now_ms)
            self._journal.end_ongoing(ongoing.command)
            log.warning(
                "reported a deployment that was under way as failed",
                action="deploy.agent.recovered",
                deployment=ongoing.command.deployment_id,
                lifecycle_event=ongoing.lifecycle_event,
                script_killed=killed,
            )

    async def _poll(self) -> None:
        """Ask for commands, for ever. It goes on while one is carried out: that is how the gateway knows we live."""
        after, failures, answered = -1, 0, False
        while True:
            try:
                # The first poll does not wait: once it is answered, the instance is known to its group.
                envelopes = await self.connection.commands(after, wire.WAIT_S_MAX if answered else 0)
            except (UnreachableError, RefusedError) as error:
                failures += 1
                await self._back_off("cannot get commands", error, failures)
                continue
            failures = 0
            if not answered:
                answered = True
                self._ready()
            for envelope in envelopes:
                after = max(after, envelope.position)
                self._receive(envelope)

    def _receive(self, envelope: wire.Envelope) -> None:
        try:
            command = commands.verify(envelope.payload, envelope.signature, self._public_key)
            if self._journal.took_on(command):
                return  # it came a second time
            commands.admit(command, self._settings.instance, self._settings.group, clocks.now_ms(self._clock))
        except commands.CommandRefusedError as error:
            log.error("refused a command", action="deploy.agent.refused", reason=str(error))
            return
        now_ms = clocks.now_ms(self._clock)
        self._journal.set_ongoing(
            journals.Ongoing(command=command, begun_at_ms=now_ms, lifecycle_event="ApplicationStop")
        )
        self._journal.take_on(command, now_ms)
        self._todo.put_nowait(command)

    async def _work(self) -> None:
        while True:
            command = await self._todo.get()
            log.info("deploying", action="deploy.agent.began", deployment=command.deployment_id)
            rollout = Rollout(
                command, folder=self._folder, journal=self._journal, connection=self.connection, clock=self._clock
            )
            succeeded = await rollout.run()
            self._journal.end_ongoing(command)
            log.info("deployed", action="deploy.agent.ended", deployment=command.deployment_id, succeeded=succeeded)

    async def _deliver(self) -> None:
        failures = 0
        while True:
            self._journal.changed.clear()
            for path in self._journal.undelivered():
                while True:
                    try:
                        await self.connection.report(await asyncio.to_thread(path.read_bytes))
                        break
                    except UnreachableError as error:
                        failures += 1
                        await self._back_off("cannot report", error, failures)
                    except RefusedError as error:
                        log.error("a report was refused", action="deploy.agent.report-refused", reason=str(error))
                        break
                failures = 0
                path.unlink()
            await self._journal.changed.wait()

    async def _back_off(self, what: str, error: Exception, failures: int) -> None:
        wait_s = min(self._settings.backoff_s * 2 ** min(failures - 1, 16), self._settings.backoff_max_s)
        if failures in (1, 10) or failures % 100 == 0:
            log.warning(what, action="deploy.agent.waiting", reason=str(error), attempts=failures)
        await self._clock.sleep(wait_s)
