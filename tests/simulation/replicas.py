"""Read replicas in a simulated world, and the look at them: they hear what copies hear, and read what they lack.

What they draw comes from a generator of their own, so the rest of a life is the same with them and without.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Callable, Iterable

from tests.simulation.checks import Checker
from tests.simulation.violations import ViolationError
from tests.simulation.world import World
from tests.simulation.writer import Writer

from sixfold_events.volume import VolumeDurableAdvanced, VolumeReadRequested, VolumeRedoBatch
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.node import Redo
from sixfold_functions.volume.core.replica import ConsistencyPoint, Replica

NAMES = ("r1", "r2")
CAUGHT_UP = 400
"""So many rounds of hearing and reading at most until a replica has everything, once all is well."""
BEGUN = hashlib.sha256().digest()


def _next(state: bytes, data: bytes) -> bytes:
    """The state with one more record applied."""
    return hashlib.sha256(state + data).digest()


class Follower:
    """One replica: the core that `VolumeReplica` has, and a state that is a hash of all records that it applied."""

    def __init__(self, world: World, name: str, made: Callable[[Replica], None]) -> None:
        self._world = world
        self._made = made
        self.name = name
        self.copy = layout.COPIES[0]
        self.applied: dict[int, bytes] = {0: BEGUN}
        """The state at each consistency point that was applied."""
        self.points: deque[tuple[int, bytes]] = deque()
        """Consistency points whose state is not compared yet, each with its last record."""
        self.announced = 0
        self.given: Callable[[ConsistencyPoint], None] = lambda point: None
        """Called with each consistency point that is applied."""
        self.start(0)

    def start(self, lsn: int) -> None:
        """A process begins with the state at `lsn`; it follows its copy's partition from the end."""
        self.core = Replica("default", start_lsn=lsn)
        self._made(self.core)
        self._state = self.applied[lsn]
        self.points.clear()
        self.move(self.copy)

    def move(self, copy: str) -> None:
        self.copy = copy
        self._position = self._world.dropped[copy] + len(self._world.partitions[copy])

    def hear(self, count: int) -> None:
        """The next records of the partition."""
        log, dropped = self._world.partitions[self.copy], self._world.dropped[self.copy]
        first = min(max(self._position - dropped, 0), len(log))
        for record in log[first : first + count]:
            event = self._world.registry.decode(record.value, record.headers)
            assert isinstance(event, Redo)
            self.core.on_redo(event)
            self._apply()
        self._position = dropped + min(first + count, len(log))

    def hear_announcements(self, events: list[VolumeDurableAdvanced]) -> None:
        for event in events:
            self.core.on_announcement(event)
            self._apply()

    def read(self, copy: str) -> None:
        """Ask a copy for what is missing."""
        first_lsn, last_lsn = self.core.missing()
        if not last_lsn or copy not in self._world.copies:
            return
        request = VolumeReadRequested(
            volume="default",
            copy=copy,
            request_id="",
            from_lsn=first_lsn,
            count=last_lsn - first_lsn + 1,
            whole_batches=True,
        )
        answer = self._world.copies[copy].answer(request)
        if answer.error:
            return  # its log is damaged; another copy is asked
        found = [self._world.registry.decode_as(VolumeRedoBatch, value) for value in answer.batches]
        self.core.on_answer(answer.status, [each for each in found if isinstance(each, VolumeRedoBatch)])
        self._apply()

    def _apply(self) -> None:
        for point in self.core.take_points():
            for record in point.records:
                self._state = _next(self._state, record)
            self.applied[point.last_lsn] = self._state
            self.points.append((point.last_lsn, point.records[-1]))
            self.given(point)


