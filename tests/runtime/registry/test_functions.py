"""Functions and a registry: unknown schemas are resolved while they run, what they emit is registered."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.functions.registry import serving
from tests.runtime.cli.commands import Sixfold
from tests.runtime.registry.answering import Answer, answering
from tests.support import brokers, buses

from sixfold import Batch, BatchContext, Context, Publisher, Retry, function
from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.function import AnyFunction
from sixfold.process import Process
from sixfold.registry.failures import IncompatibleError, NotRegisteredError
from sixfold.registry.schemas import open_schemas
from sixfold.testing import Harness
from sixfold_events import Event, avro, canonical, framing
from sixfold_events.registry import Registry
from sixfold_events.system import Tick

RETRY = Retry(attempts_max=100, backoff_s=0.01, backoff_max_s=0.05)


class Placed(Event, type="registry.placed", key="order_id"):
    """An order."""

    order_id: str
    note: str = ""


class Accepted(Event, type="registry.accepted", key="order_id"):
    """An order that was taken."""

    order_id: str


@function(on=Placed, emits=[Accepted], name="registry-one", retry=RETRY)
async def one(order: Placed, ctx: Context) -> None:
    """Take an order."""
    ctx.emit(Accepted(order_id=order.order_id))


@function(on=Placed, emits=[Accepted], name="registry-many", retry=RETRY, batch=Batch(size=10, window_s=0))
async def many(orders: list[Placed], ctx: BatchContext) -> None:
    """Take orders."""
    for each, order in zip(ctx, orders, strict=True):
        each.emit(Accepted(order_id=order.order_id))


@function(on=Placed, emits=[Accepted], name="registry-some", filter={"value": {"order_id": ["o-1"]}})
async def some(order: Placed, ctx: Context) -> None:
    """Take one order, which a filter chooses by its content."""
    ctx.emit(Accepted(order_id=order.order_id))


FOREIGN: dict[str, Any] = {
    "type": "record",
    "name": "Placed",
    "fields": [{"name": "order_id", "type": "string"}, {"name": "colour", "type": "string"}],
}
BODY = b"\x06o-1\x06red"


def foreign(frame: framing.Frame) -> port.NewRecord:
    """A record of another producer's."""
    headers = [("ce_type", b"registry.placed"), ("ce_id", b"1"), *frame.headers]
    return port.NewRecord("registry.placed", frame.prefix + BODY, headers=headers)


@pytest.fixture
async def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[serving.Served]:
    """A registry that the environment names."""
    async with serving.served(buses.Place("embedded:", tmp_path)) as served:
        monkeypatch.setenv("SIXFOLD_REGISTRY_URL", served.url)
        monkeypatch.setenv("SIXFOLD_REGISTRY_TOKEN", served.token)
        yield served


def harness(function: AnyFunction) -> Harness:
    """With the machine's clock: a registry does not wait for a test's."""
    return Harness(function, clock=clocks.SystemClock())


@pytest.mark.parametrize("function", [one, many, some], ids=lambda each: str(each.name))
async def test_a_record_of_an_unknown_schema_is_handled_once_the_registry_told_it(
    registry: serving.Served, function: AnyFunction
) -> None:
    """By id or by GUID, one event or a batch, under a filter; it is no failed attempt."""
    known = await registry.register("foreign", FOREIGN)
    async with harness(function) as running:
        for frame in (framing.by_id(known["id"]), framing.by_guid(uuid.UUID(known["guid"]))):
            await running.publish_records(foreign(frame))
        await running.until_idle()
        assert await running.emitted(Accepted) == [Accepted(order_id="o-1")] * 2
        assert await running.dead_letters(function) == []
        assert running.worker(function).counters.failures == 0


