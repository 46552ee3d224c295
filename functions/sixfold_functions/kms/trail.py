"""The audit trail's records, in CloudTrail's shape: who called what, about which key, and how it ended. Pure.

A record holds no plaintext, no ciphertext, no token, no signature. The encryption context is in clear, as in
CloudTrail. Source: AWS CloudTrail User Guide, "CloudTrail record contents"; AWS KMS Developer Guide, "Logging".
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from sixfold_events.identity import IdentityCalled
from sixfold_events.kms import KeyRequested
from sixfold_functions.kms import encoding, keyring
from sixfold_functions.kms.core import Caller

TEXT_CHARS_MAX = 256
"""Texts of a caller that nobody has authenticated are cut to this length."""


def of_request(
    request: KeyRequested,
    caller: Caller | None,
    *,
    event_id: str,
    time_ms: int,
    key_arn: str = "",
    error: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """The record of a key request; `caller` None where its session could not be opened, `error` is (code, message)."""
    record = _record("kms.amazonaws.com", request.operation, event_id, time_ms, error)
    record |= {
        "userIdentity": _identity(request, caller),
        "requestParameters": _parameters(request),
        "requestID": request.request_id[:TEXT_CHARS_MAX],
        "readOnly": request.operation in ("GenerateDataKey", "Decrypt"),
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


def _identity(request: KeyRequested, caller: Caller | None) -> Mapping[str, Any]:
    if caller is None:
        return {"type": "Unknown", "accessKeyId": request.access_key_id[:TEXT_CHARS_MAX]}
    identity: dict[str, Any] = {
        "type": caller.kind,
        "arn": caller.arn,
        "accountId": keyring.ACCOUNT,
        "accessKeyId": request.access_key_id,
    }
    if caller.role:
        identity["sessionContext"] = {
            "sessionIssuer": {"type": "Role", "userName": caller.role, "accountId": keyring.ACCOUNT},
            "webIdFederationData": {"federatedProvider": caller.issuer, "attributes": {"sub": caller.subject}},
            "attributes": {"creationDate": time(caller.issued_at_s * 1000), "mfaAuthenticated": "false"},
        }
    return identity


def _parameters(request: KeyRequested) -> Mapping[str, Any]:
    parameters: dict[str, Any] = {"encryptionAlgorithm": "SYMMETRIC_DEFAULT"}
    if request.key_id:
        parameters["keyId"] = request.key_id[:TEXT_CHARS_MAX]
    if request.alias:
        parameters["aliasName"] = request.alias[:TEXT_CHARS_MAX]
    if request.operation == "GenerateDataKey":
        parameters["numberOfBytes"] = request.number_of_bytes
    try:
        encoding.context(request.encryption_context)
        parameters["encryptionContext"] = dict(request.encryption_context)
    except encoding.InvalidContextError:
        parameters["encryptionContext"] = None
    return parameters
