"""Reading a volume: what an answer holds, and that none keeps a copy from its other readers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.functions.volume import inside
from tests.functions.volume.making import ack
from tests.support.waiting import eventually

from sixfold.bus import port
from sixfold_events import avro
from sixfold_events.volume import VolumeReadAnswered
from sixfold_functions.volume import answering, reader
from sixfold_functions.volume.core import layout


async def test_records_of_one_byte_are_read_in_answers_that_their_topic_takes(tmp_path: Path) -> None:
    """The encoded answer is bounded, not its payload: 600,000 records of one byte are read, by every copy."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer, volume.client() as client:
            for _ in range(6):
                await writer.append([b"1"] * 100_000)
            found = await client.read(1, 1_000_000, timeout_s=30.0)
            assert len(found.payloads) == 600_000
            for copy in layout.COPIES:
                assert len((await client.read(599_000, 1_000_000, copy=copy, timeout_s=30.0)).payloads) == 1001


async def test_an_answer_that_can_never_be_stored_becomes_an_error_and_the_copy_answers_on(tmp_path: Path) -> None:
    """Its reader learns why, and the next reader is served: nothing is tried again for ever."""
    small = port.TopicSpec(name=layout.topics("default").read_results, partitions=1, record_bytes_max=3000)
    async with inside.opened(tmp_path, small) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer, volume.client() as client:
            await writer.append([b"x" * 500] * 10)

            async def known() -> bool:
                return bool((await client.read(10, 1, copy="a1")).payloads)

            await eventually(known, "the copy knows that the records are durable")
            with pytest.raises(reader.CopyDamagedError, match=r"copy a1 cannot send .* ask for fewer records"):
                await client.read(1, 10, copy="a1", timeout_s=10.0)
            assert (await client.read(1, 2, copy="a1", timeout_s=10.0)).payloads == [b"x" * 500] * 2


@pytest.mark.parametrize("size", [0, 1, 63, 64, 8191, 8192, 524_288])
def test_the_size_of_an_encoded_record_is_counted_exactly(size: int) -> None:
    """What the bound adds up is what Avro writes."""

    def encoded(count: int) -> int:
        event = VolumeReadAnswered(
            volume="v", copy="a1", request_id="r", status=ack("a1", 1), payloads=[b"x" * size] * count
        )
        return len(avro.codec(VolumeReadAnswered).encode(event))

    assert encoded(3) - encoded(2) == answering.encoded_bytes(b"x" * size)
