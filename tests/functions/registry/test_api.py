"""The REST API: what each path answers and which error code each refusal has."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.functions.registry.serving import Served, posted

from sixfold_events import avro, canonical


def record(*fields: dict[str, Any], name: str = "Order") -> dict[str, Any]:
    return {"type": "record", "name": name, "namespace": "shop", "fields": list(fields)}


ID = {"name": "id", "type": "string"}
V1 = record(ID)
V2 = record(ID, {"name": "note", "type": "string", "default": ""})
V3 = record(ID, {"name": "note", "type": "string", "default": ""}, {"name": "n", "type": ["null", "int"]})
NEEDED = record(ID, {"name": "price", "type": "long"})


async def test_a_schema_is_registered_once_and_found_by_everything(registry: Served) -> None:
    """By subject and version, id, GUID and text; registering it again changes nothing."""
    first = await registry.register("order-value", V1)
    assert first == await registry.register("order-value", V1)
    assert (first["version"], first["id"]) == (1, avro.fingerprint(V1))
    text = canonical.text(V1)
    expected = {**first, "subject": "order-value", "schemaType": "AVRO", "schema": text}
    for version in ("1", "latest", "-1"):
        assert await registry.ask("GET", f"/subjects/order-value/versions/{version}") == expected
    assert await registry.ask("POST", "/subjects/order-value", posted(V1)) == expected
    plain = {"schema": text, "schemaType": "AVRO", "id": first["id"], "guid": first["guid"]}
    assert await registry.ask("GET", f"/schemas/ids/{first['id']}") == plain
    assert await registry.ask("GET", f"/schemas/guids/{first['guid']}") == plain
    assert await registry.ask("GET", f"/schemas/guids/{first['guid']}/ids") == [{"context": ".", "id": first["id"]}]
    assert await registry.ask("GET", f"/schemas/ids/{first['id']}/schema") == V1
    assert await registry.ask("GET", "/subjects/order-value/versions/1/schema") == V1
    assert await registry.ask("GET", "/subjects/order-value/versions/1/referencedby") == []


async def test_one_schema_in_two_subjects_has_one_id(registry: Served) -> None:
    """Ids are of schemas, versions are of subjects; however the schema is spelled."""
    one = await registry.register("a", V2)
    await registry.register("b", V1)
    two = await registry.register("b", {**V2, "fields": [dict(reversed(each.items())) for each in V2["fields"]]})
    assert (one["id"], one["guid"], one["version"], two["version"]) == (two["id"], two["guid"], 1, 2)
    assert await registry.ask("GET", f"/schemas/ids/{one['id']}/versions") == [
        {"subject": "a", "version": 1},
        {"subject": "b", "version": 2},
    ]
    assert await registry.ask("GET", f"/schemas/ids/{one['id']}/subjects") == ["a", "b"]


async def test_schemas_that_differ_in_their_words_alone_are_two(registry: Served) -> None:
    """They share a fingerprint, so the second gets the next free id."""
    one = await registry.register("a", V1)
    two = await registry.register("a", {**V1, "doc": "An order."})
    assert (two["id"], two["version"]) == (one["id"] + 1, 2)
    assert two["guid"] != one["guid"]


async def test_lists_can_be_narrowed(registry: Served) -> None:
    """By prefix, page, and deletion."""
    for subject in ("a-value", "b-value", "b-key", "shop/Order"):
        await registry.register(subject, V1)
    await registry.register("b-value", V2)
    await registry.ask("DELETE", "/subjects/b-key")
    await registry.ask("DELETE", "/subjects/b-value/versions/1")

    async def listed(query: str, path: str = "/subjects") -> Any:
        return await registry.ask("GET", f"{path}?{query}")

    assert await listed("") == ["a-value", "b-value", "shop/Order"]
    assert await listed("subjectPrefix=b") == ["b-value"]
    assert await listed("deleted=True&limit=-1") == ["a-value", "b-key", "b-value", "shop/Order"]
    assert await listed("deletedOnly=true") == await listed("deleted_only=True") == ["b-key"]
    assert await listed("offset=1&limit=1") == ["b-value"]
    assert await registry.ask("GET", "/subjects/shop%2FOrder/versions") == [1]
    versions = "/subjects/b-value/versions"
    assert await listed("", versions) == [2]
    assert await listed("deleted=true", versions) == [1, 2]
    assert await listed("deletedOnly=true", versions) == [1]
    every = await listed("subjectPrefix=b&deleted=true", "/schemas")
    assert [(each["subject"], each["version"]) for each in every] == [("b-key", 1), ("b-value", 1), ("b-value", 2)]
    latest = await listed("latestOnly=true", "/schemas")
    assert [(each["subject"], each["version"]) for each in latest] == [
        ("a-value", 1),
        ("b-value", 2),
        ("shop/Order", 1),
    ]


REFUSALS: list[tuple[str, str, Any, int, int]] = [
    ("GET", "/subjects/none/versions", None, 404, 40401),
    ("GET", "/subjects/none/versions/1", None, 404, 40401),
    ("GET", "/subjects/none/versions/latest", None, 404, 40401),
    ("POST", "/subjects/none", posted(V1), 404, 40401),
    ("DELETE", "/subjects/none", None, 404, 40401),
    ("DELETE", "/subjects/none/versions/1", None, 404, 40401),
    ("POST", "/compatibility/subjects/none/versions/1", posted(V1), 404, 40401),
    ("GET", "/subjects/there/versions/9", None, 404, 40402),
    ("DELETE", "/subjects/there/versions/9", None, 404, 40402),
    ("POST", "/compatibility/subjects/there/versions/9", posted(V1), 404, 40402),
    ("POST", "/subjects/there", posted(NEEDED), 404, 40403),
    ("GET", "/schemas/ids/12", None, 404, 40403),
    ("GET", "/schemas/ids/many", None, 404, 40403),
    ("GET", "/schemas/guids/6b1b1f3c-0000-0000-0000-000000000000", None, 404, 40403),
    ("DELETE", "/subjects/there?permanent=true", None, 404, 40405),
    ("DELETE", "/subjects/there/versions/1?permanent=true", None, 404, 40407),
    ("GET", "/config/there", None, 404, 40408),
    ("DELETE", "/config/there", None, 404, 40408),
    ("GET", "/mode/there", None, 404, 40409),
    ("DELETE", "/mode/there", None, 404, 40409),
    ("POST", "/subjects/there/versions", {"schema": "{"}, 422, 42201),
    ("POST", "/subjects/there/versions", {"schema": '{"type":"nonsense"}'}, 422, 42201),
    ("POST", "/subjects/there/versions", {}, 422, 42201),
    ("POST", "/subjects/there/versions", posted(V1, schemaType="PROTOBUF"), 422, 42201),
    ("POST", "/subjects/there/versions", posted(V1, references=[{"name": "x"}]), 422, 42201),
    ("POST", "/subjects/there/versions", posted(V1, ruleSet={"domainRules": []}), 422, 42201),
    ("POST", "/subjects/there/versions", posted(V1, id="seven"), 422, 42201),
    ("GET", "/subjects/there/versions/newest", None, 422, 42202),
    ("GET", "/subjects/there/versions/0", None, 422, 42202),
    ("PUT", "/config", {"compatibility": "SIDEWARD"}, 422, 42203),
    ("PUT", "/config/there", {}, 422, 42203),
    ("PUT", "/mode", {"mode": "SOMETIMES"}, 422, 42204),
    ("POST", "/subjects/there/versions", posted(V2, id=7), 422, 42205),
    ("POST", "/subjects/there/versions", posted(V2, version=9), 422, 42205),
    ("PUT", "/mode/there", {"mode": "IMPORT"}, 422, 42205),
    ("PUT", "/config/there", {"compatibility": "FULL", "compatibilityGroup": "app"}, 422, 42205),
    ("POST", f"/subjects/{'s' * 1001}/versions", posted(V1), 422, 42208),
    ("POST", "/subjects/a%00b/versions", posted(V1), 422, 42208),
    ("POST", "/subjects/there/versions", posted(NEEDED), 409, 409),
]


async def test_a_refusal_has_the_code_that_clients_know(registry: Served) -> None:
    """Status and error code of Confluent's API, with a message; nothing changes."""
    await registry.register("there", V1)
    for method, path, body, status, code in REFUSALS:
        assert await registry.refused(method, path, body) == (status, code), (method, path, body)
    assert await registry.ask("GET", "/subjects/there/versions?deleted=true") == [1]
    assert await registry.ask("GET", "/config") == {"compatibilityLevel": "BACKWARD"}


