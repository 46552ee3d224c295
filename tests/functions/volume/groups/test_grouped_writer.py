"""The writer of a volume that is spread over groups."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.functions.volume.groups import inside
from tests.functions.volume.groups.inside import InsideGroups

from sixfold_events.volume import VolumeRedoBatch
from sixfold_functions.volume import errors
from sixfold_functions.volume.core import parts
from sixfold_functions.volume.core.plan import Plan
from sixfold_functions.volume.groups.takeover import PlanDiffersError
from sixfold_functions.volume.settings import WriterSettings
from sixfold_functions.volume.writer import VolumeWriter

TWO = Plan(volume="orders", groups=2, stripe=2)


async def contents(volume: InsideGroups, number: int) -> dict[int, bytes]:
    """The records of one group, by volume LSN, as its own log has them."""
    async with volume.groups[number].client() as client:
        status = await client.status()
        found: dict[int, bytes] = {}
        answer = await client._reader.ask("a1", from_lsn=1, count=status.durable_lsn, whole_batches=True)
        for value in answer.batches:
            batch = volume.registry.decode_as(VolumeRedoBatch, value)
            assert isinstance(batch, VolumeRedoBatch)
            found.update(parts.parse(batch.payloads).records)
        return found


async def test_appends_get_dense_volume_lsns_and_lie_in_the_groups_that_the_plan_says(tmp_path: Path) -> None:
    """A record of a plain volume is in the group of its LSN's stripe, and only there."""
    async with inside.opened(tmp_path, TWO) as volume, volume.writer() as writer:
        first = await writer.append([b"1", b"2", b"3"])
        second = await writer.append([b"4"])
        many = await asyncio.gather(*(writer.append([b"%d" % lsn]) for lsn in range(5, 25)))
        assert (first.first_lsn, first.last_lsn, second.first_lsn) == (1, 3, 4)
        assert [each.first_lsn for each in many] == list(range(5, 25))
        assert writer.durable_lsn == 24
        for number in (1, 2):
            found = await contents(volume, number)
            expected = {lsn: b"%d" % lsn for lsn in range(1, 25) if TWO.group_of(lsn) == number}
            assert found == expected


async def test_a_writer_that_follows_goes_on_where_all_that_was_acknowledged_ends(tmp_path: Path) -> None:
    """The plan stays, and so does the volume."""
    async with inside.opened(tmp_path, TWO) as volume:
        async with volume.writer("first") as first:
            await first.append([b"1", b"2", b"3"])
        async with volume.writer("second") as second:
            assert second.durable_lsn == 3
            assert (await second.append([b"4"])).first_lsn == 4
            assert (await contents(volume, 2)) == {3: b"3", 4: b"4"}


async def test_a_writer_that_was_followed_learns_it_in_any_group(tmp_path: Path) -> None:
    """Both groups obey the second one then."""
    async with inside.opened(tmp_path, TWO) as volume, volume.writer("first") as first:
        await first.append([b"1"])
        async with volume.writer("second") as second:
            with pytest.raises(errors.StaleWriterError):
                await first.append([b"2"])
            assert (await second.append([b"2"])).first_lsn == 2


async def test_without_a_quorum_in_one_group_nothing_is_acknowledged_and_the_error_names_the_group(
    tmp_path: Path,
) -> None:
    """An append that concerns only the other group waits as well: what is below it is not durable."""
    async with inside.opened(tmp_path, TWO) as volume, volume.writer() as writer:
        await writer.append([b"1", b"2"])
        await volume.groups[2].stop("a1", "a2", "b1")
        with pytest.raises(errors.QuorumLostError, match=r"orders\.g2"):
            await writer.append([b"3"], timeout_s=0.5)
        with pytest.raises(errors.QuorumLostError, match=r"orders\.g2"):
            await writer.append([b"4", b"5"], timeout_s=0.5)
        assert writer.durable_lsn == 2
        told = {copy: ack.settled_lsn for copy, ack in writer.groups[0].tracker.copies.items()}
        assert max(told.values()) <= writer.spread.told[1]
        await volume.groups[2].start("a1", "a2", "b1")
        assert (await writer.append([b"6"])).first_lsn == 6


async def test_a_volume_of_which_one_group_is_away_is_not_taken_over_and_the_error_names_it(tmp_path: Path) -> None:
    """Nothing is cut in the other one; once both are there a writer goes on."""
    async with inside.opened(tmp_path, TWO) as volume:
        async with volume.writer() as writer:
            await writer.append([b"1", b"2", b"3"])
        await volume.groups[2].stop("a1", "a2", "b1", "b2")
        with pytest.raises(errors.QuorumLostError, match=r"orders\.g2.*Nothing was changed"):
            async with volume.writer(settings=WriterSettings(takeover_timeout_s=3)):
                pass
        await volume.groups[2].start("a1", "a2", "b1", "b2")
        async with volume.writer() as writer:
            assert (await writer.append([b"4"])).first_lsn == 4


async def test_nobody_opens_a_volume_with_another_plan(tmp_path: Path) -> None:
    """The groups' first records say which one it has."""
    async with inside.opened(tmp_path, TWO) as volume:
        async with volume.writer() as writer:
            await writer.append([b"1"])
        volume.plan = Plan(volume="orders", groups=2, stripe=3)
        with pytest.raises(PlanDiffersError, match="stripe=2"):
            async with volume.writer(settings=WriterSettings(takeover_timeout_s=10)):
                pass


async def test_a_group_is_not_written_by_itself_nor_its_volume_as_one_of_a_single_group(tmp_path: Path) -> None:
    """Both would be another history than the volume's."""
    async with inside.opened(tmp_path, TWO) as volume:
        for name, error in (("orders.g1", errors.GroupError), ("orders", errors.SpreadError)):
            with pytest.raises(error):
                async with VolumeWriter(volume.bus, registry=volume.registry, name="other", volume=name):
                    pass
