"""What a capability and the gateway's `POST /` say to each other: services, their operations, one call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from sixfold.gateway.aws.faults import Fault
from sixfold.gateway.route import Principal


class Call(NamedTuple):
    """One call of an AWS client."""

    request_id: str
    service: str
    """botocore's name of it, such as `kms`."""
    operation: str
    parameters: Mapping[str, Any]
    """As botocore's documentation names and types them; they keep within the model's limits."""
    principal: Principal | None
    source_ip: str
    user_agent: str
    region: str
    """That the caller signed for; empty for a call that is not signed."""


Handler = Callable[[Call], Awaitable[Mapping[str, Any]]]
"""Carries an operation out and returns the members of its result. Raises Fault."""


class Service(NamedTuple):
    """An AWS service as a capability offers it."""

    name: str
    handlers: Mapping[str, Handler]
    """By operation; each records its calls. What is not here is answered as an operation that there is not."""
    proving: frozenset[str] = frozenset()
    """Operations whose calls bring their own proof of who calls, so they need no signature."""


class Unanswered(NamedTuple):
    """What is known of a call that no operation took."""

    request_id: str
    operation: str
    """As the caller named it, cut; empty where that cannot be read."""
    principal: Principal | None


Refused = Callable[[Unanswered, Fault], Awaitable[None]]
"""Told of a call that no operation took, before its answer goes out. Raises Fault where that cannot be recorded."""