async def test_a_body_that_is_no_json_is_refused(registry: Served) -> None:
    """With 400, before anything else is looked at."""
    for content in (b"{", b"[1]", b"\xff"):
        answer = await registry.http.post(f"{registry.url}/subjects/a/versions", content=content)
        assert (answer.status_code, answer.json()["error_code"]) == (400, 400)
    assert await registry.refused("GET", "/subjects?limit=ten") == (400, 400)


async def test_nothing_is_answered_without_a_credential(registry: Served) -> None:
    """401 for a stranger on every path; the token passes as Bearer or as a password."""
    async with httpx.AsyncClient(trust_env=False) as stranger:
        for path in ("/", "/subjects", "/schemas/ids/1", "/config"):
            assert (await stranger.get(registry.url + path)).status_code == 401
        assert (await stranger.get(f"{registry.url}/subjects", auth=("anyone", registry.token))).status_code == 200
        assert (await stranger.get(f"{registry.url}/subjects", auth=("anyone", "wrong"))).status_code == 401


async def test_compatibility_is_asked_without_registering(registry: Served) -> None:
    """Against one version or as the level says, with the reasons where they are wanted."""
    await registry.register("a", V1)
    ask = "/compatibility/subjects/a/versions"
    assert await registry.ask("POST", f"{ask}/latest", posted(V2)) == {"is_compatible": True}
    assert await registry.ask("POST", f"{ask}/1?verbose=true", posted(NEEDED)) == {
        "is_compatible": False,
        "messages": ["the new schema cannot read version 1: price has no default, and the data lacks it"],
    }
    assert await registry.ask("POST", f"{ask}?verbose=True", posted(V3)) == {
        "is_compatible": False,
        "messages": ["the new schema cannot read version 1: n has no default, and the data lacks it"],
    }
    assert await registry.ask("POST", "/compatibility/subjects/new/versions", posted(V3)) == {"is_compatible": True}
    assert await registry.ask("GET", "/subjects/a/versions") == [1]


