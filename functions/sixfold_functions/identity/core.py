"""Deciding about roles: whether a web identity may assume one, and what of the call is worth keeping. Pure.

Neighbours: `token.py` verifies the web identity, `policy.py` evaluates, `sessions.py` mints credentials.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sixfold_events.identity import IssuerRegistered, RoleDefined
from sixfold_functions.identity import jwks, sessions, token
from sixfold_functions.identity.refusal import Refusal
from sixfold_functions.policies import keys, policy
from sixfold_functions.policies.conditions import Context

ACCOUNT = "000000000000"
"""Everything belongs to one account; several come with the AWS protocols' credential scopes."""
ROOT_ARN = f"arn:aws:iam::{ACCOUNT}:root"
SESSION_S_MIN, SESSION_S_MAX, SESSION_S_DEFAULT = 900, 43_200, 3600
"""DurationSeconds as in AWS's STS API reference."""

_ROLE_NAME = re.compile(r"[\w+=,.@-]{1,64}\Z", re.ASCII)
_ROLE_ARN = re.compile(rf"arn:aws:iam::{ACCOUNT}:role/([\w+=,.@-]{{1,64}})\Z", re.ASCII)
_URL = re.compile(r"https?://[!-~]{1,250}\Z", re.ASCII)
AUDIENCES_MAX = 100
"""As AWS's limit of client ids of one provider."""


class InvalidEntryError(ValueError):
    """An issuer or a role cannot be stored; the message says what was expected and what was found."""


class Role(NamedTuple):
    """A role with its policies, read."""

    name: str
    trust: policy.Policy
    permission: policy.Policy
    session_s_max: int

    @property
    def arn(self) -> str:
        return role_arn(self.name)


@dataclass
class Directory:
    """Issuers and roles: the fold of `identity.state`."""

    issuers: dict[str, token.Issuer] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)

    def apply(self, event: object) -> None:
        """Take one event in. Raises InvalidEntryError where it cannot be stored; what it was to replace is gone too."""
        if isinstance(event, IssuerRegistered):
            self.issuers.pop(event.url, None)
            self.issuers[event.url] = issuer_of(event)
        elif isinstance(event, RoleDefined):
            self.roles.pop(event.name, None)
            self.roles[event.name] = role_of(event)


class Asked(NamedTuple):
    """An AssumeRoleWithWebIdentity call, its parameters checked."""

    role_arn: str
    role_name: str
    session_name: str
    web_identity_token: str
    duration_s: int


class Assumed(NamedTuple):
    """An allowed call."""

    session: sessions.Session
    identity: token.Identity
    role: Role


def role_arn(name: str) -> str:
    """`arn:aws:iam::…:role/NAME`."""
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


def user_id(session: sessions.Session) -> str:
    """AWS's unique id of a principal: the account's for the operator, else that of the role with the session's name."""
    return ACCOUNT if session.kind == sessions.ROOT else f"AROA{session.role}:{session.name}"


def session_arn(session: sessions.Session) -> str:
    """The principal's ARN: an assumed role, or the account's root for the operator."""
    if session.kind == sessions.ROOT:
        return ROOT_ARN
    return f"arn:aws:sts::{ACCOUNT}:assumed-role/{session.role}/{session.name}"


def issuer_of(event: IssuerRegistered) -> token.Issuer:
    """The issuer of a registration. Raises InvalidEntryError."""
    if not _URL.match(event.url):
        raise InvalidEntryError(f"issuer {event.url!r}: expected an http or https URL, exactly as its tokens' iss")
    if not 0 < len(event.audiences) <= AUDIENCES_MAX or not all(event.audiences):
        raise InvalidEntryError(f"issuer {event.url}: expected 1 to {AUDIENCES_MAX} audiences, none empty")
    try:
        return token.Issuer(event.url, tuple(event.audiences), jwks.parse(event.jwks))
    except jwks.MalformedKeySetError as error:
        raise InvalidEntryError(f"issuer {event.url}: {error}") from error


