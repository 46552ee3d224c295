"""Keys as AWS's API describes them. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from sixfold_events.kms import KeyChanged
from sixfold_functions.kms import keyring, specs
from sixfold_functions.kms.deciding import Call, Refused, invalid


def moment(at_ms: int) -> datetime.datetime:
    """Unix milliseconds as the API's times are."""
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)


def metadata(key: KeyChanged) -> dict[str, Any]:
    """`KeyMetadata`."""
    algorithms = specs.SPECS[key.spec].usages[key.usage]
    found: dict[str, Any] = {
        "AWSAccountId": keyring.ACCOUNT,
        "KeyId": key.key_id,
        "Arn": keyring.key_arn(key),
        "CreationDate": moment(key.created_at_ms),
        "Enabled": key.state == "Enabled",
        "Description": key.description,
        "KeyUsage": key.usage,
        "KeyState": key.state,
        "Origin": key.origin,
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": key.spec,
        "KeySpec": key.spec,
        specs.MEMBERS[key.usage]: list(algorithms),
        "MultiRegion": bool(key.multi_region),
    }
    if key.state == "PendingDeletion":
        found["DeletionDate"] = moment(key.deletion_at_ms)
    if key.spec == specs.SYMMETRIC and key.current_version:
        found["CurrentKeyMaterialId"] = material_id(key.current_version)
    return found


def material_id(version: str) -> str:
    """A version's id in AWS's form, 64 hex digits: ours, twice as long."""
    return version + version


def page(call: Call, items: Sequence[Any], member: str, *, default: int = 100) -> dict[str, Any]:
    """The page that a list's `Limit` and `Marker` ask for, with the members that say where the next one begins.

    A marker is the place of the first item that was not given. Raises Refused (InvalidMarkerException).
    """
    limit = call.get("Limit") or default
    text = call.get("Marker") or "0"
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise Refused("InvalidMarkerException", "Could not deserialize marker")
    begin = int(text)
    found: dict[str, Any] = {member: list(items[begin : begin + limit]), "Truncated": begin + limit < len(items)}
    if found["Truncated"]:
        found["NextMarker"] = str(begin + limit)
    return found


def tags_of(given: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Tags by name. Raises Refused for names that AWS keeps, and for a name twice."""
    found = {each["TagKey"]: each["TagValue"] for each in given}
    if any(name.lower().startswith("aws:") for name in found):
        raise Refused("TagException", "Tags beginning with aws: are reserved")
    if len(found) < len(given):
        raise Refused("TagException", "Duplicate tag keys")
    return found


def check_description(text: str) -> str:
    """A description that fits. The model's limit holds on the wire; this one holds for requests through the log."""
    if len(text) > DESCRIPTION_CHARS_MAX:
        raise invalid(f"description: expected at most {DESCRIPTION_CHARS_MAX} characters")
    return text


DESCRIPTION_CHARS_MAX = 8192
