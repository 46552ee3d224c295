"""Volumes that are broken on purpose: the checks are worth something as far as they find these out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec
from tests.simulation.backups import Backups
from tests.simulation.gossip import Gossips
from tests.simulation.grouped import GroupedWriter, alone
from tests.simulation.writer import Writer

from sixfold_events.volume import (
    VolumeCopyAcknowledged,
    VolumeRangeTruncated,
    VolumeReadAnswered,
    VolumeRedoBatch,
)
from sixfold_functions.volume.copy import Copy
from sixfold_functions.volume.core import collection, gossip, recovery
from sixfold_functions.volume.core.membership import Membership
from sixfold_functions.volume.core.node import Redo
from sixfold_functions.volume.core.quorum import FOUR_OF_SIX, Quorum
from sixfold_functions.volume.core.repair import Fill
from sixfold_functions.volume.core.replica import Replica


@dataclasses.dataclass(frozen=True)
class Mutation:
    """What is different."""

    quorum: Quorum = FOUR_OF_SIX
    honest_disks: bool = True
    copy: Callable[[Copy], None] = lambda copy: None
    opening: Callable[[Copy], None] = lambda copy: None
    writer: Callable[[Writer], None] = lambda writer: None
    gossips: Callable[[Gossips], None] = lambda gossips: None
    plan: Callable[[gossip.GossipPlan], None] = lambda plan: None
    replica: Callable[[Replica], None] = lambda replica: None
    backups: Callable[[Backups], None] = lambda backups: None
    grouped: Callable[[GroupedWriter], None] | None = None

    @property
    def concerns_groups(self) -> bool:
        """Whether it shows only in a volume of several groups."""
        return self.grouped is not None


def _obeys_anyone(copy: Copy) -> None:
    node, take = copy.node, copy.node.take

    def taken(event: Redo, place: Any) -> bool:
        return take(msgspec.structs.replace(event, epoch=max(event.epoch, node.epoch)), place)

    node.take = taken  # type: ignore[method-assign]


def _believes_anyone(writer: Writer) -> None:
    tracker, recovered = writer.tracker, writer.recovery
    on_ack, heard = tracker.on_ack, recovered.on_ack

    def as_ours(ack: VolumeCopyAcknowledged) -> VolumeCopyAcknowledged:
        if recovered.state is not recovery.State.ESTABLISHED or ack.epoch < recovered.epoch:
            return ack
        return msgspec.structs.replace(ack, epoch=recovered.epoch, log_epoch=recovered.epoch)

    tracker.on_ack = lambda ack: on_ack(as_ours(ack))  # type: ignore[method-assign]
    recovered.on_ack = lambda ack, now: heard(as_ours(ack), now)  # type: ignore[method-assign]


def _fills_nothing(writer: Writer) -> None:
    def due(acks: dict[str, VolumeCopyAcknowledged], now: float, busy: Collection[str] = ()) -> list[Fill]:
        return []

    writer.plan.due = due  # type: ignore[method-assign]


def _takes_of_any_epoch(gossips: Gossips) -> None:
    def taken(answer: VolumeReadAnswered, batches: Iterable[VolumeRedoBatch], mine: gossip.Own) -> list[Redo]:
        return [msgspec.structs.replace(batch, epoch=mine.epoch) for batch in batches]

    gossips.taken = taken


def _asks_of_any_epoch(plan: gossip.GossipPlan) -> None:
    def serves(peer: VolumeCopyAcknowledged, mine: gossip.Own) -> bool:
        return peer.complete_lsn > mine.reached_lsn

    plan.serves = serves  # type: ignore[method-assign]


def _believes_the_page_cache(copy: Copy) -> None:
    copy._log.write_tail_again = lambda: None  # type: ignore[method-assign]


def _lets_go_of_what_is_in_memory(copy: Copy) -> None:
    needs = copy.collector.needs

    def needed() -> collection.Needs:
        store = copy.pages.store
        return needs()._replace(layered_lsn=store.lsn if store is not None else 0)

    copy.collector.needs = needed  # type: ignore[method-assign]


def _lets_go_of_what_is_read(copy: Copy) -> None:
    needs = copy.collector.needs
    copy.collector.needs = lambda: needs()._replace(low_water_lsn=1 << 62, held_lsn=1 << 62)  # type: ignore[method-assign]


def _applies_what_it_hears(replica: Replica) -> None:
    on_redo = replica.on_redo

    def heard(event: Redo) -> None:
        if isinstance(event, VolumeRedoBatch):
            event = msgspec.structs.replace(event, durable_lsn=event.first_lsn + len(event.payloads) - 1)
        on_redo(event)

    replica.on_redo = heard  # type: ignore[method-assign]


def _believes_recoveries(replica: Replica) -> None:
    on_redo = replica.on_redo

    def heard(event: Redo) -> None:
        on_redo(event)
        if isinstance(event, VolumeRangeTruncated) and event.epoch == replica.epoch:
            replica.durable_lsn = max(replica.durable_lsn, event.durable_lsn)

    replica.on_redo = heard  # type: ignore[method-assign]


def _takes_what_is_not_durable(backups: Backups) -> None:
    backups.up_to = lambda ack: ack.complete_lsn


def _collects_within_the_window(backups: Backups) -> None:
    backups.pages_retention_ms = 0


def _jumps(writer: Writer) -> None:
    def planned(membership: Membership) -> Membership:
        return dataclasses.replace(membership, sets=membership.sets[-1:], previous=())

    writer.planned = planned


def _tells_groups_what_they_have(writer: GroupedWriter) -> None:
    writer.tellable = lambda number: writer.groups[number - 1].tracker.durable_lsn


def _recovers_groups_alone(writer: GroupedWriter) -> None:
    writer.reunite = alone


MUTATIONS = {
    "tell-groups-before-vdl": Mutation(grouped=_tells_groups_what_they_have),
    "recover-groups-alone": Mutation(grouped=_recovers_groups_alone),
    "backup-before-durable": Mutation(backups=_takes_what_is_not_durable),
    "collect-within-the-window": Mutation(backups=_collects_within_the_window),
    "quorum-of-three": Mutation(quorum=Quorum(write=3)),
    "acknowledge-before-fsync": Mutation(honest_disks=False),
    "ignore-epochs": Mutation(copy=_obeys_anyone, writer=_believes_anyone),
    "skip-gap-fill": Mutation(writer=_fills_nothing),
    "collect-before-layers-are-synced": Mutation(copy=_lets_go_of_what_is_in_memory),
    "collect-above-low-water": Mutation(copy=_lets_go_of_what_is_read),
    "believe-the-page-cache": Mutation(opening=_believes_the_page_cache),
    "gossip-ignores-epochs": Mutation(gossips=_takes_of_any_epoch, plan=_asks_of_any_epoch),
    "apply-beyond-durable": Mutation(replica=_applies_what_it_hears),
    "apply-what-a-recovery-keeps": Mutation(replica=_believes_recoveries),
    "replace-in-one-step": Mutation(writer=_jumps),
}