@pytest.mark.parametrize("function", [one, many], ids=lambda each: str(each.name))
async def test_a_schema_that_nobody_knows_parks_its_records_and_asks_once(
    monkeypatch: pytest.MonkeyPatch, function: AnyFunction
) -> None:
    """The registry's words are in the dead letter; a thousand such records are not a thousand questions."""
    async with answering(Answer(404, {"error_code": 40403, "message": "Schema 7 not found"})) as app:
        monkeypatch.setenv("SIXFOLD_REGISTRY_URL", app.url)
        async with harness(function) as running:
            await running.publish_records(*[foreign(framing.by_id(7))] * 20)
            await running.until_idle()
            letters = await running.dead_letters(function)
            assert len(letters) == 20
            assert "Schema 7 not found" in letters[0].error_message
            assert len(app.requests) == 1


@pytest.mark.parametrize("function", [one, many], ids=lambda each: str(each.name))
async def test_a_registry_that_is_away_is_no_fault_of_a_record(
    monkeypatch: pytest.MonkeyPatch, function: AnyFunction
) -> None:
    """It is tried again, as with any dependency that is down, until the registry answers."""
    busy = [Answer(503, {"error_code": 50301, "message": "no leader"})] * 8
    refused = Answer(401, {"error_code": 401, "message": "expired"})
    async with answering(*busy, refused, Answer(200, {"schema": json.dumps(FOREIGN)})) as app:
        monkeypatch.setenv("SIXFOLD_REGISTRY_URL", app.url)
        async with harness(function) as running:
            await running.publish_records(foreign(framing.by_id(7)))
            await running.until_idle()
            assert await running.emitted(Accepted) == [Accepted(order_id="o-1")]
            assert await running.dead_letters(function) == []
            assert running.worker(function).counters.failures >= 3


async def test_without_a_registry_an_unknown_schema_parks_its_record() -> None:
    """At once, and the message says what can be done."""
    async with harness(one) as running:
        await running.publish_records(foreign(framing.by_id(7)))
        await running.until_idle()
        [letter] = await running.dead_letters(one)
        assert "or name a schema registry" in letter.error_message


@pytest.mark.parametrize("identifier", ["prefix", "header"])
async def test_what_a_function_emits_is_written_as_the_registry_names_it(
    registry: serving.Served, monkeypatch: pytest.MonkeyPatch, identifier: str
) -> None:
    """Registered before the first record is handled; the same for timers and batches, and read back by our own."""
    monkeypatch.setenv("SIXFOLD_REGISTRY_IDENTIFIER", identifier)
    await registry.ask("PUT", "/mode", {"mode": "IMPORT"})
    text = canonical.text(avro.schema_of(Accepted))
    taken = {"schema": text, "id": 7, "version": 1}
    await registry.ask("POST", "/subjects/registry.accepted-registry.Accepted/versions", taken)
    await registry.ask("PUT", "/mode", {"mode": "READWRITE"})
    async with harness(one) as running:
        await (await running.process.resources.get(open_schemas)).announce(one.emits)
        await running.publish(Placed(order_id="o-1"))
        await running.until_idle()
        [record] = await running.records("registry.accepted")
        assert record.value is not None
        found = framing.read(record.value, record.headers)
        assert found == ((7, 5) if identifier == "prefix" else (canonical.guid(text), 0))
        assert await running.emitted(Accepted) == [Accepted(order_id="o-1")]


async def test_a_publisher_writes_as_the_registry_names_its_events(registry: serving.Served) -> None:
    """Each type is registered at its first event."""
    async with harness(one) as running:
        opened = await running.process.resources.get(open_schemas)
        publisher = Publisher(running.bus, source="/shop", schemas=opened)
        await publisher.publish(Placed(order_id="o-1"), Accepted(order_id="o-0"), Placed(order_id="o-2"))
        await running.until_idle()
        assert {each.order_id for each in await running.emitted(Accepted)} == {"o-0", "o-1", "o-2"}
    assert await registry.ask("GET", "/subjects") == [
        "registry.accepted-registry.Accepted",
        "registry.placed-registry.Placed",
    ]


def process(data_dir: Path) -> Process:
    return Process(name="writer", data_dir=data_dir, registry=Registry([Accepted, Tick]))


