"""Whatever bytes come in, they are parameters of the right types, or a Fault; never another error."""

from __future__ import annotations

import contextlib
import datetime
import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies

from sixfold.gateway.aws import constraints, faults, models, reading

KMS, STS, IAM = (models.service(name) for name in ("kms", "sts", "iam"))
KINDS: dict[str, type | tuple[type, ...]] = {
    "KeyId": str,
    "PendingWindowInDays": int,
    "Tags": list,
    "EncryptionContext": dict,
    "Plaintext": bytes,
    "ValidTo": datetime.datetime,
    "DryRun": bool,
}
VALUES = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
)


def shape(name: str) -> Any:
    """The input of an operation of KMS."""
    return KMS.operation_model(name).input_shape


@settings(max_examples=100, deadline=None)
@given(VALUES, strategies.sampled_from([*KINDS]))
def test_a_json_member_has_its_type_or_is_refused(value: Any, name: str) -> None:
    """Every value at every kind of member: what is let through is what the operation expects."""
    operation = {"PendingWindowInDays": "ScheduleKeyDeletion", "Tags": "TagResource", "ValidTo": "ImportKeyMaterial"}
    expected = shape(operation.get(name, "Encrypt"))
    with contextlib.suppress(faults.Fault):
        found = reading.json(expected, json.dumps({name: value}).encode())
        constraints.check(expected, found)
        assert isinstance(found[name], KINDS[name])


@settings(max_examples=100, deadline=None)
@given(strategies.binary(max_size=200) | strategies.text("Tags.member1Key=&%;Va", max_size=200).map(str.encode))
def test_a_form_is_read_or_refused(body: bytes) -> None:
    """Bytes that are no form, and fields that fit nowhere."""
    with contextlib.suppress(faults.Fault):
        found = reading.query(IAM.operation_model("TagRole").input_shape, reading.form(body))
        assert all(isinstance(each, dict) for each in found.get("Tags", []))


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b"\xff",
        b"{",
        b'{"a": ' * 10_000,
        b"[" * 100_000,
        b'{"KeyId": 1}',
        b'{"Plaintext": "a"}',
        b"1e999",
    ],
)
def test_a_body_that_is_no_such_object_is_a_serialization_error(body: bytes) -> None:
    """No object, no JSON, nested without end, another type, no base64."""
    with pytest.raises(faults.Fault, match="SerializationException"):
        reading.json(shape("Encrypt"), body)


def test_members_that_are_not_known_or_null_are_not_given() -> None:
    """As AWS does: a newer client's member is passed over."""
    assert reading.json(shape("Encrypt"), b'{"KeyId": null, "New": [1], "DryRun": true}') == {"DryRun": True}
    assert reading.json(shape("Encrypt"), b"") == {}
    fields = {"RoleArn": "x", "New.member.1": "y", "Tags.member.7.Key": "b", "Tags.member.2.Key": "a"}
    found = reading.query(STS.operation_model("AssumeRole").input_shape, fields)
    assert found == {"RoleArn": "x", "Tags": [{"Key": "a"}, {"Key": "b"}]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Tags.member.x.Key", "a"),
        ("Tags.member.-1.Key", "a"),
        ("Tags.member." + "9" * 5000, "a"),
        ("DurationSeconds", "1e3"),
    ],
)
def test_a_field_that_fits_nowhere_is_malformed(name: str, value: str) -> None:
    """A list's member without a number, a number that is none."""
    with pytest.raises(faults.Fault, match="MalformedInput"):
        reading.query(STS.operation_model("AssumeRole").input_shape, {name: value})
