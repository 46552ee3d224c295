"""Which member of a group gets which partition. Pure.

Sticky and balanced: a member keeps what it has; what nobody has goes to the least loaded; then as few partitions as
possible move until no move would even out two members' counts. Members may subscribe to different topics. Among equal
choices the one that spreads a topic best is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence


def assign(
    members: Mapping[int, frozenset[str]],
    partitions: Mapping[str, Sequence[int]],
    current: Mapping[int, int],
) -> dict[int, int]:
    """The member that each partition should have.

    `members` are the topics of each member, in the order in which they joined; `partitions` the ids by topic;
    `current` the member that has a partition now. A partition whose topic no member subscribes to is left out.
    """
    topic_of = {partition: topic for topic, ids in partitions.items() for partition in ids}
    held: dict[int, set[int]] = {member: set() for member in members}
    spread: Counter[tuple[int, str]] = Counter()
    unowned: list[int] = []

    def give(partition: int, member: int) -> None:
        held[member].add(partition)
        spread[member, topic_of[partition]] += 1

    for partition, topic in topic_of.items():
        member = current.get(partition)
        if member in held and topic in members[member]:
            give(partition, member)
        else:
            unowned.append(partition)
    for partition in unowned:
        topic = topic_of[partition]
        takers = [member for member, topics in members.items() if topic in topics]
        if takers:
            give(partition, min(takers, key=lambda member: (len(held[member]), spread[member, topic])))
    while move := _next_move(members, held, spread, topic_of):
        partition, giver, taker = move
        held[giver].remove(partition)
        spread[giver, topic_of[partition]] -= 1
        give(partition, taker)
    return {partition: member for member, ids in held.items() for partition in ids}


def _next_move(
    members: Mapping[int, frozenset[str]],
    held: Mapping[int, set[int]],
    spread: Mapping[tuple[int, str], int],
    topic_of: Mapping[int, str],
) -> tuple[int, int, int] | None:
    """(partition, giver, taker) of the most useful move, None when counts are as even as they can be."""
    by_load = sorted(held, key=lambda member: len(held[member]))
    for giver in reversed(by_load):
        for taker in by_load:
            if len(held[giver]) - len(held[taker]) < 2:
                break
            movable = [partition for partition in held[giver] if topic_of[partition] in members[taker]]
            if movable:
                topics = {topic_of[partition] for partition in movable}
                topic = max(topics, key=lambda name: (spread[giver, name] - spread[taker, name], name))
                return max(partition for partition in movable if topic_of[partition] == topic), giver, taker
    return None
