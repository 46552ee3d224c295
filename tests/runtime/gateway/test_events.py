"""CloudEvents over HTTP: each mode stores the event that was sent, and what does not fit is named and not stored."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from sixfold import bus, catalogue
from sixfold_events import avro
from sixfold_events.git import GitPushed

if TYPE_CHECKING:
    from tests.runtime.gateway.conftest import Running

SAMPLE: dict[str, Any] = msgspec.json.decode((catalogue.SAMPLES / "git.pushed.json").read_bytes())
BINARY = {
    "ce-id": "e-1",
    "ce-source": "/tests",
    "ce-type": "git.pushed",
    "ce-specversion": "1.0",
    "ce-time": "2014-11-12T17:00:00.250Z",
    "Content-Type": "application/json",
}
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
PUSHED = msgspec.convert(SAMPLE, GitPushed)


def event(**changes: Any) -> dict[str, Any]:
    """A CloudEvent in JSON form."""
    plain = {"specversion": "1.0", "id": "e-1", "source": "/tests", "type": "git.pushed", "data": SAMPLE}
    return {name: value for name, value in {**plain, **changes}.items() if value is not None}


async def post(gateway: Running, body: Any, media: str, **headers: str) -> Any:
    """The answer to a POST of JSON."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return await gateway.operator.post("/events", content=content, headers={"Content-Type": media, **headers})


async def stored(gateway: Running, count: int) -> list[bus.Record]:
    """Everything in the topic, which must be `count` records."""
    partitions = [bus.TopicPartition("git.pushed", number) for number in range(6)]
    assert sum([(await gateway.bus.offsets(each)).end for each in partitions]) == count
    found: list[bus.Record] = []
    async with gateway.bus.assign(partitions) as consumer:
        while len(found) < count:
            for records in (await consumer.fetch(wait_s=5)).values():
                found += records
    return found


async def test_binary_mode_stores_the_event_with_its_attributes(gateway: Running) -> None:
    """ce-* headers become the record's, the JSON body becomes Avro, and the answer is the position."""
    headers = {
        **BINARY,
        "ce-correlationid": "c-1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    answer = await post(gateway, SAMPLE, "application/json", **headers)
    assert answer.status_code == 200
    [record] = await stored(gateway, 1)
    position = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    assert answer.json() == {"positions": [{"id": "e-1", **position}]}
    assert gateway.process.registry.decode(record.value, record.headers) == PUSHED
    names = dict(record.headers)
    assert (names["ce_id"], names["ce_source"], names["ce_type"]) == (b"e-1", b"/tests", b"git.pushed")
    assert names["ce_time"] == b"2014-11-12T17:00:00.250Z"
    assert names["ce_correlationid"] == b"c-1"
    assert names["traceparent"].startswith(b"00-0af7")
    assert record.key == SAMPLE["repository"].encode()
    assert record.timestamp_ms == 1415811600250


async def test_binary_mode_takes_avro(gateway: Running) -> None:
    """A body in the Confluent wire format is stored as the same event."""
    body = avro.codec(GitPushed).encode(PUSHED)
    answer = await post(gateway, body, "application/avro", **{**BINARY, "Content-Type": "application/avro"})
    assert answer.status_code == 200, answer.text
    [record] = await stored(gateway, 1)
    assert record.value == body


async def test_structured_mode_stores_the_event(gateway: Running) -> None:
    """Attributes and data in one JSON object; without a time it is now."""
    assert (await post(gateway, event(), STRUCTURED)).status_code == 200
    body = base64.b64encode(avro.codec(GitPushed).encode(PUSHED)).decode()
    assert (await post(gateway, event(id="e-2", data=None, data_base64=body), STRUCTURED)).status_code == 200
    records = await stored(gateway, 2)
    assert [gateway.process.registry.decode(each.value, each.headers) for each in records] == [PUSHED, PUSHED]
    assert abs(records[0].timestamp_ms - gateway.process.clock.now() * 1000) < 60_000


async def test_a_batch_is_stored_whole_and_in_order(gateway: Running) -> None:
    """Positions come in the order of the events."""
    events = [event(id=f"e-{number}") for number in range(50)]
    answer = await post(gateway, events, BATCH)
    positions = answer.json()["positions"]
    assert [each["id"] for each in positions] == [f"e-{number}" for number in range(50)]
    assert [each["offset"] for each in positions] == list(range(50))
    await stored(gateway, 50)
    assert (await post(gateway, [], BATCH)).json() == {"positions": []}


async def test_a_batch_with_one_bad_event_is_not_stored_at_all(gateway: Running) -> None:
    """The answer names the event and the field."""
    bad = event(id="e-2", data={**SAMPLE, "pushed_at_ms": "soon"})
    answer = await post(gateway, [event(), event(), bad], BATCH)
    assert answer.status_code == 422
    assert (answer.json()["index"], answer.json()["field"]) == (2, "data.pushed_at_ms")
    await stored(gateway, 0)


BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("an unknown type", {"type": "git.pushd"}, 422, "type"),
    ("no type", {"type": None}, 422, "type"),
    ("no id", {"id": None}, 422, "id"),
    ("an empty id", {"id": ""}, 422, "id"),
    ("an id that is a number", {"id": 7}, 422, "id"),
    ("an endless id", {"id": "x" * 2000}, 422, "id"),
    ("no source", {"source": None}, 422, "source"),
    ("another version", {"specversion": "0.3"}, 422, "specversion"),
    ("a time that is none", {"time": "yesterday"}, 422, "time"),
    ("a time without an offset", {"time": "2014-11-12T17:00:00"}, 422, "time"),
    ("no data", {"data": None}, 422, "data"),
    ("data that is no object", {"data": [1]}, 422, "data"),
    ("a missing field", {"data": {}}, 422, "data.repository"),
    ("an unknown field", {"data": {**SAMPLE, "pushr": 1}}, 422, "data.pushr"),
    ("a number beyond 64 bits", {"data": {**SAMPLE, "pushed_at_ms": 2**70}}, 422, ""),
    ("both data and data_base64", {"data_base64": "AA=="}, 422, "data"),
    ("base64 that is none", {"data": None, "data_base64": "!"}, 422, "data_base64"),
    ("Avro that is none", {"data": None, "data_base64": "AAAA"}, 422, "data_base64"),
    ("too large for its topic", {"data": {**SAMPLE, "ref": "x" * 1_000_001}}, 413, ""),
]


