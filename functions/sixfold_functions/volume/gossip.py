"""Carrying out gossip: asks other copies for what this one lacks, and lets it take their answers.

A look at the copy costs nothing. Answers come among the questions to this copy, in its own partition: they are long, and
the topic of answers is read by all who ask.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable

import structlog

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold_events import avro
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeCopyAcknowledged, VolumeReadAnswered
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import readahead
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume.core import gossip

LOOK_S = 0.5
"""How often a copy looks whether it lacks something."""
TIMEOUT_S = 2.0
SEVERAL_TIMEOUT_S = 10.0
"""Where several long answers are on their way: while one is awaited the others arrive."""


class Gossip:
    """Fills one copy from its peers."""

    def __init__(
        self,
        copy: copies.Copy,
        bus: port.Bus,
        *,
        registry: Registry,
        clock: clocks.Clock,
        partition: int,
        acknowledge: Callable[[VolumeCopyAcknowledged], None],
        rng: random.Random | None = None,
        timing: gossip.Timing | None = None,
    ) -> None:
        """`partition` is the copy's own."""
        self._copy = copy
        self._clock = clock
        self._reader = readers.CopyReader(
            bus, registry=registry, clock=clock, volume=copy.node.volume, answer_partition=partition
        )
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

    def hear(self, answer: VolumeReadAnswered) -> None:
        """An answer came."""
        self._reader.hear(answer)

    async def _ask_on(self, first: gossip.Ask) -> None:
        """Ask until there is nothing more to ask for now."""
        before, ask = self._copy.node.prefix.complete_lsn, first
        while True:
            self._reader.use(self._membership)
            if self.plan.is_much(ask.records):
                ask, status = await self._ask_several(ask)
            else:
                status = await self._ask(ask)
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

    async def _ask(self, ask: gossip.Ask) -> VolumeCopyAcknowledged | None:
        part = await self._read(ask.peer, ask.first_lsn, ask.records)
        if part is None:
            return None
        self._take(part)
        return part.answer.status

    async def _ask_several(self, ask: gossip.Ask) -> tuple[gossip.Ask, VolumeCopyAcknowledged | None]:
        """Read much from all peers that have it, several answers ahead; who served last, and how it is."""
        last_lsn, status = ask.first_lsn + ask.records - 1, None
        ahead = readahead.ReadAhead(
            functools.partial(self._read_any, [ask.peer, *(each for each in self._peers() if each != ask.peer)]),
            last_lsn,
        )
        try:
            while (lsn := self._own().reached_lsn + 1) <= last_lsn:
                part = await ahead.next(lsn)
                if part is not None:
                    self._take(part)
                    status = part.answer.status
                    ask = ask._replace(peer=status.copy)
                if self._own().reached_lsn < lsn:
                    break
        finally:
            await ahead.close()
        return ask, status

    async def _read_any(self, peers: list[str], first_lsn: int, last_lsn: int, *, turn: int) -> readahead.Part | None:
        """Peers take turns; one that does not help is asked no more."""
        for number in range(len(peers)):
            peer = peers[(turn + number) % len(peers)]
            part = await self._read(peer, first_lsn, last_lsn - first_lsn + 1, timeout_s=SEVERAL_TIMEOUT_S)
            if part is not None and part.batches and self.plan.serves(part.answer.status, self._own()):
                return part
            if peer in peers and len(peers) > 1:
                peers.remove(peer)
        return None

    async def _read(
        self, peer: str, first_lsn: int, records: int, *, timeout_s: float = TIMEOUT_S
    ) -> readahead.Part | None:
        try:
            answer = await self._reader.ask(
                peer, from_lsn=first_lsn, count=records, whole_batches=True, timeout_s=timeout_s
            )
            return readahead.Part(answer, self._copy.batches(answer))
        except (readers.CopyUnreachableError, readers.CopyDamagedError, port.BusError, avro.DecodeError) as error:
            self._log.debug("a peer does not help", action="volume.gossip.failed", peer=peer, error=str(error))
            return None

    def _take(self, part: readahead.Part) -> None:
        """Whatever came meanwhile: the copy is looked at only now, and takes the answer before anything else comes."""
        ack = self._copy.learn(gossip.taken(part.answer, part.batches, self._own()))
        if ack is not None:
            self._acknowledge(ack)
