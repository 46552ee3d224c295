"""The AsyncAPI document of a set of functions: what they read, what they write, on which topics. Pure.

Source: AsyncAPI 3.0.0; Kafka Bindings 0.5.0; CloudEvents Kafka Protocol Binding 1.0.2 (the headers).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sixfold.bus import port
from sixfold.bus.kafka import specs
from sixfold.function import AnyFunction
from sixfold.registry.settings import Identifier, RegistrySettings, Strategy
from sixfold_events import Event, avro, framing

VERSION = "3.0.0"
BINDING_VERSION = "0.5.0"
AVRO_FORMAT = "application/vnd.apache.avro;version=1.9.0"
CONTENT_TYPE = "application/avro"
_HEADERS = "CloudEvent"
_STRATEGIES = {
    Strategy.TOPIC: "TopicNameStrategy",
    Strategy.RECORD: "RecordNameStrategy",
    Strategy.TOPIC_RECORD: "TopicRecordNameStrategy",
}
_NOT_IN_KEYS = re.compile(r"[^\w.\-]")

Document = dict[str, Any]


def document(
    functions: Sequence[AnyFunction],
    topics: Iterable[port.TopicSpec],
    *,
    title: str,
    version: str,
    brokers: Sequence[str] = (),
    registry: RegistrySettings | None = None,
) -> Document:
    """The document of `functions`; `topics` are the specs of their topics, `brokers` are `HOST:PORT`s."""
    registry = registry or RegistrySettings()
    specs_ = {spec.name: spec for spec in topics}
    flows = [(function, *flow) for function in functions for flow in _flows(function, specs_)]
    channels: dict[str, dict[type[Event], None]] = {}
    for _, _, topic, types in flows:
        channels.setdefault(topic, {}).update(dict.fromkeys(types))
    classes = sorted({cls for types in channels.values() for cls in types}, key=lambda cls: cls.__event__.type)
    found: Document = {
        "asyncapi": VERSION,
        "info": {"title": title, "version": version},
        "defaultContentType": CONTENT_TYPE,
        "channels": {
            _key(name): _channel(specs_.get(name, port.TopicSpec(name=name)), channels[name])
            for name in sorted(channels)
        },
        "operations": {
            f"{_key(function.name)}.{action}.{_key(topic)}": _operation(function, action, topic, types)
            for function, action, topic, types in flows
        },
        "components": {
            "messages": {_key(cls.__event__.type): _message(cls, registry) for cls in classes},
            "schemas": {_HEADERS: _headers(registry)},
        },
    }
    if brokers:
        found["servers"] = {f"broker-{number}": _server(host, registry) for number, host in enumerate(brokers, 1)}
    return found


def _key(name: str) -> str:
    """`name` as a key of a map: AsyncAPI takes letters, digits, dots, dashes and underscores."""
    return _NOT_IN_KEYS.sub("_", name)


def _reference(*parts: str) -> dict[str, str]:
    return {"$ref": "#/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in parts)}


def _server(host: str, registry: RegistrySettings) -> Document:
    server: Document = {"host": host, "protocol": "kafka"}
    if registry.urls:
        server["bindings"] = {
            "kafka": {
                "schemaRegistryUrl": registry.urls[0],
                "schemaRegistryVendor": "confluent",
                "bindingVersion": BINDING_VERSION,
            }
        }
    return server


def _channel(spec: port.TopicSpec, classes: Iterable[type[Event]]) -> Document:
    binding: Document = {
        "topic": spec.name,
        "partitions": spec.partitions,
        "topicConfiguration": {
            "cleanup.policy": [spec.cleanup.value],
            "retention.ms": -1 if spec.retention_ms is None else spec.retention_ms,
            "retention.bytes": -1 if spec.retention_bytes is None else spec.retention_bytes,
            "max.message.bytes": spec.record_bytes_max + specs.RECORD_OVERHEAD_BYTES,
        },
        "bindingVersion": BINDING_VERSION,
    }
    if spec.replication is not None:
        binding["replicas"] = spec.replication
    types = sorted(_key(cls.__event__.type) for cls in classes)
    return {
        "address": spec.name,
        "messages": {name: _reference("components", "messages", name) for name in types},
        "bindings": {"kafka": binding},
    }


def _flows(function: AnyFunction, names: Collection[str]) -> Iterable[tuple[str, str, list[type[Event]]]]:
    """What a function receives and sends: action, topic, types. Its patterns mean the topics among `names`."""
    if function.topic_patterns:
        for topic in (each for each in function.sources_among(names) if each != function.retry_topic):
            yield "receive", topic, list(function.on)
    for action, classes in (("receive", () if function.topic_patterns else function.on), ("send", function.emits)):
        for topic in dict.fromkeys(cls.__event__.topic for cls in classes):
            yield action, topic, [cls for cls in classes if cls.__event__.topic == topic]


def _operation(function: AnyFunction, action: str, topic: str, classes: Iterable[type[Event]]) -> Document:
    channel = "channels", _key(topic)
    operation: Document = {
        "action": action,
        "channel": _reference(*channel),
        "messages": [_reference(*channel, "messages", _key(cls.__event__.type)) for cls in classes],
    }
    if function.summary:
        operation["summary"] = function.summary
    if action == "receive":
        group = {"type": "string", "enum": [function.name]}
        operation["bindings"] = {"kafka": {"groupId": group, "bindingVersion": BINDING_VERSION}}
    return operation


def _message(cls: type[Event], registry: RegistrySettings) -> Document:
    declared = cls.__event__
    schema = avro.schema_of(cls)
    by_header = registry.identifier is Identifier.HEADER
    binding: Document = {
        "schemaIdLocation": "header" if by_header else "payload",
        "schemaLookupStrategy": _STRATEGIES[registry.subjects],
        "bindingVersion": BINDING_VERSION,
    }
    if not by_header:
        binding["schemaIdPayloadEncoding"] = "confluent"
    if declared.key is not None:
        binding["key"] = {"type": "string", "description": f"The field `{declared.key}` as text."}
    message: Document = {
        "name": declared.type,
        "title": cls.__name__,
        "contentType": CONTENT_TYPE,
        "headers": {
            "allOf": [
                _reference("components", "schemas", _HEADERS),
                {"type": "object", "properties": {"ce_type": {"type": "string", "const": declared.type}}},
            ]
        },
        "payload": {"schemaFormat": AVRO_FORMAT, "schema": schema},
        "bindings": {"kafka": binding},
    }
    if "doc" in schema:
        message["summary"] = schema["doc"]
    return message


def _headers(registry: RegistrySettings) -> Document:
    """The headers of every event."""
    text = {"type": "string"}
    properties: Document = {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {**text, "minLength": 1, "description": "The same for every delivery: drop what you have seen."},
        "ce_type": {**text, "minLength": 1},
        "ce_source": {**text, "format": "uri-reference", "minLength": 1},
        "ce_time": {**text, "format": "date-time"},
        "content-type": {"type": "string", "const": CONTENT_TYPE},
        "ce_correlationid": {**text, "description": "Id of the first event of the chain."},
        "ce_causationid": {**text, "description": "Id of the event whose handling emitted this one."},
        "traceparent": {**text, "description": "W3C Trace Context."},
    }
    required = ["ce_specversion", "ce_id", "ce_type", "ce_source", "content-type"]
    if registry.identifier is Identifier.HEADER:
        properties[framing.HEADER] = {**text, "description": "0x01 and the 16 bytes of the schema's GUID."}
        required.append(framing.HEADER)
    return {"type": "object", "properties": properties, "required": required}
