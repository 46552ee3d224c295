"""What installed capabilities bring together: functions by name, event classes by type, topics, services.

Neighbours: `capability.py` describes one; the supervisor, the gateway and the command line look things up here.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import sixfold_events
from sixfold import capability, dead_letter, errors
from sixfold.bus import port
from sixfold.capability import Capability, Service
from sixfold.function import AnyFunction
from sixfold.lambdas import topics as lambda_topics
from sixfold.telemetry import reporting
from sixfold_events import Event
from sixfold_events.registry import Registry

SCHEMAS = Path(sixfold_events.__file__).parent / "schemas"
SAMPLES = Path(sixfold_events.__file__).parent / "samples"


TOPICS = (reporting.TOPIC, lambda_topics.INVOCATIONS, lambda_topics.MAPPINGS)
SYSTEM = Capability(
    name="system",
    summary="What the processes of the system say of themselves",
    events=("sixfold_events.system", "sixfold_events.lambdas"),
    topics="sixfold.catalogue:TOPICS",
)
"""The runtime's own events, described as any capability's."""


class UnknownNameError(errors.UsageError):
    """Nothing installed has this name; the message lists near ones."""


class Catalogue:
    """Everything that `capabilities` bring; each part is imported when it is first asked for."""

    def __init__(self, capabilities: Iterable[Capability], functions: Iterable[AnyFunction] = ()) -> None:
        self.capabilities = tuple(capabilities)
        self.own = tuple(functions)
        """A user's functions, which belong to no capability."""

    @functools.cached_property
    def functions(self) -> dict[str, AnyFunction]:
        """Functions by name. Raises CapabilityError where two share one: they would share a consumer group."""
        found: dict[str, AnyFunction] = {}
        for each in self.capabilities:
            for function in capability.functions_of(each):
                if found.setdefault(function.name, function) is not function:
                    raise capability.CapabilityError(
                        f"two functions are named {function.name}; give the one of {each.name} another name="
                    )
        for function in self.own:
            if found.setdefault(function.name, function) is not function:
                raise capability.CapabilityError(
                    f"a capability has a function {function.name}; give yours another name="
                )
        return found

    @functools.cached_property
    def services(self) -> dict[str, Service]:
        """Services by name."""
        return {service.name: service for each in self.capabilities for service in each.services}

    @functools.cached_property
    def events(self) -> dict[str, type[Event]]:
        """Event classes by type, the newest version of each."""
        return self.registry.classes

    @functools.cached_property
    def light(self) -> Catalogue:
        """The same without the functions of capabilities that name their event modules: much quicker to import.

        Enough to read and publish events; a service that runs no function needs no more.
        """
        return Catalogue(
            (dataclasses.replace(each, functions=()) if each.events else each for each in self.capabilities), self.own
        )

    @functools.cached_property
    def registry(self) -> Registry:
        """Schemas of all event classes, every frozen version included."""
        classes = dict.fromkeys(cls for each in self.capabilities for cls in capability.events_of(each))
        classes.update(dict.fromkeys(cls for function in self.own for cls in (*function.on, *function.emits)))
        return Registry(classes, [SCHEMAS] if SCHEMAS.is_dir() else [])

    @functools.cached_property
    def topics(self) -> tuple[port.TopicSpec, ...]:
        """Topics of all capabilities; where several name one, the spec that differs from the default wins."""
        from sixfold import replies
        from sixfold.telemetry import reporting
        from sixfold.worker import alarms

        specs = {spec.name: spec for spec in (reporting.TOPIC, alarms.TICKS, replies.TOPIC)}
        for each in self.capabilities:
            for spec in capability.topics_of(each):
                if spec.name not in specs or specs[spec.name] == port.TopicSpec(name=spec.name):
                    specs[spec.name] = spec
        for cls in (cls for function in self.own for cls in (*function.on, *function.emits)):
            specs.setdefault(cls.__event__.topic, port.TopicSpec(name=cls.__event__.topic))
        for topic in (topic for function in self.own for topic in function.raw):
            specs.setdefault(topic, port.TopicSpec(name=topic))
        for function in self.functions.values():
            # A dead letter takes more than the record in it, unless the capability says how much.
            name = function.dead_letter_topic
            if specs.get(name) in (None, port.TopicSpec(name=name, partitions=1, retention_ms=None)):
                specs[name] = dead_letter.topic_spec(function, specs)
        return tuple(specs.values())

    def topics_to_make(self, existing: Collection[str]) -> list[port.TopicSpec]:
        """What to hand to `create_topics` on a bus that has the topics `existing`.

        A declared topic always, so that one that exists otherwise is noticed; a topic that nobody declared, whose spec
        is the default alone, is taken as it is where it exists.
        """
        return [spec for spec in self.topics if spec.name not in existing or spec != port.TopicSpec(name=spec.name)]

    def topics_for(self, functions: Iterable[AnyFunction]) -> list[port.TopicSpec]:
        """The specs of the topics that `functions` read and write."""
        needed = {cls.__event__.topic for function in functions for cls in (*function.on, *function.emits)}
        needed.update(topic for function in functions for topic in function.raw)
        return [spec for spec in self.topics if spec.name in needed]

    def function(self, name: str) -> AnyFunction:
        """The function `name`. Raises UnknownNameError."""
        if name not in self.functions:
            raise unknown("function", name, self.functions, "`sixfold functions` lists all")
        return self.functions[name]

    def topic(self, name: str) -> port.TopicSpec | None:
        """The spec of topic `name`, None where nothing declares it."""
        return next((spec for known in (self.light, self) for spec in known.topics if spec.name == name), None)

    def event(self, event_type: str) -> type[Event]:
        """The class of `event_type`. Raises UnknownNameError."""
        if event_type in self.light.events:
            return self.light.events[event_type]
        if event_type not in self.events:
            raise unknown("event type", event_type, self.events, "`sixfold event types` lists all")
        return self.events[event_type]


def unknown(kind: str, name: str, known: Iterable[str], advice: str) -> UnknownNameError:
    """The error for a `kind` called `name` that is not among `known`."""
    names: Sequence[str] = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or [each for each in names if name in each][:3]
    guess = f"did you mean {' or '.join(near)}? " if near else ""
    return UnknownNameError(f"there is no {kind} {name!r}; {guess}{advice}")


def installed(functions: Iterable[AnyFunction] = ()) -> Catalogue:
    """The catalogue of every installed capability, the system's own included, and of a user's `functions`."""
    return Catalogue((SYSTEM, *capability.discover()), functions)
