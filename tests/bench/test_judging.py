"""The judge of `make bench-runtime` on a real broker, with our own side; peers need installing and are left out."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest
from bench.__main__ import ROOT
from bench.runtime import __main__ as program
from bench.runtime import environments, load, scale, sides
from bench.runtime.job import Job
from bench.runtime.lab import Lab

from sixfold.bus import open_bus

README = (Path(ROOT) / "bench" / "README.md").read_text()


@pytest.mark.kafka
async def test_a_run_is_measured_to_the_last_record_committed(kafka_bootstrap: str, tmp_path: Path) -> None:
    """Our side handles every record of a topic once, keeps the order of keys, and commits all."""
    async with open_bus(f"kafka://{kafka_bootstrap}", data_dir=tmp_path) as bus:
        lab = Lab(bus, kafka_bootstrap, tmp_path, scale.Scale(share=0.001))
        topic, count = await lab.readings(1_200_000)
        for mode, concurrency in (("noop", 1), ("batch", 1), ("keyed", 100)):
            work = sides.job(lab, topic, count, mode=mode, concurrency=concurrency)
            assert await sides.rate(lab, "ours", work) > 0
            assert sum((await bus.committed(work.group)).values()) == count
        await bus.delete_topic(topic)


@pytest.mark.kafka
async def test_hidden_records_appear_at_once(kafka_bootstrap: str, tmp_path: Path) -> None:
    """A consumer that waits on the topic sees none of them before the block ends, and all of them after it."""
    async with open_bus(f"kafka://{kafka_bootstrap}", data_dir=tmp_path) as bus:
        lab = Lab(bus, kafka_bootstrap, tmp_path, scale.Scale())
        topic = lab.name("hidden")
        await load.fill(bus, topic, range(0))
        async with bus.subscribe(lab.name("group"), [topic]) as consumer:
            async with load.hidden(kafka_bootstrap, load.records(topic, range(240))):
                assert not await consumer.fetch(wait_s=0.5)
            found = 0
            async with asyncio.timeout(20):
                while found < 240:
                    found += sum(map(len, (await consumer.fetch()).values()))
        await bus.delete_topic(topic)


def test_a_side_that_skips_a_record_has_no_rate() -> None:
    """The judge refuses a count or a sum that is not what was published, and records out of order."""
    work = Job(bootstrap="", topic="t", group="g", count=3, warm=0, mode="noop")
    sides.check(work, {"handled": 3, "numbers": 3, "violations": 0}, numbers=3)
    for said in (
        {"handled": 2, "numbers": 3},
        {"handled": 3, "numbers": 4},
        {"handled": 3, "numbers": 3, "violations": 1},
    ):
        with pytest.raises(sides.SideError):
            sides.check(work, said, numbers=3)


async def test_a_side_that_fails_says_why() -> None:
    """Its error output is in the message."""
    async with sides.started([sys.executable, "-c", "raise SystemExit('no such peer')"]) as running:
        with pytest.raises(sides.SideError, match="no such peer"):
            await running.said()


def test_an_event_weighs_200_bytes_and_carries_every_header() -> None:
    """What the README says of the records holds for the first and for the millionth."""
    for number in (0, 999_999):
        (record,) = load.records("t", range(number, number + 1))
        assert 195 <= len(record.value or b"") <= 205
        assert len(record.headers) == 9


def test_the_readme_explains_every_result_and_names_every_pin() -> None:
    """A result that nobody can read, or a version that is not the one measured, would be worthless."""
    results = [name for names, _ in program.PARTS for name in names] + list(program.SOAK)
    assert [name for name in results if f"`{name}`" not in README] == []
    pins = {pin for pins in environments.PINNED.values() for pin in pins if pin not in environments.SHARED}
    versions = {re.split(r"==", pin)[1] for pin in pins}
    assert [version for version in sorted(versions) if f"| {version} |" not in README] == []
    assert [
        name for name in ("ROUNDS", "SHARE", "ONLY", "IDLE_S", "WORK_S") if f"SIXFOLD_BENCH_{name}" not in README
    ] == []
