"""How a capability joins the house: one frozen description, found by the entry-point group `sixfold.capabilities`.

The runtime imports no capability. A description holds import strings (`module:attribute`), not objects, so finding
all capabilities is cheap and a process imports only what it runs. A third party's package joins in the same way.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sixfold import dead_letter, errors, retries
from sixfold.bus import port
from sixfold.function import AnyFunction, Function
from sixfold_events import Event

GROUP = "sixfold.capabilities"


class CapabilityError(errors.SixfoldError):
    """A capability's description names something that cannot be imported, or two of them clash."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A long-running process that is no function, such as a storage node with a pinned partition."""

    name: str
    """Such as `volume.storage`; `sixfold run volume.storage --copy a1` starts one."""
    run: str
    """`module:attribute` of `async def run(process: sixfold.process.Process) -> None`; returns when it was stopped."""
    summary: str = ""
    options: tuple[str, ...] = ()
    """Names of the options that say which one it is (`copy` for `--copy`): its process is named by their values."""
    settings: tuple[str, ...] = ()
    """Names of other options that it takes, which say how it runs."""
    instances: tuple[Mapping[str, str], ...] = ({},)
    """Options of each process that `sixfold up` starts, one each."""
    current: str | None = None
    """`module:attribute` of `async def current(bus: port.Bus, registry: Registry) -> Sequence[Mapping[str, str]]`, in
    place of `instances` where what there is to be started changes with time. Asked at each `sixfold up`, and for the
    name of a process that is not known yet."""
    bus: bool = True
    """False for a process that has no bus access, such as a deployment agent."""


@dataclass(frozen=True, kw_only=True)
class Capability:
    """What one capability brings: handlers, HTTP routes, commands, processes, dashboard panels."""

    name: str
    summary: str
    functions: tuple[str, ...] = ()
    """Modules whose `Function` objects belong to it."""
    events: tuple[str, ...] = ()
    """Modules whose `Event` classes it speaks, in sixfold_events or its own package."""
    topics: str | None = None
    """`module:attribute` of a sequence of `TopicSpec` for topics that need other than the default settings."""
    routes: str | None = None
    """`module:attribute` of `def routes(gateway: sixfold.gateway.Gateway) -> Sequence[sixfold.gateway.Route]`."""
    commands: str | None = None
    """`module:attribute` of a typer.Typer, mounted as `sixfold <name> …`."""
    services: tuple[Service, ...] = ()
    panels: tuple[str, ...] = ()
    """`module:attribute` of dashboard panels."""


@functools.cache
def discover() -> tuple[Capability, ...]:
    """Every installed capability, by name. Raises CapabilityError where one cannot be loaded or two share a name."""
    found: dict[str, Capability] = {}
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            capability = entry.load()
        except Exception as error:
            raise CapabilityError(f"capability {entry.name} ({entry.value}) cannot be loaded: {error}") from error
        if not isinstance(capability, Capability):
            raise CapabilityError(
                f"capability {entry.name}: {entry.value} is a {type(capability).__name__}, expected a Capability"
            )
        if capability.name in found:
            raise CapabilityError(f"two installed packages bring a capability named {capability.name}; uninstall one")
        found[capability.name] = capability
    return tuple(found.values())


def resolve(reference: str) -> Any:
    """The object that `module:attribute` names (the module itself without `:attribute`)."""
    module_name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
        return getattr(module, attribute) if attribute else module
    except (ImportError, AttributeError) as error:
        raise CapabilityError(f"{reference} cannot be imported: {error}") from error


def functions_of(capability: Capability) -> tuple[AnyFunction, ...]:
    """The `Function` objects of its modules, in the order in which they are defined."""
    return tuple(value for module in capability.functions for value in functions_in(resolve(module)))


def functions_in(module: types.ModuleType) -> tuple[AnyFunction, ...]:
    """The `Function` objects among a module's attributes, each once."""
    return tuple({id(value): value for value in vars(module).values() if isinstance(value, Function)}.values())


def events_of(capability: Capability) -> tuple[type[Event], ...]:
    """The `Event` classes of its modules, and those that its functions consume and emit, each once."""
    classes: dict[type[Event], None] = {}
    for module in capability.events:
        for value in vars(resolve(module)).values():
            if isinstance(value, type) and issubclass(value, Event) and value is not Event:
                classes[value] = None
    for each in functions_of(capability):
        classes.update(dict.fromkeys((*each.on, *each.emits)))
    return tuple(classes)


def topics_of(capability: Capability) -> tuple[port.TopicSpec, ...]:
    """Every topic that it needs: as declared, else with default settings; dead-letter topics have one partition."""
    declared = {spec.name: spec for spec in (resolve(capability.topics) if capability.topics else ())}
    specs = dict(declared)
    for cls in events_of(capability):
        specs.setdefault(cls.__event__.topic, port.TopicSpec(name=cls.__event__.topic))
    for each in functions_of(capability):
        if each.defers:
            specs.setdefault(each.retry_topic, retries.topic_spec(each, specs))
        specs.setdefault(each.dead_letter_topic, dead_letter.topic_spec(each, specs))
    return tuple(specs.values())