@pytest.mark.parametrize(("name", "changes", "status", "field"), BAD, ids=[each[0] for each in BAD])
async def test_what_does_not_fit_is_named_and_not_stored(
    gateway: Running, name: str, changes: dict[str, Any], status: int, field: str
) -> None:
    """A client error with the field, as problem details."""
    answer = await post(gateway, event(**changes), STRUCTURED)
    assert answer.status_code == status, (name, answer.text)
    assert answer.json().get("field", "") == field
    assert answer.headers["Content-Type"] == "application/problem+json"
    await stored(gateway, 0)


@pytest.mark.parametrize(
    ("body", "media", "status"),
    [
        (b"{", STRUCTURED, 400),
        (b"\xff", STRUCTURED, 400),
        (b"[]", STRUCTURED, 400),
        (b"{}", BATCH, 400),
        (b"[1]", BATCH, 400),
        (b"{}", "application/json", 400),
        (b"x", "text/plain", 415),
    ],
)
async def test_a_request_that_is_no_cloudevent_is_refused(
    gateway: Running, body: bytes, media: str, status: int
) -> None:
    """Before anything is looked at."""
    answer = await post(gateway, body, media)
    assert answer.status_code == status
    assert answer.json()["detail"]


@pytest.mark.parametrize("media", [STRUCTURED, BATCH, "application/json"])
@pytest.mark.parametrize("depth", [500, 5_000, 100_000])
async def test_json_without_a_bottom_is_the_callers_fault(gateway: Running, media: str, depth: int) -> None:
    """However deep the body is nested, the answer is a client error that says so, and the gateway goes on."""
    deep = b"[" * depth + b"]" * depth
    whole = msgspec.json.encode(event(data=None))
    body = {STRUCTURED: whole[:-1] + b',"data":' + deep + b"}", BATCH: deep, "application/json": deep}[media]
    answer = await post(gateway, body, media, **(BINARY if media == "application/json" else {}))
    assert answer.status_code in ((400,) if depth == 100_000 else (400, 422)), answer.text
    assert answer.json()["detail"]
    created = await gateway.operator.post("/git", content=b'{"name": "web", "other": ' + deep + b"}")
    assert created.status_code < 500
    await stored(gateway, 0)


async def test_near_names_of_a_type_are_told(gateway: Running) -> None:
    """A typing error is mended at once."""
    answer = await post(gateway, event(type="git.pushd"), STRUCTURED)
    assert "git.pushed" in answer.json()["detail"]


async def test_a_bus_that_is_gone_is_503_and_says_when_to_come_again(gateway: Running) -> None:
    """Not the caller's fault, so not a 4xx; the answer is worth a retry."""
    await gateway.bus.__aexit__(None, None, None)
    answer = await post(gateway, event(), STRUCTURED)
    assert answer.status_code == 503, answer.text
    assert answer.headers["Retry-After"] == "1"
