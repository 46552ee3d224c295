"""The second argument of a Lambda handler. Source: AWS Lambda Developer Guide, "context object in Python"."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

ACCOUNT = "000000000000"
REGION = "local"
VERSION = "$LATEST"


def arn(name: str) -> str:
    """The ARN of a function here."""
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


class CognitoIdentity:
    """Who calls through Amazon Cognito: nobody does here."""

    cognito_identity_id: str | None = None
    cognito_identity_pool_id: str | None = None


class LambdaContext:
    """One call's context, with Lambda's own names."""

    def __init__(
        self,
        function_name: str,
        *,
        request_id: str,
        memory_mb: int,
        timeout_s: float,
        monotonic: Callable[[], float],
        log_stream: str,
        client_context: Any = None,
    ) -> None:
        """`client_context` is what the caller of an invocation gave as JSON: attributes `client`, `custom`, `env`."""
        self.function_name = function_name
        self.function_version = VERSION
        self.invoked_function_arn = arn(function_name)
        self.memory_limit_in_mb = str(memory_mb)
        self.aws_request_id = request_id
        self.log_group_name = f"/aws/lambda/{function_name}"
        self.log_stream_name = log_stream
        self.identity = CognitoIdentity()
        self.client_context = _client_context(client_context)
        self.tenant_id: str | None = None
        self._monotonic = monotonic
        self._deadline_s = monotonic() + timeout_s

    def get_remaining_time_in_millis(self) -> int:
        """How long the call may still take; 0 once its time is over."""
        return max(0, round((self._deadline_s - self._monotonic()) * 1000))

    def __repr__(self) -> str:
        return f"LambdaContext(function_name={self.function_name!r}, aws_request_id={self.aws_request_id!r})"


def _client_context(given: Any) -> SimpleNamespace | None:
    if not isinstance(given, dict):
        return None
    client = given.get("client")
    return SimpleNamespace(
        custom=given.get("custom"),
        env=given.get("env"),
        client=SimpleNamespace(**{str(name): value for name, value in client.items()})
        if isinstance(client, dict)
        else None,
    )
