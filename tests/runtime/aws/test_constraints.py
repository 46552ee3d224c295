"""Parameters that do not keep within a service's model are told in AWS's words, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import regex
from botocore.model import DenormalizedStructureBuilder, StructureShape

from sixfold.gateway.aws import constraints, faults, models

GIVEN: list[tuple[str, str, Mapping[str, Any], list[str]]] = [
    ("kms", "GenerateRandom", {"NumberOfBytes": 1024}, []),
    (
        "kms",
        "GenerateRandom",
        {"NumberOfBytes": 1025},
        [
            "Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must have value less than or equal to 1024"
        ],
    ),
    (
        "kms",
        "Encrypt",
        {"KeyId": "x", "Plaintext": b"secret" * 1000},
        ["Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096"],
    ),
    ("kms", "DescribeKey", {}, ["Value null at 'keyId' failed to satisfy constraint: Member must not be null"]),
    (
        "kms",
        "CreateAlias",
        {"AliasName": "alias/my-alias!", "TargetKeyId": "x"},
        [
            (
                "Value 'alias/my-alias!' at 'aliasName' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"
            )
        ],
    ),
    (
        "kms",
        "GenerateDataKey",
        {"KeyId": "", "KeySpec": "AES_512"},
        [
            "Value '' at 'keyId' failed to satisfy constraint: Member must have length greater than or equal to 1",
            "Value 'AES_512' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set: [AES_256, AES_128]",
        ],
    ),
    (
        "kms",
        "TagResource",
        {"KeyId": "x", "Tags": [{"TagKey": "a", "TagValue": ""}, {"TagKey": "", "TagValue": "b" * 257}]},
        [
            (
                "Value '' at 'tags.2.member.tagKey' failed to satisfy constraint: "
                "Member must have length greater than or equal to 1"
            ),
            (
                f"Value '{'b' * 257}' at 'tags.2.member.tagValue' failed to satisfy constraint: "
                "Member must have length less than or equal to 256"
            ),
        ],
    ),
    (
        "sts",
        "AssumeRole",
        {"RoleArn": "arn:aws:iam::000000000000:role/x", "RoleSessionName": "with space", "DurationSeconds": 899},
        [
            (
                "Value 'with space' at 'roleSessionName' failed to satisfy constraint: "
                r"Member must satisfy regular expression pattern: [\w+=,.@-]*"
            ),
            (
                "Value '899' at 'durationSeconds' failed to satisfy constraint: "
                "Member must have value greater than or equal to 900"
            ),
        ],
    ),
    ("iam", "TagRole", {"RoleName": "x", "Tags": [{"Key": "größe", "Value": "κ"}]}, []),
]


def told(shape: StructureShape | None, parameters: Mapping[str, Any]) -> str:
    """What the check says."""
    with pytest.raises(faults.Fault) as caught:
        constraints.check(shape, parameters)
    assert caught.value.code == "ValidationException"
    return caught.value.message


@pytest.mark.parametrize(("service", "operation", "parameters", "expected"), GIVEN)
def test_each_constraint_is_told_in_awss_words(
    service: str, operation: str, parameters: Mapping[str, Any], expected: list[str]
) -> None:
    """Limits, patterns, sets of values, members that are missing; the path of a member in a list."""
    shape = models.service(service).operation_model(operation).input_shape
    if expected:
        noun = "error" if len(expected) == 1 else "errors"
        assert told(shape, parameters) == f"{len(expected)} validation {noun} detected: {'; '.join(expected)}"
    else:
        constraints.check(shape, parameters)


def test_an_answer_tells_ten_constraints_at_most() -> None:
    """However many members of a list are wrong; secrets among them stay untold."""
    shape = models.service("kms").operation_model("TagResource").input_shape
    found = told(shape, {"KeyId": "x", "Tags": [{"TagKey": "", "TagValue": ""}] * 1000})
    assert found.startswith("10 validation errors detected: ")
    assert len(found) < 2000


@pytest.mark.parametrize("service", ["kms", "sts", "iam"])
def test_each_pattern_of_the_models_can_be_used(service: str) -> None:
    """None is one that only Java knows."""
    model = models.service(service)
    patterns = [
        shape.metadata["pattern"] for shape in map(model.shape_for, model.shape_names) if "pattern" in shape.metadata
    ]
    for pattern in patterns:
        regex.compile(pattern)
    assert patterns


def test_a_pattern_that_takes_for_ever_is_one_that_does_not_match(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller chooses the text that is compared, never how long that takes."""
    monkeypatch.setattr(constraints, "PATTERN_S_MAX", 0.05)
    shape = DenormalizedStructureBuilder().with_members({"Name": {"type": "string"}}).build_model()
    shape.members["Name"].metadata["pattern"] = r"((a?|aa?)+)+b"
    assert "Member must satisfy" in told(shape, {"Name": "a" * 60})
