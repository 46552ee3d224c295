"""Events of the registry capability: the schemas that it holds, and which of them are versions of which subject."""

from __future__ import annotations

import msgspec

from sixfold_events.event import Event


class SchemaStored(Event, topic="registry.state", key="entry"):
    """The registry holds this schema under this id, or held it: an id is never given to another schema."""

    entry: str
    """`schema/<id>`: the key under which the newest word on it is kept."""
    schema_id: int
    guid: str
    """Digest of the text, the same in every registry."""
    schema: str
    """Avro's JSON in its canonical form; empty once it was deleted for good."""
    stored_at_ms: int


class SubjectVersion(msgspec.Struct, frozen=True):
    """One version of a subject."""

    version: int
    schema_id: int
    deleted: bool = False
    """Softly: found by those who ask for deleted ones, and not compared with new versions."""


class SubjectChanged(Event, topic="registry.state", key="entry"):
    """A subject is this now: all its versions, and what it says of itself. The global settings are a subject too."""

    entry: str
    """`subject/<name>`; `subject/` alone is the global one."""
    subject: str
    revision: int
    """One more than the last; of two that were written at once the first counts."""
    changed_at_ms: int
    versions: list[SubjectVersion] = msgspec.field(default_factory=list)
    compatibility: str = ""
    """Such as `FULL_TRANSITIVE`; empty takes the global one."""
    mode: str = ""
    """Such as `READONLY`; empty takes the global one."""
