"""Events of a simulated world, decoded once: six copies, two replicas and the checks all read the same bytes."""

from __future__ import annotations

from collections.abc import Iterable

from sixfold_events import volume as events
from sixfold_events.event import Event
from sixfold_events.registry import Registry

CLASSES = [
    value for value in vars(events).values() if isinstance(value, type) and issubclass(value, Event) and value != Event
]
REMEMBERED_MAX = 50_000
"""Events; a life has about that many."""
REAL_EVERY = 10
"""One life in so many decodes whatever is read each time that it is read."""


class RememberingRegistry(Registry):
    """Gives the event that the same bytes decoded to before. Events are frozen, so nobody sees a difference."""

    def __init__(self, classes: Iterable[type[Event]]) -> None:
        super().__init__(classes)
        self._known: dict[bytes, Event] = {}

    def decode_as(
        self, cls: type[Event], value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = ()
    ) -> Event:
        known = self._known.get(value) if value is not None else None
        if type(known) is cls:
            return known
        event = super().decode_as(cls, value, headers)
        if value is not None:
            if len(self._known) >= REMEMBERED_MAX:
                self._known.clear()
            self._known[value] = event
        return event


REAL = Registry(CLASSES)
REMEMBERING = RememberingRegistry(CLASSES)


def registry_of(seed: int) -> Registry:
    """What the life of a seed decodes with."""
    return REAL if seed % REAL_EVERY == REAL_EVERY - 1 else REMEMBERING
