"""What the registry holds: the fold of `registry.state`. Pure.

Two gateways may write at once. Each record of a subject carries a revision; the first record of a revision counts, a
later one of the same is *rejected*, and its writer, who sees it in its own fold, decides again. The topic is compacted
to the newest record of a key, which may be a rejected one: it *shadows* the one that counts. Whoever reads that writes
the one that counts again, long before a cleaner comes, whoever crashed in between.
"""

from __future__ import annotations

from sixfold_events import Event
from sixfold_events.levels import Level
from sixfold_events.subjects import SchemaStored, SubjectChanged, SubjectVersion

GLOBAL = ""
"""Name of the subject that holds the global settings."""
LEVEL_DEFAULT = Level.BACKWARD
"""Confluent's."""
MODE_DEFAULT = "READWRITE"


class State:
    """Schemas by id and subjects by name, as far as they were read."""

    def __init__(self) -> None:
        self.schemas: dict[int, SchemaStored] = {}
        """Deleted ones too, with an empty text."""
        self.subjects: dict[str, SubjectChanged] = {}
        """The global one too; those without versions are gone or have settings only."""
        self.shadowed: dict[str, Event] = {}
        """By entry: what counts, although a rejected record is newer."""
        self.rejected: list[Event] = []
        """Since somebody last cleared it."""
        self._ids: dict[str, int] = {}

    def apply(self, event: Event) -> None:
        """Take the next record."""
        if isinstance(event, SchemaStored):
            known = self.schemas.get(event.schema_id)
            if known is not None and known.guid != event.guid:
                self._reject(event, known, event.entry)
                return
            self.schemas[event.schema_id] = event
            self._ids[event.guid] = event.schema_id
            self.shadowed.pop(event.entry, None)
        elif isinstance(event, SubjectChanged):
            current = self.subjects.get(event.subject)
            if current is not None and event.revision <= current.revision and event != current:
                self._reject(event, current, event.entry)
                return
            self.subjects[event.subject] = event
            self.shadowed.pop(event.entry, None)

    def _reject(self, event: Event, holds: Event, entry: str) -> None:
        self.rejected.append(event)
        self.shadowed[entry] = holds

    def id_of(self, guid: str) -> int | None:
        """The id of a schema, by its GUID; deleted ones keep theirs."""
        return self._ids.get(guid)

    def schema(self, schema_id: int) -> SchemaStored | None:
        """The schema of an id, None where it never was or was deleted for good."""
        found = self.schemas.get(schema_id)
        return found if found is not None and found.schema else None

    def versions(self, subject: str, *, deleted: bool = False) -> list[SubjectVersion]:
        """A subject's versions, oldest first; softly deleted ones only where they are asked for."""
        found = self.subjects.get(subject)
        return [each for each in found.versions if deleted or not each.deleted] if found is not None else []

    def names(self, *, deleted: bool = False) -> list[str]:
        """Subjects that have versions."""
        return sorted(name for name in self.subjects if self.versions(name, deleted=deleted))

    def level(self, subject: str) -> Level:
        """The compatibility that holds for a subject."""
        for name in (subject, GLOBAL):
            found = self.subjects.get(name)
            if found is not None and found.compatibility:
                return Level(found.compatibility)
        return LEVEL_DEFAULT

    def mode(self, subject: str) -> str:
        """The mode that holds for a subject."""
        for name in (subject, GLOBAL):
            found = self.subjects.get(name)
            if found is not None and found.mode:
                return found.mode
        return MODE_DEFAULT

    def uses(self, schema_id: int, *, deleted: bool = False) -> list[tuple[str, int]]:
        """Every subject and version that has this schema."""
        return [
            (name, each.version)
            for name in self.names(deleted=deleted)
            for each in self.versions(name, deleted=deleted)
            if each.schema_id == schema_id
        ]
