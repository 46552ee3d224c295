"""Every operation that there is: what carries it out, and whether it changes keys, aliases or grants.

What changes something goes through the log, where one writer decides after the other. All else is answered by any
process that knows the keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from sixfold_functions.kms.deciding import Call, Outcome
from sixfold_functions.kms.operations import aliases, ciphers, grants, keys, lifetimes, pairs, signing


class Operation(NamedTuple):
    """An operation of the API."""

    run: Callable[[Call], Outcome]
    changes: bool = False


OPERATIONS: Mapping[str, Operation] = {
    "CancelKeyDeletion": Operation(lifetimes.cancel_deletion, changes=True),
    "CreateAlias": Operation(aliases.create_alias, changes=True),
    "CreateGrant": Operation(grants.create_grant, changes=True),
    "CreateKey": Operation(keys.create_key, changes=True),
    "Decrypt": Operation(ciphers.decrypt),
    "DeleteAlias": Operation(aliases.delete_alias, changes=True),
    "DeriveSharedSecret": Operation(signing.derive_shared_secret),
    "DescribeKey": Operation(keys.describe_key),
    "DisableKey": Operation(keys.disable_key, changes=True),
    "DisableKeyRotation": Operation(lifetimes.disable_rotation, changes=True),
    "EnableKey": Operation(keys.enable_key, changes=True),
    "EnableKeyRotation": Operation(lifetimes.enable_rotation, changes=True),
    "Encrypt": Operation(ciphers.encrypt),
    "GenerateDataKey": Operation(ciphers.generate_data_key),
    "GenerateDataKeyPair": Operation(pairs.generate_pair),
    "GenerateDataKeyPairWithoutPlaintext": Operation(pairs.generate_pair),
    "GenerateDataKeyWithoutPlaintext": Operation(ciphers.generate_data_key),
    "GenerateMac": Operation(signing.generate_mac),
    "GenerateRandom": Operation(ciphers.generate_random),
    "GetKeyPolicy": Operation(keys.get_policy),
    "GetKeyRotationStatus": Operation(lifetimes.rotation_status),
    "GetPublicKey": Operation(signing.get_public_key),
    "ListAliases": Operation(aliases.list_aliases),
    "ListGrants": Operation(grants.list_grants),
    "ListKeyPolicies": Operation(keys.list_policies),
    "ListKeyRotations": Operation(lifetimes.rotations),
    "ListKeys": Operation(keys.list_keys),
    "ListResourceTags": Operation(keys.list_tags),
    "ListRetirableGrants": Operation(grants.list_retirable_grants),
    "PutKeyPolicy": Operation(keys.put_policy, changes=True),
    "ReEncrypt": Operation(ciphers.re_encrypt),
    "RetireGrant": Operation(grants.retire_grant, changes=True),
    "RevokeGrant": Operation(grants.revoke_grant, changes=True),
    "RotateKeyOnDemand": Operation(lifetimes.rotate, changes=True),
    "ScheduleKeyDeletion": Operation(lifetimes.schedule_deletion, changes=True),
    "Sign": Operation(signing.sign),
    "TagResource": Operation(keys.tag_resource, changes=True),
    "UntagResource": Operation(keys.untag_resource, changes=True),
    "UpdateAlias": Operation(aliases.update_alias, changes=True),
    "UpdateKeyDescription": Operation(keys.update_description, changes=True),
    "Verify": Operation(signing.verify),
    "VerifyMac": Operation(signing.verify_mac),
}
