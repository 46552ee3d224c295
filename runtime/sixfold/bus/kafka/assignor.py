"""Who of a group reads what: partition p of every topic goes to the same member, so that they can share tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata


def spread(members: Mapping[str, Iterable[str]], partitions: Mapping[str, int]) -> dict[str, dict[str, list[int]]]:
    """Partitions by member and topic. `members` are topics by member, `partitions` the number by topic. Pure.

    Partition p of a topic goes to the p-th of its subscribers in the order of their names, and round again: with the
    same subscription everywhere, equal partition numbers of all topics meet at one member.
    """
    shares: dict[str, dict[str, list[int]]] = {member: {} for member in members}
    subscriptions = {member: set(names) for member, names in members.items()}
    for topic, count in sorted(partitions.items()):
        readers = sorted(member for member, names in subscriptions.items() if topic in names)
        for partition in range(count if readers else 0):
            shares[readers[partition % len(readers)]].setdefault(topic, []).append(partition)
    return shares


class Assignor:
    """`spread` as aiokafka asks for it; `taken` is called the moment partitions arrive, before anything is fetched."""

    name = "sixfold-copartition"
    version = 0

    def __init__(self, taken: Callable[[], None]) -> None:
        self._taken = taken

    def metadata(self, topics: Iterable[str]) -> Any:
        """What this member tells the group's leader."""
        return ConsumerProtocolMemberMetadata(self.version, sorted(topics), b"")

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
        """Run by the member that leads the group."""
        topics = {topic for member in members.values() for topic in member.subscription}
        counts = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        shares = spread({member: data.subscription for member, data in members.items()}, counts)
        return {
            member: ConsumerProtocolMemberAssignment(self.version, sorted(share.items()), b"")
            for member, share in shares.items()
        }

    def on_assignment(self, assignment: Any) -> None:
        """Called by aiokafka in one step with the assignment itself."""
        self._taken()
