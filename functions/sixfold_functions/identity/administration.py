"""Registering issuers and defining roles: checked first, then two events, the call and what it changed.

Whoever may write to `identity.state` may make roles: on the embedded bus the owner of the data folder, on Kafka whom
the ACLs let.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sixfold import clock as clocks
from sixfold import errors
from sixfold.process import Process
from sixfold.publisher import Publisher
from sixfold_events.identity import IdentityCalled, IssuerRegistered, RoleDefined
from sixfold_functions.identity import core


async def register_issuer(process: Process, url: str, *, audiences: Sequence[str], jwks: str) -> None:
    """Believe tokens of `url` for `audiences` that a key of `jwks` signed. Raises UsageError on anything odd."""
    now_ms = clocks.now_ms(process.clock)
    event = IssuerRegistered(
        entry=f"issuer/{url}", url=url, audiences=list(audiences), jwks=jwks, registered_at_ms=now_ms
    )
    try:
        core.issuer_of(event)
    except core.InvalidEntryError as error:
        raise errors.UsageError(str(error)) from error
    await _publish(process, "CreateOpenIDConnectProvider", url, event)


async def define_role(
    process: Process, name: str, *, trust_policy: str, permission_policy: str, session_s_max: int = core.SESSION_S_MAX
) -> str:
    """Make or replace a role; returns its ARN. Raises UsageError on anything odd."""
    event = RoleDefined(
        entry=f"role/{name}",
        name=name,
        trust_policy=trust_policy,
        permission_policy=permission_policy,
        session_s_max=session_s_max,
        defined_at_ms=clocks.now_ms(process.clock),
    )
    try:
        role = core.role_of(event)
    except core.InvalidEntryError as error:
        raise errors.UsageError(str(error)) from error
    await _publish(process, "CreateRole", role.arn, event)
    return role.arn


async def _publish(process: Process, action: str, resource: str, event: IssuerRegistered | RoleDefined) -> None:
    call = IdentityCalled(
        call_id=str(uuid.uuid4()),
        action=action,
        principal="operator",
        resource=resource,
        called_at_ms=clocks.now_ms(process.clock),
    )
    publisher = Publisher(process.require_bus(), source="/identity/administration", clock=process.clock)
    # The call is stored before the change: no change without its trace.
    await publisher.publish(call)
    await publisher.publish(event)
