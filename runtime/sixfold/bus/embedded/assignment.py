"""Which member of a group gets which partition. Pure.

Partitions of one number go together, of all topics that the same members subscribe to: a function's tables belong to a
partition's number, and have one writer. Such a share is what is given and moved. Sticky and balanced: a member keeps
what it has; what nobody has goes to the least loaded; then as few shares as possible move until no move would even out
two members' counts. Members may subscribe to different topics; shares of the same members are spread evenly, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

Members = frozenset[int]
Share = tuple[Members, int]
"""The partitions of a number, of the topics that these members subscribe to."""


def assign(
    members: Mapping[int, frozenset[str]],
    partitions: Mapping[str, Sequence[int]],
    current: Mapping[int, int],
) -> dict[int, int]:
    """The member that each partition should have.

    `members` are the topics of each member, in the order in which they joined; `partitions` the ids by topic, in the
    order of their numbers; `current` the member that has a partition now. A partition whose topic no member subscribes
    to is left out.
    """
    shares = shares_of(members, partitions)
    held: dict[int, set[Share]] = {member: set() for member in members}
    spread: Counter[tuple[int, Members]] = Counter()
    unowned: list[Share] = []

    def give(share: Share, member: int) -> None:
        held[member].add(share)
        spread[member, share[0]] += 1

    for share, ids in shares.items():
        keeper = _keeper(share, ids, current)
        if keeper is None:
            unowned.append(share)
        else:
            give(share, keeper)
    for share in unowned:
        able = [member for member in members if member in share[0]]
        give(share, min(able, key=lambda member: (len(held[member]), spread[member, share[0]])))
    while move := _next_move(held, spread):
        share, giver, taker = move
        held[giver].remove(share)
        spread[giver, share[0]] -= 1
        give(share, taker)
    return {partition: member for member, taken in held.items() for share in taken for partition in shares[share]}


def shares_of(members: Mapping[int, frozenset[str]], partitions: Mapping[str, Sequence[int]]) -> dict[Share, list[int]]:
    """The partition ids that go together."""
    shares: dict[Share, list[int]] = {}
    for topic, ids in partitions.items():
        takers = frozenset(member for member, topics in members.items() if topic in topics)
        for number, partition in enumerate(ids if takers else ()):
            shares.setdefault((takers, number), []).append(partition)
    return shares


def _keeper(share: Share, ids: Sequence[int], current: Mapping[int, int]) -> int | None:
    """Who of its takers has most of a share now, the lowest member where several do; None where nobody has any."""
    having = Counter(current[partition] for partition in ids if current.get(partition) in share[0])
    return min(having, key=lambda member: (-having[member], member), default=None)


def _next_move(
    held: Mapping[int, set[Share]], spread: Mapping[tuple[int, Members], int]
) -> tuple[Share, int, int] | None:
    """(share, giver, taker) of the most useful move, None when counts are as even as they can be."""
    by_load = sorted(held, key=lambda member: len(held[member]))
    for giver in reversed(by_load):
        for taker in by_load:
            if len(held[giver]) - len(held[taker]) < 2:
                break
            movable = [share for share in held[giver] if taker in share[0]]
            if movable:
                groups = {share[0] for share in movable}
                group = max(groups, key=lambda each: (spread[giver, each] - spread[taker, each], sorted(each)))
                return max((share for share in movable if share[0] == group), key=lambda each: each[1]), giver, taker
    return None