@pytest.mark.parametrize(
    ("level", "third", "allowed"),
    [
        ("NONE", NEEDED, True),
        ("BACKWARD", record(ID, {"name": "note", "type": "string"}), True),
        ("BACKWARD_TRANSITIVE", record(ID, {"name": "note", "type": "string"}), False),
        ("FORWARD", NEEDED, True),
        ("FORWARD", record(), False),
        ("FULL", record(ID, {"name": "note", "type": "string"}), True),
        ("FULL_TRANSITIVE", record(ID, {"name": "note", "type": "string"}), False),
        ("FULL_TRANSITIVE", V1 | {"doc": "Once more."}, True),
    ],
)
async def test_a_level_decides_on_the_next_version(registry: Served, level: str, third: Any, allowed: bool) -> None:
    """Of the subject, or the global one where the subject has none."""
    for subject, config in (("own", "/config/own"), ("global", "/config")):
        await registry.register(subject, V1)
        await registry.register(subject, V2)
        assert await registry.ask("PUT", config, {"compatibility": level.lower()}) == {"compatibility": level}
        answer = await registry.http.post(f"{registry.url}/subjects/{subject}/versions", json=posted(third))
        assert answer.status_code == (200 if allowed else 409), answer.text


async def test_settings_are_read_set_and_taken_back(registry: Served) -> None:
    """Compatibility and mode, global and of a subject, with the default to fall back on."""
    assert await registry.ask("GET", "/config") == {"compatibilityLevel": "BACKWARD"}
    await registry.ask("PUT", "/config/a", {"compatibility": "FULL"})
    assert await registry.ask("GET", "/config/a") == {"compatibilityLevel": "FULL"}
    assert await registry.ask("DELETE", "/config/a") == {"compatibility": "FULL"}
    await registry.ask("PUT", "/config", {"compatibility": "NONE"})
    assert await registry.ask("GET", "/config/a?defaultToGlobal=true") == {"compatibilityLevel": "NONE"}
    assert await registry.ask("DELETE", "/config") == {"compatibility": "NONE"}
    assert await registry.ask("GET", "/config") == {"compatibilityLevel": "BACKWARD"}
    assert await registry.ask("GET", "/mode") == {"mode": "READWRITE"}
    await registry.ask("PUT", "/mode/a", {"mode": "READONLY"})
    assert await registry.ask("GET", "/mode/a") == {"mode": "READONLY"}
    assert await registry.ask("DELETE", "/mode/a") == {"mode": "READONLY"}
    assert await registry.ask("GET", "/mode/a?defaultToGlobal=true") == {"mode": "READWRITE"}
    assert await registry.ask("GET", "/subjects?deleted=true") == []


async def test_a_read_only_subject_takes_nothing_new(registry: Served) -> None:
    """What is there is still found by registering it."""
    await registry.register("a", V1)
    await registry.ask("PUT", "/mode/a", {"mode": "READONLY"})
    assert (await registry.register("a", V1))["version"] == 1
    assert await registry.refused("POST", "/subjects/a/versions", posted(V2)) == (422, 42205)
    assert await registry.refused("DELETE", "/subjects/a") == (422, 42205)
    await registry.ask("PUT", "/mode/a", {"mode": "READWRITE"})
    assert (await registry.register("a", V2))["version"] == 2


