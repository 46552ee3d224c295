"""The clients that people have: Confluent's registry client and its Avro serializers, against our registry."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import pytest
from confluent_kafka.schema_registry import (
    Schema,
    SchemaRegistryClient,
    header_schema_id_serializer,
    prefix_schema_id_serializer,
    record_subject_name_strategy,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.common.schema_registry_client import ConfigCompatibilityLevel, ServerConfig
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext
from tests.functions.registry.serving import Served

from sixfold.process import Process
from sixfold.registry import schemas
from sixfold_events import Event, avro, canonical, cloudevents, framing
from sixfold_events.registry import Registry, UnknownSchemaError

T = TypeVar("T")


class Placed(Event, type="shop.placed", topic="orders", key="order_id"):
    """An order."""

    order_id: str
    total_cents: int
    note: str = ""


PLACED = Placed(order_id="o-1", total_cents=1999, note="soon")
ORDER = {"type": "record", "name": "Order", "namespace": "shop", "fields": [{"name": "id", "type": "string"}]}
WIDER = {**ORDER, "fields": [*ORDER["fields"], {"name": "note", "type": "string", "default": ""}]}
NEEDED = {**ORDER, "fields": [*ORDER["fields"], {"name": "price", "type": "long"}]}


def avro_schema(schema: Any) -> Any:
    return Schema(json.dumps(schema), "AVRO")


@pytest.fixture
async def client(registry: Served) -> AsyncIterator[Any]:
    """Confluent's client, with basic auth."""
    made = SchemaRegistryClient({"url": registry.url, "basic.auth.user.info": f"anyone:{registry.token}"})
    yield made
    await asyncio.to_thread(made.close)


