"""What the registry decides: each function takes the state and a request, and returns events and the answer.

Ids: a schema gets its fingerprint (`avro.fingerprint`), which writers without a registry put on the wire already, so a
registry that is turned on later knows the records that are there. Where another schema has that id (schemas that differ
in `doc` alone share a fingerprint) it gets the next free one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sixfold_events import Event, avro, canonical, levels
from sixfold_events.levels import Level
from sixfold_events.subjects import SchemaStored, SubjectChanged, SubjectVersion
from sixfold_functions.registry import refusal
from sixfold_functions.registry.state import GLOBAL, LEVEL_DEFAULT, MODE_DEFAULT, State

MODES = ("READWRITE", "READONLY", "READONLY_OVERRIDE", "IMPORT")
VERSION_MAX = 2**31 - 1
SUBJECT_CHARS_MAX = 1_000
"""A topic's name and a record's full name; Kafka's topic names end at 249."""
_NOT_TAKEN = {
    "references": "schema references are not supported; put the referenced types into the schema",
    "metadata": "metadata is not supported",
    "ruleSet": "rule sets are not supported",
}


class Posted(NamedTuple):
    """A schema as a client sent it."""

    schema: Any
    text: str
    """Canonical."""
    guid: str
    wire_id: int
    """The id that our writers give it without a registry."""
    schema_id: int | None = None
    """As the client wants it; in IMPORT mode alone."""
    version: int | None = None


class Decision(NamedTuple):
    """What to write, and what to answer once it is written."""

    events: tuple[Event, ...]
    answer: Any


def posted(body: Mapping[str, Any]) -> Posted:
    """The schema in a request's body. Raises RefusedError for what this registry does not take."""
    kind = body.get("schemaType") or "AVRO"
    if kind != "AVRO":
        raise refusal.invalid_schema(f"schema type {kind}: this registry takes AVRO")
    for name, why in _NOT_TAKEN.items():
        if body.get(name):
            raise refusal.invalid_schema(why)
    text = body.get("schema")
    if not isinstance(text, str) or not text:
        raise refusal.invalid_schema("expected `schema`, an Avro schema as text")
    try:
        schema = canonical.parse(text)
    except canonical.InvalidSchemaError as error:
        raise refusal.invalid_schema(str(error)) from error
    one = canonical.text(schema)
    wanted = [body.get(name) for name in ("id", "version")]
    for number in wanted:
        if number is not None and (not isinstance(number, int) or isinstance(number, bool)):
            raise refusal.invalid_schema(f"id and version are numbers, found {number!r}")
    # Confluent's clients send -1 and 0 for "none".
    schema_id, version = (number if number is not None and number > 0 else None for number in wanted)
    return Posted(schema, one, str(canonical.guid(one)), avro.fingerprint(schema), schema_id, version)


def register(state: State, subject: str, sent: Posted, now_ms: int) -> Decision:
    """A version of `subject` with this schema: the one that there is, else the next one."""
    _check_name(subject)
    mode = state.mode(subject)
    if mode == "IMPORT":
        return _import(state, subject, sent, now_ms)
    existing = find(state, subject, sent)
    if existing is not None and sent.schema_id in (None, existing.schema_id):
        return Decision((), registered(state, existing))
    if sent.schema_id is not None or sent.version not in (None, _next_version(state, subject)):
        raise refusal.not_permitted(f"Subject {subject} is not in import mode: the registry chooses ids and versions")
    if mode != "READWRITE":
        raise refusal.not_permitted(f"Subject {subject} is in read-only mode")
    found = violations(state, subject, sent)
    if found:
        raise refusal.incompatible(subject, found)
    return _add(state, subject, sent, _id_for(state, sent), _next_version(state, subject), now_ms)


def _import(state: State, subject: str, sent: Posted, now_ms: int) -> Decision:
    if sent.schema_id is None:
        raise refusal.not_permitted(f"Subject {subject} is in import mode: name the schema's id")
    holder = state.schemas.get(sent.schema_id)
    if holder is not None and holder.guid != sent.guid:
        raise refusal.not_permitted(f"Overwrite new schema with id {sent.schema_id} is not permitted.")
    version = sent.version or _next_version(state, subject)
    for each in state.versions(subject, deleted=True):
        if each.version == version:
            if each.schema_id == sent.schema_id:
                return Decision((), registered(state, each))
            raise refusal.not_permitted(f"Subject {subject} has a version {version} already, with another schema")
    return _add(state, subject, sent, sent.schema_id, version, now_ms)