async def test_an_import_keeps_ids_and_versions(registry: Served) -> None:
    """A registry moved here goes on under the ids that its records have."""
    await registry.ask("PUT", "/mode", {"mode": "IMPORT"})
    first = await registry.ask("POST", "/subjects/a/versions", posted(V2, id=7, version=3))
    assert (first["id"], first["version"]) == (7, 3)
    assert await registry.ask("POST", "/subjects/a/versions", posted(V2, id=7, version=3)) == first
    assert (await registry.ask("POST", "/subjects/a/versions", posted(NEEDED, id=9, version=1)))["version"] == 1
    assert await registry.refused("POST", "/subjects/b/versions", posted(V1, id=7)) == (422, 42205)
    assert await registry.refused("POST", "/subjects/a/versions", posted(V1, id=8, version=3)) == (422, 42205)
    assert await registry.refused("POST", "/subjects/b/versions", posted(V1)) == (422, 42205)
    await registry.ask("PUT", "/mode", {"mode": "READWRITE"})
    assert await registry.ask("GET", "/subjects/a/versions") == [1, 3]
    assert (await registry.register("b", V2))["id"] == 7


async def test_a_soft_deletion_hides_and_a_hard_one_takes_away(registry: Served) -> None:
    """In that order alone; records stay readable until the hard one."""
    first, second = await registry.register("a", V1), await registry.register("a", V2)
    assert await registry.ask("DELETE", "/subjects/a/versions/1") == 1
    assert await registry.refused("DELETE", "/subjects/a/versions/1") == (404, 40406)
    assert await registry.refused("GET", "/subjects/a/versions/1") == (404, 40402)
    assert (await registry.ask("GET", "/subjects/a/versions/1?deleted=true"))["deleted"] is True
    assert (await registry.ask("GET", f"/schemas/ids/{first['id']}"))["schema"] == canonical.text(V1)
    assert await registry.ask("DELETE", "/subjects/a/versions/1?permanent=true") == 1
    assert await registry.refused("GET", f"/schemas/ids/{first['id']}") == (404, 40403)
    assert await registry.ask("DELETE", "/subjects/a") == [2]
    assert await registry.refused("DELETE", "/subjects/a") == (404, 40404)
    assert await registry.refused("GET", "/subjects/a/versions") == (404, 40401)
    assert await registry.ask("DELETE", "/subjects/a?permanent=true") == [2]
    assert await registry.refused("DELETE", "/subjects/a?permanent=true") == (404, 40401)
    assert await registry.refused("GET", f"/schemas/ids/{second['id']}") == (404, 40403)


async def test_a_deleted_schema_comes_back_under_its_id(registry: Served) -> None:
    """As a new version after a soft deletion; an id that is taken for good is given to no other schema."""
    first = await registry.register("a", V1)
    await registry.ask("DELETE", "/subjects/a")
    again = await registry.register("a", V1)
    assert (again["id"], again["version"]) == (first["id"], 2)
    for permanent in ("", "?permanent=true"):
        await registry.ask("DELETE", f"/subjects/a{permanent}")
    other = await registry.register("a", {**V1, "doc": "Other words, same fingerprint."})
    assert (other["id"], other["version"]) == (first["id"] + 1, 1)
    assert (await registry.register("b", V1))["id"] == first["id"]


async def test_a_schema_of_two_subjects_outlives_one(registry: Served) -> None:
    """A hard deletion takes a schema away when no version has it any more."""
    first = await registry.register("a", V1)
    await registry.register("b", V1)
    for permanent in ("", "?permanent=true"):
        await registry.ask("DELETE", f"/subjects/a{permanent}")
    assert (await registry.ask("GET", f"/schemas/ids/{first['id']}/subjects")) == ["b"]


async def test_a_schema_that_is_too_large_is_said_to_be(registry: Served) -> None:
    """Nothing of it is kept."""
    huge = record(ID, name="Huge") | {"doc": "x" * 1_200_000}
    assert await registry.refused("POST", "/subjects/a/versions", posted(huge)) == (422, 42201)
    assert await registry.ask("GET", "/subjects?deleted=true") == []


async def test_clients_find_what_they_look_for_first(registry: Served) -> None:
    """The root, the types, the contexts and the version."""
    assert await registry.ask("GET", "/") == {}
    assert await registry.ask("GET", "/schemas/types") == ["AVRO"]
    assert await registry.ask("GET", "/contexts") == ["."]
    assert (await registry.ask("GET", "/v1/metadata/version"))["version"]
    assert (await registry.ask("GET", "/v1/metadata/id"))["id"] == "sixfold"