def role_of(event: RoleDefined) -> Role:
    """The role of a definition. Raises InvalidEntryError."""
    if not _ROLE_NAME.match(event.name):
        raise InvalidEntryError(f"role {event.name!r}: expected 1 to 64 letters, digits or any of +=,.@_-")
    if not SESSION_S_MIN <= event.session_s_max <= SESSION_S_MAX:
        raise InvalidEntryError(
            f"role {event.name}: sessions of {event.session_s_max} s, expected {SESSION_S_MIN} to {SESSION_S_MAX}"
        )
    try:
        trust = policy.trust(event.trust_policy)
    except policy.MalformedPolicyError as error:
        raise InvalidEntryError(f"role {event.name}: trust policy: {error}") from error
    try:
        permission = policy.permission(event.permission_policy)
    except policy.MalformedPolicyError as error:
        raise InvalidEntryError(f"role {event.name}: permission policy: {error}") from error
    return Role(event.name, trust, permission, event.session_s_max)


def asked(parameters: Mapping[str, Any]) -> Asked:
    """Check a call's parameters, which keep within AWS's model. Raises Refusal (ValidationError)."""
    if parameters.get("Policy") or parameters.get("PolicyArns"):
        # A session policy narrows what the session may do; to ignore one would hand out more than was asked for.
        raise Refusal("MalformedPolicyDocument", "Session policies are not supported; leave Policy and PolicyArns out")
    arn = parameters["RoleArn"]
    found = _ROLE_ARN.match(arn)
    if not found:
        raise Refusal("ValidationError", f"{arn[:128]} is invalid; expected {role_arn('NAME')}")
    return Asked(
        arn,
        found.group(1),
        parameters["RoleSessionName"],
        parameters["WebIdentityToken"],
        parameters.get("DurationSeconds", SESSION_S_DEFAULT),
    )


def assume(directory: Directory, call: Asked, access_key_id: str, now_s: float) -> Assumed:
    """Decide about a call at `now_s`. Raises Refusal with AWS's codes.

    The token is verified before the role is looked up, so nobody without a good token learns which roles exist.
    """
    identity = token.verify(call.web_identity_token, directory.issuers, now_s)
    role = directory.roles.get(call.role_name)
    if role is None or not trusts(role, identity):
        raise Refusal("AccessDenied", f"Not authorized to perform {policy.WEB_IDENTITY}")
    if call.duration_s > role.session_s_max:
        raise Refusal(
            "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        )
    session = sessions.Session(
        access_key_id=access_key_id,
        kind=sessions.ROLE,
        role=role.name,
        name=call.session_name,
        issuer=identity.issuer,
        subject=identity.subject,
        audience=identity.audience,
        tags=identity.claims,
        issued_at_s=int(now_s),
        expires_at_s=int(now_s) + call.duration_s,
    )
    return Assumed(session, identity, role)


def trusts(role: Role, identity: token.Identity) -> bool:
    """Whether the role's trust policy lets this identity in."""
    prefix = policy.issuer_key(identity.issuer)
    context = {f"{prefix}:{claim}": values for claim, values in identity.claims.items()}
    context[f"{prefix}:aud"] = (identity.audience,)
    request = policy.Request(
        policy.WEB_IDENTITY, role.arn, context, principals=(policy.Principal("Federated", identity.issuer),)
    )
    return policy.evaluate([role.trust], request).allowed


def permits(
    role: Role | None, session: sessions.Session, action: str, resource: str, context: Context
) -> policy.Verdict:
    """What the session's policies say of `action` on `resource`; its claims are `aws:PrincipalTag/<claim>` in conditions.

    The operator may do everything. A role that is gone permits nothing, however fresh the session is.
    """
    if session.kind == sessions.ROOT:
        return policy.Verdict(True, "the account's root")
    if role is None or role.name != session.role:
        return policy.Verdict(False, "the role is gone", denied=True)
    seen = {**context, **principal_context(session)}
    return policy.evaluate([role.permission], policy.Request(action, resource, seen))


def principal_context(session: sessions.Session) -> dict[str, tuple[str, ...]]:
    """Condition keys that say who calls."""
    seen = {f"{keys.TAG}{claim}": tuple(values) for claim, values in session.tags.items()}
    seen["aws:PrincipalArn"] = (role_arn(session.role) if session.role else ROOT_ARN,)
    return seen
