"""A command to an agent: its content, and the signature without which no agent obeys.

The payload's bytes are what is signed, so nobody has to agree on a canonical form. An agent checks signature,
instance, group and expiry, and remembers the ids that it has taken on: a forged, misdirected or repeated command is
refused.
"""

from __future__ import annotations

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sixfold.errors import SixfoldError

_PURPOSE = b"sixfold.deploy.command.v1\0"
"""Signed with the payload, so that a signature made for another purpose is none for a command."""


class CommandRefusedError(SixfoldError):
    """A command is not for this agent to obey; the message says why."""


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deploy a revision on one instance."""

    command_id: str
    instance: str
    group: str
    deployment_id: str
    application: str
    revision: str
    artifact: str
    appspec: str
    issued_at_ms: int
    expires_at_ms: int
    """It must be begun by then; a rollout does not wait longer for its agent."""


def sign(command: Command, key: Ed25519PrivateKey) -> tuple[bytes, bytes]:
    """The payload of `command` and its signature."""
    payload = msgspec.json.encode(command)
    return payload, key.sign(_PURPOSE + payload)


def verify(payload: bytes, signature: bytes, key: Ed25519PublicKey) -> Command:
    """The command in `payload`. Raises CommandRefusedError where the signature is not by `key`."""
    try:
        key.verify(signature, _PURPOSE + payload)
    except InvalidSignature:
        raise CommandRefusedError("its signature is not by this system's deployment signing key") from None
    try:
        return msgspec.json.decode(payload, type=Command)
    except msgspec.DecodeError as error:
        raise CommandRefusedError(
            f"signed, but not understood (is the agent older than the system?): {error}"
        ) from error


def admit(command: Command, instance: str, group: str, now_ms: int) -> None:
    """Raise CommandRefusedError unless `command` is for this instance, this group and this time."""
    if command.instance != instance:
        raise CommandRefusedError(f"it is for instance {command.instance!r}, this is {instance!r}")
    if command.group != group:
        raise CommandRefusedError(f"it is for group {command.group!r}, this instance is in {group!r}")
    if now_ms > command.expires_at_ms:
        raise CommandRefusedError(f"it expired {(now_ms - command.expires_at_ms) // 1000} s ago")
