"""Deciding about key requests: who asks, whether it is fresh, what it may do, and what comes of it. Pure.

The checks come in this order: session, signature, end of session, freshness, lane, replay, parameters, permission,
key, key state, ciphertext; `desk.py` and `handler.py` make those before the parameters. A caller without permission gets
the same answer for a key that exists and for one that does not. A blob that names no key is refused before anything
else of it is looked at, since there is nothing that a permission could be about.

Neighbours: `blob.py` encrypts, `messages.py` signs and seals, `keyring.py` knows the keys, `trail.py` writes records.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sixfold_events.kms import AliasChanged, KeyChanged, KeyRequested
from sixfold_functions.kms import blob, encoding, keyring, messages
from sixfold_functions.kms.keyring import Domain, Found, Key, Keyring

FRESH_MS = 5 * 60 * 1000
"""A request is good for five minutes before and after its signing, as AWS's signatures."""
DATA_KEY_BYTES_MAX = 1024
"""As AWS KMS's GenerateDataKey."""
ADMIN_LANE = "admin"
"""All changes of keys and aliases are in one lane, so two of them cannot race."""
TEXT_CHARS_MAX = 2048
"""Longest key id that AWS's model takes."""
DESCRIPTION_CHARS_MAX = 8192
REQUEST_ID_CHARS_MAX = 128

Context = Mapping[str, tuple[str, ...]]


class Refused(Exception):  # noqa: N818 (an answer that a caller gets, not a fault of the program)
    """The request is refused with AWS's `code` and `message`."""

    def __init__(self, code: str, message: str) -> None:
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
    permits: Callable[[str, str, Context], bool]
    """(action, resource ARN, condition keys) -> whether its policies allow it."""

    def __repr__(self) -> str:
        return f"Caller({self.arn})"


class Service(NamedTuple):
    """What requests are decided with."""

    ring: Keyring
    domain: Domain
    entropy: Callable[[int], bytes]
    now_ms: int
    alias_taken: bool = False
    """The alias that is asked for was just given away; `ring` may not know yet."""


class Outcome(NamedTuple):
    """What comes of an allowed request."""

    key_id: str
    """ARN of the key."""
    ciphertext_blob: bytes = b""
    sealed_plaintext: bytes = b""
    changes: tuple[KeyChanged | AliasChanged, ...] = ()


def lane_of(operation: str, access_key_id: str) -> str:
    """The lane that a request belongs to."""
    return ADMIN_LANE if operation in ADMINISTRATION else access_key_id


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


def perform(request: KeyRequested, caller: Caller, service: Service) -> Outcome:
    """Do what an authentic request asks for. Raises Refused."""
    operation = CRYPTOGRAPHY.get(request.operation) or ADMINISTRATION.get(request.operation)
    if operation is None:
        raise Refused("UnsupportedOperationException", f"{request.operation[:64]} is not supported")
    _check_parameters(request)
    return operation(request, caller, service)


def _check_parameters(request: KeyRequested) -> None:
    if not 0 < len(request.request_id) <= REQUEST_ID_CHARS_MAX:
        raise _invalid(f"requestId: expected 1 to {REQUEST_ID_CHARS_MAX} characters")
    if len(request.key_id) > TEXT_CHARS_MAX or len(request.description) > DESCRIPTION_CHARS_MAX:
        raise _invalid(f"keyId or description are longer than {TEXT_CHARS_MAX} or {DESCRIPTION_CHARS_MAX} characters")
    try:
        encoding.context(request.encryption_context)
    except encoding.InvalidContextError as error:
        raise _invalid(str(error)) from error
    names = request.encryption_context
    if len({name.casefold() for name in names}) < len(names):
        # AWS KMS API reference, GrantConstraints: "do not use multiple encryption context pairs that differ only by case".
        raise _invalid("encryptionContext: names that differ in case only; no policy could tell them apart")
    if request.operation in CRYPTOGRAPHY and len(request.recipient) != messages.RECIPIENT_BYTES:
        raise _invalid(f"recipient: expected {messages.RECIPIENT_BYTES} bytes; a plaintext never enters a topic")
    if not 0 < request.number_of_bytes <= DATA_KEY_BYTES_MAX:
        bound = "less" if request.number_of_bytes > DATA_KEY_BYTES_MAX else "greater"
        limit = DATA_KEY_BYTES_MAX if bound == "less" else 1
        raise _invalid(
            f"1 validation error detected: Value '{request.number_of_bytes}' at 'numberOfBytes' failed to satisfy "
            f"constraint: Member must have value {bound} than or equal to {limit}"
        )


def _invalid(message: str) -> Refused:
    return Refused("ValidationException", message)


def _allow(request: KeyRequested, caller: Caller, ring: Keyring, found: Found) -> Key:
    """The key, if the caller may do this with it. Raises Refused."""
    action = f"kms:{request.operation}"
    context: dict[str, tuple[str, ...]] = {
        f"kms:EncryptionContext:{name}": (value,) for name, value in request.encryption_context.items()
    }
    context["kms:EncryptionContextKeys"] = tuple(sorted(request.encryption_context))
    context["kms:CallerAccount"] = (keyring.ACCOUNT,)
    if found.alias:
        context["kms:RequestAlias"] = (found.alias,)
    if found.key:
        context["kms:ResourceAliases"] = ring.aliases_of(found.key)
    if not caller.permits(action, found.arn, context):
        raise Refused(
            "AccessDeniedException",
            f"User: {caller.arn} is not authorized to perform: {action} on resource: {found.arn} "
            "because no identity-based policy allows it, or one denies it",
        )
    if found.key is None:
        kind = "Alias" if found.alias else "Key"
        raise Refused("NotFoundException", f"{kind} '{found.arn}' does not exist")
    return found.key


