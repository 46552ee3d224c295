"""One life of a volume, drawn from a seed: clients append, things break, and each step is followed by a look at it.

Each step draws from a generator of its own, of the seed and the step's number: one that is left out changes nothing of
what the others draw. That is how a life that fails is made shorter.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import random
from collections.abc import Callable

import structlog
from tests.simulation import cycles, decoding, replacements, snapshots
from tests.simulation.backups import Backups
from tests.simulation.checks import Checker
from tests.simulation.gossip import Gossips
from tests.simulation.mutations import MUTATIONS, Mutation
from tests.simulation.outcomes import Outcome as Outcome
from tests.simulation.outcomes import Plan as Plan
from tests.simulation.paging import Paging
from tests.simulation.replicas import Replicas
from tests.simulation.rotating import encrypted
from tests.simulation.violations import ViolationError
from tests.simulation.world import World
from tests.simulation.writer import Writer, settle

from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import files, segments
from sixfold_functions.volume.core import layout

SECONDS = 30.0
APPENDS = 1_000
"""A life takes so much virtual time, and so many records are acknowledged in it, at least,"""
STEPS_MAX = 2_500
"""unless it takes more steps than this."""
LAST_STEP = (1 << 24) - 1
"""What happens at the end draws as this one; two writers must not draw the same tag."""
HEALING = 10
"""Times eighteen virtual seconds within which all copies must be level again."""
LOST_MAX = 2
"""Copies that may be without what they once acknowledged: any three of the four others still meet every write quorum."""
PAGING_EVERY = 6
"""One life in so many is one of a volume of pages."""
SEGMENT_BYTES = (600, 4_000, segments.SEGMENT_BYTES_MAX)


class Life:
    """A world, its writers, and what may happen to them."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        mutation = MUTATIONS[plan.mutation] if plan.mutation else Mutation()
        is_paging = self._is_of_pages(plan.seed)
        self.world = World(
            plan.seed,
            honest_disks=mutation.honest_disks,
            quorum=mutation.quorum,
            segment_bytes_max=SEGMENT_BYTES[(plan.seed // (1 + 5 * is_paging)) % len(SEGMENT_BYTES)],
            encrypted=encrypted(plan.seed // len(SEGMENT_BYTES)),
            registry=decoding.registry_of(plan.seed),
        )
        self.world.copy_made, self.world.writer_made = mutation.copy, mutation.writer
        self.world.copy_opening = mutation.opening
        for copy in self.world.copies.values():
            mutation.copy(copy)
        self.gossips = Gossips(self.world, plan_made=mutation.plan)
        mutation.gossips(self.gossips)
        self.checker = Checker(self.world)
        self.replicas = Replicas(self.world, self.checker, mutation.replica)
        self.backups = Backups(self.world, mutation.backups)
        if is_paging:
            self.checker.paging = paging = Paging(self.world)
            paging.held_lsn, paging.readers = lambda: self.backups.last_lsn, self.replicas.reading
        self.backups.holds_pages = self.checker.paging is not None
        self.writers: list[Writer] = []
        self.steps: list[str] = []
        self.appends = 0
        self._away: list[str] = []
        self._weighted: list[tuple[float, Callable[[], None]]] = [
            (16, self.append),
            (40, self.deliver),
            (24, self.listen),
            (4, self.tell),
            (3, self.start),
            (2, self.cut_off),
            (1, self.crash_brokers),
            (1, self.retain),
            (0.6, self.lose_power),
            (0.6, self.kill),
            (0.6, self.fail_disk),
            (0.1, self.black_out),
            (0.4, self.follow),
            (0.3, self.turn_over),
            (0.3, self.wipe),
            (0.3, self.flip),
            (0.8, self.backups.back_up),
            (0.3, self.replace),
            (0.6, self.undo),
        ]
        self._weighted += self.world.rotation.happenings() + self.gossips.happenings(self._reached_by)

    def _is_of_pages(self, seed: int) -> bool:
        return seed % PAGING_EVERY == PAGING_EVERY - 1

    @property
    def _rng(self) -> random.Random:
        return self.world.rng

    @property
    def acknowledged(self) -> dict[int, bytes]:
        """What clients were told is durable."""
        return self.world.acknowledged

    def run(self) -> None:
        """Raises ViolationError."""
        self._draw_for(0)
        self.writers.append(self._new_writer("w0"))
        self._settle("the first writer")
        self.world.unreliable = self._rng.choice([0.0, 0.01, 0.05])
        begun, step = self.world.clock.seconds, 0
        happenings = [happening for _, happening in self._weighted]
        weights = list(itertools.accumulate(weight for weight, _ in self._weighted))
        while self._goes_on(step, self.world.clock.seconds - begun):
            step += 1
            self._draw_for(step)
            self.world.clock.seconds += self._rng.random() * 0.2
            happens = self._rng.choices(happenings, cum_weights=weights)[0]
            self.steps.append(happens.__name__)
            if step not in self._plan.left_out:
                happens()
                self.replicas.live(self._plan.seed, step, self.writers[-4:])
                self.checker.look(self.writers[-4:])
                self.replicas.look()
        self.heal()

    def _goes_on(self, step: int, seconds: float) -> bool:
        if self._plan.steps is not None:
            return step < self._plan.steps
        return step < STEPS_MAX and (seconds < SECONDS or len(self.world.acknowledged) < APPENDS)

    def _draw_for(self, step: int) -> None:
        self._rng.seed(self._plan.seed << 24 | step)

    def _new_writer(self, name: str) -> Writer:
        skew_s, rate = self._rng.uniform(-5, 5), self._rng.choice([0.9, 1.0, 1.1])
        self.world.hits["clock that is wrong"] += 1
        hint = replacements.hint(self.world)
        return Writer(self.world, name, skew_s=skew_s, clock_rate=rate, hint=hint)

    def _settle(self, what: str) -> None:
        """Raises ViolationError."""
        try:
            settle(self.world, self.writers[-1], resting=True)
        except AssertionError as error:
            raise ViolationError("I7", f"{what} does not get the volume: {error}") from error

    @property
    def _writer(self) -> Writer:
        """Mostly the newest."""
        return self.writers[-1] if self._rng.random() < 0.8 else self._rng.choice(self.writers[-4:])

    def _hit(self, fault: str) -> None:
        self.world.hits[fault] += 1

    # -- what happens ----------------------------------------------------------------------------------------------

    def append(self) -> None:
        writer = self._writer
        if not writer.superseded:
            for _ in range(self._rng.choice([1, 5, 10, 25])):
                writer.append(self._rng.choice([1, 1, 1, 3]))
                self.appends += 1

    def deliver(self) -> None:
        here = sorted(set(self.world.copies) - set(self._away))
        for copy in self._rng.sample(here, min(len(here), 3)):
            self.world.deliver(copy, self._rng.choice([1, 5, 50, 50]))

    def listen(self) -> None:
        writer = self._writer
        if not writer.superseded:
            writer.listen(self._rng.choice([3, 50, 1000]))
            writer.pump()

    def tell(self) -> None:
        self._writer.tell()

    def lose_power(self) -> None:
        if len(self.world.copies) > 3:
            self._hit("power lost")
            self.world.lose_power(self._rng.choice(sorted(self.world.copies)))

    def black_out(self) -> None:
        """A zone loses power, or all do: what is on the disks must be enough."""
        zone = self._rng.choice([*layout.ZONES, "all"])
        self._hit("power lost everywhere" if zone == "all" else "power of a zone lost")
        for copy in self.world.in_zone(zone):
            self.world.lose_power(copy)

    def fail_disk(self) -> None:
        if self.world.copies:
            self.world.fail_disk(self._rng.choice(sorted(self.world.copies)))

    def kill(self) -> None:
        if len(self.world.copies) > 3:
            self._hit("copy killed")
            self.world.kill(self._rng.choice(sorted(self.world.copies)))

    def start(self) -> None:
        for copy in sorted(self.world.down)[:1]:
            self.world.start(copy)

    def follow(self) -> None:
        self._hit("writer followed")
        self.writers.append(self._new_writer(f"w{len(self.writers)}"))

    def turn_over(self) -> None:
        """Those that were cut off are alone with a new writer."""
        self._away = sorted(set(self.world.names) - set(self._away))
        self._hit("network turned over")
        self.follow()

    def cut_off(self) -> None:
        count = self._rng.choice([0, 0, 2, 2, 3])
        self._away = sorted(self._rng.sample(self.world.names, count))
        if count == 2 and self._rng.random() < 0.5:
            self._away = self.world.in_zone(self._rng.choice(layout.ZONES))
            self._hit("zone cut off")
        elif count:
            self._hit("copies cut off")

    def crash_brokers(self) -> None:
        for copy in self._away:
            self.world.lose_tail(copy)

    def wipe(self) -> None:
        whole = sorted(set(self.world.names) - self._lost())
        if len(self._lost()) < LOST_MAX:
            self._hit("folder lost")
            self.world.lose_disk(self._rng.choice(whole))

    def flip(self) -> None:
        whole = sorted(set(self.world.names) - self._lost())
        if len(self._lost()) < LOST_MAX:
            self.world.flip(self._rng.choice(whole))

    def _reached_by(self, name: str) -> set[str]:
        """Of those that are cut off, each reaches the others."""
        away = set(self._away)
        return away if name in away else set(self.world.names) - away

    def _lost(self) -> set[str]:
        return self.world.joining() | self.world.flipped

    def retain(self) -> None:
        self._hit("partition cut by retention")
        self.world.retain(self._rng.choice(self.world.names), self._rng.choice([0, 3, 30]))

    def replace(self) -> None:
        replacements.replace(self.world, self._writer, burns=len(self._lost()) < LOST_MAX)

    def undo(self) -> None:
        replacements.undo(self.world, self._writer)

    # -- and at the end --------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """All faults pass, a new writer comes; everything must work again."""
        self._draw_for(LAST_STEP)
        self.mend()
        last = Writer(self.world, "last")
        self.writers.append(last)
        self._settle("the last writer")
        last.append()
        self.get_level(last)
        if not last.acknowledged:
            raise ViolationError("I7", "the last writer's append is not acknowledged")

    def mend(self) -> None:
        """All faults pass, and no writer is there."""
        self.world.unreliable, self._away = 0.0, []
        self.gossips.level()
        self.checker.look(self.writers[-4:])
        self.world.start_all()

    def get_level(self, last: Writer) -> None:
        """All copies and replicas of the last writer's volume have everything. Raises ViolationError."""
        for _ in range(HEALING):
            if last.membership.change is None:
                self.world.burnt.clear()  # a writer that was followed had begun a replacement that nobody heard of
            self.world.start_all()
            snapshots.step_all(self.world)
            self._settle("the last writer")
            self.checker.look(self.writers[-4:])  # which reads, and may find a flipped bit
            self.checker.look_at_content(last)
            ends = {name: copy.node.prefix.complete_lsn for name, copy in self.world.copies.items()}
            members = last.membership.members
            level = len({ends[name] for name in members if name in ends}) == 1 and set(members) <= set(ends)
            others = {place.copy for place in last.membership.places} - set(members)
            if (
                level
                and not self.world.joining() & set(members)
                and last.membership.change is None
                and others <= self.world.removed
            ):
                break
        else:
            raise ViolationError("I7", f"the copies end at {ends}, {sorted(self.world.joining())} do not count")
        self.backups.look(self.checker.batches)
        self.replicas.catch_up(last)


def be_quiet() -> None:
    """In a process that does nothing but live: what copies log of their damage would hide what is found."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    gc.freeze()  # what was imported stays, so nobody need look through it after each life


def live(plan: Plan) -> Outcome:
    """One life from its beginning to its end, or to the first thing that does not hold."""
    with cycles.unsearched():
        return _lived(plan)


def _lived(plan: Plan) -> Outcome:
    from tests.simulation import grouped_life  # here, as its groups are lives themselves

    life = grouped_life.GroupedLife(plan) if grouped_life.is_grouped(plan.seed) else Life(plan)
    violation = ""
    begun = life.world.clock.seconds
    try:
        life.run()
    except ViolationError as error:
        violation = str(error)
    except (files.LogDamagedError, copies.DurableLostError, copies.PromiseBrokenError, AssertionError) as error:
        violation = f"I1 a part of the volume stopped: {type(error).__name__}: {error}"
    acknowledged = life.acknowledged
    told = hashlib.sha256(repr(sorted(acknowledged.items())).encode()).hexdigest()[:16]
    return Outcome(
        plan=plan,
        violation=violation,
        steps=tuple(life.steps),
        hits=life.world.hits,
        appends=life.appends,
        acknowledged=len(acknowledged),
        seconds=life.world.clock.seconds - begun,
        digest=told,
    )
