"""The contract: a member with a name that stays keeps its partitions while its process starts anew."""

from __future__ import annotations

from tests.support import buses, members, naming, waiting
from tests.support.records import make

from sixfold.bus import port


class Moves:
    """A listener that notes every partition that is taken away."""

    def __init__(self) -> None:
        self.taken: list[port.TopicPartition] = []

    async def on_assigned(self, partitions: list[port.TopicPartition]) -> None:
        """More."""

    async def on_revoked(self, partitions: list[port.TopicPartition]) -> None:
        """Fewer."""
        self.taken += partitions

    async def on_lost(self, partitions: list[port.TopicPartition]) -> None:
        """Fewer."""
        self.taken += partitions


async def test_a_restart_within_the_session_timeout_moves_no_partitions(
    place: buses.Place, bus: port.Bus, names: naming.Names
) -> None:
    """The one that was killed gets what it had; the survivor neither gains nor loses anything."""
    topic, group = await make(bus, names("t"), 4), names("g")
    moves = Moves()
    async with members.joined(place, group, [topic], member="host.f.0") as first:

        async def has_two(member: members.Member = first) -> bool:
            return len(await member.call("assignment")) == 2

        async with bus.subscribe(group, [topic], listener=moves, member="host.f.1") as survivor:  # type: ignore[arg-type]
            await waiting.assigned(survivor, 2)
            await waiting.eventually(has_two, "the other has two partitions")
            had, kept = await first.call("assignment"), survivor.assignment()
            moves.taken.clear()
            await first.kill()
            async with members.joined(place, group, [topic], member="host.f.0") as second:

                async def back() -> bool:
                    return bool(await second.call("assignment") == had)

                await waiting.eventually(back, "it has what it had")
                assert survivor.assignment() == kept
                assert moves.taken == []


async def test_a_member_with_a_name_that_does_not_come_back_is_given_up(
    place: buses.Place, bus: port.Bus, names: naming.Names
) -> None:
    """After the session timeout its partitions go to the others."""
    topic, group = await make(bus, names("t"), 2), names("g")
    async with (
        members.joined(place, group, [topic], member="host.f.0") as first,
        bus.subscribe(group, [topic], member="host.f.1") as survivor,
    ):
        await waiting.assigned(survivor, 1)
        await first.kill()
        await waiting.assigned(survivor, 2, 60.0)
