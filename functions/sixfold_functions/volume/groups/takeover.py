"""Taking a volume over that is spread over groups: all are fenced and heard before the first of them is cut.

`core/reunion.py` decides where each begins; none gives LSNs before a write quorum of each holds what it begins with.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING

import structlog

from sixfold_events.volume import VolumeCopyAcknowledged, VolumeReadAnswered, VolumeRedoBatch
from sixfold_functions.volume import errors, reader, takeover
from sixfold_functions.volume.core import parts
from sixfold_functions.volume.core.plan import Plan
from sixfold_functions.volume.core.recovery import State
from sixfold_functions.volume.core.reunion import Reunion, ReunionError, Seen, Tail, reunite

if TYPE_CHECKING:
    from sixfold_functions.volume.groups.group import GroupWriter


class PlanDiffersError(errors.VolumeError):
    """A group says that its volume has another plan."""


async def take_over(groups: Sequence[GroupWriter], plan: Plan, begun: Callable[[Reunion], None]) -> Reunion:
    """Return once every group's volume has its writer; `begun` is called before the first gives LSNs."""
    stuck_s = takeover.STUCK_S
    rng, clock = groups[0].rng, groups[0].clock
    while True:
        newest = max(max(group.recovery.newest_seen, group.epoch) for group in groups)
        gathered = await _all(groups, [takeover.gather(group, newest) for group in groups])
        if gathered and (reunion := await _reunite(groups, plan)) is not None:
            for group in groups:
                group.recovery.begin_at(*reunion.cuts[group.number])
                takeover.truncate(group)
            if await _all(groups, [takeover.filled(group, stuck_s) for group in groups]):
                break
            stuck_s = min(2 * stuck_s, takeover.STUCK_MAX_S)
        await clock.sleep(rng.uniform(0.0, takeover.BACKOFF_S))
    begun(reunion)
    for group in groups:
        takeover.establish(group)
    return reunion


async def _all(groups: Sequence[GroupWriter], steps: Sequence[Coroutine[None, None, bool]]) -> bool:
    """Whether all steps succeed, one for each group. False as soon as one does not, or a newer writer is seen in any."""
    left = {asyncio.create_task(step) for step in steps}
    watches = {asyncio.create_task(_lost(group)) for group in groups}
    tasks = left | watches
    try:
        while left:
            done, _ = await asyncio.wait(left | watches, return_when=asyncio.FIRST_COMPLETED)
            if done & watches or not all(task.result() for task in done):
                return False
            left -= done
        return True
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _lost(group: GroupWriter) -> None:
    """Return once a newer writer is seen in `group`."""
    while True:
        await group.wait_change()
        if group.recovery.state is State.IDLE:
            return


async def _reunite(groups: Sequence[GroupWriter], plan: Plan) -> Reunion | None:
    """Where the volume begins; None where it must be asked again."""
    try:
        tails = await asyncio.gather(*(_tail(group, plan) for group in groups))
    except (reader.CopyUnreachableError, reader.CopyDamagedError) as error:
        structlog.get_logger().warning(
            "a recovery begins again", action="volume.takeover.again", volume=plan.volume, error=str(error)
        )
        return None
    found = {group.number: tail for group, tail in zip(groups, tails, strict=True) if tail is not None}
    if len(found) < len(groups) or any(group.recovery.state is not State.TRUNCATING for group in groups):
        return None
    try:
        return reunite(found)
    except ReunionError as error:
        raise errors.VolumeError(f"volume {plan.volume} cannot be taken over: {error}") from error


async def _tail(group: GroupWriter, plan: Plan) -> Tail | None:
    """What the source of `group` holds from where its copies settled on; None where a copy obeys another writer by now."""
    beginning = group.recovery.beginning
    if beginning is None:
        return None
    source, reports = beginning.source, list(group.recovery.reports.values())
    settled_lsn = min(max(ack.settled_lsn for ack in reports), source.consistent_lsn)
    # Copies of one log epoch have prefixes of one history: what the source cannot read another one may have.
    alike = [ack for ack in reports if ack.log_epoch == source.log_epoch]
    alike.sort(key=lambda ack: (ack.copy != source.copy, -ack.complete_lsn))
    rest = await _parts(group, alike, max(settled_lsn, 1), source.consistent_lsn)
    if rest is None:
        return None
    with contextlib.suppress(reader.CopyDamagedError):  # of a volume of pages they may be kept no more
        for seen in (await _parts(group, alike, 1, min(source.consistent_lsn, 2)) or [])[:1]:
            if seen.label.plan != plan:
                raise PlanDiffersError(
                    f"volume {plan.volume}: its plan was given as {plan}, but {group.volume} was made with {seen.label.plan}"
                )
    return Tail(settled_lsn, rest)


async def _parts(
    group: GroupWriter, copies: Sequence[VolumeCopyAcknowledged], first_lsn: int, last_lsn: int
) -> list[Seen] | None:
    """The parts in a range, from the first of `copies` that can read them. Raises CopyUnreachableError, CopyDamagedError."""
    found: list[Seen] = []
    lsn = first_lsn
    while lsn <= last_lsn:
        answer = await _read(group, [ack for ack in copies if ack.complete_lsn >= lsn], lsn, last_lsn)
        if (answer.status.epoch, answer.status.log_epoch) != (group.epoch, copies[0].log_epoch) or not answer.batches:
            return None
        for value in answer.batches:
            batch = group.registry.decode_as(VolumeRedoBatch, value)
            assert isinstance(batch, VolumeRedoBatch)
            lsn = batch.first_lsn + len(batch.payloads)
            if batch.consistency_points and (not found or found[-1].end_lsn < lsn - 1):
                found.append(Seen(parts.decode(batch.payloads[-1]), lsn - 1, batch.origin_epoch))
    return found


async def _read(
    group: GroupWriter, copies: Sequence[VolumeCopyAcknowledged], first_lsn: int, last_lsn: int
) -> VolumeReadAnswered:
    failure: reader.CopyUnreachableError | reader.CopyDamagedError | None = None
    for ack in copies:
        try:
            return await group.reader.ask(
                ack.copy, from_lsn=first_lsn, count=last_lsn - first_lsn + 1, whole_batches=True
            )
        except (reader.CopyUnreachableError, reader.CopyDamagedError) as error:
            failure = error
    assert failure is not None, (first_lsn, copies)
    raise failure
