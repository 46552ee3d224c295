"""The audit trail's records, in CloudTrail's shape: who called what, about which key, and how it ended. Pure.

A record holds no plaintext, no ciphertext, no token, no signature. The encryption context is in clear, as in
CloudTrail. Source: AWS CloudTrail User Guide, "CloudTrail record contents"; AWS KMS Developer Guide, "Logging".
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, NamedTuple

from sixfold_events.identity import IdentityCalled
from sixfold_events.kms import KeyRequested
from sixfold_functions.kms import encoding, keyring
from sixfold_functions.kms.deciding import Caller
from sixfold_functions.kms.operations.table import OPERATIONS

TEXT_CHARS_MAX = 256
"""Texts of a caller that nobody has authenticated are cut to this length."""


class Origin(NamedTuple):
    """Where a call came from, and when."""

    event_id: str
    request_id: str
    time_ms: int
    region: str = keyring.REGION
    source_ip: str = ""
    user_agent: str = ""


def of_request(
    request: KeyRequested,
    parameters: Mapping[str, Any],
    caller: Caller | None,
    *,
    event_id: str,
    time_ms: int,
    key_arn: str = "",
    error: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """The record of a key request; `caller` None where its session could not be opened, `error` is (code, message)."""
    origin = Origin(event_id, request.request_id[:TEXT_CHARS_MAX], time_ms, request.region[:TEXT_CHARS_MAX])
    given: dict[str, Any] = {**parameters}
    if request.key_id:
        given["KeyId"] = request.key_id
    if request.alias:
        given["AliasName"] = request.alias
    if request.operation == "GenerateDataKey":
        given["NumberOfBytes"] = request.number_of_bytes
    given["EncryptionContext"] = request.encryption_context
    record = of_call(request.operation, given, caller, origin, key_arn=key_arn, error=error)
    if caller is None:
        record["userIdentity"] = {"type": "Unknown", "accessKeyId": request.access_key_id[:TEXT_CHARS_MAX]}
    return record


def of_call(
    operation: str,
    parameters: Mapping[str, Any],
    caller: Caller | None,
    origin: Origin,
    *,
    key_arn: str = "",
    error: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """The record of an operation on keys."""
    record = _record("kms.amazonaws.com", operation, origin.event_id, origin.time_ms, error)
    record |= {
        "userIdentity": {"type": "Unknown"} if caller is None else _identity(caller),
        "awsRegion": origin.region,
        "sourceIPAddress": origin.source_ip,
        "userAgent": origin.user_agent,
        "requestParameters": _parameters(parameters),
        "requestID": origin.request_id,
        "readOnly": not (operation in OPERATIONS and OPERATIONS[operation].changes),
        "resources": [{"accountId": keyring.ACCOUNT, "type": "AWS::KMS::Key", "ARN": key_arn}] if key_arn else [],
    }
    return record


def of_identity_call(call: IdentityCalled, *, event_id: str) -> dict[str, Any]:
    """The record of a call for credentials, or of a change of issuers and roles."""
    error = (call.error_code, call.error_message) if call.error_code else None
    record = _record("sts.amazonaws.com", call.action, event_id, call.called_at_ms, error)
    record |= {
        "userIdentity": {
            "type": _kind(call),
            "principalId": call.principal[:TEXT_CHARS_MAX],
            "identityProvider": call.issuer[:TEXT_CHARS_MAX],
            "userName": call.subject[:TEXT_CHARS_MAX],
        },
        "requestParameters": {
            "roleArn": call.resource[:TEXT_CHARS_MAX],
            "roleSessionName": call.session_name[:TEXT_CHARS_MAX],
        },
        "responseElements": {"credentials": {"accessKeyId": call.access_key_id}} if call.access_key_id else None,
        "requestID": call.call_id,
        "readOnly": True,
        "resources": [],
    }
    return record


def _kind(call: IdentityCalled) -> str:
    if call.issuer:
        return "WebIdentityUser"
    if ":assumed-role/" in call.principal:
        return "AssumedRole"
    return "Root" if call.principal in ("operator", f"arn:aws:iam::{keyring.ACCOUNT}:root") else "Unknown"


def time(time_ms: int) -> str:
    """Unix milliseconds as CloudTrail writes a time, in UTC, to the second."""
    return f"{datetime.datetime.fromtimestamp(time_ms // 1000, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"


def _record(source: str, name: str, event_id: str, time_ms: int, error: tuple[str, str] | None) -> dict[str, Any]:
    record: dict[str, Any] = {
        "eventVersion": "1.11",
        "eventTime": time(time_ms),
        "eventSource": source,
        "eventName": name[:TEXT_CHARS_MAX],
        "eventID": event_id,
        "eventType": "AwsApiCall",
        "eventCategory": "Management",
        "managementEvent": True,
        "awsRegion": keyring.REGION,
        "recipientAccountId": keyring.ACCOUNT,
        "responseElements": None,
    }
    if error:
        record |= {"errorCode": error[0], "errorMessage": error[1]}
    return record


def _identity(caller: Caller) -> Mapping[str, Any]:
    identity: dict[str, Any] = {
        "type": caller.kind,
        "arn": caller.arn,
        "accountId": keyring.ACCOUNT,
        "accessKeyId": caller.access_key_id,
    }
    if caller.role:
        identity["sessionContext"] = {
            "sessionIssuer": {"type": "Role", "userName": caller.role, "accountId": keyring.ACCOUNT},
            "webIdFederationData": {"federatedProvider": caller.issuer, "attributes": {"sub": caller.subject}},
            "attributes": {"creationDate": time(caller.issued_at_s * 1000), "mfaAuthenticated": "false"},
        }
    return identity


TOLD = frozenset(
    [
        "AliasName",
        "BypassPolicyLockoutSafetyCheck",
        "CustomerMasterKeySpec",
        "Description",
        "DestinationEncryptionAlgorithm",
        "DestinationKeyId",
        "DryRun",
        "EncryptionAlgorithm",
        "ExpirationModel",
        "GrantId",
        "GranteePrincipal",
        "KeyAgreementAlgorithm",
        "KeyId",
        "KeyPairSpec",
        "KeySpec",
        "KeyUsage",
        "Limit",
        "MacAlgorithm",
        "MessageType",
        "MultiRegion",
        "Name",
        "NumberOfBytes",
        "Operations",
        "Origin",
        "PendingWindowInDays",
        "PolicyName",
        "PrimaryRegion",
        "ReplicaRegion",
        "RetiringPrincipal",
        "RotationPeriodInDays",
        "SigningAlgorithm",
        "SourceEncryptionAlgorithm",
        "SourceKeyId",
        "TagKeys",
        "TargetKeyId",
        "WrappingAlgorithm",
        "WrappingKeySpec",
    ]
)
"""Parameters that a record tells: no plaintext, no ciphertext, no message, no policy."""
CONTEXTS = ("EncryptionContext", "SourceEncryptionContext", "DestinationEncryptionContext")


def _parameters(given: Mapping[str, Any]) -> Mapping[str, Any]:
    found = {
        name[:1].lower() + name[1:]: value[:TEXT_CHARS_MAX] if isinstance(value, str) else value
        for name, value in given.items()
        if name in TOLD
    }
    for name in CONTEXTS:
        if name in given:
            found[name[:1].lower() + name[1:]] = _context(given[name])
    found.setdefault("encryptionAlgorithm", "SYMMETRIC_DEFAULT")
    return found


def _context(pairs: Mapping[str, str]) -> Mapping[str, str] | None:
    try:
        encoding.context(pairs)
    except encoding.InvalidContextError:
        return None
    return dict(pairs)
