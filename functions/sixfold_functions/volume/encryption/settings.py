"""Which key a copy is encrypted under, and in whose name it asks; read from options and the environment in this place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sixfold import errors

PREFIX = "SIXFOLD_VOLUME_"


@dataclass(frozen=True, kw_only=True)
class KeySettings:
    """Where data keys come from."""

    kms_key: str = ""
    """`--kms-key` or SIXFOLD_VOLUME_KMS_KEY: key id, ARN or alias that new data keys are made under. Empty: a volume in
    plain stays so; an encrypted one goes on with the key that its newest segment names."""
    role: str = ""
    """`--kms-role` or SIXFOLD_VOLUME_KMS_ROLE: the role that asks. Empty: the operator, by the credential in the data
    folder."""
    token_file: Path | None = None
    """`--kms-token-file` or SIXFOLD_VOLUME_KMS_TOKEN_FILE: the web identity token that proves who may assume the role;
    read anew each time, so it may be replaced."""
    gateway_url: str = ""
    """`--gateway-url` or SIXFOLD_VOLUME_GATEWAY_URL: where sessions are issued. Empty: the gateway of the data folder."""


def read(options: Mapping[str, str], environment: Mapping[str, str]) -> KeySettings:
    """Settings from a service's options, else the environment. Raises UsageError where role and token are not both."""

    def value(name: str) -> str:
        return options.get(name) or environment.get(PREFIX + name.upper().replace("-", "_"), "")

    role, token_file = value("kms-role"), value("kms-token-file")
    if bool(role) != bool(token_file):
        raise errors.UsageError(
            "--kms-role and --kms-token-file belong together: the token proves who may assume the role; "
            f"found {'a role' if role else 'a token file'} only"
        )
    return KeySettings(
        kms_key=value("kms-key"),
        role=role,
        token_file=Path(token_file) if token_file else None,
        gateway_url=value("gateway-url"),
    )