class Replicas:
    """All replicas of a world; `live` is what happens to them in a step, `look` raises ViolationError."""

    def __init__(self, world: World, checker: Checker, made: Callable[[Replica], None]) -> None:
        self._world = world
        self._checker = checker
        self._rng = random.Random(0)
        self._followers = [Follower(world, name, made) for name in NAMES]
        self._said: list[VolumeDurableAdvanced] = []
        """All announcements; a replica that starts hears the last ones again."""
        self._states: list[bytes] = [BEGUN]
        """Of the durable records: the state after each LSN, as far as it is known what they are."""

    @property
    def followers(self) -> list[Follower]:
        """The replicas."""
        return self._followers

    def live(self, seed: int, step: int, writers: Iterable[Writer]) -> None:
        """Writers announce now and then; a replica hears something, reads, moves, or starts anew."""
        self._rng.seed(seed << 24 | step)
        for writer in writers:
            if writer.established and self._rng.random() < 0.1:
                self._announce(writer)
        follower = self._rng.choice(self._followers)
        chance = self._rng.random()
        if chance < 0.45:
            follower.hear(self._rng.choice([1, 5, 50]))
        elif chance < 0.75:
            heard = follower.announced
            if self._rng.random() < 0.1:
                heard = max(heard - 3, 0)
            follower.hear_announcements(self._said[heard : heard + self._rng.choice([1, 5])])
            follower.announced = min(heard + 5, len(self._said))
        elif chance < 0.97:
            follower.read(self._rng.choice(self._world.names))
        elif chance < 0.99:
            self._world.hits["replica moved"] += 1
            follower.move(self._rng.choice(self._world.names))
        else:
            self._world.hits["replica started anew"] += 1
            held = self._checker.paging is not None and self._checker.paging.mark
            follower.start(self._rng.choice([follower.core.given_lsn if held else 0, follower.core.given_lsn]))

    def _announce(self, writer: Writer) -> None:
        if self._rng.random() < self._world.unreliable:
            return
        self._said.append(
            VolumeDurableAdvanced(
                volume="default",
                epoch=writer.recovery.epoch,
                durable_lsn=writer.sequencer.durable_lsn,
                append_offset=0,
            )
        )

    def reading(self) -> list[int]:
        """At which LSN each replica reads."""
        return [follower.core.given_lsn for follower in self._followers]

    def look(self) -> None:
        """Each replica's state is the durable records' at each consistency point, and never ahead of what is durable."""
        while (data := self._checker.durable_record(len(self._states))) is not None:
            self._states.append(_next(self._states[-1], data))
        for follower in self._followers:
            name, core = follower.name, follower.core
            if core.diverged:
                raise ViolationError("I4", f"{name} stopped: {core.diverged}")
            if core.given_lsn > self._checker.durable_lsn:
                raise ViolationError(
                    "I4", f"{name} has applied LSN {core.given_lsn}, {self._checker.durable_lsn} is durable"
                )
            while follower.points and follower.points[0][0] < len(self._states):
                lsn, record = follower.points.popleft()
                if (lsn, record) not in self._world.ends:
                    raise ViolationError("I4", f"{name} applied up to LSN {lsn}, inside of an append")
                if follower.applied[lsn] != self._states[lsn]:
                    raise ViolationError("I4", f"{name} is another volume at LSN {lsn}, where {record!r} is its record")

    def catch_up(self, writer: Writer) -> None:
        """All is well: each replica has everything before long. Raises ViolationError."""
        self._announce(writer)
        for follower in self._followers:
            follower.hear_announcements(self._said[-1:])
            members = writer.membership.members
            if follower.copy not in members:
                follower.move(members[0])
            for number in range(CAUGHT_UP):
                follower.hear(1000)
                follower.read(members[number % len(members)])
                if follower.core.given_lsn == writer.tracker.durable_lsn:
                    break
            else:
                raise ViolationError(
                    "I7", f"{follower.name} ends at {follower.core.given_lsn} of {writer.tracker.durable_lsn}"
                )
        self.look()
        if any(follower.points for follower in self._followers):
            raise ViolationError("I4", f"nobody knows what is durable behind LSN {len(self._states) - 1}")
