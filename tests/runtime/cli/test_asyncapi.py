"""The AsyncAPI document: valid by the official schema, and true to the declarations."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml
from tests.conftest import missing
from tests.runtime.cli.commands import Sixfold
from tests.support import npm

from sixfold import asyncapi, function
from sixfold.bus import port
from sixfold.registry.settings import Identifier, RegistrySettings, Strategy
from sixfold_events import Event, avro


@pytest.fixture(scope="session")
def official() -> jsonschema.Draft7Validator:
    """The official schema of AsyncAPI 3.0.0."""
    try:
        folder = npm.package("@asyncapi/specs", "6.11.1")
    except npm.NoPackageError as error:
        missing(str(error))
    return jsonschema.Draft7Validator(json.loads((folder / "schemas" / "3.0.0-without-$id.json").read_text()))


def problems(official: jsonschema.Draft7Validator, document: Any) -> list[str]:
    return [f"{list(error.absolute_path)}: {error.message[:300]}" for error in official.iter_errors(document)]


def resolve(document: Any, reference: dict[str, str]) -> Any:
    found = document
    for part in reference["$ref"].removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


def references(node: Any) -> list[dict[str, str]]:
    if isinstance(node, dict):
        own = [node] if isinstance(node.get("$ref"), str) else []
        return own + [each for value in node.values() for each in references(value)]
    return [each for value in node for each in references(value)] if isinstance(node, list) else []


def test_the_document_of_everything_installed_is_valid(sixfold: Sixfold, official: jsonschema.Draft7Validator) -> None:
    """By the official schema, Avro payloads and Kafka bindings included; every reference leads somewhere."""
    document = yaml.safe_load(sixfold.good("asyncapi"))
    assert document == json.loads(sixfold.good("asyncapi", "--json"))
    assert problems(official, document) == []
    assert len(references(document)) > 50
    for reference in references(document):
        assert resolve(document, reference)
    broken = json.loads(json.dumps(document))
    broken["channels"]["git.pushed"]["bindings"]["kafka"]["partitions"] = "six"
    broken["components"]["messages"]["git.pushed"]["payload"]["schema"]["type"] = "recrod"
    assert len(problems(official, broken)) >= 2


def test_the_document_says_what_the_functions_declare(sixfold: Sixfold) -> None:
    """Channels, operations, groups, keys, payloads and headers of a user's own functions, and no others."""
    document = json.loads(
        sixfold.good("--app", str(sixfold.app), "asyncapi", "--json", "--title", "Orders", "--version", "2.1")
    )
    assert document["info"] == {"title": "Orders", "version": "2.1"}
    assert list(document["channels"]) == ["order.accepted", "order.placed"]
    binding = document["channels"]["order.placed"]["bindings"]["kafka"]
    assert (binding["topic"], binding["partitions"]) == ("order.placed", 6)
    assert binding["topicConfiguration"]["cleanup.policy"] == ["delete"]
    receive = document["operations"]["accept.receive.order.placed"]
    send = document["operations"]["accept.send.order.accepted"]
    assert (receive["action"], send["action"]) == ("receive", "send")
    assert receive["bindings"]["kafka"]["groupId"]["enum"] == ["accept"]
    assert receive["summary"] == "Take an order."
    [reference] = receive["messages"]
    message = resolve(document, resolve(document, reference))
    assert message["name"] == "order.placed"
    assert message["bindings"]["kafka"]["key"]["description"] == "The field `order_id` as text."
    assert message["payload"]["schemaFormat"] == asyncapi.AVRO_FORMAT
    assert message["payload"]["schema"]["fields"][1] == {"name": "amount_cents", "type": "long"}
    headers, own = message["headers"]["allOf"]
    assert own["properties"]["ce_type"]["const"] == "order.placed"
    assert {"ce_id", "ce_type", "ce_source"} <= set(resolve(document, headers)["required"])
    assert "servers" not in document


class Odd(Event, type="odd/type ~1", topic="odd"):
    """A type whose name is no key of a map."""

    name: str


def test_brokers_registry_and_odd_names_have_their_place(official: jsonschema.Draft7Validator) -> None:
    """Servers with the registry, the way ids are written, compacted topics, names that must be changed as keys."""

    @function(on=Odd, name="odd/one")
    async def one(event: Odd, ctx: Any) -> None:
        """Nothing."""

    topic = port.TopicSpec(name="odd", cleanup=port.Cleanup.COMPACT, retention_ms=None, replication=3)
    registry = RegistrySettings(urls=("https://registry",), identifier=Identifier.HEADER, subjects=Strategy.RECORD)
    document = asyncapi.document(
        [one], [topic], title="t", version="1", brokers=["a:9092", "b:9092"], registry=registry
    )
    assert problems(official, document) == []
    server = document["servers"]["broker-2"]
    assert (server["host"], server["protocol"]) == ("b:9092", "kafka")
    assert server["bindings"]["kafka"]["schemaRegistryUrl"] == "https://registry"
    binding = document["channels"]["odd"]["bindings"]["kafka"]
    assert (binding["replicas"], binding["topicConfiguration"]["retention.ms"]) == (3, -1)
    message = document["components"]["messages"]["odd_type__1"]
    assert message["payload"]["schema"] == avro.schema_of(Odd)
    assert message["bindings"]["kafka"]["schemaIdLocation"] == "header"
    assert message["bindings"]["kafka"]["schemaLookupStrategy"] == "RecordNameStrategy"
    for reference in references(document):
        assert resolve(document, reference)


def test_a_function_of_topic_patterns_receives_from_the_topics_that_match(
    official: jsonschema.Draft7Validator,
) -> None:
    """Each is a channel with all its types; the types' own topics are not among them."""

    @function(on=Odd, topics="eu.*", name="wide")
    async def wide(event: Odd, ctx: Any) -> None:
        """Nothing."""

    topics = [port.TopicSpec(name=name) for name in ("eu.a", "eu.b", "us.a", "eu.a.dlq")]
    document = asyncapi.document([wide], topics, title="t", version="1")
    assert problems(official, document) == []
    assert list(document["channels"]) == ["eu.a", "eu.b"]
    assert list(document["operations"]) == ["wide.receive.eu.a", "wide.receive.eu.b"]
    for reference in references(document):
        assert resolve(document, reference)


def test_a_kept_document_is_compared_with_what_is(sixfold: Sixfold) -> None:
    """Exit code 1 and the lines that differ; YAML or JSON."""
    app = ("--app", str(sixfold.app))
    kept = sixfold.app.parent / "asyncapi.yaml"
    kept.write_text(sixfold.good(*app, "asyncapi"))
    assert sixfold.good(*app, "asyncapi", "--check", str(kept)) == ""
    kept.write_text(sixfold.good(*app, "asyncapi", "--json"))
    assert sixfold.good(*app, "asyncapi", "--check", str(kept)) == ""
    kept.write_text(kept.read_text().replace('"partitions": 6', '"partitions": 12', 1))
    done = sixfold.run(*app, "asyncapi", "--check", str(kept))
    assert done.returncode == 1
    assert "-        partitions: 12" in done.stdout.splitlines()
    assert "+        partitions: 6" in done.stdout.splitlines()
    assert "cannot be read" in sixfold.bad(*app, "asyncapi", "--check", "/no/such", code=2)
    kept.write_text("a: [")
    assert "neither YAML nor JSON" in sixfold.bad(*app, "asyncapi", "--check", str(kept), code=2)
