"""Key states: what each operation says of a key in each state. The table is AWS's; refusals are worded as AWS words them.

`OK` lets the operation go on. Where a cell depends on the key's origin (a key with imported material, a key in a store of
its own), the letter says how; keys in stores of their own do not exist here.

Source: AWS KMS Developer Guide, "Key states of AWS KMS keys", the table and its notes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple


class State(enum.Enum):
    """State of a key, named as the API names it."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_DELETION = "PendingDeletion"
    PENDING_IMPORT = "PendingImport"
    UNAVAILABLE = "Unavailable"
    CREATING = "Creating"
    UPDATING = "Updating"


class Refusal(NamedTuple):
    """AWS's error of a cell; `{arn}` is the key's."""

    code: str
    message: str


OK = None
_DISABLED = Refusal("DisabledException", "{arn} is disabled.")
_DELETED = Refusal("KMSInvalidStateException", "{arn} is pending deletion.")
_NOT_DELETED = Refusal("KMSInvalidStateException", "{arn} is not pending deletion.")
_IMPORT = Refusal("KMSInvalidStateException", "{arn} is pending import.")
_EXTERNAL = Refusal("UnsupportedOperationException", "{arn} origin is EXTERNAL which is not valid for this operation.")
_UNAVAILABLE = Refusal("KMSInvalidStateException", "{arn} is unavailable.")
_CREATING = Refusal("KMSInvalidStateException", "{arn} is creating.")
_UPDATING = Refusal("KMSInvalidStateException", "{arn} is updating.")

Row = tuple[Refusal | None, ...]
"""One cell for each state, in the order of `State`."""

_ANY: Row = (OK,) * 7
_USE: Row = (OK, _DISABLED, _DELETED, _IMPORT, _UNAVAILABLE, _CREATING, OK)
_CHANGE: Row = (OK, OK, _DELETED, _IMPORT, OK, _CREATING, _UPDATING)
_ROTATION: Row = (OK, _DISABLED, _DELETED, _EXTERNAL, _UNAVAILABLE, _CREATING, OK)
_NOT_WHILE_DELETED: Row = (OK, OK, _DELETED, OK, OK, OK, OK)

TABLE: Mapping[str, Row] = {
    "CancelKeyDeletion": (_NOT_DELETED, _NOT_DELETED, OK, _NOT_DELETED, _NOT_DELETED, _NOT_DELETED, _NOT_DELETED),
    "CreateAlias": _NOT_WHILE_DELETED,
    "CreateGrant": (OK, _DISABLED, _DELETED, _IMPORT, OK, _CREATING, OK),
    "Decrypt": _USE,
    "DeleteAlias": _ANY,
    "DeleteImportedKeyMaterial": (OK, OK, OK, OK, _UNAVAILABLE, _CREATING, _UPDATING),
    "DeriveSharedSecret": _USE,
    "DescribeKey": _ANY,
    "DisableKey": _CHANGE,
    "DisableKeyRotation": _ROTATION,
    "EnableKey": _CHANGE,
    "EnableKeyRotation": _ROTATION,
    "Encrypt": _USE,
    "GenerateDataKey": _USE,
    "GenerateDataKeyPair": _USE,
    "GenerateDataKeyPairWithoutPlaintext": _USE,
    "GenerateDataKeyWithoutPlaintext": _USE,
    "GenerateMac": _USE,
    "GetKeyLastUsage": _ANY,
    "GetKeyPolicy": _ANY,
    "GetKeyRotationStatus": (OK, OK, OK, _EXTERNAL, _UNAVAILABLE, OK, OK),
    "GetParametersForImport": (OK, OK, _DELETED, OK, _UNAVAILABLE, _CREATING, _UPDATING),
    "GetPublicKey": _USE,
    "ImportKeyMaterial": (OK, OK, _DELETED, OK, _UNAVAILABLE, _CREATING, OK),
    "ListAliases": _ANY,
    "ListGrants": _ANY,
    "ListKeyPolicies": _ANY,
    "ListKeyRotations": _ANY,
    "ListResourceTags": _ANY,
    "PutKeyPolicy": _ANY,
    "ReEncrypt": _USE,
    "ReplicateKey": (OK, _DISABLED, _DELETED, _IMPORT, _UNAVAILABLE, _CREATING, _UPDATING),
    "RetireGrant": _ANY,
    "RevokeGrant": _ANY,
    "RotateKeyOnDemand": _ROTATION,
    "ScheduleKeyDeletion": (OK, OK, _DELETED, OK, OK, OK, _UPDATING),
    "Sign": _USE,
    "TagResource": _NOT_WHILE_DELETED,
    "UntagResource": _NOT_WHILE_DELETED,
    "UpdateAlias": _NOT_WHILE_DELETED,
    "UpdateKeyDescription": _NOT_WHILE_DELETED,
    "UpdatePrimaryRegion": (OK, _DISABLED, _DELETED, _IMPORT, _UNAVAILABLE, _CREATING, OK),
    "Verify": _USE,
    "VerifyMac": _USE,
}


def refusal(operation: str, state: State, arn: str) -> Refusal | None:
    """What `operation` says of a key in `state`; None where it goes on."""
    found = TABLE[operation][list(State).index(state)]
    return None if found is None else found._replace(message=found.message.format(arn=arn))
