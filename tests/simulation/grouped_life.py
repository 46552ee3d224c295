"""One life of a volume of two groups: what befalls a volume of one group befalls each of them."""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tests.simulation import life, replacements
from tests.simulation.grouped import PLAN, GroupedWriter, Volume
from tests.simulation.mutations import MUTATIONS, Mutation
from tests.simulation.violations import ViolationError

if TYPE_CHECKING:
    from tests.simulation.life import Plan
    from tests.simulation.writer import Writer

GROUPED_EVERY = 8
"""One life in so many is one of a volume of two groups."""
STEPS_MAX = life.STEPS_MAX // 2
"""In each of them something happens to both groups, so it costs about as much as another life."""
SETTLING = 60
FOLLOWED, FOLLOWED_EARLY = 0.4, 0.1
"""Chance that a writer is followed where a group's life says so, once it has the volume and before."""


def is_grouped(seed: int) -> bool:
    """Whether this seed's volume is spread over groups."""
    return seed % GROUPED_EVERY == GROUPED_EVERY - 1


class GroupLife(life.Life):
    """One of the groups. Its writers come and go with the volume's."""

    def __init__(self, plan: Plan, whole: GroupedLife) -> None:
        super().__init__(plan)
        self._whole = whole

    def _is_of_pages(self, seed: int) -> bool:
        return False

    @property
    def weighted(self) -> Sequence[tuple[float, Callable[[], None]]]:
        """What may happen, with its weights."""
        return self._weighted

    def append(self) -> None:
        self._whole.append()

    def follow(self) -> None:
        self._whole.follow()


class GroupedLife:
    """The groups, the volume's writers, and what happens to them."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        mutation = MUTATIONS[plan.mutation] if plan.mutation else Mutation()
        self.lives = [GroupLife(plan, self) for _ in PLAN.numbers]
        self.world = self.lives[0].world  # its clock, its randomness and its count of faults are everybody's
        for each in self.lives:
            each.world.rng, each.world.clock, each.world.hits = self.world.rng, self.world.clock, self.world.hits
        self.volume = Volume(
            [each.world for each in self.lives], mutation.grouped or (lambda writer: None), hits=self.world.hits
        )
        for number, each in zip(PLAN.numbers, self.lives, strict=True):
            for follower in each.replicas.followers:
                follower.given = functools.partial(self.volume.given, follower.name, number)
        self.writers: list[GroupedWriter] = []
        self.steps: list[str] = []
        self.appends = 0

    @property
    def _rng(self) -> random.Random:
        return self.world.rng

    @property
    def acknowledged(self) -> dict[int, bytes]:
        """What clients were told is durable, by volume LSN."""
        return self.volume.acknowledged

    def run(self) -> None:
        """Raises ViolationError."""
        self._draw_for(0)
        self._begin_writer("w0")
        self._settle("the first writer")
        for each in self.lives:
            each.world.unreliable = self._rng.choice([0.0, 0.01, 0.05])
        begun, step = self.world.clock.seconds, 0
        while self._goes_on(step, self.world.clock.seconds - begun):
            step += 1
            self._draw_for(step)
            self.world.clock.seconds += self._rng.random() * 0.2
            happen = [self._draw(each.weighted) for each in self.lives]
            self.steps.append(" and ".join(each.__name__ for each in happen))
            if step not in self._plan.left_out:
                for happens in happen:
                    happens()
                self._look(step)
        self.heal()

    def _draw(self, weighted: Sequence[tuple[float, Callable[[], None]]]) -> Callable[[], None]:
        weights, happenings = zip(*weighted, strict=True)
        happens: Callable[[], None] = self._rng.choices(happenings, weights)[0]
        return happens

    def _goes_on(self, step: int, seconds: float) -> bool:
        if self._plan.steps is not None:
            return step < self._plan.steps
        return step < STEPS_MAX and (seconds < life.SECONDS or len(self.acknowledged) < life.APPENDS)

    def _draw_for(self, step: int) -> None:
        self._rng.seed(self._plan.seed << 24 | step)

    def _look(self, step: int) -> None:
        for each in self.lives:
            writers: list[Writer] = [*each.writers[-4:]]
            each.replicas.live(self._plan.seed, step, writers)
            each.checker.look(writers)
            each.replicas.look()

    def append(self) -> None:
        writer = self.writers[-1] if self._rng.random() < 0.8 else self._rng.choice(self.writers[-4:])
        if not writer.groups[0].superseded:
            for _ in range(self._rng.choice([1, 5, 10, 25])):
                writer.append(self._rng.choice([1, 1, 3, 6]))
                self.appends += 1

    def follow(self) -> None:
        """Two groups ask for it, and taking both over takes longer than one."""
        if self._rng.random() >= (FOLLOWED if self.writers[-1].established else FOLLOWED_EARLY):
            return
        self.world.hits["writer followed"] += 1
        self._begin_writer(f"w{len(self.writers)}")

    def _begin_writer(self, name: str) -> GroupedWriter:
        skew_s, rate = self._rng.uniform(-5, 5), self._rng.choice([0.9, 1.0, 1.1])
        hints = [replacements.hint(each.world) for each in self.lives]
        writer = GroupedWriter(self.volume, name, hints, skew_s=skew_s, clock_rate=rate)
        self.writers.append(writer)
        for each, group in zip(self.lives, writer.groups, strict=True):
            each.writers.append(group)
        return writer

    def _settle(self, what: str) -> None:
        """Everything is up and delivers until the newest writer has the volume and all copies are level."""
        writer = self.writers[-1]
        for _ in range(SETTLING):
            for each, group in zip(self.lives, writer.groups, strict=True):
                each.world.deliver_all()
                group.listen()
                group.pump()
            if writer.at_rest:
                break
            for group in writer.groups:
                group.tell()
            self.world.clock.seconds += 0.3
        if not writer.established:
            states = [group.recovery.state for group in writer.groups]
            raise ViolationError("I7", f"{what} does not get the volume: {states}")

    def heal(self) -> None:
        """All faults pass, a new writer comes; everything must work again."""
        self._draw_for(life.LAST_STEP)
        for each in self.lives:
            each.mend()
        last = self._begin_writer("last")
        self._settle("the last writer")
        last.append(7)
        self._settle("the last writer")
        for each, group in zip(self.lives, last.groups, strict=True):
            each.get_level(group)
        if not last.acknowledged:
            raise ViolationError("I7", "the last writer's append is not acknowledged")
        self.volume.look(last)
        self.volume.look_at_replicas(last)

    @property
    def hits(self) -> Counter[str]:
        """How often each fault happened."""
        return self.world.hits
