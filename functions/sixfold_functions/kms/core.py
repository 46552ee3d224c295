"""Requests through the log: who asks, whether it is fresh, what may come this way, and what comes of it. Pure.

The checks come in this order: session, signature, end of session, freshness, lane, replay, parameters, permission,
key, key state, ciphertext; `desk.py` and `handler.py` make those before the parameters, `deciding.py` and the operations
those after.

Neighbours: `operations/` decides, `messages.py` signs and seals, `keyring.py` knows the keys, `trail.py` writes records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sixfold_events.kms import AliasChanged, KeyChanged, KeyRequested
from sixfold_functions.kms import deciding, messages
from sixfold_functions.kms.deciding import Call, Caller, Outcome, Refused, Service, invalid
from sixfold_functions.kms.operations import aliases, ciphers, lifetimes
from sixfold_functions.kms.operations.table import OPERATIONS

FRESH_MS = 5 * 60 * 1000
"""A request is good for five minutes before and after its signing, as AWS's signatures."""
ADMIN_LANE = "admin"
"""All changes of keys, aliases and grants are in one lane, so two of them cannot race."""
TEXT_CHARS_MAX = 2048
"""Longest key id that AWS's model takes."""
REQUEST_ID_CHARS_MAX = 128
SEALED = frozenset({"GenerateDataKey", "Decrypt"})
"""Operations whose answer holds a plaintext, so they need a recipient."""
TEND = "TendKeys"
"""Of our own: what falls due by itself, asked for by a timer."""


def changes(operation: str) -> bool:
    """Whether the operation changes keys, aliases or grants."""
    return operation == TEND or (operation in OPERATIONS and OPERATIONS[operation].changes)


def lane_of(operation: str, access_key_id: str) -> str:
    """The lane that a request belongs to."""
    return ADMIN_LANE if changes(operation) else access_key_id


def check_signature(request: KeyRequested, caller: Caller) -> None:
    """Whether the caller itself said exactly this. Raises Refused."""
    if not messages.is_signed(caller.secret, request):
        raise Refused(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided.",
        )


def check_fresh(request: KeyRequested, now_ms: int) -> None:
    """Whether the caller said it just now. Raises Refused."""
    if abs(now_ms - request.signed_at_ms) > FRESH_MS:
        raise Refused(
            "RequestExpiredException",
            f"Signature not yet current or expired: signed at {request.signed_at_ms}, now {now_ms}",
        )


def perform(request: KeyRequested, parameters: Mapping[str, Any], caller: Caller, service: Service) -> Outcome:
    """Do what an authentic request asks for; `parameters` are those of its JSON, read. Raises Refused."""
    check(request)
    region = service.ring.of(request.region)
    call = Call(request.operation, {**_parameters(request), **parameters}, region, caller, service)
    if request.operation == TEND:
        if caller.kind != "Root":
            raise Refused("AccessDeniedException", f"{TEND} is for the system itself")
        due = [change for each in service.ring.regions() for change in lifetimes.due(call._replace(region=each))]
        return Outcome(changes=due)
    outcome = OPERATIONS[request.operation].run(call)
    if request.operation == "CreateKey" and request.alias:
        [key] = [change for change in outcome.changes if isinstance(change, KeyChanged)]
        named: AliasChanged = aliases.made(call, aliases.checked(request.alias), key.key_id)
        return Outcome(outcome.result, outcome.arn, (*outcome.changes, named))
    return outcome


def check(request: KeyRequested) -> None:
    """Whether the request may come through the log, and has sizes that can be handled. Raises Refused."""
    if not (changes(request.operation) or request.operation in SEALED):
        raise Refused(
            "UnsupportedOperationException",
            f"{request.operation[:64]} does not come through the log; ask the gateway for it",
        )
    if not 0 < len(request.request_id) <= REQUEST_ID_CHARS_MAX:
        raise invalid(f"requestId: expected 1 to {REQUEST_ID_CHARS_MAX} characters")
    if len(request.key_id) > TEXT_CHARS_MAX:
        raise invalid(f"keyId: expected at most {TEXT_CHARS_MAX} characters")
    deciding.check_region(request.region)
    ciphers.check_context(request.encryption_context)
    if request.operation in SEALED and len(request.recipient) != messages.RECIPIENT_BYTES:
        raise invalid(f"recipient: expected {messages.RECIPIENT_BYTES} bytes; a plaintext never enters a topic")


def _parameters(request: KeyRequested) -> Mapping[str, Any]:
    """The request's own fields as the API's parameters."""
    given: dict[str, Any] = {"KeyId": request.key_id}
    match request.operation:
        case "GenerateDataKey":
            given |= {"NumberOfBytes": request.number_of_bytes, "EncryptionContext": request.encryption_context}
        case "Decrypt":
            given |= {"CiphertextBlob": request.ciphertext_blob, "EncryptionContext": request.encryption_context}
        case "CreateKey":
            given = {"Description": request.description}
        case "CreateAlias":
            given = {"AliasName": request.alias, "TargetKeyId": request.key_id}
    return given


def sealed(request: KeyRequested, outcome: Outcome) -> bytes:
    """The plaintext of an outcome for the recipient of the request; empty where there is none. Raises Refused."""
    plaintext = outcome.result.get("Plaintext")
    if plaintext is None:
        return b""
    try:
        return messages.seal(plaintext, request)
    except ValueError as error:
        raise invalid("recipient: not an X25519 public key that can be sealed to") from error
