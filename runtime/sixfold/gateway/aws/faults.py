"""Errors that an AWS client gets: a code and a message, with the HTTP status that the service's model gives the code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.model import ServiceModel

STATUS: Mapping[str, int] = {
    "AccessDenied": 403,
    "IncompleteSignature": 403,
    "InternalFailure": 500,
    "InvalidClientTokenId": 403,
    "MissingAuthenticationToken": 403,
    "RequestEntityTooLarge": 413,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
}
"""Of codes that are in no service's model; any other is 400. AWS, "Common Errors" of the STS and KMS API references."""


class Fault(Exception):  # noqa: N818 (an answer that a caller gets, not a fault of the program)
    """The call is refused with AWS's `code` and `message`; `members` go into the error's own structure."""

    def __init__(self, code: str, message: str = "", *, status: int | None = None, **members: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.members = members


def status_of(fault: Fault, model: ServiceModel | None) -> int:
    """The HTTP status of the answer that tells `fault`."""
    if fault.status is not None:
        return fault.status
    shape = None if model is None else model.shape_for_error_code(fault.code)
    if shape is None:
        return STATUS.get(fault.code, 400)
    told = shape.metadata.get("error", {}).get("httpStatusCode")
    return int(told) if told else 500 if shape.metadata.get("fault") else 400
