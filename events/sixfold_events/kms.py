"""Events of the key management capability: requests, answers, wrapped keys, the audit trail. None holds a secret."""

from __future__ import annotations

from sixfold_events.event import Event


class KeyRequested(Event, topic="kms.requests", key="lane"):
    """A session asks for a key operation; whoever reads it can neither use nor alter it."""

    request_id: str
    """Chosen by the caller, unique; a second request with it is not answered."""
    lane: str
    """What orders requests: the access key id, or `admin` for changes of keys and aliases."""
    operation: str
    """`GenerateDataKey`, `Decrypt`, `CreateKey`, `CreateAlias` or `DescribeKey`."""
    encryption_context: dict[str, str]
    access_key_id: str
    session_token: str
    """Sealed by the identity service; worth nothing without the session's secret."""
    signed_at_ms: int
    signature: bytes
    """HMAC-SHA256 by a key derived from the session's secret over every other field."""
    key_id: str = ""
    """Key id, key ARN, `alias/<name>` or alias ARN; may be empty for Decrypt."""
    number_of_bytes: int = 32
    """Length of the data key."""
    ciphertext_blob: bytes = b""
    """What Decrypt shall open."""
    alias: str = ""
    """For CreateKey and CreateAlias, such as `alias/payments`."""
    description: str = ""
    recipient: bytes = b""
    """X25519 public key that the plaintext is sealed to, made for this request only."""


class KeyAnswered(Event, topic="kms.results", key="request_id"):
    """The answer to a request: a key sealed to the recipient, or an error."""

    request_id: str
    operation: str
    answered_at_ms: int
    key_id: str = ""
    """ARN of the key."""
    ciphertext_blob: bytes = b""
    sealed_plaintext: bytes = b""
    """HPKE (X25519, HKDF-SHA256, AES-256-GCM) of the data key to the request's recipient."""
    error_code: str = ""
    """AWS's exception name; empty where it was allowed."""
    error_message: str = ""
    proof: bytes = b""
    """HMAC by the session's answer key over the request's digest and every other field; empty without a session."""


class KeyChanged(Event, topic="kms.keys", key="entry"):
    """A key exists in this state; a later one of the same key replaces it."""

    entry: str
    """`key/<id>`."""
    key_id: str
    versions: dict[str, bytes]
    """Wrapped key material by version id (32 hex digits)."""
    current_version: str
    """The version that new ciphertexts are made with."""
    root_id: str
    """Fingerprint of the root key that the material is wrapped under."""
    created_at_ms: int
    state: str = "Enabled"
    """AWS's key state."""
    description: str = ""


class AliasChanged(Event, topic="kms.keys", key="entry"):
    """An alias names this key."""

    entry: str
    """`alias/<name>`."""
    alias: str
    key_id: str
    changed_at_ms: int


class KmsAudited(Event, topic="kms.audit", key="chain"):
    """One link of the audit trail: a call, allowed or refused, and the hash of the link before."""

    chain: str
    """Which chain it belongs to: the topic and partition that its calls came from."""
    seq: int
    """1 for the first link of a chain, then without a gap."""
    event_name: str
    record: str
    """CloudTrail's record as canonical JSON (RFC 8785), with chain, seq and previous hash in it."""
    hash: str
    """SHA-256 of 0x00 and `record`, hex; the next link repeats it."""
    error_code: str = ""
