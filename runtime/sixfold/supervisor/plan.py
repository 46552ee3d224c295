"""Which processes the system has, as data: decided here, started by `tree.py`, printed by `sixfold up --dry-run`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sixfold.capability import Capability, Service

HOST = "127.0.0.1"
PORT = 6480

GATEWAY = Service(
    name="gateway",
    run="sixfold.gateway.server:run",
    summary="The HTTP door: Git, events, agents, health, metrics",
    options=("host", "port"),
)
FUNCTIONS = "functions"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `sixfold up` was asked for."""

    data_dir: Path
    bus_url: str = "embedded:"
    host: str = HOST
    """Address that the gateway listens on. Loopback unless a container's network is the boundary."""
    port: int = PORT
    """Port of the gateway; 0 lets the system choose."""
    without: tuple[str, ...] = ()
    """Processes or services that are not started here, because they run elsewhere."""
    apps: tuple[str, ...] = ()
    """Users' own apps (`module:attribute` or a file) whose functions run too."""


class ProcessSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One process to start."""

    name: str
    """Such as `volume.storage.a1`; also the name of its log."""
    command: tuple[str, ...]
    stage: int = 0
    """Processes of a lower stage are ready before those of a higher one start; they stop in reverse."""
    listens: bool = False
    """It is given the gateway's listening socket."""


def plan(
    capabilities: Iterable[Capability],
    settings: Settings,
    current: Mapping[str, Sequence[Mapping[str, str]]] | None = None,
) -> tuple[ProcessSpec, ...]:
    """The processes of the system: every service instance, one process for all functions, the gateway.

    `current` are the instances, by service, of those that are not always the same.

    Those without bus access come last, since the gateway is all that they can reach.
    """
    capabilities = tuple(capabilities)
    specs = [
        _spec(settings, instance_name(service, options), service.name, options, bus=service.bus)
        for each in capabilities
        for service in each.services
        for options in (current or {}).get(service.name, service.instances)
    ]
    if settings.apps or any(each.functions for each in capabilities):
        specs.append(ProcessSpec(name=FUNCTIONS, command=(*_sixfold(settings, bus=True), "run", "--all")))
    gateway = _spec(settings, GATEWAY.name, GATEWAY.name, {}, bus=True)
    specs.append(msgspec.structs.replace(gateway, listens=True))
    chosen = [spec for spec in specs if not any(_is_of(spec.name, name) for name in settings.without)]
    return tuple(sorted(chosen, key=lambda spec: (spec.stage, spec.name)))


def instance_name(service: Service, options: Mapping[str, str]) -> str:
    """`volume.storage` with {"copy": "a1"} is `volume.storage.a1`."""
    return ".".join((service.name, *(options[name] for name in service.options if name in options)))


def _is_of(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}.")


def _spec(settings: Settings, name: str, service: str, options: Mapping[str, str], *, bus: bool) -> ProcessSpec:
    words = [word for option, value in options.items() for word in (f"--{option}", value)]
    command = (*_sixfold(settings, bus=bus), "run", service, *words)
    return ProcessSpec(name=name, command=command, stage=0 if bus else 1)


def _sixfold(settings: Settings, *, bus: bool) -> tuple[str, ...]:
    # -P: what happens to lie in the current folder must not shadow what the system imports.
    command = [sys.executable, "-P", "-m", "sixfold", "--data-dir", str(settings.data_dir)]
    if bus:
        command += ["--bus", settings.bus_url]
        command += [word for app in settings.apps for word in ("--app", app)]
    return tuple(command)
