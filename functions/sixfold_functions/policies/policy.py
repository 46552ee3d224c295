"""Policy documents: read strictly, evaluated with explicit deny first.

A document is refused when it is stored, not when it is asked: unknown elements, operators and duplicate JSON keys
never become a policy that means something else than its author read. Three kinds: a role's permission policy (Action,
Resource), its trust policy (Principal, Action, and a condition on the token's subject), and a key's policy (Principal,
Action, Resource), which says itself who may use the key.

Source: AWS IAM User Guide, "Policy evaluation logic" and "IAM JSON policy reference".
"""

from __future__ import annotations

import enum
import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from sixfold_functions.policies import conditions, keys
from sixfold_functions.policies.conditions import Condition, Context

DOCUMENT_CHARS_MAX = 10_240
"""As AWS's limit for a role's inline policies."""
KEY_DOCUMENT_BYTES_MAX = 32_768
"""As AWS KMS's limit for a key policy."""
ACCOUNT_DIGITS = 12
VERSION = "2012-10-17"
WEB_IDENTITY = "sts:AssumeRoleWithWebIdentity"

_ELEMENTS = {"Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "NotResource", "Condition"}


class MalformedPolicyError(ValueError):
    """A policy document cannot be stored; the message says what was expected and what was found."""


class Effect(enum.Enum):
    ALLOW = "Allow"
    DENY = "Deny"


class Principal(NamedTuple):
    """Who a statement is about, or one of the names of who calls."""

    kind: str
    """`Federated` (an issuer), `AWS` (an ARN; an account is its root's), `Service`."""
    name: str


EVERYONE = Principal("AWS", "*")


class Statement(NamedTuple):
    """One statement, read."""

    sid: str
    effect: Effect
    actions: tuple[str, ...]
    negated_actions: bool
    resources: tuple[str, ...]
    negated_resources: bool
    principals: tuple[Principal, ...]
    """Whom the statement is about; empty in a permission policy."""
    conditions: tuple[Condition, ...]


Policy = tuple[Statement, ...]


class Request(NamedTuple):
    """What is asked of a policy."""

    action: str
    resource: str
    context: Context
    principals: Collection[Principal] = ()
    """All names of who calls, for policies that name principals."""


class Verdict(NamedTuple):
    """What a policy says, and the statement that decided (`implicit` where none did)."""

    allowed: bool
    statement: str
    denied: bool = False
    """A statement denied it, so nothing else can allow it."""


def evaluate(policies: Iterable[Policy], request: Request) -> Verdict:
    """Explicit deny anywhere wins; else any allow; else denied."""
    allowed: str | None = None
    request = request._replace(context=keys.folded(request.context))
    for number, statement in enumerate(each for policy in policies for each in policy):
        if _applies(statement, request):
            name = statement.sid or f"statement {number}"
            if statement.effect is Effect.DENY:
                return Verdict(False, name, denied=True)
            allowed = allowed or name
    return Verdict(allowed is not None, allowed or "implicit")


def _applies(statement: Statement, request: Request) -> bool:
    """Whether action, resource, principal and every condition of `statement` fit `request`, its context folded."""
    action = any(conditions.like(request.action, each, ignore_case=True) for each in statement.actions)
    resource = any(conditions.like(request.resource, each) for each in statement.resources)
    return (
        action is not statement.negated_actions
        and (not statement.resources or resource is not statement.negated_resources)
        and (not statement.principals or _is_about(statement.principals, request.principals))
        and all(conditions.holds(condition, request.context) for condition in statement.conditions)
    )


def _is_about(named: Sequence[Principal], caller: Collection[Principal]) -> bool:
    return EVERYONE in named or any(each in caller for each in named)


def permission(text: str) -> Policy:
    """Read a role's permission policy. Raises MalformedPolicyError."""
    policy = _read(_short(text))
    for number, statement in enumerate(policy):
        if statement.principals:
            raise _malformed(number, "Principal belongs into a trust policy; take it away")
        if not statement.resources:
            raise _malformed(number, 'Resource is missing; name key ARNs, or "*"')
        for condition in statement.conditions:
            if wrong := keys.of_permission(condition.key):
                raise _malformed(number, wrong)
    return policy


def trust(text: str) -> Policy:
    """Read a role's trust policy. Raises MalformedPolicyError, also where a statement trusts any subject."""
    policy = _read(_short(text))
    for number, statement in enumerate(policy):
        if statement.resources:
            raise _malformed(number, "Resource has no meaning in a trust policy; take it away")
        issuers = [each.name for each in statement.principals if each.kind == "Federated"]
        if not issuers or len(issuers) < len(statement.principals):
            raise _malformed(number, 'Principal: expected {"Federated": "https://issuer"}')
        if statement.negated_actions or any(action != WEB_IDENTITY for action in statement.actions):
            raise _malformed(number, f"Action is {list(statement.actions)}, expected {WEB_IDENTITY}")
        for condition in statement.conditions:
            if wrong := keys.of_trust(condition.key, [issuer_key(issuer) for issuer in issuers]):
                raise _malformed(number, wrong)
        if statement.effect is Effect.ALLOW:
            for issuer in issuers:
                if not _pins_subject(statement, issuer):
                    raise _malformed(
                        number,
                        f"no condition says which subjects of {issuer} are trusted, so every token of it would do; "
                        f'add "Condition": {{"StringEquals": {{"{issuer_key(issuer)}:sub": "…"}}}}',
                    )
    return policy


def of_key(text: str) -> Policy:
    """Read a key's policy. Raises MalformedPolicyError."""
    if len(text.encode()) > KEY_DOCUMENT_BYTES_MAX:
        raise MalformedPolicyError(
            f"the policy takes {len(text.encode())} bytes, expected {KEY_DOCUMENT_BYTES_MAX} at most"
        )
    policy = _read(text)
    for number, statement in enumerate(policy):
        if not statement.principals:
            raise _malformed(number, 'Principal is missing; expected {"AWS": "arn:aws:iam::…:role/NAME"}')
        if any(each.kind == "Federated" for each in statement.principals):
            raise _malformed(number, "a web identity uses keys by a role; name the role's ARN as Principal.AWS")
        if not statement.resources:
            raise _malformed(number, 'Resource is missing; expected "*", which is the key itself')
        for condition in statement.conditions:
            if wrong := keys.of_permission(condition.key):
                raise _malformed(number, wrong)
    return policy


def issuer_key(issuer: str) -> str:
    """The name of an issuer in condition keys: its URL without the scheme, as AWS writes it."""
    return issuer.removeprefix("https://")


def _pins_subject(statement: Statement, issuer: str) -> bool:
    subject = keys.fold(f"{issuer_key(issuer)}:sub")
    return any(
        keys.fold(condition.key) == subject
        and condition.operator in conditions.POSITIVE_STRINGS
        and all(value.strip("*?") for value in condition.values)
        for condition in statement.conditions
    )


def _malformed(number: int, message: str) -> MalformedPolicyError:
    return MalformedPolicyError(f"policy statement {number}: {message}")


def _short(text: str) -> str:
    if len(text) > DOCUMENT_CHARS_MAX:
        raise MalformedPolicyError(f"the policy has {len(text)} characters, expected at most {DOCUMENT_CHARS_MAX}")
    return text


def _read(text: str) -> Policy:
    try:
        document = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise MalformedPolicyError(f"the policy is not JSON as expected: {error}") from error
    if not isinstance(document, dict) or set(document) - {"Version", "Id", "Statement"}:
        raise MalformedPolicyError("expected a JSON object of Version and Statement only")
    if document.get("Version") != VERSION:
        raise MalformedPolicyError(f"Version is {document.get('Version')!r}, expected {VERSION!r}")
    statements = document.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise MalformedPolicyError("Statement is missing or empty; expected a list of statements")
    return tuple(_statement(number, each) for number, each in enumerate(statements))


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object; keep one of them")
    return found


def _statement(number: int, raw: Any) -> Statement:
    if not isinstance(raw, dict):
        raise _malformed(number, f"expected an object, found {type(raw).__name__}")
    unknown = sorted(set(raw) - _ELEMENTS)
    if unknown:
        raise _malformed(number, f"unknown element {unknown[0]!r}; known are {', '.join(sorted(_ELEMENTS))}")
    if raw.get("Effect") not in ("Allow", "Deny"):
        raise _malformed(number, f"Effect is {raw.get('Effect')!r}, expected Allow or Deny")
    if ("Action" in raw) == ("NotAction" in raw):
        raise _malformed(number, "expected either Action or NotAction")
    if "Resource" in raw and "NotResource" in raw:
        raise _malformed(number, "expected either Resource or NotResource, found both")
    sid = raw.get("Sid", "")
    if not isinstance(sid, str):
        raise _malformed(number, "Sid: expected text")
    resources = raw.get("Resource", raw.get("NotResource"))
    return Statement(
        sid=sid,
        effect=Effect(raw["Effect"]),
        actions=_texts(number, "Action", raw.get("Action", raw.get("NotAction"))),
        negated_actions="NotAction" in raw,
        resources=_texts(number, "Resource", resources) if resources is not None else (),
        negated_resources="NotResource" in raw,
        principals=_principals(number, raw["Principal"]) if "Principal" in raw else (),
        conditions=tuple(_conditions(number, raw.get("Condition", {}))),
    )


def _texts(number: int, element: str, raw: Any) -> tuple[str, ...]:
    values: Sequence[Any] = raw if isinstance(raw, list) else [raw]
    if not values or not all(isinstance(value, str) and value for value in values):
        raise _malformed(number, f"{element}: expected text or a list of texts, none empty")
    for value in values:
        if "${" in value:
            raise _malformed(number, f"{element}: {value!r} has a policy variable; variables are not supported")
    return tuple(values)


def _principals(number: int, raw: Any) -> tuple[Principal, ...]:
    if raw == "*":
        return (EVERYONE,)
    if not isinstance(raw, dict) or not raw or set(raw) - {"AWS", "Federated", "Service"}:
        raise _malformed(number, 'Principal: expected {"Federated": "https://issuer"}, {"AWS": "ARN"} or "*"')
    return tuple(
        Principal(kind, _root_of(name) if kind == "AWS" else name)
        for kind, names in raw.items()
        for name in _texts(number, f"Principal.{kind}", names)
    )


def _root_of(name: str) -> str:
    """An account's number is another name of its root."""
    return f"arn:aws:iam::{name}:root" if len(name) == ACCOUNT_DIGITS and name.isdecimal() else name


def _conditions(number: int, raw: Any) -> Iterable[Condition]:
    if not isinstance(raw, dict):
        raise _malformed(number, "Condition: expected an object of operators")
    for operator, lines in raw.items():
        if not isinstance(lines, dict) or not lines:
            raise _malformed(number, f"Condition.{operator}: expected an object of keys and values")
        for key, listed in lines.items():
            values = [_scalar(number, operator, each) for each in (listed if isinstance(listed, list) else [listed])]
            line = Condition(operator, key, _texts(number, f"Condition.{operator}.{key}", values))
            wrong = conditions.problem(*line)
            if wrong:
                raise _malformed(number, wrong)
            yield line


def _scalar(number: int, operator: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise _malformed(number, f"Condition.{operator}: expected text, a number or a boolean, found {value!r}")
