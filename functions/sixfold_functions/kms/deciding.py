"""What every operation decides with: who calls, which keys there are, what the caller may do with one. Pure.

The order is AWS's: parameters, permission, key, key state, key usage, then the operation itself, DryRun last. Without
permission a key that exists and one that does not look the same.

A caller may do something with a key if nothing denies it, and the key's policy allows it to the caller, or leaves it to
the account (its root is named) and a policy of the caller's role allows it, or a grant does.

Sources: AWS KMS Developer Guide, "Determining access to AWS KMS keys", "Grants in AWS KMS".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sixfold_events.kms import AliasChanged, GrantChanged, KeyChanged
from sixfold_functions.kms import asymmetric, blob, keyring, specs, states
from sixfold_functions.kms.keyring import Domain, Found, Keyring, Region
from sixfold_functions.policies import policy as policies
from sixfold_functions.policies.policy import Policy, Principal, Verdict

Change = KeyChanged | AliasChanged | GrantChanged
Context = Mapping[str, tuple[str, ...]]

_KEY_ID = re.compile(r"(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})\Z", re.ASCII)
ROOT_ARN = f"arn:aws:iam::{keyring.ACCOUNT}:root"
POLICY_NAME = "default"
"""The only name that a key policy can have."""


class Refused(Exception):  # noqa: N818 (an answer that a caller gets, not a fault of the program)
    """The request is refused with AWS's `code` and `message`."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Caller:
    """Whoever a session stands for."""

    arn: str
    kind: str
    """`AssumedRole` or `Root`."""
    role: str
    issuer: str
    subject: str
    issued_at_s: int
    secret: str
    permits: Callable[[str, str, Context], Verdict]
    """(action, resource ARN, condition keys) -> what its own policies say."""
    context: Context = field(default_factory=dict)
    """Condition keys that say who calls."""
    access_key_id: str = ""

    def __repr__(self) -> str:
        return f"Caller({self.arn})"

    @property
    def arns(self) -> tuple[str, ...]:
        """The names under which policies and grants may know the caller."""
        return (self.arn, f"arn:aws:iam::{keyring.ACCOUNT}:role/{self.role}") if self.role else (self.arn,)


class Service(NamedTuple):
    """What requests are decided with."""

    ring: Keyring
    domain: Domain
    entropy: Callable[[int], bytes]
    now_ms: int
    loader: asymmetric.Loader
    generate: Callable[[str], bytes] = asymmetric.generate
    """A new private key of a spec."""


class Call(NamedTuple):
    """One call of an operation."""

    operation: str
    parameters: Mapping[str, Any]
    """As AWS's API has them."""
    region: Region
    caller: Caller
    service: Service

    def get(self, name: str, default: Any = None) -> Any:
        """A parameter."""
        return self.parameters.get(name, default)


@dataclass(frozen=True)
class Outcome:
    """What comes of an allowed call."""

    result: Mapping[str, Any] = field(default_factory=dict)
    """As AWS's API has it."""
    arn: str = ""
    """ARN of the key that it was about."""
    changes: Sequence[Change] = ()


def invalid(message: str) -> Refused:
    """A parameter that cannot be."""
    return Refused("ValidationException", message)


def find(call: Call, named: str) -> Found:
    """What the caller's key id means. Raises Refused for a text that names nothing."""
    region = call.region
    prefix = keyring.arn_prefix(region.name)
    if named.startswith("arn:") and not named.startswith(prefix):
        raise Refused("NotFoundException", f"Invalid arn {named.split(':')[3] if named.count(':') > 2 else named}")
    local = named.removeprefix(prefix)
    if not local.startswith("alias/") and not _KEY_ID.match(local.removeprefix("key/") if local != named else local):
        raise Refused("NotFoundException", f"Invalid keyId '{named}'")
    return region.find(named)


def check_region(name: str) -> None:
    """Raises Refused for a name that no region can have."""
    if not keyring.REGIONS.match(name):
        raise invalid(f"region: expected {keyring.REGION} or a name such as eu-north-1, found {name[:64]!r}")


def use(call: Call, usage: str = "", *, named: str | None = None, action: str = "") -> KeyChanged:
    """The key that the caller names, which it may use so, in a state and of a usage that allow it. Raises Refused."""
    found = find(call, call.get("KeyId", "") if named is None else named)
    key = allowed(call, found, action or call.operation)
    check_state(call.operation, key)
    if usage:
        check_usage(call.operation, key, usage)
    return key


def allowed(call: Call, found: Found, action: str) -> KeyChanged:
    """The key that was found, if the caller may do this with it. Raises Refused."""
    context = conditions(call, found)
    if not _permits(call, found, action, context):
        raise Refused(
            "AccessDeniedException",
            f"User: {call.caller.arn} is not authorized to perform: kms:{action} on resource: {found.arn} "
            "because no identity-based policy, key policy or grant allows it, or one denies it",
        )
    if found.key is None:
        if found.alias:
            raise Refused("NotFoundException", f"Alias {found.arn} is not found.")
        raise Refused("NotFoundException", f"Key '{found.arn}' does not exist")
    return found.key