def _add(state: State, subject: str, sent: Posted, schema_id: int, version: int, now_ms: int) -> Decision:
    new = SubjectVersion(version=version, schema_id=schema_id)
    versions = sorted([*state.versions(subject, deleted=True), new], key=lambda each: each.version)
    events: list[Event] = []
    if state.schema(schema_id) is None:
        events.append(
            SchemaStored(
                entry=f"schema/{schema_id}",
                schema_id=schema_id,
                guid=sent.guid,
                schema=sent.text,
                stored_at_ms=now_ms,
            )
        )
    events.append(changed(state, subject, now_ms, versions=versions))
    return Decision(tuple(events), {"id": schema_id, "version": version, "guid": sent.guid})


def _id_for(state: State, sent: Posted) -> int:
    known = state.id_of(sent.guid)
    if known is not None:
        return known
    candidate = sent.wire_id
    while candidate in state.schemas:
        candidate = candidate + 1 if candidate < VERSION_MAX else 1
    return candidate


def _next_version(state: State, subject: str) -> int:
    return max((each.version for each in state.versions(subject, deleted=True)), default=0) + 1


def find(state: State, subject: str, sent: Posted, *, deleted: bool = False) -> SubjectVersion | None:
    """The newest version of `subject` that has exactly this schema."""
    schema_id = state.id_of(sent.guid)
    same = [each for each in state.versions(subject, deleted=deleted) if each.schema_id == schema_id]
    return same[-1] if same else None


def registered(state: State, version: SubjectVersion) -> dict[str, Any]:
    """The answer to a registration."""
    return {"id": version.schema_id, "version": version.version, "guid": state.schemas[version.schema_id].guid}


def violations(
    state: State, subject: str, sent: Posted, against: Sequence[SubjectVersion] | None = None
) -> tuple[levels.Violation, ...]:
    """Why the schema may not be the subject's next version; `against` names the versions, else the level does."""
    older = [
        (each.version, json.loads(state.schemas[each.schema_id].schema))
        for each in (state.versions(subject) if against is None else against)
    ]
    # As every registry of this API judges, logical types are left out of it; `sixfold schema check` is stricter.
    return levels.violations(state.level(subject), sent.schema, older, logical=False)


def delete_subject(state: State, subject: str, now_ms: int, *, permanent: bool) -> Decision:
    """All versions of a subject softly deleted, or (once they are) for good."""
    _check_writable(state, subject)
    every = state.versions(subject, deleted=True)
    if not every:
        raise refusal.no_subject(subject)
    active = [each for each in every if not each.deleted]
    if permanent:
        if active:
            raise refusal.subject_not_deleted(subject)
        gone = changed(state, subject, now_ms, versions=[], compatibility="", mode="")
        return Decision((gone, *_purged(state, gone, every, now_ms)), [each.version for each in every])
    if not active:
        raise refusal.subject_deleted(subject)
    deleted = [msgspec.structs.replace(each, deleted=True) for each in every]
    # What a subject says of itself goes with it, as in Confluent's registry.
    return Decision(
        (changed(state, subject, now_ms, versions=deleted, compatibility="", mode=""),),
        [each.version for each in active],
    )


def delete_version(state: State, subject: str, version: str, now_ms: int, *, permanent: bool) -> Decision:
    """One version softly deleted, or (once it is) for good."""
    _check_writable(state, subject)
    wanted = version_of(state, subject, version, deleted=True)
    if permanent and not wanted.deleted:
        raise refusal.version_not_deleted(subject, wanted.version)
    if not permanent and wanted.deleted:
        raise refusal.version_deleted(subject, wanted.version)
    every = state.versions(subject, deleted=True)
    if permanent:
        gone = changed(state, subject, now_ms, versions=[each for each in every if each != wanted])
        return Decision((gone, *_purged(state, gone, [wanted], now_ms)), wanted.version)
    left = [msgspec.structs.replace(each, deleted=True) if each == wanted else each for each in every]
    return Decision((changed(state, subject, now_ms, versions=left),), wanted.version)