async def test_a_type_that_the_registry_does_not_take_is_said_before_anything_is_written(
    registry: serving.Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Incompatible, or not registered where processes do not register; the message says what to do."""
    subject = "registry.accepted-registry.Accepted"
    writer = process(tmp_path)
    schemas = await writer.resources.get(open_schemas)
    other = {**avro.schema_of(Accepted), "fields": [{"name": "order_id", "type": "long"}]}
    await registry.register(subject, other)
    with pytest.raises(IncompatibleError, match=f"sixfold schema diff registry:{subject} registry.accepted"):
        await schemas.announce([Accepted])
    assert writer.registry.frame_of(Accepted) is None
    await writer.resources.close()
    monkeypatch.setenv("SIXFOLD_REGISTRY_AUTO_REGISTER", "false")
    writer = process(tmp_path)
    schemas = await writer.resources.get(open_schemas)
    with pytest.raises(NotRegisteredError, match="schema register --apply"):
        await schemas.announce([Accepted])
    await registry.ask("PUT", "/config", {"compatibility": "NONE"})
    known = await registry.register(subject, avro.schema_of(Accepted))
    await schemas.announce([Accepted])
    assert writer.registry.frame_of(Accepted) == framing.by_id(known["id"])
    await writer.resources.close()


async def test_the_systems_own_events_need_no_registry(registry: serving.Served, tmp_path: Path) -> None:
    """What its parts tell each other stays readable while the registry is away: fingerprints, never registered."""
    writer = process(tmp_path)
    schemas = await writer.resources.get(open_schemas)
    await schemas.announce([Tick])
    assert await schemas.frame(Tick) is None
    assert await registry.ask("GET", "/subjects") == []
    await writer.resources.close()


async def test_a_process_that_starts_waits_for_its_registry_and_can_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway that serves it may start later; asked to stop, it stops."""
    gone = f"http://127.0.0.1:{brokers.free_port()}"
    monkeypatch.setenv("SIXFOLD_REGISTRY_URL", gone)
    writer = process(tmp_path)
    schemas = await writer.resources.get(open_schemas)
    announcing = asyncio.create_task(schemas.announce([Accepted]))
    done, _ = await asyncio.wait([announcing], timeout=0.5)
    assert not done
    writer.stopping.set()
    await announcing
    assert writer.registry.frame_of(Accepted) is None
    await writer.resources.close()


async def test_guids_are_written_without_any_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GUID is a digest of the schema, so whoever has the schema knows it."""
    monkeypatch.setenv("SIXFOLD_REGISTRY_IDENTIFIER", "header")
    async with harness(one) as running:
        await (await running.process.resources.get(open_schemas)).announce(one.emits)
        await running.publish(Placed(order_id="o-1"))
        await running.until_idle()
        [record] = await running.records("registry.accepted")
        assert framing.HEADER in dict(record.headers)
        assert await running.emitted(Accepted) == [Accepted(order_id="o-1")]


async def test_the_command_line_writes_and_reads_with_the_registry(
    registry: serving.Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`publish` registers a user's type and uses its id, `tail` resolves what others wrote; one that breaks is refused."""
    sixfold = Sixfold(tmp_path / "data")
    app = ("--app", str(sixfold.app))
    order = '{"order_id": "o-1", "amount_cents": 5}'
    publish = (*app, "publish", "order.placed", "--data", order)
    await asyncio.to_thread(sixfold.good, *publish)
    [subject] = await registry.ask("GET", "/subjects")
    assert subject == "order.placed-order.OrderPlaced"
    shown = await asyncio.to_thread(sixfold.good, *app, "tail", "order.placed", "--json")
    assert json.loads(shown)["data"]["amount_cents"] == 5
    await registry.ask("DELETE", f"/subjects/{subject}")
    await registry.register(subject, {**FOREIGN, "name": "OrderPlaced", "namespace": "order"})
    refused = await asyncio.to_thread(sixfold.bad, *publish, code=1)
    assert "order.placed cannot be written" in refused
    monkeypatch.setenv("SIXFOLD_REGISTRY_URL", f"http://127.0.0.1:{brokers.free_port()}")
    assert "does not answer" in await asyncio.to_thread(sixfold.bad, *publish, code=1)
    assert "amount_cents" in await asyncio.to_thread(sixfold.good, *app, "tail", "order.placed")