def allowed_anywhere(call: Call, resource: str = "*") -> None:
    """Whether the caller may call an operation that is about no one key. Raises Refused."""
    action = f"kms:{call.operation}"
    if not call.caller.permits(action, resource, {"kms:CallerAccount": (keyring.ACCOUNT,)}).allowed:
        raise Refused(
            "AccessDeniedException",
            f"User: {call.caller.arn} is not authorized to perform: {action} on resource: {resource} "
            "because no identity-based policy allows it, or one denies it",
        )


def conditions(call: Call, found: Found) -> dict[str, tuple[str, ...]]:
    """The condition keys of a call about a key."""
    pairs = call.get("EncryptionContext") or {}
    context: dict[str, tuple[str, ...]] = {f"kms:EncryptionContext:{name}": (value,) for name, value in pairs.items()}
    context["kms:EncryptionContextKeys"] = tuple(sorted(pairs))
    context["kms:CallerAccount"] = (keyring.ACCOUNT,)
    if found.alias:
        context["kms:RequestAlias"] = (found.alias,)
    if found.key:
        context["kms:ResourceAliases"] = call.region.aliases_of(found.key.key_id)
    return context


def _permits(call: Call, found: Found, action: str, context: Context) -> bool:
    verdict = _policies(call, found, f"kms:{action}", context)
    return verdict.allowed or (
        not verdict.denied and found.key is not None and bool(grants_for(call, found.key.key_id, action))
    )


def by_policy(call: Call, found: Found, action: str) -> bool:
    """Whether policies allow it, so that no grant is needed."""
    return _policies(call, found, f"kms:{action}", conditions(call, found)).allowed


def _policies(call: Call, found: Found, action: str, context: Context) -> Verdict:
    """What the caller's policies and the key's say together."""
    own = call.caller.permits(action, found.arn, context)
    if own.denied or found.key is None:
        return own
    who = [Principal("AWS", arn) for arn in call.caller.arns]
    root = Principal("AWS", ROOT_ARN)
    policy = key_policy(found.key)
    seen = {**context, **call.caller.context}
    direct = policies.evaluate([policy], policies.Request(action, found.arn, seen, tuple(who)))
    account = policies.evaluate([policy], policies.Request(action, found.arn, seen, (*who, root)))
    if direct.denied or account.denied:
        return account
    if direct.allowed:
        return direct
    return own if account.allowed else Verdict(False, account.statement)


def grants_for(call: Call, key_id: str, operation: str) -> list[GrantChanged]:
    """Grants by which the caller may do `operation` with the key, as the call's encryption context is."""
    pairs = call.get("EncryptionContext") or {}
    return [
        grant
        for grant in call.region.grants.get(key_id, {}).values()
        if grant.grantee in call.caller.arns
        and operation in grant.operations
        and (operation not in CONTEXTUAL or not grant.context_equals or pairs == grant.context_equals)
        and (operation not in CONTEXTUAL or pairs.items() >= grant.context_subset.items())
    ]


CONTEXTUAL = frozenset({"Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo"}) | {
    f"GenerateDataKey{name}" for name in ("", "WithoutPlaintext", "Pair", "PairWithoutPlaintext")
}
"""Operations that take an encryption context; a grant's constraints are about no others."""


def key_policy(key: KeyChanged) -> Policy:
    """The key's policy, read; the default one where it has none of its own."""
    return policies.of_key(key.policy or DEFAULT_POLICY)


DEFAULT_POLICY = (
    '{"Version":"2012-10-17","Id":"key-default-1","Statement":[{"Sid":"Enable IAM User Permissions","Effect":"Allow",'
    f'"Principal":{{"AWS":"{ROOT_ARN}"}},"Action":"kms:*","Resource":"*"}}]}}'
)
"""AWS's: the account's own policies say who may use the key."""


def check_state(operation: str, key: KeyChanged) -> None:
    """Raises Refused where the key's state does not allow the operation."""
    refusal = states.refusal(operation, states.State(key.state), keyring.key_arn(key))
    if refusal is not None:
        raise Refused(refusal.code, refusal.message)


def check_usage(operation: str, key: KeyChanged, usage: str) -> None:
    """Raises Refused where the key is for another use."""
    if key.usage != usage:
        raise Refused(
            "InvalidKeyUsageException",
            f"{keyring.key_arn(key)} key usage is {key.usage} which is not valid for {operation}.",
        )


def dry_run(call: Call) -> None:
    """Raises Refused where the call was only to see whether it would succeed; nothing after it may fail."""
    if call.get("DryRun"):
        raise Refused("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")


def algorithm(key: KeyChanged, wanted: str) -> str:
    """`wanted`, if the key is for it. Raises Refused."""
    if wanted not in specs.SPECS[key.spec].usages[key.usage]:
        raise Refused("InvalidKeyUsageException", f"Algorithm {wanted} is incompatible with key spec {key.spec}.")
    return wanted


def material(call: Call, key: KeyChanged, version: str = "") -> bytes:
    """The key's material, of its current version unless one is named. Raises Refused."""
    domain = call.service.domain
    if key.root_id != domain.root_id:
        raise Refused(
            "KMSInternalException",
            f"{keyring.key_arn(key)} was made under root key {key.root_id}, but {domain.root_id} is open; "
            "restore the root key",
        )
    try:
        return keyring.unwrap(domain, key, version or key.current_version)
    except (blob.InvalidBlobError, KeyError) as error:
        raise Refused("KMSInternalException", f"the stored material of {keyring.key_arn(key)} was changed") from error
