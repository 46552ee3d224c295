"""Events of Lambda's API: invocations that wait for their function, and mappings from topics to functions."""

from __future__ import annotations

from sixfold_events.event import Event


class FunctionInvoked(Event, topic="lambda.invocations", key="request_id"):
    """Somebody wants a function to be called, and does not wait for what it returns."""

    request_id: str
    """Names the call; what it emits derives from it."""
    function: str
    payload: str
    """The JSON text that the function is called with."""
    invoked_at_ms: int
    client_context: str = ""
    """JSON text that the caller gave beside it; empty where it gave none."""
