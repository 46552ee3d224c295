"""Copies that ask each other in a simulated world: questions and answers may be lost, and answers come late."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from tests.simulation import snapshots
from tests.simulation.scrubs import scrub_any
from tests.simulation.violations import ViolationError
from tests.simulation.world import World

from sixfold_events.volume import VolumeReadAnswered, VolumeReadRequested, VolumeRedoBatch
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import files
from sixfold_functions.volume.core import gossip
from sixfold_functions.volume.core.node import Redo

MUCH = 8
"""Records that a copy asks of several peers at once: of the 40 that a writer may be ahead."""
TIMING = gossip.Timing(patience_s=0.3, retry_s=0.3, retry_s_max=2.0, much_records=MUCH)
LEVEL_S = 60
"""Virtual seconds within which copies must be level without a writer."""
ASKS_MAX = 6
"""In one step."""
LATE = 0.3
"""Chance that an answer is still on its way when the step is over."""


class _Talk(NamedTuple):
    copy: copies.Copy
    """The process that asks: a later one of the same copy knows nothing of it."""
    plan: gossip.GossipPlan
    late: list[tuple[gossip.Ask | None, VolumeReadAnswered]]
    """With the question that is open until then; None for one of several."""


class Gossips:
    """Each running copy's questions."""

    def __init__(self, world: World, *, plan_made: Callable[[gossip.GossipPlan], None]) -> None:
        self._world = world
        self._plan_made = plan_made
        self.taken: Callable[[VolumeReadAnswered, Iterable[VolumeRedoBatch], gossip.Own], list[Redo]] = gossip.taken
        self._talks: dict[str, _Talk] = {}

    def _talk(self, name: str) -> _Talk:
        copy, talk = self._world.copies[name], self._talks.get(name)
        if talk is None or talk.copy is not copy:
            peers = [each for each in copy.node.membership.members if each != name]
            talk = self._talks[name] = _Talk(copy, gossip.GossipPlan(peers, rng=self._world.rng, timing=TIMING), [])
            self._plan_made(talk.plan)
        return talk

    def happenings(self, reached_by: Callable[[str], Collection[str]]) -> list[tuple[float, Callable[[], None]]]:
        """What copies do with each other, with the weights in a life; `reached_by` says whom a copy reaches."""
        world = self._world

        def gossip() -> None:
            if world.copies:
                name = world.rng.choice(sorted(world.copies))
                self.step(name, reached_by(name))

        def scrub() -> None:
            scrub_any(world, reached_by)

        return [(6, gossip), (0.4, scrub)]

    def step(self, name: str, reachable: Collection[str]) -> bool:
        """The copy asks whom it wants to; False if nobody."""
        talk = self._talk(name)
        talk.plan.use([each for each in talk.copy.node.membership.members if each != name])
        late = list(talk.late)
        talk.late.clear()
        for ask, answer in late:
            if self._world.copies.get(name) is talk.copy:
                self._take(talk, ask, answer)
        asked = 0
        while asked < ASKS_MAX and name in self._world.copies and self._world.copies[name] is talk.copy:
            ask_due = talk.plan.due(self._own(talk.copy), self._world.clock.seconds)
            if ask_due is None:
                break
            asked += 1
            self._world.hits["question to another copy"] += 1
            if talk.plan.is_much(ask_due.records):
                self._ask_several(talk, ask_due, reachable)
                continue
            answered = self._ask(ask_due, reachable)
            if answered is not None and self._world.rng.random() < LATE and self._world.unreliable:
                talk.late.append((ask_due, answered))
                break
            self._take(talk, ask_due, answered)
        if name in self._world.copies:
            snapshots.step(self._world, name, reachable)
        return asked > 0

    def _ask_several(self, talk: _Talk, ask: gossip.Ask, reachable: Collection[str]) -> None:
        """Parts of it of any peers, whose answers come in any order, and some of them late."""
        rng, status = self._world.rng, None
        peers = [each for each in talk.copy.node.membership.members if each != talk.copy.node.copy]
        parts = list(range(ask.first_lsn, ask.first_lsn + ask.records, rng.randint(3, 8)))
        rng.shuffle(parts)
        for first_lsn in parts:
            answered = self._ask(gossip.Ask(rng.choice(peers), first_lsn, rng.randint(3, 8)), reachable)
            if answered is None or talk.copy is not self._world.copies.get(talk.copy.node.copy):
                continue
            if rng.random() < LATE and self._world.unreliable:
                talk.late.append((None, answered))
                continue
            self._world.hits["much asked of several copies"] += 1
            self._learn(talk, answered)
            status, ask = answered.status, ask._replace(peer=answered.copy)
        talk.plan.answered(ask, status, self._own(talk.copy))

    @staticmethod
    def _own(copy: copies.Copy) -> gossip.Own:
        return gossip.own(copy.node, copy.position)

    def _ask(self, ask: gossip.Ask, reachable: Collection[str]) -> VolumeReadAnswered | None:
        world = self._world
        if ask.peer not in world.copies or ask.peer not in reachable or world.rng.random() < 2 * world.unreliable:
            return None
        request = VolumeReadRequested(
            volume="default",
            copy=ask.peer,
            request_id="",
            from_lsn=ask.first_lsn,
            count=ask.records,
            whole_batches=True,
        )
        answer = world.copies[ask.peer].answer(request)
        if answer.floor_lsn >= ask.first_lsn and ask.records:
            return None  # it does not keep them
        if answer.error:
            world.broken(ask.peer, files.LogDamagedError(answer.error))
            return None
        return answer

    def _take(self, talk: _Talk, ask: gossip.Ask | None, answer: VolumeReadAnswered | None) -> None:
        if answer is not None and not self._learn(talk, answer):
            return
        if ask is not None:
            talk.plan.answered(ask, answer.status if answer is not None else None, self._own(talk.copy))

    def _learn(self, talk: _Talk, answer: VolumeReadAnswered) -> bool:
        """Let the copy take an answer. False where its disk fails."""
        world, copy = self._world, talk.copy
        try:
            ack = copy.learn(self.taken(answer, copy.batches(answer), self._own(copy)))
        except files.LogError as error:
            world.broken(copy.node.copy, error)
            return False
        if ack is not None:
            world.hits["filled by another copy"] += 1
            world.acks.append(ack)
        return True

    def level(self) -> None:
        """Copies that begin anew get level by themselves, unless a recovery is under way: then nothing may be filled.

        Raises ViolationError.
        """
        world = self._world
        for copy in sorted(world.copies):
            world.kill(copy)
        for disk in world.disks.values():
            disk.heal()
        ends: set[tuple[int, int]] = set()
        for _ in range(LEVEL_S):
            world.start_all()
            world.deliver_all()
            for made in world.copies.values():
                made.pages.work()
            for copy in world.names:
                if copy in world.copies:
                    self.step(copy, world.names)
            world.clock.seconds += 1.0
            members = self._members()
            if any(copy not in world.copies for copy in members):
                continue  # damage was found
            nodes = [world.copies[copy].node for copy in members]
            newest = max(node.epoch for node in nodes)
            if all(node.log_epoch < newest for node in nodes):
                return
            ends = {(node.log_epoch, node.prefix.complete_lsn) for node in nodes}
            if len(ends) == 1:
                world.hits["level without a writer"] += 1
                return
        raise ViolationError("I8", f"the copies end at {sorted(ends)}")

    def _members(self) -> list[str]:
        """Copies of the newest membership that a copy has stored, but those that know an older one: they ask the wrong ones."""
        world = self._world
        newest = max((copy.node.membership for copy in world.copies.values()), key=lambda each: each.key)
        away = {copy for copy in newest.members if copy not in world.copies and copy in world.burnt}
        known = {name for name, copy in world.copies.items() if copy.node.membership.members != newest.members}
        return [copy for copy in newest.members if copy not in away | known]