def _usable(key: Key, domain: Domain) -> None:
    if key.state == "Disabled":
        raise Refused("DisabledException", f"{key.arn} is disabled.")
    if key.state != "Enabled":
        raise Refused("KMSInvalidStateException", f"{key.arn} is in state {key.state}, expected Enabled.")
    if key.root_id != domain.root_id:
        raise Refused(
            "KMSInternalException",
            f"{key.arn} was made under root key {key.root_id}, but {domain.root_id} is open; restore the root key",
        )


def _material(key: Key, version: str, domain: Domain) -> bytes:
    try:
        return keyring.unwrap(domain, key, version)
    except (blob.InvalidBlobError, KeyError) as error:
        raise Refused("KMSInternalException", f"the stored material of {key.arn} was changed") from error


def _seal(plaintext: bytes, request: KeyRequested) -> bytes:
    try:
        return messages.seal(plaintext, request)
    except ValueError as error:
        raise _invalid("recipient: not an X25519 public key that can be sealed to") from error


def _generate_data_key(request: KeyRequested, caller: Caller, service: Service) -> Outcome:
    key = _allow(request, caller, service.ring, service.ring.find(request.key_id))
    _usable(key, service.domain)
    material = _material(key, key.current_version, service.domain)
    plaintext = service.entropy(request.number_of_bytes)
    version = bytes.fromhex(key.current_version)
    sealed = blob.seal(material, version, plaintext, request.encryption_context, service.entropy)
    return Outcome(key.arn, sealed, _seal(plaintext, request))


def _decrypt(request: KeyRequested, caller: Caller, service: Service) -> Outcome:
    ring = service.ring
    try:
        header, _ = blob.parse(request.ciphertext_blob)
    except blob.InvalidBlobError:
        raise Refused("InvalidCiphertextException", "") from None
    key = ring.of_version(header.version_id)
    if request.key_id:
        named = ring.find(request.key_id)
        if _allow(request, caller, ring, named) is not key:
            raise Refused(
                "IncorrectKeyException",
                "The key ID in the request does not identify a CMK that can perform this operation.",
            )
    if key is None:
        raise Refused("InvalidCiphertextException", "")
    _allow(request, caller, ring, ring.find(request.key_id) if request.key_id else ring.find(key.key_id))
    _usable(key, service.domain)
    material = _material(key, header.version_id.hex(), service.domain)
    try:
        plaintext = blob.unseal(material, request.ciphertext_blob, request.encryption_context)
    except blob.InvalidBlobError:
        raise Refused("InvalidCiphertextException", "") from None
    return Outcome(key.arn, b"", _seal(plaintext, request))


def _create_key(request: KeyRequested, caller: Caller, service: Service) -> Outcome:
    ring, domain = service.ring, service.domain
    key_id = str(uuid.UUID(bytes=service.entropy(16), version=4))
    _allow_administration(request, caller, f"{keyring.ARN_PREFIX}key/*")
    strangers = {key.root_id for key in ring.keys.values()} - {domain.root_id}
    if strangers:
        raise Refused(
            "KMSInternalException",
            f"there are keys of root key {min(strangers)}, but {domain.root_id} is open; restore the root key first",
        )
    version = service.entropy(16).hex()
    material = service.entropy(blob.KEY_BYTES)
    created = KeyChanged(
        entry=f"key/{key_id}",
        key_id=key_id,
        description=request.description,
        versions={version: keyring.wrap(domain, key_id, version, material, service.entropy)},
        current_version=version,
        root_id=domain.root_id,
        created_at_ms=service.now_ms,
    )
    named = (_alias(request, key_id, service),) if request.alias else ()
    return Outcome(f"{keyring.ARN_PREFIX}key/{key_id}", changes=(created, *named))


def _create_alias(request: KeyRequested, caller: Caller, service: Service) -> Outcome:
    key = _allow(request, caller, service.ring, service.ring.find(request.key_id))
    return Outcome(key.arn, changes=(_alias(request, key.key_id, service),))


def _alias(request: KeyRequested, key_id: str, service: Service) -> AliasChanged:
    alias = request.alias
    if not keyring.ALIAS.match(alias) or alias.startswith("alias/aws/"):
        raise Refused("InvalidAliasNameException", "expected alias/ and 1 to 250 letters, digits, /, _ or -")
    if service.alias_taken or alias in service.ring.aliases:
        arn = keyring.ARN_PREFIX + alias
        raise Refused("AlreadyExistsException", f"An alias with the name {arn} already exists")
    return AliasChanged(entry=alias, alias=alias, key_id=key_id, changed_at_ms=service.now_ms)


def _allow_administration(request: KeyRequested, caller: Caller, resource: str) -> None:
    if not caller.permits(f"kms:{request.operation}", resource, {}):
        raise Refused(
            "AccessDeniedException",
            f"User: {caller.arn} is not authorized to perform: kms:{request.operation} on resource: {resource}",
        )


_Operation = Callable[[KeyRequested, Caller, Service], Outcome]
CRYPTOGRAPHY: Mapping[str, _Operation] = {"GenerateDataKey": _generate_data_key, "Decrypt": _decrypt}
"""Operations whose answer holds a plaintext, so they need a recipient."""
ADMINISTRATION: Mapping[str, _Operation] = {"CreateKey": _create_key, "CreateAlias": _create_alias}
"""Operations that change keys and aliases."""
