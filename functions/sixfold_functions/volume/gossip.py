"""Carrying out gossip: asks other copies for what this one lacks, and lets it take their answers.

A look at the copy costs nothing; the topic of answers is read only while somebody is asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import structlog

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold_events import avro
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeCopyAcknowledged
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume.core import gossip

LOOK_S = 0.5
"""How often a copy looks whether it lacks something."""


class Gossip:
    """Fills one copy from its peers."""

    def __init__(
        self,
        copy: copies.Copy,
        bus: port.Bus,
        *,
        registry: Registry,
        clock: clocks.Clock,
        acknowledge: Callable[[VolumeCopyAcknowledged], None],
        rng: random.Random | None = None,
        timing: gossip.Timing | None = None,
    ) -> None:
        self._copy = copy
        self._bus = bus
        self._registry = registry
        self._clock = clock
        self._acknowledge = acknowledge
        self._membership = copy.node.membership
        self.plan = gossip.GossipPlan(self._peers(), rng=rng or random.SystemRandom(), timing=timing)
        self._log = structlog.get_logger().bind(volume=copy.node.volume, copy=copy.node.copy)

    async def run(self) -> None:
        """Look for ever. Raises the copy's errors, which end it."""
        while True:
            await self._clock.sleep(LOOK_S)
            ask = self._due()
            if ask is None:
                continue
            try:
                await self._ask_on(ask)
            except port.BusError as error:
                self.plan.answered(ask, None, self._own())
                self._log.warning("the bus does not answer", action="volume.bus.failed", error=str(error))

    def _peers(self) -> list[str]:
        return [name for name in self._membership.members if name != self._copy.node.copy]

    def _own(self) -> gossip.Own:
        return gossip.own(self._copy.node, self._copy.position)

    def _due(self) -> gossip.Ask | None:
        if self._membership is not self._copy.node.membership:
            self._membership = self._copy.node.membership
            self.plan.use(self._peers())
        return self.plan.due(self._own(), self._clock.monotonic())

    async def _ask_on(self, first: gossip.Ask) -> None:
        """Ask until there is nothing more to ask for now."""
        before, ask = self._copy.node.prefix.complete_lsn, first
        volume = self._copy.node.volume
        async with readers.CopyReader(self._bus, registry=self._registry, clock=self._clock, volume=volume) as reader:
            while True:
                reader.use(self._membership)
                status = await self._ask(reader, ask)
                self.plan.answered(ask, status, self._own())
                following = self._due()
                if following is None:
                    break
                ask = following
        if (after := self._copy.node.prefix.complete_lsn) > before:
            self._log.info(
                "the copy got what it lacked from other copies",
                action="volume.copy.gossiped",
                first_lsn=before + 1,
                last_lsn=after,
            )

    async def _ask(self, reader: readers.CopyReader, ask: gossip.Ask) -> VolumeCopyAcknowledged | None:
        try:
            answer = await reader.ask(ask.peer, from_lsn=ask.first_lsn, count=ask.records, whole_batches=True)
            batches = self._copy.batches(answer)
        except (readers.CopyUnreachableError, readers.CopyDamagedError, port.BusError, avro.DecodeError) as error:
            self._log.debug("a peer does not help", action="volume.gossip.failed", peer=ask.peer, error=str(error))
            return None
        # Whatever came meanwhile: the copy is looked at only now, and takes the answer before anything else comes.
        ack = self._copy.learn(gossip.taken(answer, batches, self._own()))
        if ack is not None:
            self._acknowledge(ack)
        return answer.status
