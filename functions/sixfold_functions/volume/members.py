"""A writer's part in who is a member: it learns that from the copies, carries changes out, and announces them.

`core/membership.py` has the protocol, `core/changing.py` decides; here records are sent and requests are answered.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from sixfold import clock as clocks
from sixfold import publisher
from sixfold.bus import port
from sixfold_events.volume import VolumeCopyAcknowledged, VolumeMembersAnnounced, VolumeReplaceRequested
from sixfold_functions.volume import reader, roster, topics
from sixfold_functions.volume.core import changing
from sixfold_functions.volume.core.membership import Membership, MembershipError, event_of, of_event
from sixfold_functions.volume.core.recovery import State

if TYPE_CHECKING:
    from sixfold_functions.volume.writer import VolumeWriter


class Members:
    """The members of one writer's volume."""

    def __init__(self, writer: VolumeWriter) -> None:
        self._writer = writer
        self._telling = changing.Telling()
        self._roster = roster.Roster(writer.registry, writer.volume)
        self._read_from = 0
        self._due = asyncio.Event()
        self._log = structlog.get_logger().bind(volume=writer.volume)

    @property
    def _now(self) -> Membership:
        return self._writer.recovery.membership

    async def load(self) -> None:
        """Begin with what was announced last, and with the newest epoch that a copy spoke of."""
        writer = self._writer
        self._roster, self._read_from = await roster.load_alone(writer.bus, writer.registry, writer.volume)
        hint = self._roster.membership
        await roster.grow(writer.bus, writer.volume, hint)
        writer.recovery.membership = hint
        self._use(hint)
        for record in await topics.last_records(writer.bus, writer.topics.acks, 2 * len(hint.places)):
            event = topics.decoded(writer.registry, record)
            if isinstance(event, VolumeCopyAcknowledged):
                writer.recovery.newest_seen = max(writer.recovery.newest_seen, event.epoch)

    def _use(self, membership: Membership) -> None:
        """Count, send, ask and fill for `membership` from now on."""
        writer = self._writer
        writer.recovery.membership = membership
        writer.tracker.use(membership)
        writer.sender.use(membership)
        writer.reader.use(membership)
        writer.repairer.plan.keep(membership.members)

    # -- taking over -----------------------------------------------------------------------------------------------

    async def learn(self) -> bool:
        """Ask the copies that reported a newer membership for it. True where one was learnt: its members need the bump."""
        writer = self._writer
        for copy in writer.recovery.newer():
            try:
                told = (await writer.reader.ask(copy)).membership
            except (reader.CopyUnreachableError, reader.CopyDamagedError, port.BusError):
                told = None
            if told is None:
                writer.recovery.reports.pop(copy, None)  # it reports again, or others are enough
                continue
            membership = of_event(told)
            await roster.grow(writer.bus, writer.volume, membership)
            if writer.recovery.learn(membership, writer.clock.monotonic()):
                self._log.info(
                    "a copy knows of a change of the members",
                    action="volume.members.learnt",
                    copy=copy,
                    version=membership.version,
                    members=membership.members,
                )
                self._use(membership)
                return True
        return False

    def adopt(self) -> None:
        """A read quorum has reported: what it knows of is this writer's word now."""
        self._use(self._now.of_epoch(self._writer.epoch))
        if self._now.version:
            self._tell(changing.to_be_told(self._now))

    # -- living ----------------------------------------------------------------------------------------------------

    def on_other(self, ack: VolumeCopyAcknowledged) -> None:
        """A copy speaks that is no member."""
        self._telling.on_other(ack)

    def check(self, now: float) -> None:
        """Tell the copies that do not know yet; call it now and then."""
        self._tell(self._telling.due(self._writer.tracker, now))

    def _tell(self, copies: list[str]) -> None:
        if copies:
            self._writer.outlet.send(event_of(self._now, self._writer.volume), *copies)

    async def run(self) -> None:
        """Carry changes out for ever, once the writer has the volume."""
        writer = self._writer
        await writer.established()
        following = asyncio.create_task(self._follow(), name="volume-members-requests")
        writer.start_task(following)
        while True:
            await self._serve()
            await self._go_on()
            if self._now.settled and self._now.change is None:
                await self._due.wait()
            else:
                await writer.wait_change()
            self._due.clear()

    async def _go_on(self) -> None:
        """Settle what a quorum has, and take the second step once the new copy counts."""
        while (following := changing.following(self._writer.tracker)) is not None:
            if following.settled:
                self._take(following)
                await self._announce(following)
            else:
                await self._propose(following)

    async def _propose(self, membership: Membership, request_id: str = "") -> None:
        """Announced first, so that whoever takes over next finds the copies."""
        before = self._now
        await roster.grow(self._writer.bus, self._writer.volume, membership)
        await self._announce(membership, request_id)
        if self._now is before and self._writer.recovery.state is State.ESTABLISHED:
            self._take(membership)

    def _take(self, membership: Membership) -> None:
        told = list(dict.fromkeys((*self._now.members, *changing.to_be_told(membership))))
        for copy, ack in self._writer.tracker.copies.items():
            if copy not in membership.members:
                self._telling.on_other(ack)
        self._use(membership)
        self._log.info(
            "the members change" if not membership.settled else "the change is settled",
            action="volume.members.changed",
            version=membership.version,
            sets=membership.sets,
            settled=membership.settled,
        )
        self._tell(told)
        if self._writer.tracker.advance():
            self._writer.advance()

    # -- requests and announcements --------------------------------------------------------------------------------

    async def _follow(self) -> None:
        place = roster.partition(self._writer.volume)
        async with self._writer.bus.assign([place]) as consumer:
            await consumer.seek(place, self._read_from)
            async for records in topics.follow(consumer, self._writer.clock):
                for record in records:
                    self._roster.hear(record)
                self._due.set()

    async def _serve(self) -> None:
        for request in list(self._roster.requests.values()):
            if request.expires_at_ms and clocks.now_ms(self._writer.clock) > request.expires_at_ms:
                self._roster.requests.pop(request.request_id, None)
                continue
            try:
                membership = self._asked(request)
            except MembershipError as error:
                await self._announce(self._now, request.request_id, refusal=str(error))
                continue
            if membership is self._now:
                await self._announce(membership, request.request_id)
            else:
                await self._propose(membership, request.request_id)

    def _asked(self, request: VolumeReplaceRequested) -> Membership:
        """What becomes of the members; what they are already where the same was asked for before."""
        now = self._now
        old = now.change[0] if now.change is not None else None
        if not request.undo:
            return now if old == request.copy else now.replacing(request.copy, self._roster.places)
        if old != request.copy:
            raise MembershipError(
                f"{request.copy} is not being replaced, so there is nothing to go back from; "
                "what is under way: sixfold volume status"
            )
        return now.undone()

    async def _announce(self, membership: Membership, request_id: str = "", *, refusal: str = "") -> None:
        writer = self._writer
        self._roster.requests.pop(request_id, None)
        event = VolumeMembersAnnounced(
            volume=writer.volume,
            membership=event_of(membership, writer.volume),
            request_id=request_id,
            refusal=refusal,
        )
        record = publisher.record_of(event, source=writer.source, clock=writer.clock, partition=0)
        while True:
            try:
                await writer.bus.publish([topics.moved(record, writer.topics.members)])
                return
            except port.BusError as error:
                self._log.warning("the bus does not take it", action="volume.members.unannounced", error=str(error))
                await writer.clock.sleep(topics.BUS_RETRY_S)
