"""Long appends: what was acknowledged is told, whatever ends them, and they can go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.functions.volume import inside

from sixfold_functions.volume import bulk
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.errors import VolumeLimitError


async def test_a_lost_quorum_in_the_middle_hides_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """The report has every acknowledged record's LSN, says what is not known, and a run behind `skip` ends the work."""
    records = [f"record {number}".encode() for number in range(1, 4001)]
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES, "writer")
        some = asyncio.Event()
        async with volume.client() as client:

            def progress(count: int) -> None:
                some.set()

            async def lose() -> None:
                await some.wait()
                await volume.stop("a1", "a2", "b1")

            parts = [bulk.Part(number, [record]) for number, record in enumerate(records, 1)]
            losing = asyncio.create_task(lose())
            done = await bulk.append(client, parts, timeout_s=2.0, progress=progress)
            await losing
            assert 0 < done.skip < len(records)
            assert "3 of 6 copies answer" in done.error
            assert done.acknowledged[0].first_record == 1
            assert sum(each.last_record - each.first_record + 1 for each in done.acknowledged) == done.records
            assert {each.first_record for each in done.unknown} <= set(range(done.skip + 1, done.skip + 5))
            said = str(bulk.ended(done, len(records), "line"))
            assert f"lines 1 to {done.acknowledged[0].last_record} at LSN 1 to {done.acknowledged[0].last_lsn}" in said
            assert f"--skip {done.skip}" in said
            assert f"sixfold volume read --from {done.last_lsn + 1}" in said

            await volume.start("a1", "a2", "b1")
            rest = await bulk.append(client, bulk.parts(records, skip=done.skip), timeout_s=30.0)
            assert (rest.error, rest.skip) == ("", len(records))
            found = (await client.read(1, 10_000, timeout_s=10.0)).payloads
            for each in (*done.acknowledged, *rest.acknowledged):
                assert found[each.first_lsn - 1 : each.last_lsn] == records[each.first_record - 1 : each.last_record]


def test_a_record_that_is_too_large_is_named_before_anything_is_appended() -> None:
    """A line's number, its size, the limit."""
    lines = [b"x"] * 500 + [b"x" * 600_000]
    with pytest.raises(VolumeLimitError, match=r"line 501 has 600000 bytes; .* 524288 at most. Nothing was appended"):
        bulk.checked(lines, "line")


def test_parts_are_bounded_in_records_and_bytes_and_begin_behind_what_is_skipped() -> None:
    """Each knows the number of its first record in the input."""
    records = [b"x"] * 450 + [b"y" * 200_000] * 3
    parts = bulk.parts(records, skip=50)
    numbers = [(part.first, part.last) for part in parts]
    assert numbers == [(51, 250), (251, 450), (451, 451), (452, 452), (453, 453)]
    assert [record for part in parts for record in part.records] == records[50:]


def test_what_was_refused_is_not_called_perhaps_durable() -> None:
    """The first failed part is told with its error alone where nothing was acknowledged."""
    done = bulk.Appended(
        records=0, first_lsn=0, last_lsn=0, acknowledged=[], unknown=[], skip=0, error="the quorum is lost"
    )
    assert str(bulk.ended(done, 5, "record")) == "the quorum is lost"