def _purged(state: State, after: SubjectChanged, dropped: Sequence[SubjectVersion], now_ms: int) -> list[SchemaStored]:
    """Schemas that no version has any more: the text goes, the id stays taken."""
    kept = {each.schema_id for each in after.versions}
    purged = []
    for schema_id in dict.fromkeys(each.schema_id for each in dropped):
        others = any(name != after.subject for name, _ in state.uses(schema_id, deleted=True))
        if schema_id not in kept and not others:
            purged.append(msgspec.structs.replace(state.schemas[schema_id], schema="", stored_at_ms=now_ms))
    return purged


def version_of(state: State, subject: str, version: str, *, deleted: bool = False) -> SubjectVersion:
    """The version that `version` names: a number, `latest`, or -1. Raises RefusedError."""
    found = state.versions(subject, deleted=deleted)
    if version in ("latest", "-1"):
        newest = state.versions(subject) or found
        if not newest:
            raise refusal.no_subject(subject)
        return newest[-1]
    if not version.isdecimal() or not 1 <= int(version) <= VERSION_MAX:
        raise refusal.invalid_version(version)
    if not found:
        raise refusal.no_subject(subject)
    wanted = next((each for each in found if each.version == int(version)), None)
    if wanted is None:
        raise refusal.no_version(version)
    return wanted


def check_settings(body: Mapping[str, Any], not_taken: Sequence[str]) -> None:
    """Raises RefusedError for settings that would be ignored."""
    for name in not_taken:
        if body.get(name):
            raise refusal.not_permitted(f"{name} is not supported")


def set_level(state: State, subject: str, level: object, now_ms: int) -> Decision:
    """The compatibility of a subject, or of all where `subject` is the global one."""
    known = [each.value for each in Level]
    if not isinstance(level, str) or level.upper() not in known:
        raise refusal.invalid_level(level, known)
    if subject != GLOBAL:
        _check_name(subject)
    event = changed(state, subject, now_ms, compatibility=level.upper())
    return Decision((event,), {"compatibility": level.upper()})


def unset_level(state: State, subject: str, now_ms: int) -> Decision:
    """The subject takes the global compatibility again, the global one its default; the answer is what it was."""
    own = own_setting(state, subject, "compatibility")
    if subject != GLOBAL and not own:
        raise refusal.no_compatibility(subject)
    event = changed(state, subject, now_ms, compatibility="")
    return Decision((event,), {"compatibility": own or LEVEL_DEFAULT.value})


def set_mode(state: State, subject: str, mode: object, now_ms: int, *, force: bool) -> Decision:
    """The mode of a subject, or of all where `subject` is the global one."""
    if not isinstance(mode, str) or mode.upper() not in MODES:
        raise refusal.invalid_mode(mode, MODES)
    if subject != GLOBAL:
        _check_name(subject)
    there = state.names(deleted=True) if subject == GLOBAL else state.versions(subject, deleted=True)
    if mode.upper() == "IMPORT" and there and not force and state.mode(subject) != "IMPORT":
        raise refusal.not_permitted("Cannot import since found existing subjects; force=true does it all the same")
    return Decision((changed(state, subject, now_ms, mode=mode.upper()),), {"mode": mode.upper()})


def unset_mode(state: State, subject: str, now_ms: int) -> Decision:
    """The subject takes the global mode again, the global one its default; the answer is what it was."""
    own = own_setting(state, subject, "mode")
    if subject != GLOBAL and not own:
        raise refusal.no_mode(subject)
    return Decision((changed(state, subject, now_ms, mode=""),), {"mode": own or MODE_DEFAULT})


def own_setting(state: State, subject: str, name: str) -> str:
    """What the subject says of itself, empty where it says nothing."""
    found = state.subjects.get(subject)
    return str(getattr(found, name)) if found is not None else ""


def changed(state: State, subject: str, now_ms: int, **changes: Any) -> SubjectChanged:
    """The subject's next revision."""
    current = state.subjects.get(subject)
    if current is None:
        return SubjectChanged(entry=f"subject/{subject}", subject=subject, revision=1, changed_at_ms=now_ms, **changes)
    return msgspec.structs.replace(current, revision=current.revision + 1, changed_at_ms=now_ms, **changes)


def _check_writable(state: State, subject: str) -> None:
    if state.mode(subject).startswith("READONLY"):
        raise refusal.not_permitted(f"Subject {subject} is in read-only mode")


def _check_name(subject: str) -> None:
    if not subject or len(subject) > SUBJECT_CHARS_MAX or not subject.isprintable():
        raise refusal.invalid_subject(subject)
