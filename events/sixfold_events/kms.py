"""Events of the key management capability: requests, answers, wrapped keys, the audit trail. None holds a secret."""

from __future__ import annotations

import msgspec

from sixfold_events.event import Event


class KeyRequested(Event, topic="kms.requests", key="lane", version=2):
    """A session asks for a key operation; whoever reads it can neither use nor alter it."""

    request_id: str
    """Chosen by the caller, unique; a second request with it is not answered."""
    lane: str
    """What orders requests: the access key id, or `admin` for changes of keys and aliases."""
    operation: str
    """Name of an operation of AWS KMS."""
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
    region: str = "local"
    """Where the key is; regions share nothing but keys that were replicated."""
    parameters: bytes = b""
    """JSON of the operation's other parameters, as AWS's API has them."""


class KeyAnswered(Event, topic="kms.results", key="request_id", version=2):
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
    result: bytes = b""
    """JSON of the operation's result, as AWS's API has it, without plaintext."""
    proof: bytes = b""
    """HMAC by the session's answer key over the request's digest and every other field; empty without a session."""


class KeyChanged(Event, topic="kms.keys", key="entry", version=2):
    """A key exists in this state; a later one of the same key replaces it."""

    entry: str
    """`key/<id>`; in another region than `local`, `<region>/key/<id>`."""
    key_id: str
    versions: dict[str, bytes]
    """Wrapped key material by version id (32 hex digits). Empty where it was destroyed, or not imported yet."""
    current_version: str
    """The version that new ciphertexts are made with; empty where there is none."""
    root_id: str
    """Fingerprint of the root key that the material is wrapped under."""
    created_at_ms: int
    state: str = "Enabled"
    """AWS's key state; `Deleted` where the key is gone."""
    description: str = ""
    region: str = "local"
    spec: str = "SYMMETRIC_DEFAULT"
    """AWS's key spec."""
    usage: str = "ENCRYPT_DECRYPT"
    """AWS's key usage."""
    origin: str = "AWS_KMS"
    """`AWS_KMS`, or `EXTERNAL` where its material is imported."""
    public_key: bytes = b""
    """SubjectPublicKeyInfo of an asymmetric key."""
    policy: str = ""
    """The key policy; empty for the default one."""
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    version_facts: dict[str, str] = msgspec.field(default_factory=dict)
    """JSON by version id: when and why it came (`at_ms`, `kind`), and for imported material when it ends."""
    rotation_days: int = 0
    """Days between automatic rotations; 0 where there are none."""
    rotates_at_ms: int = 0
    """When the next automatic rotation is due."""
    deletion_at_ms: int = 0
    """When a key that is pending deletion is destroyed."""
    deletion_days: int = 0
    """The waiting period that was asked for."""
    enabled_before: bool = False
    """Of a key that is pending import: whether it had been enabled."""
    multi_region: str = ""
    """`PRIMARY`, `REPLICA`, or empty for a key of one region."""
    primary_region: str = ""
    replica_regions: list[str] = msgspec.field(default_factory=list)


class AliasChanged(Event, topic="kms.keys", key="entry", version=2):
    """An alias names this key."""

    entry: str
    """`alias/<name>`; in another region than `local`, `<region>/alias/<name>`."""
    alias: str
    key_id: str
    """Empty where the alias is gone."""
    changed_at_ms: int
    region: str = "local"
    created_at_ms: int = 0
    """When the alias was made; 0 stands for `changed_at_ms`."""


class GrantChanged(Event, topic="kms.keys", key="entry"):
    """A grant lets a principal do some operations with a key."""

    entry: str
    """`grant/<key id>/<grant id>`; in another region than `local`, with the region in front."""
    grant_id: str
    key_id: str
    grantee: str
    """ARN of the principal that may use the key."""
    operations: list[str]
    issuer: str
    """ARN of whoever made the grant."""
    created_at_ms: int
    region: str = "local"
    retiring: str = ""
    """ARN of a principal that may retire the grant."""
    name: str = ""
    token: str = ""
    """Names the grant before everybody knows it; no secret."""
    context_equals: dict[str, str] = msgspec.field(default_factory=dict)
    """The whole encryption context that a request must have; empty for no such rule."""
    context_subset: dict[str, str] = msgspec.field(default_factory=dict)
    """Pairs that a request's encryption context must have."""
    retired: bool = False
    """It is gone: retired or revoked."""


class KeyUseRecorded(Event, topic="kms.calls", key="call_id"):
    """A call that the gateway answered without the log: its record for the audit trail, before its answer went out."""

    call_id: str
    event_name: str
    record: str
    """CloudTrail's record as JSON."""
    error_code: str = ""


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
