"""What the registry says of what it holds, in the shapes of Confluent's API. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from sixfold_events.subjects import SchemaStored, SubjectVersion
from sixfold_functions.registry import core, refusal
from sixfold_functions.registry.state import GLOBAL, State

T = TypeVar("T")


def page(items: Sequence[T], offset: int, limit: int) -> list[T]:
    """A part of a list; a negative limit is none."""
    return list(items[offset : offset + limit] if limit >= 0 else items[offset:])


def subjects(state: State, prefix: str, *, deleted: bool, deleted_only: bool) -> list[str]:
    """Names of subjects that begin with `prefix`."""
    active = set(state.names())
    names = [name for name in state.names(deleted=deleted or deleted_only) if not deleted_only or name not in active]
    return [name for name in names if name.startswith(prefix)]


def versions(state: State, subject: str, *, deleted: bool, deleted_only: bool) -> list[int]:
    """A subject's version numbers."""
    found = state.versions(subject, deleted=deleted or deleted_only)
    numbers = [each.version for each in found if each.deleted or not deleted_only]
    if not numbers:
        raise refusal.no_subject(subject)
    return numbers


def version(state: State, subject: str, found: SubjectVersion) -> dict[str, Any]:
    """One version with its schema."""
    schema = state.schemas[found.schema_id]
    return {
        "subject": subject,
        "version": found.version,
        "id": found.schema_id,
        "guid": schema.guid,
        "schemaType": "AVRO",
        "schema": schema.schema,
        **({"deleted": True} if found.deleted else {}),
    }


def lookup(state: State, subject: str, sent: core.Posted, *, deleted: bool) -> dict[str, Any]:
    """The version that has this schema."""
    if not state.versions(subject, deleted=deleted):
        raise refusal.no_subject(subject)
    found = core.find(state, subject, sent, deleted=deleted)
    if found is None:
        raise refusal.no_schema()
    return version(state, subject, found)


def by_id(state: State, schema_id: str) -> SchemaStored:
    """The schema of an id."""
    found = state.schema(int(schema_id)) if schema_id.isdecimal() and len(schema_id) <= 10 else None
    if found is None:
        raise refusal.no_schema(schema_id)
    return found


def by_guid(state: State, guid: str) -> SchemaStored:
    """The schema of a GUID."""
    schema_id = state.id_of(guid.lower())
    found = state.schema(schema_id) if schema_id is not None else None
    if found is None:
        raise refusal.no_schema(guid)
    return found


def schema(found: SchemaStored) -> dict[str, Any]:
    """A schema by itself."""
    return {"schema": found.schema, "schemaType": "AVRO", "id": found.schema_id, "guid": found.guid}


def every(state: State, prefix: str, *, deleted: bool, latest: bool) -> list[dict[str, Any]]:
    """Every version of every subject."""
    found = []
    for name in subjects(state, prefix, deleted=deleted, deleted_only=False):
        numbers = state.versions(name, deleted=deleted)
        found += [version(state, name, each) for each in (numbers[-1:] if latest else numbers)]
    return found


def compatible(
    state: State, subject: str, sent: core.Posted, against: Sequence[SubjectVersion] | None, *, verbose: bool
) -> dict[str, Any]:
    """Whether a schema may be the next version, and why not."""
    found = core.violations(state, subject, sent, against)
    return {"is_compatible": not found, **({"messages": [str(each) for each in found]} if verbose else {})}


def level(state: State, subject: str, *, default: bool) -> dict[str, Any]:
    """The compatibility that a subject says of itself; with `default` the one that holds."""
    if subject != GLOBAL and not default and not core.own_setting(state, subject, "compatibility"):
        raise refusal.no_compatibility(subject)
    return {"compatibilityLevel": state.level(subject).value}


def mode(state: State, subject: str, *, default: bool) -> dict[str, Any]:
    """The mode that a subject says of itself; with `default` the one that holds."""
    if subject != GLOBAL and not default and not core.own_setting(state, subject, "mode"):
        raise refusal.no_mode(subject)
    return {"mode": state.mode(subject)}
