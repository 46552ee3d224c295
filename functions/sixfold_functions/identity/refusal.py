"""A refused AWS call: AWS's error code and message, and the HTTP status that goes with the code."""

from __future__ import annotations

from collections.abc import Mapping

STATUS: Mapping[str, int] = {
    "AccessDenied": 403,
    "IDPRejectedClaim": 403,
    "ServiceUnavailable": 503,
}
"""HTTP status by error code; every other code is 400. AWS STS API reference, 2011-06-15."""


class Refusal(Exception):  # noqa: N818 (an answer that a caller gets, not a fault of the program)
    """The call is refused with `code` and `message`, as AWS words them."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return STATUS.get(self.code, 400)
