"""The writer and those who append through the log: limits, deadlines, refusals, what a successor owes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.functions.volume import inside
from tests.functions.volume.faulty import FaultyBus
from tests.support.waiting import eventually

from sixfold import clock as clocks
from sixfold.publisher import Publisher
from sixfold_events import Event
from sixfold_events.volume import VolumeAppendRequested, VolumeDurableAdvanced, VolumeRedoBatch
from sixfold_functions.volume import topics
from sixfold_functions.volume.client import (
    AppendResult,
    QuorumLostError,
    RequestRefusedError,
    VolumeClient,
    VolumeLimitError,
    VolumeWriter,
)
from sixfold_functions.volume.core import layout, sequencer
from sixfold_functions.volume.requests import AppendRequests
from sixfold_functions.volume.settings import WriterSettings

LOST = ("a1", "a2", "b1")


async def test_a_writer_without_a_quorum_holds_a_bounded_number_of_bytes(tmp_path: Path) -> None:
    """What does not fit waits outside and fails at its timeout with nothing written; later all goes on."""
    settings = WriterSettings(
        limits=sequencer.Limits(window_bytes_max=1_000_000), waiting_bytes_max=1_000_000, append_timeout_s=2.0
    )
    record = b"x" * 100_000
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer(settings=settings) as writer:
            await writer.append([record])
            await volume.stop(*LOST)
            tasks = [asyncio.create_task(writer.append([record])) for _ in range(60)]

            def held() -> int:
                sent = writer.sequencer.window(1, 1 << 40)
                return sum(batch.payload_bytes for batch in sent) + writer.sequencer.waiting()[1]

            await eventually(lambda: held() >= 2_000_000, "the writer is full")
            assert held() <= 2_300_000
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(each, QuorumLostError) for each in done), done
            written = [each for each in done if "Nothing of it was written" not in str(each)]
            assert len(written) <= 13
            await volume.start(*LOST)
            assert isinstance(await writer.append([record]), AppendResult)
            assert held() == 0


async def test_what_is_larger_than_a_volume_takes_is_refused_at_once(tmp_path: Path) -> None:
    """By the writer and by the client, with the limit, and nothing is written."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer, volume.client() as client:
            for append in (writer.append, client.append):
                with pytest.raises(VolumeLimitError, match="a record has 600000 bytes; a volume takes 524288 at most"):
                    await append([b"x" * 600_000])
                with pytest.raises(VolumeLimitError, match="an append needs at least one record"):
                    await append([])
                with pytest.raises(VolumeLimitError, match=r"has 100001 records .* append it in parts"):
                    await append([b"x"] * 100_001)
            with pytest.raises(VolumeLimitError, match=r"through the log has 900000 bytes, 800000 at most"):
                await client.append([b"x" * 450_000] * 2)
            assert (await writer.append([b"first"])).first_lsn == 1


class SlowClock(clocks.SystemClock):
    """A machine whose clock is an hour behind."""

    def now(self) -> float:
        return super().now() - 3600.0


async def test_a_request_that_the_writer_comes_to_after_its_deadline_is_refused(tmp_path: Path) -> None:
    """Its caller has given up, so nothing is written; who still waits learns it."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.client() as client:
            with pytest.raises(QuorumLostError, match="Is its writer running"):
                await client.append([b"nobody waits for it"], timeout_s=0.1)
        await volume.start("writer")
        async with volume.client(SlowClock()) as late, volume.client() as client:
            with pytest.raises(RequestRefusedError, match="came to it after its deadline; nothing was written"):
                await late.append([b"an hour late"], timeout_s=30.0)
            await client.append([b"in time"], timeout_s=30.0)
            assert (await client.read(1, 10)).payloads == [b"in time"]


async def test_what_the_writer_refuses_is_an_error_to_the_one_who_asked_only(tmp_path: Path) -> None:
    """A writer with lower limits than the client knows says which; the requests behind it are served."""
    settings = WriterSettings(limits=sequencer.Limits(record_bytes_max=100))
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer(settings=settings) as writer, volume.client() as client:
            writer.start_task(asyncio.create_task(AppendRequests(writer).run()))
            results = await asyncio.gather(
                *(client.append([b"x" * size], timeout_s=30.0) for size in (1, 200, 2)), return_exceptions=True
            )
            assert (results[0], results[2]) == (AppendResult(1, 1), AppendResult(2, 2))
            assert isinstance(results[1], RequestRefusedError)
            assert "a record has 200 bytes; a volume takes 100 at most" in str(results[1])


async def test_requests_whose_ids_fill_a_batch_do_not_stop_the_writer(tmp_path: Path) -> None:
    """Ids are bounded, since batches and announcements name them; a request beyond the bound is passed over."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.client() as client:  # it makes the topics
            requests = [
                VolumeAppendRequested(volume="default", request_id=f"{number}".rjust(size, "i"), records=[b"x"])
                for number, size in enumerate([*[600] * 2100, *[200] * 2100])
            ]
            publisher = Publisher(volume.bus, source="/tests")
            for start in range(0, len(requests), 300):
                await publisher.publish(*requests[start : start + 300])
            await volume.start("writer")
            assert (await client.append([b"behind them"], timeout_s=60.0)).last_lsn == 2101


