"""The writer and those who append through the log: limits, deadlines, refusals, what a successor owes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.functions.volume import inside
from tests.support.waiting import eventually

from sixfold_functions.volume.client import AppendResult, QuorumLostError, VolumeLimitError
from sixfold_functions.volume.core import layout, sequencer
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