async def call(function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Their client blocks; the registry runs in this loop."""
    return await asyncio.to_thread(function, *arguments, **named)


async def code_of(function: Callable[..., Any], *arguments: Any) -> tuple[int, int]:
    with pytest.raises(SchemaRegistryError) as caught:
        await call(function, *arguments)
    return caught.value.http_status_code, caught.value.error_code


async def test_their_client_does_all_that_it_can(client: Any) -> None:
    """Every method of Confluent's client for subjects, schemas, compatibility, configuration and modes."""
    first = await call(client.register_schema_full_response, "a", avro_schema(ORDER))
    assert first.version == 1
    second = await call(client.register_schema, "a", avro_schema(WIDER), normalize_schemas=True)
    assert await call(client.get_schema_types) == ["AVRO"]
    assert await call(client.get_contexts) == ["."]
    client.clear_caches()
    assert json.loads((await call(client.get_schema, first.schema_id)).schema_str) == ORDER
    assert json.loads((await call(client.get_schema_by_guid, first.guid)).schema_str) == ORDER
    assert (await call(client.lookup_schema, "a", avro_schema(WIDER))).version == 2
    assert await call(client.get_subjects) == ["a"]
    assert await call(client.get_versions, "a") == [1, 2]
    assert (await call(client.get_version, "a", 1)).schema_id == first.schema_id
    assert (await call(client.get_latest_version, "a")).schema_id == second
    assert await call(client.get_subjects_by_schema_id, second) == ["a"]
    assert [(each.subject, each.version) for each in await call(client.get_schema_versions, second)] == [("a", 2)]
    assert await call(client.get_referenced_by, "a", 1) == []
    assert await call(client.test_compatibility, "a", avro_schema(ORDER)) is True
    assert await call(client.test_compatibility_all_versions, "a", avro_schema(NEEDED)) is False
    await call(client.set_compatibility, "a", "FULL")
    assert await call(client.get_compatibility, "a") == "FULL"
    assert await call(client.get_compatibility) == "BACKWARD"
    await call(client.set_config, "a", ServerConfig(compatibility=ConfigCompatibilityLevel.NONE))
    assert str((await call(client.get_config, "a")).compatibility_level.value) == "NONE"
    await call(client.delete_config, "a")
    await call(client.update_mode, "a", "READONLY")
    assert await call(client.get_mode, "a") == "READONLY"
    await call(client.delete_mode, "a")
    assert await call(client.get_global_mode) == "READWRITE"
    assert await call(client.delete_version, "a", 1) == 1
    assert await call(client.delete_subject, "a") == [2]
    assert await call(client.delete_subject, "a", permanent=True) == [1, 2]
    assert await call(client.get_subjects, deleted=True) == []


async def test_their_client_understands_our_refusals(client: Any) -> None:
    """The status and the error code come through."""
    assert await code_of(client.get_latest_version, "none") == (404, 40401)
    assert await code_of(client.get_schema, 7) == (404, 40403)
    await call(client.register_schema, "a", avro_schema(ORDER))
    assert await code_of(client.get_version, "a", 9) == (404, 40402)
    assert await code_of(client.register_schema, "a", avro_schema(NEEDED)) == (409, 409)
    assert await code_of(client.register_schema, "a", Schema("{", "AVRO")) == (422, 42201)
    assert await code_of(client.register_schema, "a", Schema("{}", "JSON")) == (422, 42201)
    assert await code_of(client.get_compatibility, "a") == (404, 40408)


def configured(registry: Served, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    """As a process that has the registry in its environment."""
    for name, value in {"URL": registry.url, "USER": "me", "PASSWORD": registry.token, **more}.items():
        monkeypatch.setenv(f"SIXFOLD_REGISTRY_{name}", value)


ATTRIBUTES = cloudevents.Attributes(id="1", type="shop.placed", source="/test")


@pytest.mark.parametrize("identifier", ["prefix", "header"])
async def test_their_deserializer_reads_our_events(
    registry: Served, client: Any, monkeypatch: pytest.MonkeyPatch, identifier: str
) -> None:
    """By the id before the body or by the GUID in the header, once the writer has registered its type."""
    configured(registry, monkeypatch, IDENTIFIER=identifier)
    process = Process(name="writer", data_dir=registry.process.data_dir, registry=Registry([Placed]))
    opened = await process.resources.get(schemas.open_schemas)
    await opened.announce([Placed])
    message = cloudevents.encode(PLACED, ATTRIBUTES, process.registry.frame_of(Placed))
    await process.resources.close()
    assert (framing.HEADER in dict(message.headers)) is (identifier == "header")
    deserializer = AvroDeserializer(client)
    context = SerializationContext("orders", MessageField.VALUE, list(message.headers))
    found = await call(deserializer, message.value, context)
    assert found == {"order_id": "o-1", "total_cents": 1999, "note": "soon"}
    assert await call(client.get_subjects) == ["orders-shop.Placed"]


async def test_records_from_before_the_registry_are_read_once_their_type_is_registered(
    registry: Served, client: Any
) -> None:
    """The registry gives a schema the id that writers without a registry put before the body."""
    message = cloudevents.encode(PLACED, ATTRIBUTES)
    await call(client.register_schema, "orders-value", avro_schema(avro.schema_of(Placed)))
    context = SerializationContext("orders", MessageField.VALUE)
    assert (await call(AvroDeserializer(client), message.value, context))["order_id"] == "o-1"


THEIRS = {
    "type": "record",
    "name": "Placed",
    "namespace": "com.example",
    "fields": [
        {"name": "order_id", "type": "string"},
        {"name": "total_cents", "type": "int"},
        {"name": "colour", "type": "string"},
    ],
}


@pytest.mark.parametrize("serializer", [prefix_schema_id_serializer, header_schema_id_serializer])
async def test_we_read_what_their_serializer_writes(
    registry: Served, client: Any, monkeypatch: pytest.MonkeyPatch, serializer: Any
) -> None:
    """With a schema of its own, which the registry tells us: fields are resolved by Avro's rules."""
    configured(registry, monkeypatch)
    settings = {"schema.id.serializer": serializer, "subject.name.strategy": record_subject_name_strategy}
    write = AvroSerializer(client, json.dumps(THEIRS), conf=settings)
    headers: list[Any] = [("ce_type", b"shop.placed")]
    context = SerializationContext("orders", MessageField.VALUE, headers)
    value = await call(write, {"order_id": "o-2", "total_cents": 5, "colour": "red"}, context)
    process = Process(name="reader", data_dir=registry.process.data_dir, registry=Registry([Placed]))
    with pytest.raises(UnknownSchemaError):
        process.registry.decode(value, headers)
    event = await schemas.decoded(process, lambda: process.registry.decode(value, headers))
    assert event == Placed(order_id="o-2", total_cents=5)
    await process.resources.close()
    assert await call(client.get_subjects) == ["com.example.Placed"]


async def test_their_serializer_finds_a_type_that_we_registered(
    registry: Served, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With auto.register off, as a production system has it."""
    configured(registry, monkeypatch, SUBJECTS="topic")
    process = Process(name="writer", data_dir=registry.process.data_dir, registry=Registry([Placed]))
    await (await process.resources.get(schemas.open_schemas)).announce([Placed])
    await process.resources.close()
    text = (await call(client.get_latest_version, "orders-value")).schema.schema_str
    assert text == canonical.text(json.loads(text))
    write = AvroSerializer(client, text, conf={"auto.register.schemas": False})
    context = SerializationContext("orders", MessageField.VALUE)
    value = await call(write, {"order_id": "o-3", "total_cents": 7, "note": ""}, context)
    assert Registry([Placed]).decode(value, [("ce_type", b"shop.placed")]) == Placed(order_id="o-3", total_cents=7)
