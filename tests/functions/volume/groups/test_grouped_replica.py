"""Read replicas of a volume that is spread over groups."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.functions.volume.groups import inside

from sixfold_functions.volume.core.plan import Plan
from sixfold_functions.volume.core.replica import ConsistencyPoint
from sixfold_functions.volume.groups.replica import GroupedReplica

TWO = Plan(volume="orders", groups=2, stripe=2)


async def test_a_replica_applies_each_append_whole_and_in_the_order_of_the_volume(tmp_path: Path) -> None:
    """Over a writer that follows; and one that begins in the middle, or with what is new, has the rest."""
    async with inside.opened(tmp_path, TWO) as volume:
        applied: list[ConsistencyPoint] = []
        later: list[ConsistencyPoint] = []
        new: list[ConsistencyPoint] = []
        first = GroupedReplica(volume.bus, TWO, registry=volume.registry, apply=applied.append)
        async with first:
            async with volume.writer() as writer:
                await writer.append([b"1", b"2", b"3"])
                await asyncio.gather(*(writer.append([b"%d" % lsn]) for lsn in range(4, 21)))
                assert await first.reached(20) == 20
            middle = GroupedReplica(volume.bus, TWO, registry=volume.registry, apply=later.append, start_lsn=10)
            latest = GroupedReplica(volume.bus, TWO, registry=volume.registry, apply=new.append, start_lsn=None)
            async with middle, latest, volume.writer("next") as writer:
                await writer.append([b"21", b"22", b"23", b"24", b"25"])
                for replica in (first, middle, latest):
                    await replica.reached(25)
        assert [(point.first_lsn, len(point.records)) for point in applied] == [
            (1, 3),
            *((lsn, 1) for lsn in range(4, 21)),
            (21, 5),
        ]
        assert [record for point in applied for record in point.records] == [b"%d" % lsn for lsn in range(1, 26)]
        assert [point.first_lsn for point in later] == [*range(11, 21), 21]
        assert [point.first_lsn for point in new] == [21]
