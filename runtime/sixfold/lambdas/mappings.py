"""Event source mappings as AWS describes them: reading a request, checking AWS's limits, showing one. Pure.

Source: AWS Lambda API Reference, CreateEventSourceMapping, UpdateEventSourceMapping, EventSourceMappingConfiguration.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from sixfold import filters, patterns
from sixfold.lambdas import context
from sixfold.lambdas.failures import ApiError, invalid
from sixfold_events.lambdas import MappingChanged

REPORT = "ReportBatchItemFailures"
KAFKA = "kafka://"
FILTERS_MAX = 10
"""AWS grants ten on request; five is its default."""
PATTERN_CHARS_MAX = 4096
POSITIONS = ("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP")
ONLY_ON_CREATE = (
    "Topics", "SelfManagedEventSource", "SelfManagedKafkaEventSourceConfig", "StartingPosition",
    "StartingPositionTimestamp",
)  # fmt: skip
_TOPIC = re.compile(r"[^.][a-zA-Z0-9\-_.]{0,248}", re.ASCII)
_GROUP = re.compile(r"[a-zA-Z0-9\-/*:_+=.@]{1,200}", re.ASCII)


def created(
    body: Mapping[str, Any], *, uuid: str, function: str, topics: Sequence[str], servers: str, now_ms: int
) -> MappingChanged:
    """The mapping that a CreateEventSourceMapping asks for. Raises ApiError.

    `topics` are those that there are, `servers` the addresses of the bus.
    """
    found = body.get("Topics")
    if (
        not isinstance(found, list)
        or len(found) != 1
        or not isinstance(found[0], str)
        or not _TOPIC.fullmatch(found[0])
    ):
        raise invalid("Topics: expected the name of one topic")
    if found[0] not in topics:
        raise invalid(f"Topics: there is no topic {found[0]!r}")
    if "EventSourceArn" in body:
        raise invalid("EventSourceArn: sources are topics of this bus; leave it away, or name SelfManagedEventSource")
    _check_servers(body.get("SelfManagedEventSource"), servers)
    settings = body.get("SelfManagedKafkaEventSourceConfig") or {}
    group = settings.get("ConsumerGroupId", uuid) if isinstance(settings, Mapping) else ""
    if not isinstance(group, str) or not _GROUP.fullmatch(group):
        raise invalid("ConsumerGroupId: expected 1 to 200 of the characters a-z A-Z 0-9 - / * : _ + = . @")
    position = body.get("StartingPosition")
    if position not in POSITIONS:
        raise invalid(f"StartingPosition: expected one of {', '.join(POSITIONS)}, found {position!r}")
    stamp = body.get("StartingPositionTimestamp")
    if (stamp is not None) != (position == "AT_TIMESTAMP"):
        raise invalid("StartingPositionTimestamp: needed with AT_TIMESTAMP, and only then")
    if stamp is not None and (not _is_number(stamp) or not 0 <= stamp * 1000 <= now_ms):
        raise invalid(f"StartingPositionTimestamp: expected Unix seconds that are not in the future, found {stamp!r}")
    made = MappingChanged(
        uuid=uuid,
        function=function,
        topic=found[0],
        consumer_group=group,
        starting_position=position,
        starting_timestamp_ms=0 if stamp is None else round(stamp * 1000),
        modified_at_ms=now_ms,
    )
    return _with(made, body)


def updated(mapping: MappingChanged, body: Mapping[str, Any], *, function: str | None, now_ms: int) -> MappingChanged:
    """The mapping after an UpdateEventSourceMapping: what the request does not name stays. Raises ApiError."""
    for name in ONLY_ON_CREATE:
        if name in body:
            raise invalid(f"{name}: it is set when a mapping is created; delete this one and create another")
    return _with(replace(mapping, function=function or mapping.function, modified_at_ms=now_ms), body)


def shown(mapping: MappingChanged, servers: str, state: str = "") -> dict[str, Any]:
    """The mapping as an EventSourceMappingConfiguration; `state` while it changes."""
    answer: dict[str, Any] = {
        "UUID": mapping.uuid,
        "EventSourceMappingArn": f"arn:aws:lambda:{context.REGION}:{context.ACCOUNT}:event-source-mapping:{mapping.uuid}",
        "FunctionArn": context.arn(mapping.function),
        "Topics": [mapping.topic],
        "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": servers.split(",")}},
        "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": mapping.consumer_group},
        "StartingPosition": mapping.starting_position,
        "BatchSize": mapping.batch_size,
        "BisectBatchOnFunctionError": mapping.bisect,
        "MaximumRetryAttempts": mapping.retry_attempts,
        "MaximumRecordAgeInSeconds": mapping.record_age_s,
        "FunctionResponseTypes": [REPORT] if mapping.report_failures else [],
        "DestinationConfig": {"OnFailure": {"Destination": KAFKA + mapping.on_failure} if mapping.on_failure else {}},
        "LastModified": mapping.modified_at_ms / 1000,
        "State": state or ("Enabled" if mapping.enabled else "Disabled"),
        "StateTransitionReason": "USER_INITIATED",
    }
    if mapping.starting_position == "AT_TIMESTAMP":
        answer["StartingPositionTimestamp"] = mapping.starting_timestamp_ms / 1000
    if mapping.batching_window_s >= 0:
        answer["MaximumBatchingWindowInSeconds"] = mapping.batching_window_s
    if mapping.filters:
        answer["FilterCriteria"] = {"Filters": [{"Pattern": pattern} for pattern in mapping.filters]}
    return answer


def _with(mapping: MappingChanged, body: Mapping[str, Any]) -> MappingChanged:
    """`mapping` with the fields of a request that may change at any time."""
    known = {*_FIELDS, *ONLY_ON_CREATE, "FunctionName"}
    if unknown := sorted(set(body) - known):
        raise invalid(f"{unknown[0]}: not supported for a topic here; expected some of {', '.join(sorted(known))}")
    changes: dict[str, Any] = {}
    for name, (field, read) in _FIELDS.items():
        if body.get(name) is not None:
            changes[field] = read(name, body[name])
    made: MappingChanged = replace(mapping, **changes)
    if made.batch_size > 10 and made.batching_window_s == 0:
        raise invalid("MaximumBatchingWindowInSeconds: must be 1 or more where BatchSize is more than 10")
    if made.on_failure == made.topic:
        raise invalid("DestinationConfig: the destination is the source; records that fail would come back for ever")
    return made


def _number(low: int, high: int, *others: int) -> Callable[[str, Any], int]:
    def read(name: str, value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and (low <= value <= high or value in others):
            return value
        also = "".join(f"{other} or " for other in others)
        raise invalid(f"{name}: expected {also}{low} to {high}, found {value!r}")

    return read


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise invalid(f"{name}: expected true or false, found {value!r}")
    return value


def _reports(name: str, value: Any) -> bool:
    if value not in ([], [REPORT]):
        raise invalid(f'{name}: expected ["{REPORT}"] or [], found {value!r}')
    return bool(value)


def _patterns(name: str, value: Any) -> list[str]:
    given = value.get("Filters") if isinstance(value, Mapping) else None
    if given is None and value == {}:
        return []
    if not isinstance(given, list) or len(given) > FILTERS_MAX:
        raise invalid(f"{name}: expected at most {FILTERS_MAX} Filters")
    found = []
    for each in given:
        pattern = each.get("Pattern") if isinstance(each, Mapping) else None
        if not isinstance(pattern, str) or len(pattern) > PATTERN_CHARS_MAX:
            raise invalid(f"{name}: expected a Pattern of at most {PATTERN_CHARS_MAX} characters of JSON")
        try:
            filters.Filter([msgspec.json.decode(pattern)])
        except (msgspec.DecodeError, patterns.PatternError, RecursionError) as error:
            raise invalid(f"{name}: {error}") from error
        found.append(pattern)
    return found


def _destination(name: str, value: Any) -> str:
    target = (value.get("OnFailure") or {}) if isinstance(value, Mapping) else None
    if not isinstance(target, Mapping) or (isinstance(value, Mapping) and value.get("OnSuccess")):
        raise invalid(f"{name}: expected OnFailure alone")
    place = target.get("Destination", "")
    if not place:
        return ""
    if not isinstance(place, str) or not place.startswith(KAFKA) or not _TOPIC.fullmatch(place.removeprefix(KAFKA)):
        raise invalid(f"{name}: expected a topic, such as {KAFKA}orders-failed, found {place!r}")
    return place.removeprefix(KAFKA)


def _check_servers(source: Any, servers: str) -> None:
    if source is None:
        return
    endpoints = source.get("Endpoints") if isinstance(source, Mapping) else None
    named = endpoints.get("KAFKA_BOOTSTRAP_SERVERS") if isinstance(endpoints, Mapping) else None
    if not isinstance(named, list) or not named or not set(map(str, named)) <= set(servers.split(",")):
        raise invalid(
            f"SelfManagedEventSource: expected KAFKA_BOOTSTRAP_SERVERS among {servers}, the bus that runs here"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_FIELDS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "Enabled": ("enabled", _flag),
    "BatchSize": ("batch_size", _number(1, 10_000)),
    "MaximumBatchingWindowInSeconds": ("batching_window_s", _number(0, 300)),
    "FilterCriteria": ("filters", _patterns),
    "MaximumRetryAttempts": ("retry_attempts", _number(0, 10_000, -1)),
    "MaximumRecordAgeInSeconds": ("record_age_s", _number(60, 604_800, -1)),
    "BisectBatchOnFunctionError": ("bisect", _flag),
    "FunctionResponseTypes": ("report_failures", _reports),
    "DestinationConfig": ("on_failure", _destination),
}


def no_mapping() -> ApiError:
    """There is no such mapping."""
    return ApiError("ResourceNotFoundException", "The resource you requested does not exist.", 404)


def taken(other: MappingChanged) -> ApiError:
    """Another mapping does this already."""
    return ApiError(
        "ResourceConflictException",
        f"An event source mapping with this topic and function, or with this consumer group, already exists. "
        f"Please update or delete the existing mapping with UUID {other.uuid}",
        409,
    )
