"""Clients of a volume that is spread over groups: through its writer's service, and reading from the copies."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.functions.volume.groups import inside

from sixfold import clock as clocks
from sixfold_functions.volume import errors, topics
from sixfold_functions.volume.core.plan import Plan
from sixfold_functions.volume.groups import plans
from sixfold_functions.volume.groups.client import GroupedClient
from sixfold_functions.volume.groups.plans import VolumeExistsError
from sixfold_functions.volume.requests import AppendRequests

TWO = Plan(volume="orders", groups=2, stripe=2)


async def test_clients_append_through_the_log_and_read_by_volume_lsn(tmp_path: Path) -> None:
    """From one copy of each group; the requests' results are the volume's LSNs, and go on over writers."""
    async with inside.opened(tmp_path, TWO) as volume:
        await volume.whole.start("writer")
        async with GroupedClient(volume.bus, TWO, registry=volume.registry) as client:
            done = await asyncio.gather(*(client.append([b"%d" % number, b"+"], timeout_s=60) for number in range(5)))
            assert sorted((each.first_lsn, each.last_lsn) for each in done) == [(n, n + 1) for n in range(1, 11, 2)]
            found = await client.read(2, 6)
            whole = await client.read(1, 100)
            assert found.payloads == whole.payloads[1:7]
            assert whole.payloads[1::2] == [b"+"] * 5
            await volume.whole.stop("writer")
            await volume.whole.start("writer")
            last = await client.append([b"last"], timeout_s=60)
            assert last.first_lsn == 11
            assert (await client.read(11, 1)).payloads == [b"last"]
            status = await client.status()
            assert (status.writable, status.durable_lsn, len(status.groups)) == (True, 11, 2)


async def test_a_result_that_a_writer_never_announced_comes_from_its_successor(tmp_path: Path) -> None:
    """At the LSNs at which it is durable; nothing is appended again."""
    async with (
        inside.opened(tmp_path, TWO) as volume,
        GroupedClient(volume.bus, TWO, registry=volume.registry) as client,
    ):
        async with volume.writer("mute") as mute:

            async def flush() -> None:
                """Says nothing."""

            mute.announcer.flush = flush  # type: ignore[method-assign]
            mute.start_task(asyncio.create_task(AppendRequests(mute).run(), name="requests"))
            asked = [asyncio.create_task(client.append([b"%d" % n, b"+"], timeout_s=90)) for n in range(4)]
            async with asyncio.timeout(60):
                while mute.durable_lsn < 8:
                    await mute.wait_change()
            assert not any(each.done() for each in asked)
        await volume.whole.start("writer")
        done = await asyncio.gather(*asked)
        assert sorted((each.first_lsn, each.last_lsn) for each in done) == [(1, 2), (3, 4), (5, 6), (7, 8)]
        assert (await client.append([b"new"], timeout_s=60)).first_lsn == 9


async def test_what_one_group_has_beyond_the_volume_is_read_by_nobody(tmp_path: Path) -> None:
    """Neither by the volume's LSNs nor by the group's own."""
    async with inside.opened(tmp_path, TWO) as volume, volume.writer() as writer:
        await writer.append([b"1", b"2"])
        await volume.groups[2].stop("a1", "a2", "b1")
        for records in ([b"3"], [b"4", b"5"]):
            with pytest.raises(errors.QuorumLostError):
                await writer.append(records, timeout_s=0.3)
        async with (
            volume.groups[1].client() as group,
            GroupedClient(volume.bus, TWO, registry=volume.registry) as client,
        ):
            assert writer.groups[0].tracker.durable_lsn > writer.spread.told[1]
            assert (await group.status()).durable_lsn == writer.spread.told[1]
            read = await group.read(1, 100)
            assert b"5" not in read.payloads
            assert (await client.read(1, 100)).payloads == [b"1", b"2"]


async def test_a_plan_is_given_once(tmp_path: Path) -> None:
    """The same again changes nothing, another one is refused."""
    async with inside.opened(tmp_path, TWO) as volume:
        clock = clocks.SystemClock()
        assert await plans.create(volume.bus, volume.registry, TWO, clock=clock) == TWO
        assert await plans.find(volume.bus, volume.registry, "orders") == TWO
        with pytest.raises(VolumeExistsError, match="another plan"):
            await plans.create(volume.bus, volume.registry, Plan(volume="orders", groups=3), clock=clock)
        await volume.bus.create_topics(topics.specs())
        copies = await plans.current_copies(volume.bus, volume.registry)
        assert {"volume": "orders.g2", "copy": "c2"} in copies
        assert len(copies) == 18
        assert await plans.current_writers(volume.bus, volume.registry) == [{}, {"volume": "orders"}]
