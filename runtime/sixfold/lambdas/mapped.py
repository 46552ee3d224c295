"""Running event source mappings: the process of all functions follows their topic and has a worker for each.

A mapping that changes is stopped in order (what runs is finished and committed) and started again as it is now; its
group keeps its offsets.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import msgspec
import structlog

from sixfold import running
from sixfold.bus import ends, port
from sixfold.function import Batch, Retry
from sixfold.lambdas import declaring
from sixfold.lambdas.declaring import LambdaFunction
from sixfold.lambdas.topics import MAPPINGS
from sixfold.process import Process
from sixfold.worker.limits import DEFAULT, Limits
from sixfold_events import DecodeError
from sixfold_events.lambdas import MappingChanged

CONCURRENCY = 8
"""Batches at once, one a partition; Lambda calls a function for each of its pollers' partitions."""
ATTEMPTS_WITH_DESTINATION = 10
"""Lambda's own cap where nothing limits the attempts and failures have somewhere to go."""
UNLIMITED = 2**31
AGAIN_S = 1.0


def function_of(mapping: MappingChanged, target: LambdaFunction) -> LambdaFunction:
    """The function that does what a mapping says. What fails for good goes to the mapping's destination.

    Where it has none, Lambda would throw such records away; here they are parked in `lambda.UUID.dlq`.
    """
    attempts = mapping.retry_attempts + 1
    if mapping.retry_attempts < 0:
        attempts = ATTEMPTS_WITH_DESTINATION if mapping.on_failure else UNLIMITED
    position = {"TRIM_HORIZON": port.EARLIEST, "LATEST": port.LATEST}.get(
        mapping.starting_position, port.Start("timestamp", mapping.starting_timestamp_ms)
    )
    window_s = declaring.BATCH.window_s if mapping.batching_window_s < 0 else float(mapping.batching_window_s)
    return declaring.mapped(
        target,
        group=mapping.consumer_group,
        topic=mapping.topic,
        batch=Batch(
            size=mapping.batch_size,
            window_s=window_s,
            bytes_max=declaring.BATCH.bytes_max,
            bisect=mapping.bisect,
        ),
        filter=tuple(msgspec.json.decode(pattern) for pattern in mapping.filters),
        retry=Retry(attempts_max=attempts, age_max_s=mapping.record_age_s if mapping.record_age_s > 0 else None),
        start=position,
        on_failure=mapping.on_failure or f"lambda.{mapping.uuid}.dlq",
        report_failures=mapping.report_failures,
        concurrency=max(target.concurrency, CONCURRENCY),
    )


class Mapped:
    """The mappings of one process."""

    def __init__(self, process: Process, functions: Mapping[str, LambdaFunction], *, limits: Limits = DEFAULT) -> None:
        self._process = process
        self._functions = functions
        self._limits = limits
        self._wanted: dict[str, MappingChanged] = {}
        self._runs: dict[str, _Running] = {}
        self._log = structlog.get_logger()

    async def run(self, stopping: asyncio.Event) -> None:
        """Follow the topic until `stopping` is set, then stop all workers in order."""
        following = asyncio.create_task(self._follow_on(), name="event source mappings")
        asked = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait((following, asked), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (following, asked):
                task.cancel()
            ended = await asyncio.gather(following, asked, return_exceptions=True)
            await asyncio.gather(*(each.stop() for each in self._runs.values()))
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _follow_on(self) -> None:
        while True:
            try:
                await self._follow()
            except port.BusError as error:
                self._log.warning("mappings wait for the bus", action="lambda.mappings.waiting", why=str(error))
                await self._process.clock.sleep(AGAIN_S)

    async def _follow(self) -> None:
        bus = self._process.require_bus()
        if MAPPINGS.name not in await bus.topics():
            await bus.create_topics([MAPPINGS])
        partition = port.TopicPartition(MAPPINGS.name, 0)
        async with bus.assign([partition], start=port.EARLIEST) as consumer:
            async for records in ends.read_up_to(consumer, await ends.of(bus, [partition])):
                self._take(records)
            await self._reconcile()
            async for records in ends.read_on(consumer):
                self._take(records)
                await self._reconcile()

    def _take(self, records: list[port.Record]) -> None:
        for record in records:
            if record.value is None:
                continue
            try:
                event = self._process.registry.decode(record.value, record.headers)
            except DecodeError as error:
                self._log.error("a mapping was passed over", action="lambda.mapping.skipped", why=str(error))
                continue
            if isinstance(event, MappingChanged):
                self._wanted[event.uuid] = event

    async def _reconcile(self) -> None:
        for uuid, mapping in list(self._wanted.items()):
            running_now = self._runs.get(uuid)
            if running_now is not None and running_now.mapping == mapping:
                continue
            if running_now is not None:
                await running_now.stop()
                del self._runs[uuid]
            if mapping.deleted:
                del self._wanted[uuid]
            elif mapping.enabled and mapping.function in self._functions:
                made = function_of(mapping, self._functions[mapping.function])
                self._runs[uuid] = _Running(mapping, made, self._process, self._limits)
            elif mapping.enabled:
                self._log.error(
                    "a mapping's function is not here", action="lambda.mapping.no_function", function=mapping.function
                )


class _Running:
    """One mapping's worker."""

    def __init__(self, mapping: MappingChanged, made: LambdaFunction, process: Process, limits: Limits) -> None:
        self.mapping = mapping
        self._made = made
        self._process = process
        self._stopping = asyncio.Event()
        self._run = running.Run(made, process, limits=limits)
        self._task = asyncio.create_task(self._work(), name=f"mapping {mapping.uuid}")

    async def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                await running.create_topics(self._process.require_bus(), [self._made])
                await self._run.run(self._stopping)
                return
            except port.BusError as error:
                structlog.get_logger().warning(
                    "a mapping waits for the bus", action="lambda.mapping.waiting", why=str(error)
                )
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), AGAIN_S)

    async def stop(self) -> None:
        """Finish what runs, commit, and end."""
        self._stopping.set()
        await asyncio.wait([self._task])  # unlike `gather`, it leaves the task alone where the caller is cancelled
