"""The service `volume.writer`: appends for everyone who is not the writer, through the topic `volume.append`.

Each request is appended at most once over any number of writers, and exactly once unless it expired: a request's
offset travels with its records into the copies' logs, so a successor knows which requests the volume contains
(`succession.py`) and reads on behind them.
"""

from __future__ import annotations

import asyncio

import structlog

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.process import Process
from sixfold_events.volume import VolumeAppendRequested
from sixfold_functions.volume import announcer, topics
from sixfold_functions.volume.core import layout, sequencer
from sixfold_functions.volume.groups import plans

REQUEST_ID_CHARACTERS_MAX = 200
"""A batch and an announcement name two thousand requests and must stay below a topic's record limit."""


class AppendRequests:
    """Feeds a writer from `volume.append`."""

    def __init__(self, writer: plans.AnyWriter) -> None:
        self._writer = writer
        self._partition = port.TopicPartition(writer.topics.append, 0)
        self._log = structlog.get_logger().bind(volume=writer.volume)

    async def run(self) -> None:
        """Serve for ever, once the writer has the volume."""
        writer = self._writer
        await writer.succeeded.wait()
        end = (await writer.bus.offsets(self._partition)).end
        start = min(writer.answered_offset, end)  # the broker may have lost its tail
        async with writer.bus.assign([self._partition]) as consumer:
            await consumer.seek(self._partition, start)
            async for records in topics.follow(consumer, writer.clock):
                for record in records:
                    await self._take(record)

    async def _take(self, record: port.Record) -> None:
        writer = self._writer
        try:
            request = writer.registry.decode(record.value, record.headers)
        except ValueError as error:
            self._log.warning("not an append request", action="volume.append.broken", error=str(error))
            request = None
        if isinstance(request, VolumeAppendRequested) and len(request.request_id) > REQUEST_ID_CHARACTERS_MAX:
            self._log.warning(
                "an append request has too long an id to be answered",
                action="volume.append.broken",
                characters=len(request.request_id),
                characters_max=REQUEST_ID_CHARACTERS_MAX,
            )
            request = None
        if isinstance(request, VolumeAppendRequested) and request.volume == writer.volume:
            refusal = writer.refusal(request.records)
            if request.expires_at_ms and clocks.now_ms(writer.clock) > request.expires_at_ms:
                refusal = "the writer came to it after its deadline; nothing was written"
            if refusal:
                writer.announcer.add([announcer.Result(request.request_id, 0, 0, refusal)])
            else:
                await writer.room()
                origin = sequencer.Request(request.request_id, record.offset)
                writer.offer(sequencer.Append(request.records, None, origin))
        writer.answered_offset = record.offset + 1


async def run(process: Process) -> None:
    """The service's entry: `sixfold run volume.writer`. Ends with StaleWriterError once another writer takes over."""
    volume = process.options.get("volume", layout.DEFAULT_VOLUME)
    writer = await plans.open_writer(
        process.require_bus(), registry=process.registry, name=process.name, volume=volume, clock=process.clock
    )
    await writer.start()
    try:
        writer.start_task(asyncio.create_task(AppendRequests(writer).run(), name="volume-append-requests"))
        process.ready()
        stopping = asyncio.create_task(process.stopping.wait())
        while not stopping.done():
            if writer.failure is not None:
                raise writer.failure
            await writer.wait_change()
    finally:
        await writer.close()
