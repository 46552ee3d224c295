"""Events of the identity capability: what is registered, and every call that was answered or refused."""

from __future__ import annotations

from sixfold_events.event import Event


class IssuerRegistered(Event, topic="identity.state", key="entry"):
    """Web identity tokens of this issuer are believed from now on, when one of these keys signed them."""

    entry: str
    """`issuer/<url>`: the key under which the newest registration is kept."""
    url: str
    """The `iss` of its tokens, exactly."""
    audiences: list[str]
    """The `aud` of its tokens must be one of these."""
    jwks: str
    """Its public keys as a JSON Web Key Set, pinned."""
    registered_at_ms: int


class RoleDefined(Event, topic="identity.state", key="entry"):
    """A role exists with these policies; a later one of the same name replaces it."""

    entry: str
    """`role/<name>`."""
    name: str
    trust_policy: str
    """Who may assume it: a policy document (JSON)."""
    permission_policy: str
    """What it may do: a policy document (JSON)."""
    defined_at_ms: int
    session_s_max: int = 43200
    """Longest session in seconds."""


class IdentityCalled(Event, topic="identity.calls", key="call_id"):
    """A call for credentials, or a change of issuers and roles, was allowed or refused; holds no secret."""

    call_id: str
    action: str
    """As AWS names it, such as AssumeRoleWithWebIdentity."""
    principal: str
    """Who called: the web identity's ARN-like name, or `operator`."""
    resource: str
    """What it was about: a role's ARN, an issuer's URL."""
    called_at_ms: int
    access_key_id: str = ""
    """Of the session that was issued; empty where none was."""
    session_name: str = ""
    issuer: str = ""
    """As the token named it; believed only where `error_code` is empty."""
    subject: str = ""
    audience: str = ""
    error_code: str = ""
    """Empty where it was allowed."""
    error_message: str = ""
