"""Operations on a key's material over time: rotation, deletion after a waiting period; and what falls due by itself.

Sources: AWS KMS Developer Guide, "Rotating AWS KMS keys", "Deleting AWS KMS keys".
"""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace

from sixfold_events.kms import KeyChanged
from sixfold_functions.kms import blob, deciding, keyring, specs
from sixfold_functions.kms.deciding import Call, Change, Outcome, Refused
from sixfold_functions.kms.operations import described, keys

DAY_MS = 24 * 3600 * 1000
ROTATION_DAYS = 365
WINDOW_DAYS = 30
WINDOW_DAYS_MIN, WINDOW_DAYS_MAX = 7, 30
ON_DEMAND_MAX = 25
"""Rotations on demand of one key, as AWS's."""
AUTOMATIC, ON_DEMAND = "AUTOMATIC", "ON_DEMAND"


def _rotatable(call: Call) -> KeyChanged:
    """The key, one whose material can be rotated. Raises Refused."""
    key = deciding.use(call)
    if key.spec != specs.SYMMETRIC or key.origin != "AWS_KMS":
        raise Refused(
            "UnsupportedOperationException",
            f"{keyring.key_arn(key)} spec is {key.spec} and origin {key.origin}, which is not valid for this operation.",
        )
    if key.multi_region == "REPLICA":
        raise Refused("UnsupportedOperationException", f"{keyring.key_arn(key)} is a replica; rotate its primary key.")
    return key


def enable_rotation(call: Call) -> Outcome:
    """EnableKeyRotation; given again it sets the period anew, counted from now."""
    key = _rotatable(call)
    days = call.get("RotationPeriodInDays") or ROTATION_DAYS
    changed = replace(key, rotation_days=days, rotates_at_ms=call.service.now_ms + days * DAY_MS)
    return Outcome({}, keyring.key_arn(key), (changed,))


def disable_rotation(call: Call) -> Outcome:
    """DisableKeyRotation."""
    key = _rotatable(call)
    return Outcome({}, keyring.key_arn(key), (replace(key, rotation_days=0, rotates_at_ms=0),))


def rotation_status(call: Call) -> Outcome:
    """GetKeyRotationStatus."""
    key = _rotatable(call)
    found: dict[str, Any] = {"KeyId": keyring.key_arn(key), "KeyRotationEnabled": key.rotation_days > 0}
    if key.rotation_days and key.state != "PendingDeletion":
        found["RotationPeriodInDays"] = key.rotation_days
        found["NextRotationDate"] = described.moment(key.rotates_at_ms)
    return Outcome(found, keyring.key_arn(key))


def rotate(call: Call) -> Outcome:
    """RotateKeyOnDemand; the automatic ones go on as before."""
    key = _rotatable(call)
    kinds = [json.loads(facts)["kind"] for facts in key.version_facts.values()]
    if kinds.count(ON_DEMAND) >= ON_DEMAND_MAX:
        raise Refused(
            "LimitExceededException",
            "The on-demand rotations limit has been reached for the given keyId. "
            "No more on-demand rotations can be performed for this key.",
        )
    arn = keyring.key_arn(key)
    changed = keys.with_material(call, key, call.service.entropy(blob.KEY_BYTES), ON_DEMAND)
    return Outcome({"KeyId": arn}, arn, (changed,))


def rotations(call: Call) -> Outcome:
    """ListKeyRotations, in their order; with `ALL_KEY_MATERIAL` the material that the key began with, too."""
    key = _rotatable(call)
    found = []
    for version, facts in key.version_facts.items():
        told = json.loads(facts)
        if told["kind"]:
            found.append(
                {
                    "KeyId": keyring.key_arn(key),
                    "KeyMaterialId": described.material_id(version),
                    "RotationDate": described.moment(told["at_ms"]),
                    "RotationType": told["kind"],
                }
            )
        elif call.get("IncludeKeyMaterial") == "ALL_KEY_MATERIAL":
            found.append({"KeyId": keyring.key_arn(key), "KeyMaterialId": described.material_id(version)})
    return Outcome(described.page(call, found, "Rotations"), keyring.key_arn(key))


def schedule_deletion(call: Call) -> Outcome:
    """ScheduleKeyDeletion."""
    key = deciding.use(call)
    days = call.get("PendingWindowInDays") or WINDOW_DAYS
    if not WINDOW_DAYS_MIN <= days <= WINDOW_DAYS_MAX:
        raise deciding.invalid(f"PendingWindowInDays: expected {WINDOW_DAYS_MIN} to {WINDOW_DAYS_MAX}, found {days}")
    changed = replace(
        key, state="PendingDeletion", deletion_at_ms=call.service.now_ms + days * DAY_MS, deletion_days=days
    )
    arn = keyring.key_arn(key)
    result = {
        "KeyId": arn,
        "DeletionDate": described.moment(changed.deletion_at_ms),
        "KeyState": changed.state,
        "PendingWindowInDays": days,
    }
    return Outcome(result, arn, (changed,))


def cancel_deletion(call: Call) -> Outcome:
    """CancelKeyDeletion; the key is disabled then."""
    key = deciding.use(call)
    arn = keyring.key_arn(key)
    state = "Disabled" if key.versions else "PendingImport"
    return Outcome({"KeyId": arn}, arn, (replace(key, state=state, deletion_at_ms=0, deletion_days=0),))


def due(call: Call) -> list[Change]:
    """What falls due by itself: automatic rotations, and deletions whose waiting period is over."""
    now_ms = call.service.now_ms
    changes: list[Change] = []
    for key in call.region.keys.values():
        if key.state == "PendingDeletion" and key.deletion_at_ms <= now_ms:
            changes.append(destroyed(key))
        elif key.state == "Enabled" and key.rotation_days and key.rotates_at_ms <= now_ms:
            rotated = keys.with_material(call, key, call.service.entropy(blob.KEY_BYTES), AUTOMATIC)
            changes.append(replace(rotated, rotates_at_ms=now_ms + key.rotation_days * DAY_MS))
    return changes


def destroyed(key: KeyChanged) -> KeyChanged:
    """What is left of a key that is gone: its id, so that nothing else ever has it."""
    return KeyChanged(
        entry=key.entry,
        key_id=key.key_id,
        versions={},
        current_version="",
        root_id=key.root_id,
        created_at_ms=key.created_at_ms,
        state=keyring.DELETED,
        region=key.region,
    )
