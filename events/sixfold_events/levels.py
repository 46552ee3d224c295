"""Compatibility levels, as schema registries name them: which of two schemas must read the other, and how far back."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, NamedTuple

from sixfold_events import resolution


class Level(enum.Enum):
    """What a new version must keep."""

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    """The new schema reads what the last one wrote."""
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    """The new schema reads what every older one wrote."""
    FORWARD = "FORWARD"
    """The last schema reads what the new one writes."""
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    """Both ways."""
    FULL_TRANSITIVE = "FULL_TRANSITIVE"

    @property
    def transitive(self) -> bool:
        """Against every older version, not the last alone."""
        return self.value.endswith("_TRANSITIVE")

    @property
    def backward(self) -> bool:
        """The new schema must read older data."""
        return self.value.startswith(("BACKWARD", "FULL"))

    @property
    def forward(self) -> bool:
        """Older schemas must read new data."""
        return self.value.startswith(("FORWARD", "FULL"))


class Violation(NamedTuple):
    """What a level does not allow."""

    version: int
    """The older version concerned."""
    direction: str
    """`BACKWARD` or `FORWARD`."""
    place: str
    text: str

    def __str__(self) -> str:
        reads = (
            f"the new schema cannot read version {self.version}"
            if self.direction == "BACKWARD"
            else f"version {self.version} cannot read the new schema"
        )
        return f"{reads}: {self.place or 'the record'} {self.text}"


def violations(
    level: Level, new: Any, older: Sequence[tuple[int, Any]], *, logical: bool = True
) -> tuple[Violation, ...]:
    """Why `new` may not follow `older` (version and schema, oldest first) under `level`; empty when it may."""
    found: list[Violation] = []
    for version, old in older if level.transitive else older[-1:]:
        if level.backward:
            reasons = resolution.reasons(new, old, logical=logical)
            found += (Violation(version, "BACKWARD", reason.place, reason.text) for reason in reasons)
        if level.forward:
            reasons = resolution.reasons(old, new, logical=logical)
            found += (Violation(version, "FORWARD", reason.place, reason.text) for reason in reasons)
    return tuple(found)
