"""What each operation says of a key in each state: the table as AWS draws it, one row a line."""

from __future__ import annotations

import pytest

from sixfold_functions.kms import states
from sixfold_functions.kms.operations.table import OPERATIONS

# Enabled, Disabled, pending deletion, pending import, unavailable, creating, updating. ok; D: disabled; P: pending
# deletion; N: not pending deletion; I: pending import; E: origin external; U: unavailable; C: creating; T: updating.
DRAWN = """
CancelKeyDeletion                   N  N  ok N  N  N  N
CreateAlias                         ok ok P  ok ok ok ok
CreateGrant                         ok D  P  I  ok C  ok
Decrypt                             ok D  P  I  U  C  ok
DeleteAlias                         ok ok ok ok ok ok ok
DeleteImportedKeyMaterial           ok ok ok ok U  C  T
DescribeKey                         ok ok ok ok ok ok ok
DisableKey                          ok ok P  I  ok C  T
DisableKeyRotation                  ok D  P  E  U  C  ok
EnableKey                           ok ok P  I  ok C  T
EnableKeyRotation                   ok D  P  E  U  C  ok
Encrypt                             ok D  P  I  U  C  ok
GenerateDataKey                     ok D  P  I  U  C  ok
GenerateDataKeyPair                 ok D  P  I  U  C  ok
GenerateDataKeyPairWithoutPlaintext ok D  P  I  U  C  ok
GenerateDataKeyWithoutPlaintext     ok D  P  I  U  C  ok
GenerateMac                         ok D  P  I  U  C  ok
GetKeyPolicy                        ok ok ok ok ok ok ok
GetKeyRotationStatus                ok ok ok E  U  ok ok
GetParametersForImport              ok ok P  ok U  C  T
GetPublicKey                        ok D  P  I  U  C  ok
ImportKeyMaterial                   ok ok P  ok U  C  ok
ListAliases                         ok ok ok ok ok ok ok
ListGrants                          ok ok ok ok ok ok ok
ListKeyPolicies                     ok ok ok ok ok ok ok
ListResourceTags                    ok ok ok ok ok ok ok
PutKeyPolicy                        ok ok ok ok ok ok ok
ReEncrypt                           ok D  P  I  U  C  ok
ReplicateKey                        ok D  P  I  U  C  T
RetireGrant                         ok ok ok ok ok ok ok
RevokeGrant                         ok ok ok ok ok ok ok
ScheduleKeyDeletion                 ok ok P  ok ok ok T
Sign                                ok D  P  I  U  C  ok
TagResource                         ok ok P  ok ok ok ok
UntagResource                       ok ok P  ok ok ok ok
UpdateAlias                         ok ok P  ok ok ok ok
UpdateKeyDescription                ok ok P  ok ok ok ok
UpdatePrimaryRegion                 ok D  P  I  U  C  ok
Verify                              ok D  P  I  U  C  ok
VerifyMac                           ok D  P  I  U  C  ok
"""
SAID = {
    "D": ("DisabledException", "an:arn is disabled."),
    "P": ("KMSInvalidStateException", "an:arn is pending deletion."),
    "N": ("KMSInvalidStateException", "an:arn is not pending deletion."),
    "I": ("KMSInvalidStateException", "an:arn is pending import."),
    "E": ("UnsupportedOperationException", "an:arn origin is EXTERNAL which is not valid for this operation."),
    "U": ("KMSInvalidStateException", "an:arn is unavailable."),
    "C": ("KMSInvalidStateException", "an:arn is creating."),
    "T": ("KMSInvalidStateException", "an:arn is updating."),
}
CELLS = [
    (operation, state, cell)
    for operation, *cells in (line.split() for line in DRAWN.split("\n") if line)
    for state, cell in zip(states.State, cells, strict=True)
]


@pytest.mark.parametrize(("operation", "state", "cell"), CELLS)
def test_each_cell_of_awss_table(operation: str, state: states.State, cell: str) -> None:
    """Goes on, or is refused in these words."""
    assert states.refusal(operation, state, "an:arn") == (None if cell == "ok" else SAID[cell])


def test_each_operation_about_a_key_has_a_row() -> None:
    """None could be forgotten: those that are about no one key are named here."""
    about_none = {"CreateKey", "GenerateRandom", "ListKeys", "ListRetirableGrants"}
    assert set(OPERATIONS) - set(states.TABLE) == about_none