async def crash_after(volume: inside.InsideVolume, client: VolumeClient, append: bytes) -> asyncio.Task[AppendResult]:
    """A writer makes `append` durable and dies before it can announce that; its caller still waits."""
    real, faulty = volume.bus, FaultyBus(volume.bus)
    volume.bus = faulty
    writer = volume.writer("first")
    volume.bus = real
    async with writer:
        await writer.succeeded.wait()
        faulty.refused = {writer.topics.durable}
        writer.start_task(asyncio.create_task(AppendRequests(writer).run()))
        asked = asyncio.create_task(client.append([append], timeout_s=60.0))
        before = writer.durable_lsn
        await eventually(lambda: writer.durable_lsn > before, "the append is durable")
    assert not asked.done()
    return asked


async def test_a_successor_announces_what_its_predecessor_could_not(tmp_path: Path) -> None:
    """The caller gets its LSN from the next writer, and the request is not appended a second time."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.client() as client:
            asked = await crash_after(volume, client, b"once")
            await volume.start("writer")
            assert await asked == AppendResult(1, 1)
            assert await client.append([b"next"], timeout_s=30.0) == AppendResult(2, 2)
            assert (await client.read(1, 10)).payloads == [b"once", b"next"]


async def test_a_successor_without_any_announcement_left_announces_the_newest_results_again(tmp_path: Path) -> None:
    """Where retention took the last announcement nobody knows what was announced: the last records' results are."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES, "writer")
        async with volume.client() as client:
            for number in range(5):
                await client.append([f"record {number}".encode()], timeout_s=30.0)
        await volume.stop("writer")
        durable = layout.topics(layout.DEFAULT_VOLUME).durable
        await volume.bus.delete_topic(durable)
        await volume.start("writer")

        async def announced() -> list[int]:
            found: list[int] = []
            for record in await topics.last_records(volume.bus, durable, 100):
                event = volume.registry.decode(record.value, record.headers)
                assert isinstance(event, VolumeDurableAdvanced)
                found.extend(event.last_lsns)
            return found

        await eventually(announced, "the results are announced")
        assert await announced() == [1, 2, 3, 4, 5]
        async with volume.client() as client:
            assert await client.append([b"next"], timeout_s=30.0) == AppendResult(6, 6)


async def test_copies_hear_again_of_a_partition_that_was_made_anew(tmp_path: Path) -> None:
    """A broker that lost its records begins at offset 0; the copies' logs are what counts, and appends go on."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer:
            for _ in range(5):
                await writer.append([b"before"])
        await volume.stop(*layout.COPIES)
        await volume.bus.delete_topic(layout.topics(layout.DEFAULT_VOLUME).redo)
        await volume.start(*layout.COPIES)
        async with volume.writer("next") as writer:
            last = await writer.append([b"after"])
            assert last == AppendResult(6, 6)
            await eventually(lambda: volume.is_level(6), "all six are level")


async def test_clients_that_wait_share_a_batch(tmp_path: Path) -> None:
    """Who is freed by one batch appends into the next, so that a batch has the records of all: none goes for a few."""
    clients, rounds = 8, 20
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer:
            await writer.append([b"first"])
            sizes: list[int] = []
            send = writer.outlet.send

            def counted(event: Event, *copies: str) -> None:
                if isinstance(event, VolumeRedoBatch) and event.payloads:
                    sizes.append(len(event.payloads))
                send(event, *copies)

            writer.outlet.send = counted  # type: ignore[method-assign]

            async def client(number: int) -> None:
                for _ in range(rounds):
                    await writer.append([b"x"])
                    for _ in range(number):  # some come back later than others
                        await asyncio.sleep(0)

            await asyncio.gather(*(client(number) for number in range(clients)))
    assert sum(sizes) == clients * rounds
    assert len(sizes) <= 3 * rounds, sizes


async def test_a_batch_of_which_nothing_is_heard_holds_the_next_one_for_a_moment_only(tmp_path: Path) -> None:
    """It may be lost on its way, and then only what follows shows the copies that they lack it."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        bus = FaultyBus(volume.bus)
        settings = WriterSettings(append_timeout_s=60.0)
        async with VolumeWriter(bus, registry=volume.registry, name="deaf", settings=settings) as writer:
            await writer.append([b"heard of"])
            bus.silence(writer.topics.acks, ["a1"])  # its partition is the topic's only one
            appends = [asyncio.create_task(writer.append([data])) for data in (b"one", b"two")]
            await eventually(lambda: writer.sequencer.last_lsn == 3, "both have LSNs")
            appends.append(asyncio.create_task(writer.append([b"three"])))
            await eventually(lambda: writer.sequencer.last_lsn == 4, "the third is sent, too")
            bus._silent.clear()
            assert [(await each).last_lsn for each in appends] == [2, 3, 4]
