"""Members of a group in processes of their own, so that a test can kill them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.produce import ProduceRequest
from tests.support import buses, waiting

from sixfold.bus import port
from sixfold.bus.kafka import specs

ROOT = Path(__file__).parent.parent.parent
LINE_BYTES_MAX = 64 * 1024 * 1024


class Member:
    """A process that opened the bus and joined a group, and does what it is told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    async def call(self, operation: str, **arguments: Any) -> Any:
        """Have the member do something; its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([operation, arguments]).encode() + b"\n")
        await self._process.stdin.drain()
        return await self.answer()

    async def answer(self) -> Any:
        """The next line that the member prints."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the member is gone (exit code {await self._process.wait()})")
        answer = json.loads(line)
        if isinstance(answer, dict) and "failed" in answer:
            raise AssertionError(f"the member failed: {answer['failed']}")
        return answer

    async def fetch(self, count: int) -> dict[int, list[int]]:
        """Offsets by partition, of at least `count` records."""
        found = await self.call("fetch", count=count)
        return {int(partition): offsets for partition, offsets in found.items()}

    async def settle(
        self,
        offsets: Mapping[port.TopicPartition, int],
        *,
        records: Sequence[tuple[str, str]] = (),
        state: Sequence[tuple[str, int, str, str]] = (),
        atomic: bool = False,
    ) -> None:
        """As `port.Consumer.settle`, records as (topic, value), state as (table, partition, key, value)."""
        await self.call(
            "settle",
            offsets=[[*partition, offset] for partition, offset in offsets.items()],
            records=records,
            state=state,
            atomic=atomic,
        )

    async def stopped(self) -> None:
        """Return once a signal has stopped the process."""
        stat = Path(f"/proc/{self.pid}/stat")
        await waiting.eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "the member is stopped")

    async def kill(self) -> None:
        """kill -9: no goodbye."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
        await self._process.wait()


@contextlib.asynccontextmanager
async def joined(
    place: buses.Place,
    group: str,
    topics: Sequence[str],
    *,
    member: str | None = None,
    own_bytes_max: int | None = None,
) -> AsyncIterator[Member]:
    """A member that has joined; it is killed at the end if it still lives.

    `own_bytes_max` limits its memory less what the files that it maps have in it.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.members",
        place.as_json(),
        json.dumps({"group": group, "topics": list(topics), "member": member, "own_bytes_max": own_bytes_max}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        limit=LINE_BYTES_MAX,
    )
    found = Member(process)
    try:
        assert await found.answer() == "joined"
        yield found
    finally:
        await found.kill()
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(ConnectionError):
            await process.stdin.wait_closed()


class _Told:
    """The member's side."""

    def __init__(self, consumer: port.Consumer) -> None:
        self._consumer = consumer

    async def fetch(self, count: int) -> dict[int, list[int]]:
        """At least `count` records."""
        found: dict[int, list[int]] = {}
        while sum(map(len, found.values())) < count:
            for partition, records in (await self._consumer.fetch(wait_s=0.2)).items():
                found.setdefault(partition.partition, []).extend(record.offset for record in records)
        return found

    async def settle(
        self, offsets: list[list[Any]], records: list[list[str]], state: list[list[Any]], atomic: bool
    ) -> None:
        """See Member.settle."""
        rows: dict[tuple[str, int], dict[bytes, bytes | None]] = {}
        for table, number, key, value in state:
            rows.setdefault((table, number), {})[key.encode()] = value.encode()
        await self._consumer.settle(
            records=[port.NewRecord(topic, value.encode()) for topic, value in records],
            state=rows,
            offsets={port.TopicPartition(topic, number): offset for topic, number, offset in offsets},
            atomic=atomic,
        )

    async def copy(self, output: str) -> None:
        """For ever: for each record one to `output` with the same value and a count in a table, settled atomically."""
        while True:
            for partition, records in (await self._consumer.fetch(records_max=20, wait_s=0.2)).items():
                before = await self._consumer.state_get("count", partition.partition, b"records")
                count = int(before or b"0") + len(records)
                await self._consumer.settle(
                    records=[port.NewRecord(output, record.value, partition=0) for record in records],
                    state={("count", partition.partition): {b"records": b"%d" % count}},
                    offsets={partition: records[-1].offset + 1},
                    atomic=True,
                )

    async def stop_at_next_row(self) -> None:
        """The process stops (SIGSTOP) when its next row is about to leave for the broker: after every check of ours."""
        send = AIOKafkaConnection.send

        def stopping(connection: Any, request: Any, expect_response: bool = True) -> Any:
            topics = request._topics if isinstance(request, ProduceRequest) else ()
            if any(topic.endswith(specs.CHANGELOG_SUFFIX) for topic, _ in topics):
                AIOKafkaConnection.send = send
                os.kill(os.getpid(), signal.SIGSTOP)
            return send(connection, request, expect_response)

        AIOKafkaConnection.send = stopping

    async def own_bytes(self) -> int:
        """What counts against `own_bytes_max` now."""
        text = await asyncio.to_thread(Path("/proc/self/status").read_text)
        status = dict(line.split(":", 1) for line in text.splitlines())
        return int(status["VmData"].split()[0]) * 1024

    async def get(self, table: str, partition: int, keys: list[str]) -> list[str | None]:
        """See port.Consumer.state_get."""
        found = [await self._consumer.state_get(table, partition, key.encode()) for key in keys]
        return [None if row is None else row.decode() for row in found]

    async def scan(self, table: str, partition: int) -> list[tuple[str, str]]:
        """See port.Consumer.state_scan."""
        return [(key.decode(), row.decode()) for key, row in await self._consumer.state_scan(table, partition)]

    async def assignment(self) -> list[int]:
        """Partition numbers."""
        return sorted(partition.partition for partition in self._consumer.assignment())


async def _main(place: str, options: str) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is for answers
    chosen = json.loads(options)
    if chosen["own_bytes_max"] is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (chosen["own_bytes_max"], chosen["own_bytes_max"]))
    loop = asyncio.get_running_loop()
    async with (
        buses.open_bus(buses.Place.from_json(place)) as bus,
        bus.subscribe(chosen["group"], chosen["topics"], member=chosen["member"]) as consumer,
    ):
        told = _Told(consumer)
        _say("joined")
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            operation, arguments = json.loads(line)
            try:
                _say(await getattr(told, operation)(**arguments))
            except Exception as error:
                _say({"failed": repr(error)})


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
