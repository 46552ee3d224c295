"""What a capability and the gateway say to each other: routes with who may call them, and what handlers are given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from sixfold.process import Process

if TYPE_CHECKING:
    from sixfold.gateway.aws.service import Refused, Service

BODY_BYTES_MAX = 8 * 1024 * 1024
"""Eight records of the largest default size; AWS's APIs take 1 to 6 MB."""

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Principal:
    """Who calls, as the credential says. In a handler: `request.scope["principal"]`."""

    kind: str
    """`operator` (the bootstrap credential), `agent` (an instance), or what a `Signer` calls its callers."""
    name: str
    session: object = None
    """What the signer knows of the caller; None where a token of the gateway's own was shown."""


Signer = Callable[[str, str | None], Awaitable[tuple[str, Principal] | None]]
"""(access key id, session token) -> the secret that signs for it and whose it is; None where it knows none.

Raises `sigv4.SignatureError` for one that it knows and does not let in.
"""


@dataclass(frozen=True, kw_only=True)
class Route:
    """One path of the gateway."""

    path: str
    """Starlette's path syntax, such as `/git/{repository}/info/refs`."""
    endpoint: Endpoint
    methods: tuple[str, ...] = ("GET",)
    allow: tuple[str, ...] = ("operator",)
    """Kinds of principals that may call it; others get 403, callers without a credential 401."""
    public: bool = False
    """No credential is asked for: health, and calls that bring their own proof (a web identity token)."""
    body_bytes_max: int | None = BODY_BYTES_MAX
    """A larger request body gets 413; None for one that is streamed and never held in memory whole."""


@dataclass(frozen=True)
class Gateway:
    """What routes are made with."""

    process: Process
    """Bus, data folder, clock, registry and shared resources of the gateway's process."""
    url: str
    """Where the gateway is reached, such as `http://127.0.0.1:6480`."""
    on_start: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Appended to by `routes(gateway)`; the gateway awaits each before it takes its first request."""
    on_stop: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """As `on_start`; awaited after the last request, in reverse order, before the bus is closed."""
    aws: list[Service] = field(default_factory=list)
    """AWS services, appended to by `routes(gateway)`; the gateway answers for them on `POST /`."""
    on_unanswered: list[Refused] = field(default_factory=list)
    """As `on_start`; awaited for each AWS call that no operation took, before its answer goes out."""
    signers: list[Signer] = field(default_factory=list)
    """Who else than the bootstrap credential may sign requests, asked in turn."""
