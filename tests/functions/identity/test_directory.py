"""The fold of issuers and roles: what is defined last counts, and nothing else."""

from __future__ import annotations

import json

import pytest

from sixfold_events.identity import RoleDefined
from sixfold_functions.identity import core
from sixfold_functions.policies import policy


def role(condition: dict[str, dict[str, str]]) -> RoleDefined:
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": "https://i.example.com"},
        "Action": policy.WEB_IDENTITY,
        "Condition": {"StringEquals": {"i.example.com:sub": "alice"}},
    }
    permission = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}
    return RoleDefined(
        entry="role/r",
        name="r",
        trust_policy=json.dumps({"Version": policy.VERSION, "Statement": trust}),
        permission_policy=json.dumps({"Version": policy.VERSION, "Statement": permission}),
        defined_at_ms=1,
    )


def test_a_definition_that_cannot_be_read_leaves_no_older_one_in_force() -> None:
    """A role that somebody wrote past the checks permits nothing, not what it permitted before."""
    directory = core.Directory()
    directory.apply(role({}))
    assert "r" in directory.roles
    with pytest.raises(core.InvalidEntryError, match="unknown"):
        directory.apply(role({"StringEquals": {"no:such": "key"}}))
    assert "r" not in directory.roles
    directory.apply(role({}))
    assert "r" in directory.roles
